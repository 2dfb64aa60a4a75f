"""Prints the trees of sources as JSON: run as a program, by the interpreter of a group, which may be newer or older than ours.

It reads `[{"text": …, "tree": true}, …]` and answers `{"version": "3.13.0", "files": […]}`: of each source the tree where that
is wanted, else null, or `{"error": [line, column, message]}`. A tree is a list of its nodes, the module first, each of which is
`[class, kind, place, fields]`: flat, because sources may be nested more deeply than JSON can be. Kept to a syntax that old
interpreters can read.
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
    """Whether it is one of the nodes without a place that all trees share, such as `Load` and `Add`."""
    return isinstance(node, (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop))


def read(text: str, wants_tree: bool) -> object:
    """What is said of one source."""
    try:
        tree = ast.parse(text)
        compile(tree, "<source>", "exec", dont_inherit=True)
        return dumped(tree) if wants_tree else None
    except SyntaxError as error:
        return {"error": [error.lineno or 1, max(error.offset or 1, 1), error.msg]}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"error": [1, 1, str(error) or "it is nested too deeply"]}


def main() -> None:
    """Answer what stdin asks."""
    warnings.simplefilter("ignore")
    asked = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    files = [read(item["text"], item["tree"]) for item in asked]
    sys.stdout.write(json.dumps({"version": sys.version.split()[0], "files": files}))


if __name__ == "__main__":
    main()
