"""Checks whether a worker can call a handler: parameters that it does not pass, types that do not fit, generators."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from tako_lite.catalog.decorators import POLL, WORKFLOW, Decorator, Function
from tako_lite.catalog.names import Names
from tako_lite.catalog.nulls import refuses_null

_STEPS: Final = ("Step", "BlockingStep")
_WRAPPERS: Final = ("Annotated", "Optional", "Union")
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class HandlerProblem(NamedTuple):
    """What is wrong with a handler, where, and how to fix it."""

    place: ast.arg | ast.expr | Function
    message: str
    hint: str


def parameter_problems(node: Function, ours: Decorator, names: Names) -> Iterator[HandlerProblem]:
    """A problem for each parameter that a worker does not pass."""
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    needed = [name for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    if variable := arguments.vararg or arguments.kwarg:
        yield HandlerProblem(variable, f"a {ours.function} cannot take * or **", ours.takes)
    for extra in positional[ours.most : ours.most + 1] + needed[:1]:
        yield HandlerProblem(extra, f"tako-lite does not pass a parameter `{extra.arg}`", ours.takes)
    if ours is POLL and not positional and not arguments.vararg:
        yield HandlerProblem(node, f"{node.name} has no parameter for the cursor", ours.takes)
    if positional and (step := _step_of(positional[0].annotation, names)):
        if ours is POLL:
            yield HandlerProblem(positional[0], "a trigger receives its cursor, and no step", ours.takes)
        elif len(positional) == 1:
            yield HandlerProblem(positional[0], "the first parameter is the payload, the second is the step", ours.takes)
        else:
            message = f"`{positional[0].arg}: {step}` must come second: the first parameter is the payload"
            swapped = f"({positional[1].arg}, {positional[0].arg}: {step})"
            yield HandlerProblem(positional[0], message, f"write {swapped}")


def misplaced_step(node: Function, names: Names) -> ast.arg | None:
    """The first parameter, if it is named as the step but receives the payload."""
    positional = node.args.posonlyargs + node.args.args
    if not positional or positional[0].arg != "step" or positional[0].annotation is not None:
        return None
    second = positional[1] if len(positional) > 1 else None
    return positional[0] if second is None or not _step_of(second.annotation, names) else None


def type_problems(
    node: Function, ours: Decorator, names: Names, own: Collection[str], records: Collection[str], *, is_scheduled: bool
) -> Iterator[HandlerProblem]:
    """A problem for each annotation that certainly does not fit what a worker passes."""
    positional = node.args.posonlyargs + node.args.args
    if positional and (ours is POLL or is_scheduled) and refuses_null(positional[0].annotation, names, own, records):
        annotation = positional[0].annotation
        assert annotation is not None  # noqa: S101
        type_ = _written(annotation)
        what = "the first cursor of a trigger is null" if ours is POLL else "a schedule enqueues the payload null"
        yield HandlerProblem(annotation, f"{what}, which `{type_}` does not take", f"write `{type_} | None`")
    if ours is not WORKFLOW or len(positional) < 2 or _step_of(positional[0].annotation, names):
        return
    if refuses_null(positional[1].annotation, names, own, records):
        second, annotation = positional[1], positional[1].annotation
        assert annotation is not None  # noqa: S101
        message = f"the second parameter receives the step, so `{second.arg}: {_written(annotation)}` does not fit"
        yield HandlerProblem(second, message, "a payload of several values is one parameter: a dataclass, or a dict")


def generator_problem(node: Function, ours: Decorator) -> HandlerProblem | None:
    """A problem for each `yield` of the function itself: a call would only make a generator and execute nothing."""
    pending: list[ast.AST] = list(node.body)
    while pending:
        found = pending.pop()
        if isinstance(found, ast.Yield | ast.YieldFrom):
            message = f"a {ours.function} must not yield: a call would only make a generator and execute nothing"
            advice = "return (payloads, cursor)" if ours is POLL else "return a value, and make each part a step"
            return HandlerProblem(found, message, advice)
        if not isinstance(found, _SCOPES):
            pending += ast.iter_child_nodes(found)
    return None


def _step_of(annotation: ast.expr | None, names: Names) -> str | None:
    """`Step` or `BlockingStep` if an annotation names it, alone, with None or in Annotated."""
    match annotation:
        case ast.Constant(value=str(text)):
            try:
                return text if text in _STEPS else _step_of(ast.parse(text, mode="eval").body, names)
            except SyntaxError:
                return None
        case ast.BinOp(left, ast.BitOr(), right):
            return _step_of(left, names) or _step_of(right, names)
        case ast.Subscript(value, inner) if (names.origin(value) or "").rpartition(".")[2] in _WRAPPERS:
            return _step_of(inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner, names)
        case None:
            return None
    meaning = names.meaning(annotation)
    return meaning if meaning in _STEPS else None


def _written(annotation: ast.expr) -> str:
    """The annotation as an expression, without the quotes that it may have."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)
