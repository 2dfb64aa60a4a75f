"""Prints the syntax trees of sources as JSON. Runs in a group's interpreter, which may be older or newer than ours.

It reads `[{"text": …, "tree": true}, …]` and answers `{"version": "3.13.0", "files": […]}`: for each source its tree if that
was requested, else null, or `{"error": [line, column, message]}`. A tree is a list of its nodes, the module first, each of them
`[class, kind, place, fields]`. The list is flat because sources may be nested more deeply than JSON can be. The syntax is one
that old interpreters can read.
"""

import ast
import json
import sys
import warnings

KINDS = (ast.stmt, ast.expr, ast.pattern) if hasattr(ast, "pattern") else (ast.stmt, ast.expr)


def encoded(value: object, numbers: "dict[int, int]") -> object:
    """A field: `{"n": number of a node}`, `{"c": class of a node without fields}`, `{"v": JSON}`, `{"r": repr}`, or a list."""
    if isinstance(value, list):
        return [encoded(item, numbers) for item in value]
    if isinstance(value, ast.AST):
        return {"n": numbers[id(value)]} if id(value) in numbers else {"c": type(value).__name__}
    if value is None or isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) < 1 << 60):
        return {"v": value}
    return {"r": hex(value) if isinstance(value, int) else repr(value)}


def dumped(tree: ast.AST) -> "list[object]":
    """The nodes of a tree."""
    nodes = [node for node in ast.walk(tree) if not is_mark(node)]
    numbers = {id(node): number for number, node in enumerate(nodes)}
    found = []  # type: list[object]
    for node in nodes:
        kind = next((kind.__name__ for kind in KINDS if isinstance(node, kind)), "AST")
        place = {name: getattr(node, name, None) for name in node._attributes}
        fields = {name: encoded(value, numbers) for name, value in ast.iter_fields(node)}
        found.append([type(node).__name__, kind, place, fields])
    return found


def is_mark(node: ast.AST) -> bool:
    """Whether the node is one of those without a place that all trees share, such as `Load` and `Add`."""
    return isinstance(node, (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop))


def read(text: str, wants_tree: bool) -> object:
    """The answer for one source."""
    try:
        tree = ast.parse(text)
        compile(tree, "<source>", "exec", dont_inherit=True)
        return dumped(tree) if wants_tree else None
    except SyntaxError as error:
        return {"error": [error.lineno or 1, max(error.offset or 1, 1), error.msg]}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"error": [1, 1, str(error) or "it is nested too deeply"]}


def main() -> None:
    """Answer the request on stdin."""
    warnings.simplefilter("ignore")
    asked = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    files = [read(item["text"], item["tree"]) for item in asked]
    sys.stdout.write(json.dumps({"version": sys.version.split()[0], "files": files}))


if __name__ == "__main__":
    main()
