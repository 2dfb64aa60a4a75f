"""What `check` says of a project as a whole: each mistake and warning with its place and what to type next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tako_lite.cli.main import main
from tako_lite.config import load
from tako_lite.project_lint import naming, read_catalog

HEAD = """\
from dataclasses import dataclass, field
from typing import TypedDict

from tako_lite import workflow


@dataclass
class Customer:
    tier: str


@dataclass
class Order:
    customer: Customer
    number: int


class Line(TypedDict):
    article: str


"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.delenv("TAKO_SERVER", raising=False)
    (tmp_path / "workflows/billing/eu").mkdir(parents=True)
    (tmp_path / "workflows/billing/eu/invoice.py").write_text(
        HEAD + '@workflow("invoice")\ndef invoice(payload: Order) -> None: ...\n'
    )
    (tmp_path / "workflows/mail.py").write_text(HEAD + '@workflow("send-mail", worker="email")\ndef send(payload: Line): ...\n')
    (tmp_path / "tako.toml").write_text("")
    return tmp_path


def checked(capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    capsys.readouterr()
    assert main(["check"]) == code
    return capsys.readouterr().out


TABLES = [
    # tako.toml, the exit code, what is said of it
    (
        '[tenants.acme]\nworker = "emial"\n',
        3,
        ["tako.toml:2:10: there is no worker group `emial`", "         ^", "did you mean `email`?"],
    ),
    (
        '[namespaces.billing]\nworker = "books"\n',
        3,
        ["tako.toml:2:10: there is no worker group `books`", "write [workflows.books]"],
    ),
    ('[[defaults]]\nmatch = "*"\nworker = "x"\n', 3, ["tako.toml:3:10: there is no worker group `x`"]),
    ('[[defaults]]\nmatch = "invoices"\nretries = 1\n', 0, ["tako.toml:2:9: this rule matches no workflow", "`invoice`"]),
    ('[[defaults]]\nmatch = "pdf-*"\nretries = 1\n', 0, ["this rule matches no workflow", "tako-lite workflows"]),
    (
        '[namespaces.biling]\nfallback = "fail"\n',
        0,
        ["tako.toml:1:13: [namespaces.biling]: no workflow file is in this folder or its subfolders", "`billing"],
    ),
    ('[namespaces."mail.eu"]\n', 0, ['tako.toml:1:13: [namespaces."mail.eu"]', "mail/eu/NAME.py"]),
    (
        '[[defaults]]\nmatch = "send-*"\nworker = "default"\n',
        0,
        ["tako.toml:3:10: no run gets its group from here", "forced = true"],
    ),
    (
        '[namespaces.billing]\nworker = "email"\n[tenants.acme]\nworker = "email"\n',
        0,
        ["tako.toml:4:10: no run gets its group from here", "remove this `worker`"],
    ),
    ('[tenants.acme]\nworker = "{customer.teir}"\n', 0, ["tako.toml:2:10: Customer has no field `teir`", "`tier`"]),
    ('[[defaults]]\nmatch = "inv*"\nworker = "{nubmer}"\n', 0, ["tako.toml:3:10: Order has no field `nubmer`", "`number`"]),
    (
        '[workflows]\nallowed_tenants = ["acme"]\n[tenants.acme]\n[tenants.globex]\n',
        0,
        ["tako.toml:4:10: [tenants.globex]: no workflow runs for this tenant", "allowed_tenants of: default, email"],
    ),
    ("[workflows.mdia]\n", 0, ["tako.toml:1:12: [workflows.mdia]: no workflow uses this group"]),
]


@pytest.mark.parametrize(("toml", "code", "said"), TABLES, ids=[table[0].splitlines()[-1] for table in TABLES])
def test_check_says_what_is_wrong_in_tables_about_routing(
    toml: str, code: int, said: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text(toml)
    printed = checked(capsys, code)

    for part in said:
        assert part in printed
    assert printed.splitlines()[-1].startswith("1 mistake, " if code else "0 mistakes, 1 warning")


def test_mistakes_in_tako_toml_and_in_workflow_files_are_reported_together(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text('[workflows.email]\nworkers = "two"\n[tenants.acme]\nworker = "emial"\n')
    (project / "workflows/x.py").write_text(HEAD + '@workflow("x", retries=-1)\ndef x(): ...\n')
    printed = checked(capsys, 3)

    assert "tako.toml:2:11: `workers`: must be a whole number" in printed
    assert "tako.toml:4:10: there is no worker group `emial`\n" in printed
    assert "did you mean `email`?" in printed
    assert f"workflows/x.py:{HEAD.count(chr(10)) + 1}:24: retries: " in printed
    assert printed.splitlines()[-1] == "3 mistakes, 0 warnings"

    assert main(["doctor"]) == 3
    assert capsys.readouterr().out.count("problem  c") == 3


FOLLOWING = [
    # tako.toml, and a workflow file, whose mistakes may be why nothing defines the group
    ('[tenants.acme]\nworker = "media"\n', 'def broken(:\n    worker = "media"\n'),
    ('[tenants.acme]\nworker = "media"\n', 'GROUP = "media"\n@workflow("x", worker=GROUP)\ndef x(): ...\n'),
    ('[tenants.acme]\nworker = "media"\n', '@workflow(NAME, worker="media")\ndef x(): ...\n'),
    ('[workflows]\nmedia = 5\n[tenants.acme]\nworker = "media"\n', ""),
]


@pytest.mark.parametrize(("toml", "source"), FOLLOWING)
def test_a_mistake_that_may_follow_from_another_is_held_back(
    toml: str, source: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text(toml)
    (project / "workflows/x.py").write_text(HEAD + source)
    printed = checked(capsys, 3)

    assert "there is no worker group" not in printed
    assert printed.splitlines()[-1].startswith("1 mistake, ")


CLOSED = '[workflows.media]\nallowed_tenants = ["acme"]\n[tenants.acme]\nworker = "media"\n'
WITHOUT_TENANT = [
    # the decorator, its function, what is said of it
    ('@poll("files", every="1h", starts="invoice", worker="media")', "the trigger files is never evaluated"),
    ('@poll("files", every="1h", starts="closed")', "no run that the trigger files starts is executed"),
    ('@workflow("nightly", worker="media", schedule="@daily")', "no run of the schedule of nightly is executed"),
]


@pytest.mark.parametrize(("decorator", "said"), WITHOUT_TENANT)
def test_check_warns_of_what_has_no_tenant_in_a_group_for_some_tenants(
    decorator: str, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text(CLOSED)
    (project / "workflows/closed.py").write_text(HEAD + '@workflow("closed", worker="media")\ndef closed(): ...\n')
    assert checked(capsys).startswith("0 mistakes, 0 warnings in ")
    (project / "workflows/x.py").write_text(f"from tako_lite import poll, workflow\n{decorator}\ndef files(cursor): ...\n")

    assert checked(capsys).startswith(
        f"warning: workflows/x.py:3:1: {said}: it has no tenant, and the group media is for acme (allowed_tenants)\n"
        "    choose another group for it\n0 mistakes, 1 warning in "
    )


def test_doctor_says_the_same_of_the_tables(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tako.toml").write_text('[tenants.acme]\nworker = "emial"\n[namespaces.biling]\n')
    assert main(["doctor"]) == 3
    printed = capsys.readouterr().out

    assert "problem  config       tako.toml:2:10: there is no worker group `emial`" in printed
    assert "warning  config       tako.toml:3:13: [namespaces.biling]" in printed
    assert "has no mistakes" not in printed


SOUND = [
    '[[defaults]]\nmatch = "send-*"\nworker = "default"\nforced = true\n',
    '[namespaces.billing]\nworker = "email"\n[namespaces."billing.eu"]\nfallback = "fail"\n',
    '[tenants.acme]\nworker = "email"\n[tenants.globex]\n',
    '[tenants.acme]\nworker = "{customer.tier}"\n',
    '[workflows.media]\n[tenants.acme]\nworker = "media"\n',
    '[workflows.media]\n[[defaults]]\nmatch = "invoice"\nworker = "media"\n',
    '[workflows.gold-eu]\n[tenants.acme]\nworker = "{customer.tier}-eu"\n',
    '[workflows.email]\nallowed_tenants = ["acme"]\n[tenants.acme]\n[tenants.globex]\n',
    '[workflows]\nallowed_tenants = ["acme"]\n[tenants.acme]\n[tenants.globex]\nworker = "{customer.tier}"\n',
]


@pytest.mark.parametrize("toml", SOUND, ids=[text.splitlines()[-1] for text in SOUND])
def test_check_says_nothing_of_tables_that_some_run_may_need(
    toml: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text(toml)
    assert checked(capsys).startswith("0 mistakes, 0 warnings in ")


DECORATORS = [
    # the decorator and its parameter, the column, what is said of it
    ('worker="{customer.teir}"', "payload: Order", 23, "worker: Customer has no field `teir`"),
    ('worker="{tier}"', "payload: Order | None", 23, "worker: Order has no field `tier`"),
    ('worker="{tier}"', 'payload: "Line"', 23, "worker: Line has no field `tier`"),
    ('limit=1, limit_key="artcle"', "payload: Line, step", 35, "limit_key: Line has no field `artcle`"),
]


@pytest.mark.parametrize(("options", "parameter", "column", "said"), DECORATORS, ids=[row[0] for row in DECORATORS])
def test_check_warns_of_a_field_that_the_payload_cannot_have(
    options: str, parameter: str, column: int, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = HEAD.count("\n") + 1
    (project / "workflows/x.py").write_text(f'{HEAD}@workflow("x", {options})\ndef x({parameter}): ...\n')

    assert f"warning: workflows/x.py:{line}:{column}: {said}\n    @workflow(" in checked(capsys)


RECORDS = [
    ("class P(dict): ...", "P"),
    ("@dataclass\nclass Q(Elsewhere):\n    a: int", "Q"),
    ("class M(BaseModel):\n    a: str = Field(alias='tier')", "M"),
    ("class M(BaseModel):\n    model_config = ConfigDict(extra='allow')\n    a: str", "M"),
    ("class S(Struct, rename='camel'):\n    a: str", "S"),
    ("@dataclass\nclass A:\n    a: int\n\n@dataclass\nclass A:\n    tier: int", "A"),
    ("@dataclass\nclass A:\n    tier: int\n\n@dataclass\nclass B(A):\n    b: int", "B"),
    ("", "dict"),
    ("", "Somewhere.Else"),
]


@pytest.mark.parametrize(("record", "annotation"), RECORDS, ids=[f"{row[1]}-{index}" for index, row in enumerate(RECORDS)])
def test_a_payload_type_with_unknown_fields_is_not_checked(
    record: str, annotation: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f'{HEAD}{record}\n\n@workflow("x", worker="{{tier}}")\ndef x(payload: {annotation}): ...\n'
    (project / "workflows/x.py").write_text(source)
    assert checked(capsys).startswith("0 mistakes, 0 warnings in ")


@pytest.mark.parametrize("base", ["BaseModel", "pydantic.BaseModel", "msgspec.Struct", "Struct, frozen=True"])
def test_models_and_structs_are_read_like_dataclasses(base: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f'{HEAD}class M({base}):\n    teir: str\n\n@workflow("x", worker="{{tier}}")\ndef x(payload: M): ...\n'
    (project / "workflows/x.py").write_text(source)
    assert "M has no field `tier`" in checked(capsys)


def test_every_place_that_names_a_group_is_reported(project: Path) -> None:
    (project / "tako.toml").write_text(
        '[[defaults]]\nmatch = "x"\nworker = "email"\n[namespaces."billing.eu"]\nworker = "email"\n'
        '[tenants.a]\nworker = "email"\n'
    )
    config = load(project)
    line = HEAD.count("\n") + 2

    assert naming(config, read_catalog(config), "email") == [
        f"workflows/mail.py:{line} (send-mail)",
        "tako.toml:3 ([[defaults]])",
        'tako.toml:5 ([namespaces."billing.eu"])',
        "tako.toml:7 ([tenants.a])",
    ]


def test_a_misspelled_group_in_a_decorator_is_reported_if_others_use_one_with_a_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tako.toml").write_text("[workflows.email]\nworkers = 1\n")
    assert "no table" not in checked(capsys)
    (project / "workflows/more.py").write_text(HEAD + '@workflow("more", worker="emial")\ndef more(): ...\n')
    said = checked(capsys)
    assert "workflow more uses group `emial`, which has no [workflows.emial] table" in said
    assert "did you mean `email`?" in said


def test_the_last_line_of_check_counts_the_workflows_and_their_files(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "workflows/x.py").write_text(f'{HEAD}@workflow("x")\ndef x(): ...\n@workflow("y")\ndef y(): ...\n')
    assert checked(capsys) == "0 mistakes, 0 warnings in 4 workflows of 3 files\n"

    (project / "workflows/x.py").write_text(f'{HEAD}@workflow("x")\ndef x(): ...\ndef y(): ...\n')
    assert checked(capsys) == "0 mistakes, 0 warnings in 3 workflows of 3 files\n"


@pytest.mark.parametrize(("group", "known"), [("alerts", "reports"), ("eu1", "eu2"), ("mail", "media")])
def test_a_group_without_a_table_is_no_warning_where_its_name_is_one_of_its_own(
    project: Path, capsys: pytest.CaptureFixture[str], group: str, known: str
) -> None:
    (project / "tako.toml").write_text(f"[workflows.{known}]\nworkers = 1\n")
    text = '@workflow("{0}", worker="{0}")\ndef {0}(): ...\n'
    (project / "workflows/more.py").write_text(HEAD + text.format(group) + text.format(known))
    assert checked(capsys) == "0 mistakes, 0 warnings in 4 workflows of 3 files\n"


def test_warnings_that_do_not_follow_from_a_mistake_come_with_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tako.toml").write_text("[workflows.email]\nworkers = 1\n[workflows.unused]\nworkers = 1\n")
    (project / "workflows/more.py").write_text(HEAD + '@workflow("more", worker="emial")\ndef more(): ...\n')
    (project / "workflows/named.py").write_text(HEAD + '@workflow("named")\ndef named(step): ...\n')
    (project / "workflows/broken.py").write_text("def broken(:\n")
    said = checked(capsys, 3)
    assert "workflows/broken.py:1:12: not valid Python" in said
    assert "warning: workflows/more.py:23:1: workflow more uses group `emial`" in said
    assert "warning: workflows/named.py:23:11: the first parameter of named is named `step`" in said
    assert "no workflow uses this group" not in said  # the broken file may use it
    assert "1 mistake, 2 warnings" in said

    capsys.readouterr()
    assert main(["check", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (len(found["mistakes"]), len(found["warnings"])) == (1, 2)

    (project / "workflows/broken.py").unlink()
    assert "no workflow uses this group" in checked(capsys)


def test_warnings_about_the_files_come_with_a_mistake_in_tako_toml(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tako.toml").write_text("[workflows.email]\nworkres = 1\n")
    (project / "workflows/named.py").write_text(HEAD + '@workflow("named")\ndef named(step): ...\n')
    said = checked(capsys, 3)
    assert "workres" in said
    assert "the first parameter of named is named `step`" in said
