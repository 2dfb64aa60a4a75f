"""Polling triggers as they are written: the decorator, the static scan, and what an evaluation may return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tako_lite
from tako_lite import Trigger, poll, workflow
from tako_lite.catalog import Catalog, scan
from tako_lite.errors import BadInput, CatalogError, Mistake, NotFound, NotJson, TooLarge
from tako_lite.routing import Namespace, Routes, Rule
from tako_lite.trigger import MOST_PAYLOADS, found
from tako_lite.trigger_options import TriggerOptions

NO_ROUTES = Routes()


class Project:
    """A folder with workflow files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        file = self.root / "workflows" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("from tako_lite import Step, poll, workflow\n" + dedent(text), encoding="utf-8")
        return file

    def scan(self, routes: Routes = NO_ROUTES) -> Catalog:
        return scan(self.root / "workflows", self.root, routes)

    def mistakes(self) -> tuple[Mistake, ...]:
        with pytest.raises(CatalogError) as caught:
            self.scan()
        return caught.value.mistakes

    def only_mistake(self) -> Mistake:
        (mistake,) = self.mistakes()
        return mistake


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("start.py", '@workflow("process-image", worker="media")\ndef start(payload): ...\n')
    return made


FILES = '@poll("new-files", every="30s", starts="process-image"{more})\ndef new_files(cursor): ...\n'


def test_a_trigger_is_found_with_everything_about_it(project: Project) -> None:
    file = project.write("billing/files.py", FILES.format(more=', worker="media", timeout="5s"'))
    catalog = project.scan()
    spec = catalog.trigger("new-files")
    assert (spec.name, spec.group) == ("new-files", "media")
    assert spec.options == TriggerOptions(every=30.0, starts="process-image", worker="media", timeout=5.0)
    evaluation = spec.evaluation
    assert (evaluation.file, evaluation.line, evaluation.function) == (file, 3, "new_files")
    assert (evaluation.module, evaluation.namespace) == ("workflows.billing.files", "billing")
    assert (evaluation.options.retries, evaluation.options.timeout, evaluation.options.fallback) == (0, 5.0, "wait")
    assert catalog.evaluated(evaluation.name) == evaluation
    assert catalog.evaluated("new-files") is None
    assert [workflow["name"] for workflow in catalog.as_json()] == ["process-image"]


def test_a_trigger_has_a_minute_and_the_group_default_where_nothing_is_said(project: Project) -> None:
    project.write("files.py", FILES.format(more=""))
    assert project.scan().trigger("new-files").options == TriggerOptions(30.0, "process-image", "default", 60.0)


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from tako_lite import poll as look", "look"),
        ("import tako_lite", "tako_lite.poll"),
        ("import tako_lite as t", "t.poll"),
        ("from tako_lite import *", "poll"),
        ("from tako_lite.trigger import poll", "poll"),
    ],
)
def test_the_decorator_is_found_however_it_is_imported(project: Project, imports: str, decorator: str) -> None:
    project.write("a.py", f'{imports}\n@{decorator}("a", every=5, starts="process-image")\nasync def a(cursor): ...\n')
    assert project.scan().trigger("a").options.every == 5.0


def test_a_group_exists_by_being_named_and_its_workers_import_the_module(project: Project) -> None:
    project.write("files.py", FILES.format(more=', worker="watchers"'))
    catalog = project.scan()
    assert catalog.groups == {"media", "watchers"}
    assert catalog.modules("watchers") == ["workflows.files"]
    assert catalog.modules("media") == ["workflows.start"]


def test_rules_and_namespaces_name_the_group_of_a_trigger_and_nothing_else_of_it(project: Project) -> None:
    project.write("billing/files.py", FILES.format(more=""))
    project.write("plain.py", FILES.format(more=', worker="media"').replace("new-files", "other"))
    rule = Rule("*", group="forced", fallback="fail", retries=7, timeout=1.0, forced=True)
    spaces = {"billing": Namespace(group="billing", fallback="fail")}
    catalog = project.scan(Routes(namespaces=spaces))
    assert (catalog.trigger("new-files").group, catalog.trigger("other").group) == ("billing", "media")
    forced = project.scan(Routes(rules=(rule,), namespaces=spaces)).trigger("other")
    assert forced.group == "forced"
    assert (forced.evaluation.plan.fallback, forced.evaluation.options.retries) == (("wait", "workflow"), 0)
    assert forced.evaluation.options.timeout == 60.0


def test_imports_of_a_trigger_are_warned_of_as_those_of_a_workflow(project: Project) -> None:
    project.write("files.py", "from workflows.start import start\n" + FILES.format(more=', worker="email"'))
    (warning,) = project.scan().warnings
    assert "workers of email import workflows.start too, which is media's" in warning.message


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ('@poll\ndef a(cursor): ...\n', (2, 2), "@poll needs a name", 'write @poll("a")'),
        ('@poll(every=5, starts="process-image")\ndef a(cursor): ...\n', (2, 2), "@poll needs a name", 'write @poll("a")'),
        ('@poll("a b", every=5, starts="process-image")\ndef a(cursor): ...\n', (2, 7), "not a name for a trigger", "1 to 128"),
        ('@poll("a", starts="process-image")\ndef a(cursor): ...\n', (2, 2), "@poll needs every", 'every="30s"'),
        ('@poll("a", every=5)\ndef a(cursor): ...\n', (2, 2), "@poll needs starts", "process-image"),
        ('@poll("a", every="30", starts="process-image")\ndef a(cursor): ...\n', (2, 18), "not a duration", '"30s" is seconds'),
        ('@poll("a", every=0.5, starts="process-image")\ndef a(cursor): ...\n', (2, 18), "at least 1 s", "enqueue"),
        ('@poll("a", every=SOON, starts="process-image")\ndef a(cursor): ...\n', (2, 18), "every must be a literal", "read"),
        ('@poll("a", every=5, starts="process-imag")\ndef a(cursor): ...\n', (2, 28), "no workflow", "`process-image`?"),
        ('@poll("a", every=5, starts="b")\ndef a(cursor): ...\n', (2, 28), 'no workflow is named "b"', "runs of a workflow"),
        ('@poll("a", every=5, starts=7)\ndef a(cursor): ...\n', (2, 28), "starts: expected text", None),
        ('@poll("a", every=5, starts="process-image", worker="{tier}")\ndef a(cursor): ...\n', (2, 52), "no payload", "group"),
        ('@poll("a", every=5, starts="process-image", timeout=0)\ndef a(cursor): ...\n', (2, 53), "longer than zero", '"60s"'),
        ('@poll("a", every=5, starts="process-image", timeout=None)\ndef a(cursor): ...\n', (2, 53), "a duration", "number"),
        ('@poll("a", every=5, starts="process-image", evry=5)\ndef a(cursor): ...\n', (2, 45), "evry is not", "`every`?"),
        ('@poll("a", every=5, starts="process-image", retries=5)\ndef a(cursor): ...\n', (2, 45), "option of @poll", "are"),
        ('@poll("a", 5, every=5, starts="process-image")\ndef a(cursor): ...\n', (2, 12), "keyword arguments", "such as"),
        ('@poll("a", every=5, starts="process-image", **X)\ndef a(cursor): ...\n', (2, 47), "not passed with **", "read"),
        ('@poll("a", every=5, starts="process-image")\ndef a(): ...\n', (3, 1), "has no parameter for the cursor", "(cursor)"),
        ('@poll("a", every=5, starts="process-image")\ndef a(cursor, step): ...\n', (3, 15), "parameter `step`", "(cursor)"),
        ('@poll("a", every=5, starts="process-image")\ndef a(*cursor): ...\n', (3, 8), "a trigger cannot take *", "(cursor)"),
        ('@poll("a", every=5, starts="process-image")\nclass A: ...\n', (2, 2), "a class is not a trigger", "function"),
        ('if X:\n    @poll("a", every=5, starts="process-image")\n    def a(cursor): ...\n', (3, 6), "a is nested", "move it"),
        ('a = poll("a", every=5, starts="process-image")(print)\n', (2, 5), "poll(…) can only decorate", None),
        ('@poll("a", every=5, starts="process-image")\n@workflow("b")\ndef a(c): ...\n', (3, 2), "not both", None),
        ('@poll("a", every=5, starts="process-image")\n@poll("b")\ndef a(c): ...\n', (3, 2), "it has two @poll", None),
    ],
)  # fmt: skip
def test_a_mistake_in_a_trigger_is_reported_with_its_place(
    project: Project, text: str, place: tuple[int, int], message: str, hint: str | None
) -> None:
    project.write("a.py", text)
    mistake = project.only_mistake()
    assert (mistake.line, mistake.column) == place, mistake
    assert message in mistake.message
    assert mistake.hint is None if hint is None else hint in (mistake.hint or "")


def test_two_triggers_of_one_name_are_a_mistake_that_names_both_places(project: Project) -> None:
    project.write("a.py", FILES.format(more=""))
    project.write("b.py", FILES.format(more=""))
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/b.py", 2, 7)
    assert mistake.message == 'two triggers are named "new-files"; the other is at workflows/a.py:3'


def test_a_trigger_with_the_name_of_a_workflow_is_a_mistake_that_names_both_places(project: Project) -> None:
    project.write("a.py", FILES.format(more="").replace("new-files", "process-image"))
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/a.py", 2, 7)
    assert mistake.message == 'a workflow is named "process-image" too; the other is at workflows/start.py:3'


def test_all_mistakes_of_a_trigger_are_reported_at_once(project: Project) -> None:
    project.write("a.py", '@poll("a", every=0, starts="nobody", worker="a b", timeout=-1)\ndef a(): ...\n')
    assert len(project.mistakes()) == 5


def test_a_file_with_triggers_alone_must_be_importable(project: Project) -> None:
    project.write("new-files.py", FILES.format(more=""))
    assert "is not an identifier" in project.only_mistake().message


def test_a_trigger_is_no_workflow_that_could_be_enqueued(project: Project) -> None:
    project.write("a.py", FILES.format(more=""))
    with pytest.raises(NotFound, match='no workflow is named "new-files"') as caught:
        project.scan().get("new-files")
    assert caught.value.type == "unknown_workflow"
    assert caught.value.hint is not None
    assert "is a trigger" in caught.value.hint


def test_an_unknown_trigger_is_not_found_with_a_guess(project: Project) -> None:
    project.write("a.py", FILES.format(more=""))
    with pytest.raises(NotFound) as caught:
        project.scan().trigger("new-flies")
    assert (caught.value.type, caught.value.hint) == ("unknown_trigger", "did you mean `new-files`?")


# The decorator


def test_calling_a_trigger_calls_its_function() -> None:
    @poll("numbers", every=timedelta(seconds=30), starts="take", worker="media", timeout="5m")
    def numbers(cursor: int | None) -> tuple[list[int], int]:
        """Count."""
        return [cursor or 0], (cursor or 0) + 1

    assert numbers(3) == ([3], 4)
    assert (numbers.name, numbers.__doc__, numbers.__name__) == ("numbers", "Count.", "numbers")
    assert numbers.options == TriggerOptions(every=30.0, starts="take", worker="media", timeout=300.0)
    assert isinstance(numbers, Trigger)
    assert repr(numbers) == "<trigger numbers (group media)>"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a b", {}, "is not a name for a trigger"),
        (print, {}, "@poll needs a name"),
        ("a", {"every": "soon"}, "trigger a: every: 'soon' is not a duration"),
        ("a", {"every": 0.1}, "trigger a: every: expected at least 1 s"),
        ("a", {"starts": "a b"}, "trigger a: starts: 'a b' is not a name for a workflow"),
        ("a", {"worker": "{tier}"}, "trigger a: worker: a trigger has no payload"),
        ("a", {"timeout": 0}, "trigger a: timeout: must be longer than zero"),
    ],
)
def test_options_that_cannot_be_are_refused(name: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        poll(name, **{"every": 30, "starts": "take", **options})
    assert message in caught.value.message


def test_what_is_decorated_is_a_function() -> None:
    handle: Any = workflow("take")(lambda: None)
    again: Any = poll("a", every=5, starts="take")(lambda cursor: ([], cursor))
    for wrong in (handle, again, 5):
        with pytest.raises(BadInput, match="@poll is for a function"):
            poll("b", every=5, starts="take")(wrong)


def test_the_names_are_public() -> None:
    assert {"Trigger", "poll"} <= set(tako_lite.__all__)
    assert (tako_lite.poll, tako_lite.Trigger) == (poll, Trigger)


# What an evaluation returns


@dataclass
class Order:
    number: int
    at: datetime


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (([], None), [[], None]),
        (((1, {"a": 2}), "c"), [(1, {"a": 2}), "c"]),
        ([[1], {"page": 3}], [[1], {"page": 3}]),
        (([Order(1, datetime(2030, 1, 1, tzinfo=UTC))], {7}), [[{"number": 1, "at": "2030-01-01T00:00:00+00:00"}], [7]]),
    ],
)
def test_payloads_and_cursor_are_taken_as_json_has_them(returned: Any, text: Any) -> None:
    assert found(returned) == text


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, BadInput, "a trigger returns (payloads, cursor), and this one returned None"),
        ([], BadInput, "and this one returned list of 0"),
        ((1, 2, 3), BadInput, "and this one returned tuple of 3"),
        ({"a": 1, "b": 2}, BadInput, "and this one returned dict"),
        (("ab", 1), BadInput, "the payloads that a trigger returns are a list, not str"),
        ((None, 1), BadInput, "the payloads that a trigger returns are a list, not None"),
        (([object()], 1), NotJson, "what it returned"),
        (([float("nan")], 1), NotJson, "what it returned"),
        (([], b"x"), NotJson, "what it returned"),
        (([0] * (MOST_PAYLOADS + 1), 1), TooLarge, "it returned 10,001 payloads; the limit is 10,000"),
        ((["x" * 600_000] * 2, 1), TooLarge, "what it returned is 1,200,0"),
    ],
)
def test_what_is_no_answer_is_refused(returned: Any, error: type[BadInput], message: str) -> None:
    with pytest.raises(error) as caught:
        found(returned)
    assert message in caught.value.message
    assert error is not TooLarge or "return a part of the payloads" in (caught.value.hint or "")
