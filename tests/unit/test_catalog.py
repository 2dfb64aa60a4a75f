"""The static scan of workflow files."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

import tako_lite
from tako_lite.backoff import Backoff
from tako_lite.catalog import Catalog, cron_of, scan, stamps
from tako_lite.catalog.awaits import AWAITED, OPTIONS_OF_RUN
from tako_lite.catalog.interpreters import OWN_VERSION
from tako_lite.catalog.names import PUBLIC
from tako_lite.errors import CatalogError, Mistake, NotFound
from tako_lite.options import WorkflowOptions
from tako_lite.step import Step

ROOT = Path(__file__).parents[2]


class Project:
    """A folder with a `workflows` folder in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "workflows"
        self.folder.mkdir()

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return file

    def scan(self) -> Catalog:
        return scan(self.folder, self.root)

    def mistakes(self) -> tuple[Mistake, ...]:
        with pytest.raises(CatalogError) as caught:
            self.scan()
        return caught.value.mistakes

    def only_mistake(self) -> Mistake:
        (mistake,) = self.mistakes()
        return mistake

    def decorated(self, arguments: str) -> None:
        self.write("a.py", f"from tako_lite import Backoff, workflow\n\n@workflow({arguments})\ndef a(payload): ...\n")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_workflow_is_found_with_everything_about_it(project: Project) -> None:
    file = project.write(
        "billing/eu/invoice.py",
        """
        from tako_lite import Backoff, Step, workflow

        @workflow("send-invoice", worker="email", retries=4, backoff=Backoff(base="5s", max=600), timeout="10m",
                  schedule="30 2 * * *", timezone="Europe/Berlin", catch_up="none", priority=-5, fallback="wait")
        async def send_invoice(payload, step: Step):
            return 1
        """,
    )
    catalog = project.scan()
    spec = catalog.get("send-invoice")
    assert spec.name == "send-invoice"
    assert spec.module == "workflows.billing.eu.invoice"
    assert spec.namespace == "billing.eu"
    assert spec.function == "send_invoice"
    assert (spec.file, spec.line) == (file, 6)
    assert spec.group == "email"
    assert spec.options == WorkflowOptions(
        worker="email",
        retries=4,
        backoff=Backoff(base=5, max=600),
        timeout=600.0,
        schedule="30 2 * * *",
        timezone="Europe/Berlin",
        catch_up="none",
        priority=-5,
        fallback="wait",
    )
    assert catalog.root == project.root
    assert catalog.warnings == ()


@pytest.mark.parametrize(
    ("imports", "decorator", "backoff"),
    [
        ("from tako_lite import workflow, Backoff", "workflow", "Backoff"),
        ("from tako_lite import workflow as wf, Backoff as B", "wf", "B"),
        ("import tako_lite", "tako_lite.workflow", "tako_lite.Backoff"),
        ("import tako_lite as t", "t.workflow", "t.Backoff"),
        ("from tako_lite import *", "workflow", "Backoff"),
        ("from tako_lite.workflow import workflow\nfrom tako_lite.backoff import Backoff", "workflow", "Backoff"),
        ("import tako_lite.workflow", "tako_lite.workflow.workflow", "tako_lite.Backoff"),
    ],
)
def test_the_decorator_is_found_however_it_is_imported(project: Project, imports: str, decorator: str, backoff: str) -> None:
    project.write("a.py", f'{imports}\n\n@{decorator}("a", backoff={backoff}(2, max="1m"))\nasync def a(payload): ...\n')
    assert project.scan().get("a").options.backoff == Backoff(2, 60)


def test_decorators_of_others_are_left_alone(project: Project) -> None:
    project.write(
        "a.py",
        """
        import tako_lite
        from elsewhere import workflow

        @workflow(anything, [1])
        def a(x, y, z): ...

        @other.workflow("b")
        class B: ...
        """,
    )
    assert project.scan().workflows == {}


def test_user_code_is_never_run(project: Project) -> None:
    project.write("a.py", 'from tako_lite import workflow\nraise SystemExit(3)\n@workflow("a")\ndef a(): ...\n')
    assert project.scan().get("a").line == 4


def test_groups_and_modules_say_what_each_worker_loads(project: Project) -> None:
    for name, group in (("z", "media"), ("b", "media"), ("c", "email")):
        project.write(f"{name}.py", f'from tako_lite import workflow\n@workflow("{name}", worker="{group}")\ndef f(): ...')
    project.write("d.py", 'from tako_lite import workflow\n@workflow("d")\ndef f(): ...')
    catalog = project.scan()
    assert catalog.groups == {"media", "email", "default"}
    assert catalog.modules("media") == ["workflows.b", "workflows.z"]
    assert [spec.name for spec in catalog.group("media")] == ["b", "z"]
    assert catalog.modules("nobody") == []


def test_an_unknown_workflow_is_not_found_with_a_guess(project: Project) -> None:
    project.decorated('"process-image"')
    with pytest.raises(NotFound) as caught:
        project.scan().get("proces-image")
    assert caught.value.type == "unknown_workflow"
    assert caught.value.hint == "did you mean `process-image`?"


def test_a_missing_folder_is_an_empty_catalog_with_a_warning(tmp_path: Path) -> None:
    catalog = scan(tmp_path / "workflows", tmp_path)
    assert catalog.workflows == {}
    assert [str(warning) for warning in catalog.warnings] == ["workflows: the folder does not exist, so there are no workflows"]


def test_a_file_where_the_folder_should_be_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "workflows").write_text("")
    with pytest.raises(CatalogError, match="Not a directory"):
        scan(tmp_path / "workflows", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "column", "message", "hint"),
    [
        ("", 2, "@workflow needs a name", '@workflow("a")'),
        ("NAME", 11, "the name must be a literal", "without running"),
        ('f"x"', 11, "the name must be a literal", "without running"),
        ("3", 11, "the name of a workflow is text, not int", None),
        ('"no spaces"', 11, "'no spaces' is not a name for a workflow", "names are 1 to 128"),
        ('"a", "media"', 16, "options of @workflow must be keyword arguments", "worker="),
        ('"a", *rest', 16, "options of @workflow must be keyword arguments", None),
        ('"a", **rest', 18, "not passed with **", "without running"),
        ('"a", retries=RETRIES', 24, "retries must be a literal", "without running"),
        ('"a", timeout=60 * 5', 24, "timeout must be a literal", "without running"),
        ('"a", retries=-1', 24, "retries: expected a whole number from 0 to 1,000,000, got -1", None),
        ('"a", retries=True', 24, "retries: expected a whole number from 0 to 1,000,000, got True", None),
        ('"a", timeout="soon"', 24, "timeout: 'soon' is not a duration", None),
        ('"a", retires=3', 16, "retires is not an option of @workflow", "did you mean `retries`?"),
        ('"a", qqq=f()', 16, "qqq is not an option of @workflow", "the options are worker, retries"),
        ('"a", limit=0', 22, "limit: expected a whole number from 1 to 1,000,000", ""),
        ('"a", on_limit="cancel"', 25, "on_limit: has no effect without a limit", "add limit=1"),
        ('"a", worker="{tier"', 23, "the braces of a template", "such as"),
        ('"a", worker="-x"', 23, "'-x' is not a name for a group", "names are"),
        ('"a", backoff=5', 24, "backoff: expected Backoff(…), got 5", "Backoff(base=1"),
        ('"a", backoff=Backoff(base=f())', 37, "backoff: base must be a literal", "without running"),
        ('"a", backoff=Backoff(start=1)', 38, "backoff: Backoff has no start", "base and max"),
        ('"a", backoff=Backoff(**b)', 34, "backoff: Backoff has no **", "base and max"),
        ('"a", backoff=Backoff(1, 2, 3)', 38, "Backoff takes base and max", None),
        ('"a", backoff=Backoff(9, 2)', 24, "backoff: base (9 s) is above max (2 s)", None),
        ('"a", backoff=Other(9)', 24, "backoff must be a literal", "without running"),
        ('"a", schedule="61 * * * *"', 25, "is not a schedule: bad minute", "five fields"),
        ('"a", schedule="* * *"', 25, "is not a schedule: wrong number of fields", "five fields"),
        ('"a", schedule="@houry"', 25, "unknown shorthand '@houry'", "did you mean `@hourly`?"),
        ('"a", schedule="' + "1," * 200 + '* * * * *"', 25, "longer than 200 characters", "five fields"),
        ('"a", timezone="Europe/Berln"', 25, "unknown time zone 'Europe/Berln'", "did you mean `Europe/Berlin`?"),
        ('"a", timezone="../etc/passwd"', 25, "unknown time zone", "Europe/Berlin"),
        ('"a", catch_up="some"', 25, 'catch_up: expected "latest" or "none" or "all"', None),
    ],
)
def test_a_mistake_in_the_decorator_points_at_its_place(
    project: Project, arguments: str, column: int, message: str, hint: str | None
) -> None:
    project.decorated(arguments)
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/a.py", 3, column)
    assert message in mistake.message
    assert hint is None or hint in (mistake.hint or "")


def test_the_column_counts_characters_and_the_caret_stands_under_the_literal(project: Project) -> None:
    project.write("a.py", 'import tako_lite as ä\n@ä.workflow("ähm")\ndef a(): ...\n')
    assert str(project.only_mistake()).splitlines()[:3] == [
        "workflows/a.py:2:13: '\\xe4hm' is not a name for a workflow",
        '    @ä.workflow("ähm")',
        "                ^",
    ]


def test_lines_are_counted_as_python_counts_them(project: Project) -> None:
    project.folder.joinpath("a.py").write_bytes(
        'from tako_lite import workflow\r\nx = "\u2028\x0c"\r@workflow("a", retries=-1)\ndef a(): ...\n'.encode()
    )
    mistake = project.only_mistake()
    assert (mistake.line, mistake.source) == (3, '@workflow("a", retries=-1)')


@pytest.mark.parametrize("schedule", ["* * * * *", "*/10 * * * * *", "0 9 * * MON-FRI", "@hourly", "@yearly", "29 2 29 2 *"])
def test_good_schedules_are_kept_as_written(project: Project, schedule: str) -> None:
    project.decorated(f'"a", schedule="{schedule}"')
    assert project.scan().get("a").options.schedule == schedule


def test_shorthands_stand_for_cron_fields() -> None:
    assert cron_of("@daily") == "0 0 * * *"
    assert cron_of("5 4 * * *") == "5 4 * * *"


def test_the_name_may_be_given_by_keyword(project: Project) -> None:
    project.decorated('retries=0, name="by-keyword"')
    assert project.scan().get("by-keyword").options.retries == 0


def test_a_decorator_that_is_not_called_needs_a_name(project: Project) -> None:
    project.write("a.py", "from tako_lite import workflow\n\n@workflow\ndef make_it(): ...\n")
    mistake = project.only_mistake()
    assert (mistake.message, mistake.hint) == ("@workflow needs a name", 'write @workflow("make-it")')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('def outer():\n    @workflow("a")\n    def a(): ...\n', "a is nested"),
        ('class C:\n    @workflow("a")\n    def a(): ...\n', "a is nested"),
        ('if True:\n    @workflow("a")\n    def a(): ...\n', "a is nested"),
        ('@workflow("a")\nclass A: ...\n', "a class is not a workflow"),
        ('a = workflow("a")(print)\n', "can only decorate"),
        ('@workflow("a")\n@workflow("b")\ndef a(): ...\n', "two @workflow decorators"),
        ('@workflow("a")\ndef a(payload, step, more): ...\n', "tako-lite does not pass a parameter `more`"),
        ('@workflow("a")\ndef a(payload, *, more): ...\n', "tako-lite does not pass a parameter `more`"),
        ('@workflow("a")\ndef a(*payloads): ...\n', "cannot take * or **"),
        ('@workflow("a")\ndef a(step: Step): ...\n', "the first parameter is the payload"),
        ('@workflow("a")\ndef a(step: "Step"): ...\n', "the first parameter is the payload"),
    ],
)
def test_what_no_worker_could_run_is_a_mistake(project: Project, text: str, message: str) -> None:
    project.write("a.py", "from tako_lite import Step, poll, workflow\n\n" + text)
    assert message in project.only_mistake().message


def test_handlers_may_have_keyword_parameters_with_defaults(project: Project) -> None:
    project.write("a.py", 'import tako_lite\n@tako_lite.workflow("a")\ndef a(payload, step, *, client=None): ...\n')
    assert "a" in project.scan().workflows


def test_all_mistakes_of_all_files_are_reported_at_once(project: Project) -> None:
    project.write("a.py", 'from tako_lite import workflow\n@workflow("a", retries=-1, timeout=-1)\ndef a(): ...\n')
    project.write("b.py", 'from tako_lite import workflow\n@workflow("b", retries=-1)\ndef b(: ...\n')
    project.write("c.py", 'from tako_lite import workflow\n@workflow("a")\ndef c(): ...\n')
    assert [(mistake.file, mistake.line) for mistake in project.mistakes()] == [
        ("workflows/a.py", 2),
        ("workflows/a.py", 2),
        ("workflows/b.py", 3),
        ("workflows/c.py", 2),
    ]


def test_two_workflows_of_one_name_are_a_mistake_that_names_both_places(project: Project) -> None:
    project.write("a.py", 'from tako_lite import workflow\n\n@workflow("same")\ndef a(): ...\n')
    project.write("deep/b.py", 'from tako_lite import workflow\n@workflow("same")\ndef b(): ...\n')
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/deep/b.py", 2, 11)
    assert mistake.message == 'two workflows are named "same"; the other is at workflows/a.py:4'


def test_a_file_that_is_not_python_is_a_mistake_with_its_place(project: Project) -> None:
    project.write("a.py", 'from tako_lite import workflow\n@workflow("a")\ndef a(:\n    pass\n')
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/a.py", 3, 7)
    assert mistake.message.startswith(f"not valid Python {OWN_VERSION}: ")
    assert mistake.source == "def a(:"


def test_files_that_are_no_text_for_python_are_mistakes_that_say_so(project: Project) -> None:
    project.folder.joinpath("latin.py").write_bytes(b"from tako_lite import workflow\n# caf\xe9\n")
    project.folder.joinpath("null.py").write_bytes(b"import tako_lite\n\x00\n")
    project.folder.joinpath("deep.py").write_text("import tako_lite\nx = " + "(" * 100_000)
    deep, latin, null = project.mistakes()
    assert deep.message.startswith("not valid Python")
    assert (latin.line, latin.message, latin.hint) == (2, "the file is not UTF-8", "save it as UTF-8")
    assert "null bytes" in null.message


def test_a_byte_order_mark_and_odd_escapes_are_no_mistakes(project: Project) -> None:
    project.folder.joinpath("a.py").write_bytes(
        b'\xef\xbb\xbffrom tako_lite import workflow\nx = "\\d"\n@workflow("a")\ndef a(): ...\n'
    )
    assert project.scan().get("a").line == 4


def test_names_that_cannot_be_imported_are_mistakes_that_say_so(project: Project) -> None:
    text = 'from tako_lite import workflow\n@workflow("{}")\ndef a(): ...\n'
    project.write("my-file.py", text.format("a"))
    project.write("2024/b.py", text.format("b"))
    assert [(mistake.message, mistake.hint) for mistake in project.mistakes()] == [
        ("the module '2024' cannot be imported: its name is not an identifier", "rename 2024 to _2024"),
        ("the module 'my-file' cannot be imported: its name is not an identifier", "rename my-file to my_file"),
    ]


def test_a_script_without_workflows_may_have_any_name(project: Project) -> None:
    project.write("run-me.py", "from tako_lite import Client\n")
    assert project.scan().workflows == {}


@pytest.mark.parametrize(("name", "message"), [("my-flows", "not an identifier"), ("json", "the Python module json")])
def test_a_folder_that_cannot_be_a_package_is_a_mistake(tmp_path: Path, name: str, message: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    folder.joinpath("a.py").write_text('from tako_lite import workflow\n@workflow("a")\ndef a(): ...\n')
    with pytest.raises(CatalogError, match=message):
        scan(folder, tmp_path)


def test_a_module_and_a_folder_of_one_name_are_a_mistake(project: Project) -> None:
    project.write("billing.py", "")
    project.write("billing/a.py", 'from tako_lite import workflow\n@workflow("a")\ndef a(): ...\n')
    assert project.only_mistake().message == (
        "workflows/billing.py and folder workflows/billing have the same name; only one can be imported"
    )


def test_packages_define_workflows_too(project: Project) -> None:
    project.write("__init__.py", 'from tako_lite import workflow\n@workflow("top")\ndef top(): ...\n')
    project.write("billing/__init__.py", 'from tako_lite import workflow\n@workflow("b")\ndef b(): ...\n')
    catalog = project.scan()
    assert (catalog.get("top").module, catalog.get("top").namespace) == ("workflows", "")
    assert (catalog.get("b").module, catalog.get("b").namespace) == ("workflows.billing", "billing")


def test_hidden_files_and_caches_are_skipped(project: Project) -> None:
    for name in (".hidden.py", ".git/a.py", "__pycache__/a.py", "deep/__pycache__/a.py", "a.txt"):
        project.write(name, 'from tako_lite import workflow\n@workflow("a"\n')
    catalog = project.scan()
    assert catalog.workflows == {}
    assert catalog.files == {}


def test_a_helper_module_that_is_not_python_is_a_mistake_as_its_group_could_not_start(project: Project) -> None:
    project.write("helpers/__init__.py", "")
    project.write("helpers/mail.py", "def send(:\n")
    mistake = project.only_mistake()
    assert (mistake.file, mistake.line, mistake.column) == ("workflows/helpers/mail.py", 1, 10)
    assert mistake.message.startswith("not valid Python ")


def test_links_that_lead_in_circles_do_not_hang_the_scan(project: Project) -> None:
    project.write("a/one.py", 'from tako_lite import workflow\n@workflow("one")\ndef one(): ...\n')
    project.folder.joinpath("a/up").symlink_to(project.folder)
    project.folder.joinpath("a/self").symlink_to("self")
    project.folder.joinpath("gone.py").symlink_to("nowhere.py")
    assert list(project.scan().workflows) == ["one"]


def test_linked_folders_are_scanned_under_the_name_of_the_link(project: Project) -> None:
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    elsewhere.joinpath("a.py").write_text('from tako_lite import workflow\n@workflow("a")\ndef a(): ...\n')
    project.folder.joinpath("linked").symlink_to(elsewhere)
    assert project.scan().get("a").module == "workflows.linked.a"


def test_a_pipe_with_the_name_of_a_module_does_not_hang_the_scan(project: Project) -> None:
    os.mkfifo(project.folder / "pipe.py")
    assert project.scan().files == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_a_mistake(project: Project) -> None:
    project.write("a.py", "").chmod(0)
    assert project.only_mistake().message == "cannot be read: Permission denied"


def test_the_stamps_show_a_change_without_another_scan(project: Project) -> None:
    file = project.write("a.py", 'from tako_lite import workflow\n@workflow("a")\ndef a(): ...\n')
    catalog = project.scan()
    assert stamps(project.folder) == catalog.files
    file.write_text("# shorter\n")
    assert stamps(project.folder) != catalog.files
    project.write("new.py", "")
    assert set(stamps(project.folder)) - set(catalog.files) == {project.folder / "new.py"}


@pytest.mark.parametrize(
    "statement",
    [
        "from workflows.media import thumb",
        "import workflows.media",
        "from workflows import media",
        "from . import media",
        "from .media import thumb",
        "try:\n    from .media import thumb\nexcept ImportError:\n    pass",
    ],
)
def test_importing_a_workflow_of_another_group_is_a_warning(project: Project, statement: str) -> None:
    project.write("media.py", 'from tako_lite import workflow\n@workflow("thumb", worker="media")\ndef thumb(p): ...\n')
    project.write(
        "email.py", f'{statement}\nfrom tako_lite import workflow\n@workflow("mail", worker="email")\ndef mail(p): ...\n'
    )
    (warning,) = project.scan().warnings
    assert warning.file == "workflows/email.py"
    assert warning.message == ("workers of email import workflows.media too, which is media's, with everything that it imports")
    assert warning.hint == "enqueue the workflow by its name instead"


@pytest.mark.parametrize(
    "statement",
    [
        "if TYPE_CHECKING:\n    from .media import thumb",
        "def later():\n    from .media import thumb",
        "from .same import other",
        "from . import helper",
        "from .email import mail",
        "from ..media import thumb",
        "import media",
    ],
)
def test_imports_that_load_no_other_group_are_no_warning(project: Project, statement: str) -> None:
    project.write("media.py", 'from tako_lite import workflow\n@workflow("thumb", worker="media")\ndef thumb(p): ...\n')
    project.write("same.py", 'from tako_lite import workflow\n@workflow("other", worker="email")\ndef other(p): ...\n')
    project.write("helper.py", "")
    project.write(
        "email.py", f'{statement}\nfrom tako_lite import workflow\n@workflow("mail", worker="email")\ndef mail(p): ...\n'
    )
    assert project.scan().warnings == ()


def test_relative_imports_of_sub_packages_are_understood(project: Project) -> None:
    project.write("media.py", 'from tako_lite import workflow\n@workflow("thumb", worker="media")\ndef thumb(p): ...\n')
    project.write(
        "billing/eu/__init__.py", 'from ...media import thumb\nfrom tako_lite import workflow\n@workflow("b")\ndef b(p): ...\n'
    )
    (warning,) = project.scan().warnings
    assert (warning.file, warning.line) == ("workflows/billing/eu/__init__.py", 1)


def test_cron_is_loaded_only_when_there_is_a_schedule(project: Project) -> None:
    project.decorated('"a"')
    program = (
        "import sys\nfrom pathlib import Path\nfrom tako_lite.catalog import scan\n"
        f"scan(Path({str(project.folder)!r}), Path({str(project.root)!r}))\n"
        "print([name for name in ('cronsim', 'zoneinfo', 'asyncio', 'difflib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Litter:
    """Garbage that takes a while to collect, and lets other threads run meanwhile."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


def test_threads_that_scan_at_the_same_time_do_not_disturb_each_other() -> None:
    shop = ROOT / "examples/shop"
    found: list[object] = []

    def look() -> None:
        for _ in range(10):
            for _ in range(20):
                Litter()
            try:
                found.append(len(scan(shop / "workflows", shop).workflows))
            except SystemError as error:
                found.append(error)

    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    threads = [threading.Thread(target=look) for _ in range(4)]
    try:
        sys.setswitchinterval(1e-6)
        gc.set_threshold(50)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    assert found == [len(scan(shop / "workflows", shop).workflows)] * 40


def test_the_names_that_are_known_are_those_that_tako_lite_has() -> None:
    assert list(PUBLIC) == tako_lite.__all__


def test_an_unknown_name_imported_from_tako_lite_is_a_mistake(
    project: Project,
) -> None:
    project.write("a.py", "from tako_lite import Step, workflows\n\n@workflows('a')\ndef a(payload): ...\n")
    found = project.only_mistake()
    assert (found.file, found.line, found.column) == ("workflows/a.py", 1, 29)
    assert (found.message, found.hint) == ("tako_lite has no workflows", "did you mean `workflow`?")


def test_every_name_of_tako_lite_can_be_imported_and_imports_in_blocks_are_not_checked(
    project: Project,
) -> None:
    names = ", ".join([*tako_lite.__all__, "__version__", "errors", "client as c"])
    block = "try:\n    from tako_lite import new\nexcept ImportError:\n    new = None\n"
    project.write("a.py", f"from tako_lite import {names}\nfrom tako_lite import *\n{block}")
    assert not project.scan().workflows


UNAWAITED = """
import asyncio
from tako_lite import BlockingStep, Step, workflow

@workflow("a")
async def a(payload, step: Step):
    step.sleep("nap", 5)
    if payload:
        step.run("one", print)
    await step.run("two", print)
    later = step.run("three", print)
    await asyncio.gather(later, step.invoke("four", "b", None))
    step.bail("enough")
    step.log("done")

    async def inner():
        step.signal("go")

    def apart(step):
        step.run("mine", print)

@workflow("b")
def b(payload, step: BlockingStep):
    step.run("fine", print)
"""


def test_a_step_without_await_is_a_mistake_with_its_line(project: Project) -> None:
    project.write("a.py", UNAWAITED)
    said = [(mistake.line, mistake.column, mistake.message, mistake.hint) for mistake in project.mistakes()]
    assert said == [
        (7, 5, "step.sleep(…) is not awaited, so it has no effect", "write `await step.sleep(…)`"),
        (9, 9, "step.run(…) is not awaited, so it has no effect", "write `await step.run(…)`"),
        (17, 9, "step.signal(…) is not awaited, so it has no effect", "write `await step.signal(…)`"),
    ]


MISUSED = """
from tako_lite import BlockingStep, Step, workflow

@workflow("a")
async def a(payload, step: Step):
    await step.run("x", print, "hi", end="!")
    await step.run("y", print("hi"))
    await step.run("fine", print, "hi", retries=2, backoff=None, timeout="1s", returns=None, **payload)
    await step.run(name="fine too", fn=print)

@workflow("b")
def b(payload, step: BlockingStep):
    step.run("z", open, "file", encoding="utf-8")
"""


def test_what_a_step_cannot_be_given_is_a_warning_with_what_to_write(project: Project) -> None:
    project.write("a.py", MISUSED)
    said = [(warning.line, warning.column, warning.message, warning.hint) for warning in project.scan().warnings]
    assert said == [
        (6, 38, "end is no option of step.run", "for keywords of the function: functools.partial(print, …, end=…)"),
        (7, 25, "print is called before the step, which gets None", "give its arguments apart: step.run('y', print, 'hi')"),
        (13, 33, "encoding is no option of step.run", "for keywords of the function: functools.partial(open, …, encoding=…)"),
    ]


def test_the_options_that_a_step_has_are_those_of_step() -> None:
    run = inspect.unwrap(Step.run)
    named = [
        own.name
        for own in inspect.signature(run).parameters.values()
        if own.kind in (own.KEYWORD_ONLY, own.POSITIONAL_OR_KEYWORD)
    ]
    assert {*named} - {"self"} == OPTIONS_OF_RUN


CORES = ("run_with", "wait_as")
"""Methods that `Step` shares with `BlockingStep`; no handler calls them."""


def test_the_steps_that_are_to_be_awaited_are_the_coroutines_of_step() -> None:
    public = {name: method for name, method in vars(Step).items() if not name.startswith("_") and name not in CORES}
    assert {name for name, method in public.items() if inspect.iscoroutinefunction(method)} == AWAITED
