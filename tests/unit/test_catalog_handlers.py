"""What a worker would not find or could not call is a mistake of the workflow file, with its place and a remedy."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tako_lite.catalog import Catalog, scan
from tako_lite.errors import CatalogError, Mistake

HEAD = """\
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union
import datetime, functools, typing
from tako_lite import BlockingStep, Step, poll, workflow
@dataclass
class Order:
    number: int
"""
LINES = HEAD.count("\n")
WORKFLOW = '@workflow("first")\ndef handle(payload): ...\n'
POLL = '@poll("look", every="1m", starts="first")\n'


class Project:
    """A folder with a `workflows` folder in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "workflows").mkdir()

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")

    def scan(self) -> Catalog:
        return scan(self.root / "workflows", self.root)

    def mistakes(self) -> tuple[Mistake, ...]:
        with pytest.raises(CatalogError) as caught:
            self.scan()
        return caught.value.mistakes

    def only_mistake(self, text: str) -> Mistake:
        self.write("workflows/a.py", HEAD + text)
        (mistake,) = self.mistakes()
        return mistake

    def only_warning(self, text: str) -> Mistake:
        self.write("workflows/a.py", HEAD + text)
        (warning,) = self.scan().warnings
        return warning

    def sound(self, text: str) -> Catalog:
        self.write("workflows/a.py", HEAD + text)
        return self.scan()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("later", "by"),
    [
        ("def handle(): ...\n", "this function"),
        ("async def handle(): ...\n", "this function"),
        ("class handle: ...\n", "this class"),
        ("handle = None\n", "this assignment"),
        ("handle = functools.partial(handle, 1)\n", "this assignment"),
        ("handle += 1\n", "this assignment"),
        ("handle: int = 1\n", "this assignment"),
        ("(a, [*handle]) = 1, 2\n", "this assignment"),
        ("print(handle := 1)\n", "this assignment"),
        ("import handle\n", "this import"),
        ("import handle.more\n", "this import"),
        ("import other as handle\n", "this import"),
        ("from other import handle\n", "this import"),
        ("from other import x as handle\n", "this import"),
        ("del handle\n", "this `del`"),
        ("if True:\n    def handle(): ...\n", "this function"),
        ("if True: ...\nelse:\n    handle = 1\n", "this assignment"),
        ("try:\n    from quick import handle\nexcept ImportError: ...\n", "this import"),
        ("try: ...\nexcept OSError:\n    handle = 1\n", "this assignment"),
        ("try: ...\nexcept OSError as handle: ...\n", "this `except`"),
        ("try: ...\nexcept* OSError as handle: ...\n", "this `except`"),
        ("for handle in []: ...\n", "this assignment"),
        ("while True:\n    handle = 1\n", "this assignment"),
        ("with open('x') as handle: ...\n", "this assignment"),
        ("match 1:\n    case handle: ...\n", "this pattern"),
        ("match 1:\n    case [*handle]: ...\n", "this pattern"),
        ("match 1:\n    case {**handle}: ...\n", "this pattern"),
        ("if not TYPE_CHECKING:\n    handle = 1\n", "this assignment"),
    ],
)
def test_what_takes_the_name_of_a_handler_is_a_mistake_at_its_own_line(project: Project, later: str, by: str) -> None:
    found = project.only_mistake(WORKFLOW + later)
    assert found.message == (
        f'{by} rebinds the name `handle` of the workflow "first" of line {LINES + 2}, so workers would not find it'
    )
    assert found.line > LINES + 2
    assert found.hint == "rename one of the two"


def test_two_workflows_whose_functions_have_one_name_are_a_mistake_that_names_both(project: Project) -> None:
    found = project.only_mistake(WORKFLOW + WORKFLOW.replace("first", "second"))
    assert (found.line, found.column) == (LINES + 4, 1)
    assert found.message.startswith('the workflow "second" rebinds the name `handle` of the workflow "first"')


def test_a_trigger_loses_its_name_as_a_workflow_does(project: Project) -> None:
    found = project.only_mistake(WORKFLOW + POLL + "def look(cursor): ...\nlook = 1\n")
    assert 'of the trigger "look"' in found.message


@pytest.mark.parametrize(
    "later",
    [
        "def other():\n    handle = 1\n",
        "class Other:\n    handle = 1\n",
        "x = [handle for handle in []]\n",
        "x = lambda handle: 1\n",
        "handle: int\n",
        "x = handle\nhandle = 1\n",
        "x.handle = 1\nx['handle'] = 2\n",
        "if TYPE_CHECKING:\n    handle = 1\n",
        "if typing.TYPE_CHECKING:\n    from other import handle\n",
        'if __name__ == "__main__":\n    handle = handle(1)\n',
        "from other import *\n",
        "print(handle)\n",
    ],
)
def test_what_leaves_a_worker_the_handle_is_no_mistake(project: Project, later: str) -> None:
    assert "first" in project.sound(WORKFLOW + later).workflows


def test_what_had_the_name_before_the_handler_is_no_mistake(project: Project) -> None:
    assert "first" in project.sound("handle = None\ndef handle(): ...\n" + WORKFLOW).workflows


def test_an_expression_of_a_thousand_terms_is_read(project: Project) -> None:
    assert "first" in project.sound(WORKFLOW + f"x = {' + '.join(['1'] * 900)}\n").workflows


@pytest.mark.parametrize("above", ["@traced", "@helpers.traced(1)", "@functools.cache", "@contextmanager"])
@pytest.mark.parametrize("ours", ["workflow", "poll"])
def test_a_decorator_above_ours_is_a_mistake_as_it_replaces_the_handle(project: Project, above: str, ours: str) -> None:
    text = WORKFLOW if ours == "workflow" else POLL + "def look(cursor): ...\n"
    found = project.only_mistake(f"{above}\n{text}" + ("" if ours == "workflow" else WORKFLOW))
    assert (found.line, found.column) == (LINES + 1, 2)
    assert found.message.startswith(f"{above.partition('(')[0]} above @{ours} replaces the ")
    assert found.hint == f"put it below @{ours}"


@pytest.mark.parametrize(
    "above",
    [
        "@typing.final\n",
        "@typing.no_type_check\n",
        "def kept(handle):\n    ALL.append(handle)\n    return handle\n@kept\n",
    ],
)
def test_a_decorator_above_ours_that_returns_the_handle_is_no_mistake(project: Project, above: str) -> None:
    assert "first" in project.sound(above + WORKFLOW).workflows


def test_a_decorator_of_the_file_that_returns_something_else_too_is_a_mistake(project: Project) -> None:
    maker = "def kept(handle):\n    if handle:\n        return handle\n    return None\n"
    assert "@kept above @workflow" in project.only_mistake(f"{maker}@kept\n{WORKFLOW}").message


def test_decorators_below_ours_are_not_mistakes_and_their_results_are_not_checked(project: Project) -> None:
    text = '@workflow("first", schedule="@daily")\n@contextmanager\ndef handle(payload: int):\n    yield 1\n'
    assert "first" in project.sound(text).workflows


@pytest.mark.parametrize(
    ("parameters", "swapped"),
    [
        ("step: Step, payload", "(payload, step: Step)"),
        ("step: BlockingStep, order: Order", "(order, step: BlockingStep)"),
        ('s: "Step", payload', "(payload, s: Step)"),
        ("step: Step | None, payload", "(payload, step: Step)"),
        ("step: Optional[Step], payload", "(payload, step: Step)"),
        ("step: Annotated[Step, 1], payload", "(payload, step: Step)"),
        ("step: Step, payload, /", "(payload, step: Step)"),
    ],
)
def test_a_step_that_comes_first_is_a_mistake_that_shows_the_right_order(
    project: Project, parameters: str, swapped: str
) -> None:
    found = project.only_mistake(f'@workflow("first")\nasync def handle({parameters}): ...\n')
    assert "must come second: the first parameter is the payload" in found.message
    assert found.hint == f"write {swapped}"


def test_a_trigger_that_takes_a_step_is_a_mistake(project: Project) -> None:
    assert (
        "a trigger receives its cursor, and no step"
        in project.only_mistake(WORKFLOW + POLL + "def look(s: Step): ...\n").message
    )


@pytest.mark.parametrize("parameters", ["step", "step, payload", "step, /, payload"])
def test_a_first_parameter_that_is_only_called_step_is_a_warning(project: Project, parameters: str) -> None:
    catalog = project.sound(f'@workflow("first")\ndef handle({parameters}): ...\n')
    (warning,) = catalog.warnings
    assert warning.message == "the first parameter of handle is named `step`, but receives the payload"


def test_a_payload_that_holds_steps_of_the_user_is_no_mistake(project: Project) -> None:
    assert project.sound('@workflow("first")\ndef handle(steps: list[Step], step: Step): ...\n').warnings == ()


@pytest.mark.parametrize(
    "second", ["height: int", "steps: dict[str, Step]", "order: Order", "names: list[str]", "at: datetime.datetime", 'x: "str"']
)
def test_a_second_parameter_that_cannot_take_the_step_is_a_warning(project: Project, second: str) -> None:
    found = project.only_warning(f'@workflow("first")\ndef handle(width, {second}): ...\n')
    assert found.message.startswith("the second parameter receives the step, so `")


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "body", ["yield 1", "x = yield", "for x in []:\n        yield x", "return (yield)", "print((yield 2))"]
)
def test_a_handler_that_yields_is_a_mistake_at_the_yield(project: Project, kind: str, body: str) -> None:
    if kind == "async def" and "return" in body:
        pytest.skip("no Python")
    found = project.only_mistake(f'@workflow("first")\n{kind} handle(payload):\n    {body}\n')
    assert found.message.startswith("a handler must not yield")
    assert found.line > LINES + 2


def test_a_trigger_that_yields_is_a_mistake(project: Project) -> None:
    found = project.only_mistake(WORKFLOW + POLL + "def look(cursor):\n    yield from []\n")
    assert (found.message[:26], found.hint) == ("a trigger must not yield: ", "return (payloads, cursor)")


def test_a_function_inside_of_a_handler_may_yield(project: Project) -> None:
    inner = "    def inner():\n        yield 1\n    x = lambda: (yield)\n    return list(inner())\n"
    assert "first" in project.sound('@workflow("first")\ndef handle(payload):\n' + inner).workflows


REFUSING = [
    *(
        "int",
        "str",
        "dict",
        "list[int]",
        "dict[str, int]",
        "Order",
        '"Order"',
        "int | str",
        "Union[int, Order]",
        "Annotated[int, 1]",
    ),
    *("datetime.date", 'Literal["a", 1]', "typing.List[int]", "bool"),
]
TAKING = [
    *(
        "None",
        "Any",
        "object",
        "Order | None",
        "Optional[Order]",
        "Union[Order, None]",
        "'Order | None'",
        "Annotated[int | None, 1]",
    ),
    *('Literal["a", None]', "Elsewhere", "elsewhere.Order", "Model", "dict[str, int] | None"),
]


@pytest.mark.parametrize("annotation", REFUSING)
def test_a_scheduled_handler_whose_payload_cannot_be_null_is_a_warning(project: Project, annotation: str) -> None:
    found = project.only_warning(f'@workflow("first", schedule="@daily")\ndef handle(payload: {annotation}): ...\n')
    plain = annotation.strip('"') if annotation.startswith('"') else annotation
    assert found.message.startswith("a schedule enqueues the payload null, which `")
    assert found.line == LINES + 2
    assert plain.split("[")[0] in (found.hint or "")


@pytest.mark.parametrize("annotation", TAKING)
def test_a_scheduled_handler_that_accepts_null_causes_no_report(project: Project, annotation: str) -> None:
    model = "class Model(BaseModel):\n    x: int\n    @model_validator(mode='before')\n    def read(cls, value): ...\n"
    text = f'{model}@workflow("first", schedule="@daily")\ndef handle(payload: {annotation}): ...\n'
    assert project.sound(text).warnings == ()


@pytest.mark.parametrize("parameters", ["", "payload", "payload, step", "_=None", "*, x=1"])
def test_a_scheduled_handler_without_an_annotation_causes_no_report(project: Project, parameters: str) -> None:
    assert project.sound(f'@workflow("first", schedule="@daily")\ndef handle({parameters}): ...\n').warnings == ()


def test_without_a_schedule_a_payload_may_have_any_type(project: Project) -> None:
    assert project.sound('@workflow("first", schedule=None)\ndef handle(payload: Order): ...\n').warnings == ()


def test_a_class_of_the_file_that_has_the_name_of_a_builtin_is_not_checked(project: Project) -> None:
    text = 'from mine import int\n@workflow("first", schedule="@daily")\ndef handle(payload: int): ...\n'
    assert project.sound(text).warnings == ()


def test_a_trigger_whose_cursor_cannot_be_null_is_a_warning(project: Project) -> None:
    found = project.only_warning(WORKFLOW + POLL + "def look(cursor: int): ...\n")
    assert found.message == "the first cursor of a trigger is null, which `int` does not take"
    assert found.hint == "write `int | None`"
    assert project.sound(WORKFLOW + POLL + "def look(cursor: int | None): ...\n").warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('class Mailer:\n    @workflow("first")\n    def send(self, payload): ...\n', "send is nested"),
        ('def make():\n    @workflow("first")\n    def send(payload): ...\n    return send\n', "send is nested"),
        ('if TYPE_CHECKING:\n    @workflow("first")\n    def send(payload): ...\n', "send is nested"),
        ('if __name__ == "__main__":\n    @workflow("first")\n    def send(payload): ...\n', "send is nested"),
        ('@workflow("first")\nclass Send: ...\n', "a class is not a workflow"),
        ('send = workflow("first")(lambda payload: 1)\n', "can only decorate"),
        ('if 1:\n    send = workflow("first")(print)\n', "can only decorate"),
        ("for name in []:\n    globals()[name] = workflow(name)(print)\n", "can only decorate"),
        ("def job(name):\n    return workflow(name, retries=5)\n", "can only decorate"),
        ('job = functools.partial(workflow, worker="media")\n', "can only decorate"),
        ('class Jobs:\n    send = workflow("first")(print)\n', "can only decorate"),
    ],
)
def test_a_use_of_the_decorator_where_no_worker_looks_is_a_mistake(project: Project, text: str, message: str) -> None:
    assert message in project.only_mistake(text).message


@pytest.mark.parametrize(
    "text",
    [
        "def show(workflow):\n    return workflow(1)\n",
        "def show():\n    workflow = print\n    workflow(1)\n",
        "x = [workflow(1) for workflow in []]\n",
        "x = lambda workflow: workflow(1)\n",
    ],
)
def test_a_name_of_a_functions_own_is_not_taken_for_the_decorator(project: Project, text: str) -> None:
    assert project.sound(text).workflows == {}


@pytest.mark.parametrize(
    ("other", "text", "decorator"),
    [
        ("workflows/common.py", "from .common import workflow", "workflow"),
        ("workflows/common.py", "from workflows.common import workflow as job", "job"),
        ("workflows/common.py", "from workflows.common import *", "workflow"),
        ("workflows/common.py", "from . import common", "common.workflow"),
        ("workflows/common.py", "import workflows.common as c", "c.workflow"),
        ("workflows/common/__init__.py", "from .common import workflow", "workflow"),
        ("helpers.py", "from helpers import workflow", "workflow"),
        ("lib/helpers.py", "from lib.helpers import workflow", "workflow"),
        ("workflows/common.py", "from .common import workflow\njob = workflow", "job"),
        ("workflows/common.py", "import tako_lite\njob = tako_lite.workflow", "job"),
    ],
)
def test_a_decorator_that_comes_from_a_module_of_the_project_is_understood(
    project: Project, other: str, text: str, decorator: str
) -> None:
    project.write(other, "from tako_lite import workflow\n")
    project.write("workflows/a.py", f'{text}\n@{decorator}("first")\ndef handle(payload): ...\n')
    assert "first" in project.scan().workflows


def test_a_decorator_is_followed_through_several_modules(project: Project) -> None:
    project.write("workflows/one.py", "from tako_lite import workflow\n")
    project.write("workflows/two.py", "from .one import workflow as job\n")
    project.write("workflows/a.py", 'from .two import job\n@job("first", retries=7)\ndef handle(payload): ...\n')
    assert project.scan().get("first").options.retries == 7
