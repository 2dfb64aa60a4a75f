"""Which group and which fallback a run gets, for every combination of who names one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tako_lite.catalog import Catalog, scan
from tako_lite.config import Config, load
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import NotFound
from tako_lite.new_run import make_many, make_run
from tako_lite.records import NewRun, new_ids
from tako_lite.routing import Router

GROUPS = ("enqueue", "forced", "workflow", "rule", "namespace", "tenant", "default")
GROUP_ORDER = GROUPS[:-1]
FALLBACK_ORDER = ("enqueue", "workflow", "rule", "namespace", "tenant", "group", "workflows")
WORDS = {"enqueue": "fail", "workflow": "cancel", "rule": "ignore", "namespace": "fail", "tenant": "cancel", "group": "ignore",
         "workflows": "fail"}  # fmt: skip


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every choice of some of the names in their order, none and all among them."""
    return [chosen for size in range(len(names) + 1) for chosen in itertools.combinations(names, size)]


class Project:
    """tako.toml and one workflow file, read as the daemon reads them."""

    def __init__(self, root: Path, toml: str, decorator: str = "", file: str = "billing/eu/invoice.py") -> None:
        path = root / "workflows" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'from tako_lite import workflow\n@workflow("invoice"{decorator})\ndef invoice(payload): ...\n')
        (root / "tako.toml").write_text(toml)
        self.config: Config = load(root)
        self.catalog: Catalog = scan(self.config.workflows_path, root, self.config.routes)
        self.lost: dict[str, str] = {}

    @property
    def router(self) -> Router:
        return Router(self.config.routes, {"default", *self.config.groups, *self.catalog.groups}, self.lost.get)

    def run(self, payload: Any = None, **options: Any) -> NewRun:
        """The row that an enqueue makes."""
        return make_run(self.catalog.get("invoice"), json.dumps(payload), EnqueueRequest(**options), self.router, 1_000_000)


def tables(chosen: tuple[str, ...], key: str, values: dict[str, str]) -> str:
    """The parts of tako.toml in which the chosen sources say something."""
    toml = "".join(f"[workflows.{name}]\nworkers = 0\n" for name in GROUPS if name != "default")
    if "workflows" in chosen:
        toml = f'[workflows]\n{key} = "{values["workflows"]}"\n' + toml
    if "group" in chosen:
        toml += f'[workflows.home]\n{key} = "{values["group"]}"\n'
    if "forced" in chosen:
        toml += f'[[defaults]]\nmatch = "inv*"\nforced = true\n{key} = "{values["forced"]}"\n'
    if "rule" in chosen:
        toml += f'[[defaults]]\nmatch = "invoice"\n{key} = "{values["rule"]}"\n'
    if "namespace" in chosen:
        toml += f'[namespaces.billing]\n{key} = "{values["namespace"]}"\n'
    return toml + "[tenants.acme]\n" + (f'{key} = "{values["tenant"]}"\n' if "tenant" in chosen else "")


@pytest.mark.parametrize("chosen", subsets(GROUP_ORDER), ids="+".join)
def test_the_group_is_that_of_the_first_source_that_names_one(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    names = {name: name for name in GROUPS}
    decorator = ', worker="workflow"' if "workflow" in chosen else ""
    project = Project(tmp_path, tables(chosen, "worker", names), decorator)
    run = project.run(worker="enqueue" if "enqueue" in chosen else None, tenant="acme")
    first = next((name for name in GROUP_ORDER if name in chosen), "default")
    assert run.group == first
    assert run.group_source == ("rule" if first == "forced" else first)
    assert run.refusal is None


@pytest.mark.parametrize("chosen", subsets(GROUP_ORDER[1:]), ids="+".join)
def test_a_template_that_stays_blank_leaves_the_choice_to_the_next_source(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    blank = {name: f"{{{name}}}" for name in GROUPS}
    decorator = ', worker="{workflow}"' if "workflow" in chosen else ""
    project = Project(tmp_path, tables(chosen, "worker", blank), decorator)
    assert project.run({"forced": " ", "rule": 1.5, "namespace": None}, tenant="acme").group == "default"
    for index, name in enumerate(source for source in GROUP_ORDER[1:] if source in chosen):
        later = [source for source in GROUP_ORDER[1:] if source in chosen][index:]
        payload = {source: source for source in later}
        assert project.run(payload, tenant="acme").group == name


@pytest.mark.parametrize("chosen", subsets(FALLBACK_ORDER), ids="+".join)
def test_the_fallback_is_that_of_the_first_source_that_says_one(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    decorator = ', worker="home"' + (f', fallback="{WORDS["workflow"]}"' if "workflow" in chosen else "")
    project = Project(tmp_path, tables(chosen, "fallback", WORDS), decorator)
    run = project.run(fallback=WORDS["enqueue"] if "enqueue" in chosen else None, tenant="acme")
    first = next((name for name in FALLBACK_ORDER if name in chosen), None)
    assert run.group == "home"
    assert run.fallback_source == first
    assert run.fallback == (None if first is None else WORDS[first])


def test_the_nearest_namespace_that_says_something_wins_for_each_thing_apart(tmp_path: Path) -> None:
    toml = """
        [workflows.near]
        [workflows.far]
        [namespaces.billing]
        worker = "far"
        fallback = "cancel"
        [namespaces."billing.eu"]
        worker = "near"
        """
    run = Project(tmp_path, toml).run()
    assert (run.group, run.group_source, run.fallback, run.fallback_source) == ("near", "namespace", "cancel", "namespace")


def test_a_namespace_does_not_reach_a_folder_whose_name_only_begins_like_it(tmp_path: Path) -> None:
    toml = '[workflows.far]\n[namespaces.bill]\nworker = "far"\n'
    assert Project(tmp_path, toml).run().group == "default"


def test_the_most_specific_rule_wins_for_each_thing_apart(tmp_path: Path) -> None:
    toml = """
        [workflows.any]
        [workflows.some]
        [[defaults]]
        match = "*"
        worker = "any"
        retries = 7
        fallback = "fail"
        [[defaults]]
        match = "inv*"
        worker = "some"
        [[defaults]]
        match = "invoice"
        timeout = "90s"
        """
    project = Project(tmp_path, toml)
    run = project.run()
    assert (run.group, run.fallback, run.max_attempts) == ("some", "fail", 8)
    assert project.catalog.get("invoice").options.timeout == 90


def test_retries_and_timeout_of_a_rule_give_way_to_the_decorator_unless_it_is_forced(tmp_path: Path) -> None:
    rule = '[[defaults]]\nmatch = "invoice"\nretries = 7\ntimeout = "90s"\n'
    plain = Project(tmp_path, rule, ', retries=1, timeout="5s"').catalog.get("invoice").options
    forced = Project(tmp_path, rule + "forced = true\n", ', retries=1, timeout="5s"').catalog.get("invoice").options
    assert (plain.retries, plain.timeout) == (1, 5)
    assert (forced.retries, forced.timeout) == (7, 90)
    assert Project(tmp_path, rule).run(retries=0).max_attempts == 1


def test_a_decorator_that_writes_default_names_a_group_and_one_that_writes_nothing_does_not(tmp_path: Path) -> None:
    toml = '[workflows.rule]\n[[defaults]]\nmatch = "*"\nworker = "rule"\n'
    assert Project(tmp_path, toml, ', worker="default"').run().group_source == "workflow"
    assert Project(tmp_path, toml).run().group_source == "rule"


@pytest.mark.parametrize(
    ("template", "payload", "group"),
    [
        ("{tier}", {"tier": "gold"}, "gold"),
        ("{customer.tier}", {"customer": {"tier": "gold"}}, "gold"),
        ("{a}{b}", {"a": "go", "b": "ld"}, "gold"),
        ("tier-{n}", {"n": 7}, "tier-7"),
        ("{tier}", {"tier": ""}, "default"),
        ("{tier}", {"tier": "  "}, "default"),
        ("{tier}", {"tier": None}, "default"),
        ("{tier}", {"tier": True}, "default"),
        ("{tier}", {"tier": ["gold"]}, "default"),
        ("{tier}", {}, "default"),
        ("{tier}", "gold", "default"),
        ("{a.b}", {"a": "gold"}, "default"),
    ],
)
def test_a_template_is_filled_from_the_payload(tmp_path: Path, template: str, payload: Any, group: str) -> None:
    project = Project(tmp_path, "[workflows.gold]\n[workflows.tier-7]\n", f', worker="{template}"')
    run = project.run(payload)
    assert (run.group, run.refusal) == (group, None)


@pytest.mark.parametrize("tier", ["platinum", "a b", "../x", "x" * 200, "\x1b[31m", "'; DROP TABLE runs"])
def test_a_template_that_names_no_group_ends_the_run_at_once(tmp_path: Path, tier: str) -> None:
    run = Project(tmp_path, "[workflows.gold]\n", ', worker="{tier}"').run({"tier": tier})
    assert run.refusal is not None
    assert (run.refusal.state, run.refusal.failure.reason) == ("dead", "unknown_group")
    assert "\x1b" not in run.refusal.failure.message
    assert run.group == ("platinum" if tier == "platinum" else "default")


def test_asking_for_a_group_or_a_tenant_that_is_not_there_is_refused_with_a_hint(tmp_path: Path) -> None:
    project = Project(tmp_path, "[workflows.media]\n[tenants.acme]\n")
    with pytest.raises(NotFound, match="no worker group 'medai'") as group:
        project.run(worker="medai")
    with pytest.raises(NotFound, match="no tenant 'acne'") as tenant:
        project.run(tenant="acne")
    assert (group.value.type, group.value.hint) == ("unknown_group", "did you mean `media`?")
    assert (tenant.value.type, tenant.value.hint) == ("unknown_tenant", "did you mean `acme`?")


@pytest.mark.parametrize(
    ("allowed", "tenant", "reason"),
    [
        (None, None, None),
        (None, "acme", None),
        (["acme"], "acme", None),
        (["acme", "globex"], "globex", None),
        (["acme"], "globex", "tenant_denied"),
        (["acme"], None, "tenant_denied"),
        ([], "acme", "tenant_denied"),
        ([], None, "tenant_denied"),
    ],
)
def test_a_group_takes_the_tenants_of_its_list_and_without_one_everybody(
    tmp_path: Path, allowed: list[str] | None, tenant: str | None, reason: str | None
) -> None:
    line = "" if allowed is None else f"allowed_tenants = {json.dumps(allowed)}\n"
    project = Project(tmp_path, f"[workflows.media]\n{line}[tenants.acme]\n[tenants.globex]\n")
    refusal = project.run(worker="media", tenant=tenant).refusal
    assert (None if refusal is None else refusal.failure.reason) == reason


LOST = {"wait": ("home", "workflow", None), "fail": ("home", "workflow", "dead"), "cancel": ("home", "workflow", "cancelled"),
        "ignore": ("default", "fallback", None)}  # fmt: skip


@pytest.mark.parametrize("word", LOST)
def test_the_fallback_of_an_unavailable_group_applies_when_the_run_is_due(tmp_path: Path, word: str) -> None:
    project = Project(tmp_path, "", f', worker="home", fallback="{word}"')
    project.lost["home"] = "group home is paused"
    run, later, elsewhere = project.run(), project.run(delay=60.0), project.run(worker="default")
    state = None if run.refusal is None else run.refusal.state
    assert (run.group, run.group_source, state) == LOST[word]
    assert run.refusal is None or run.refusal.failure.reason == "no_worker"
    assert (later.group, later.refusal) == ("home", None)
    assert (elsewhere.group, elsewhere.refusal) == ("default", None)


def test_a_run_that_would_go_to_default_instead_must_be_allowed_there(tmp_path: Path) -> None:
    toml = '[workflows.default]\nallowed_tenants = ["globex"]\n[tenants.acme]\n[tenants.globex]\n'
    project = Project(tmp_path, toml, ', worker="home", fallback="ignore"')
    project.lost["home"] = "group home is paused"
    assert project.run(tenant="globex").refusal is None
    refusal = project.run(tenant="acme").refusal
    assert refusal is not None and refusal.failure.reason == "tenant_denied"


def test_default_itself_is_waited_for_where_it_is_lost(tmp_path: Path) -> None:
    project = Project(tmp_path, "", ', fallback="ignore"')
    project.lost["default"] = "group default is paused"
    run = project.run()
    assert (run.group, run.group_source, run.refusal) == ("default", "default", None)


def test_many_runs_are_put_together_by_where_they_go(tmp_path: Path) -> None:
    project = Project(tmp_path, "[workflows.gold]\n", ', worker="{tier}"')
    payloads = ['{"tier":"gold"}', '{"tier":""}', '{"tier":"gold"}', '{"tier":"lead"}']
    runs = list(zip(new_ids(4), payloads, strict=True))
    batches = make_many(project.catalog.get("invoice"), runs, EnqueueRequest(), project.router, 0)
    assert [(like.group, like.refusal is None, [payload for _, payload in rows]) for like, rows in batches] == [
        ("gold", True, payloads[0:3:2]),
        ("default", True, payloads[1:2]),
        ("lead", False, payloads[3:]),
    ]


def test_workers_of_the_group_that_the_files_name_import_the_module(tmp_path: Path) -> None:
    toml = '[workflows.books]\n[namespaces.billing]\nworker = "books"\n'
    project = Project(tmp_path, toml)
    assert project.catalog.modules("books") == ["workflows.billing.eu.invoice"]
    assert project.catalog.modules("default") == []


def test_the_template_of_a_tenant_is_filled_for_each_of_many_runs(tmp_path: Path) -> None:
    project = Project(tmp_path, '[workflows.gold]\n[tenants.acme]\nworker = "{tier}"\n')
    runs = list(zip(new_ids(2), ['{"tier":"gold"}', "{}"], strict=True))
    batches = make_many(project.catalog.get("invoice"), runs, EnqueueRequest(tenant="acme"), project.router, 0)
    assert [like.group for like, _ in batches] == ["gold", "default"]
