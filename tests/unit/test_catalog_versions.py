"""Files are read by the interpreter of their group where that is another one than the daemon's."""

from __future__ import annotations

import ast
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tako_lite.catalog.interpreters import OWN_VERSION, CannotAsk, Fault, ask
from tako_lite.catalog.source import Source, parse
from tako_lite.cli.main import main
from tako_lite.config import load
from tako_lite.errors import CatalogError, Mistake
from tako_lite.project_lint import pythons, read_catalog

pytestmark = pytest.mark.long

TYPED = """\
from tako_lite import workflow

type Ids = list[int]


@workflow("total", worker="modern", retries=7)
def total(ids: Ids) -> int:
    return sum(ids)
"""
FORMATTED = 'from tako_lite import workflow\n\n@workflow("total", worker="modern")\ndef total(x):\n    return f"{x["a"]}"\n'
GENERIC = (
    FORMATTED.partition("@")[0]
    + "def first[T](x: list[T]) -> T: ...\n\n\n"
    + '@workflow("total", worker="modern")\ndef total(x): ...\n'
)
PLAIN = 'from tako_lite import workflow\n\n@workflow("mail", worker="email")\ndef mail(x): ...\n'


def version_of(python: str) -> tuple[int, ...] | None:
    """The version of an interpreter, None where there is none that runs."""
    program = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(map(int, said.split()))


def interpreters() -> list[str]:
    """Those in PATH, and the ones beside ours of a version manager."""
    named = [found for minor in (14, 13, 12, 11) if (found := shutil.which(f"python3.{minor}"))]
    beside = sorted(Path(sys.base_prefix).parent.glob("*/bin/python3"))
    return [*named, *map(str, beside)]


def one_of(*, newer: bool) -> str:
    """An interpreter that is newer than ours and reads `type` statements, or one that workers run on and that is older."""
    for python in interpreters():
        version = version_of(python)
        if version and (version > max(sys.version_info[:2], (3, 11)) if newer else (3, 11) <= version < sys.version_info[:2]):
            return python
    pytest.skip(f"no interpreter that is {'newer' if newer else 'older'} than {OWN_VERSION} was found")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    (tmp_path / "tako.toml").write_text("")
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/email.py").write_text(PLAIN)
    return tmp_path


def configure(project: Path, python: str, group: str = "modern") -> None:
    (project / "tako.toml").write_text(f'[workflows.{group}]\npython = "{python}"\n')


def mistakes(project: Path) -> tuple[Mistake, ...]:
    with pytest.raises(CatalogError) as caught:
        read_catalog(load(project))
    return caught.value.mistakes


needs_older_daemon = pytest.mark.skipif(sys.version_info >= (3, 12), reason="our own Python reads the syntax of 3.12")


@needs_older_daemon
@pytest.mark.parametrize("text", [TYPED, FORMATTED, GENERIC], ids=["type", "f-string", "generic"])
def test_a_file_in_the_syntax_of_the_newer_interpreter_of_its_group_is_read_as_any_other(project: Path, text: str) -> None:
    configure(project, one_of(newer=True))
    (project / "workflows/modern.py").write_text(text)
    catalog = read_catalog(load(project))
    assert sorted(catalog.workflows) == ["mail", "total"]
    assert catalog.get("total").line == text[: text.index("def total")].count("\n") + 1
    assert main(["check"]) == 0


@needs_older_daemon
def test_mistakes_in_such_a_file_are_found_at_their_places(project: Path) -> None:
    configure(project, one_of(newer=True))
    (project / "workflows/modern.py").write_text(TYPED.replace("retries=7", "retries=-1") + "\n\ntype total = int\n")
    found = mistakes(project)
    assert [(mistake.line, mistake.column) for mistake in found] == [(6, 45), (11, 6)]
    assert "rebinds the name `total`" in found[1].message


@needs_older_daemon
def test_a_file_that_also_defines_workflows_of_another_group_is_a_mistake_with_the_version(project: Path) -> None:
    configure(project, one_of(newer=True))
    (project / "workflows/modern.py").write_text(TYPED + '\n\n@workflow("old", worker="email")\ndef old(x): ...\n')
    (found,) = mistakes(project)
    assert (found.line, found.message) == (3, f"not valid Python {OWN_VERSION}: invalid syntax")
    assert "group email uses the daemon's own Python" in (found.hint or "")


@needs_older_daemon
def test_without_an_interpreter_of_its_group_the_mistake_names_the_version_that_read_the_file(project: Path) -> None:
    (project / "workflows/modern.py").write_text(TYPED)
    (found,) = mistakes(project)
    assert found.message == f"not valid Python {OWN_VERSION}: invalid syntax"


def test_what_no_interpreter_reads_is_a_mistake_of_the_newest(project: Path) -> None:
    python = one_of(newer=True)
    configure(project, python)
    (project / "workflows/modern.py").write_text(TYPED + "\ndef broken(:\n")
    (found,) = mistakes(project)
    version = ".".join(map(str, version_of(python) or ()))
    assert (found.line, found.message) == (10, f"not valid Python {version}: invalid syntax")


def test_a_file_that_the_older_interpreter_of_its_group_cannot_read_is_a_mistake(project: Path) -> None:
    python = one_of(newer=False)
    configure(project, python)
    (project / "workflows/modern.py").write_text(TYPED)
    (found,) = mistakes(project)
    assert found.message == f"not valid Python {'.'.join(map(str, version_of(python) or ()))}: invalid syntax"
    assert f"group modern uses {python}" in (found.hint or "")


def test_a_missing_interpreter_is_a_warning_but_no_mistake_if_ours_reads_the_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(project, "python3.99", "email")
    assert main(["check"]) == 0
    assert "group email uses python3.99, and it cannot be asked whether it reads this file: there is no such program" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "program", ["#!/bin/sh\necho nonsense\n", "#!/bin/sh\necho broken >&2\nexit 3\n", "#!/bin/sh\necho '[]'\n"]
)
def test_a_program_that_is_no_python_cannot_be_asked(tmp_path: Path, program: str) -> None:
    file = tmp_path / "python"
    file.write_text(program)
    file.chmod(0o755)
    with pytest.raises(CannotAsk):
        ask(str(file), ["x = 1\n"], trees=False)


def test_our_own_interpreter_sends_the_tree_that_it_makes_itself() -> None:
    files = sorted(Path(__file__).parents[2].joinpath("tako_lite").rglob("*.py"))[::5]
    texts = [file.read_text(encoding="utf-8") for file in files]
    for text, tree in zip(texts, ask(sys.executable, texts, trees=True).files, strict=True):
        own = parse(Source("x.py", text, text.split("\n")))
        assert isinstance(tree, ast.Module) and isinstance(own, ast.Module)
        assert ast.dump(tree, include_attributes=True) == ast.dump(own, include_attributes=True)


def test_constants_of_all_kinds_and_deep_sources_come_over() -> None:
    text = "x = [1, -2.5, 1e999, 3j, b'a\\xff', ..., None, True, 'é\\ud800', 1" + "0" * 40 + "]\n"
    text += "y = " + " + ".join(["1"] * 800) + "\n"
    (tree,) = ask(sys.executable, [text], trees=True).files
    assert isinstance(tree, ast.Module)
    assert ast.dump(tree) == ast.dump(ast.parse(text))

    (huge,) = ask(sys.executable, ["0x" + "f" * 5000], trees=True).files
    assert isinstance(huge, ast.Module) and isinstance(huge.body[0], ast.Expr) and isinstance(huge.body[0].value, ast.Constant)
    assert huge.body[0].value.value == int("f" * 5000, 16)


def test_an_interpreter_is_asked_once_about_the_same_sources(tmp_path: Path) -> None:
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(f'#!/bin/sh\necho asked >> {log}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for _ in range(3):
        assert ask(str(python), ["x = 1\n", "y = (\n"], trees=False).files[0] is None
    assert isinstance(ask(str(python), ["x = 1\n", "y = (\n"], trees=False).files[1], Fault)
    assert log.read_text().count("asked") == 1


def test_only_groups_that_name_an_interpreter_have_one(project: Path) -> None:
    configure(project, "python3.13")
    found = pythons(load(project))
    assert (found.named, found.of("modern"), found.of("email"), found.of("no-table")) == (
        ("python3.13",),
        "python3.13",
        None,
        None,
    )


def test_an_interpreter_on_which_no_worker_runs_is_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = next((python for python in interpreters() if (version_of(python) or (9,)) < (3, 11)), None)
    if old is None:
        pytest.skip("no interpreter before 3.11 was found")
    configure(project, old, "email")
    assert main(["check"]) == 0
    assert f"group email uses {old}, and workers need Python 3.11 or newer; that is " in capsys.readouterr().out


def test_why_an_interpreter_failed_is_known_also_where_its_exit_code_was_collected_elsewhere(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 127\n")
    python.chmod(0o755)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects each child, as the daemon does with orphans
    try:
        with pytest.raises(CannotAsk, match="libpython is missing"):
            ask(str(python), ["x = 1"], trees=False)
    finally:
        signal.signal(signal.SIGCHLD, before)
