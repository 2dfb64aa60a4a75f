"""The alert rules and the dashboard of docs/monitoring use the series that the daemon exports, and leave none out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tako_lite.daemon.monitor.catalogue import SERIES
from tests.support.pages import rows, section, words

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs/monitoring"
NAME: Final = re.compile(r"\b(?:tako|process)_[a-z_]+\b(?=[{\[ )]|$)")
NOT_ON_A_PANEL: Final = {
    "tako_up": "Prometheus has `up`; it is for files of the textfile collector",
    "tako_build_info": "its labels choose job and instance, and mark restarts",
    "tako_group_paused": "the state `paused` of the group is on a panel; alerts need this one",
    "process_virtual_memory_bytes": "says nothing about a daemon that maps a file",
    "process_start_time_seconds": "marks restarts",
    "process_open_fds": "for other dashboards, which expect it",
    "process_max_fds": "the same",
}
METRICS: Final = {f"{name}{suffix}": name for name in SERIES for suffix in ("", "_bucket", "_sum", "_count")}


def used(expressions: Iterator[str]) -> set[str]:
    """The families of the series in expressions; what is no series of the daemon stands for itself."""
    return {METRICS.get(name, name) for expression in expressions for name in NAME.findall(expression)}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    return found


def test_every_series_in_an_alert_is_one_of_the_daemon() -> None:
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    expressions = re.findall(r"^ +expr: (?:\|\n((?:           +.*\n)+)|(.*))", text, re.MULTILINE)
    alerts = re.findall(r"- alert: (\w+)", text)
    assert len(expressions) == len(alerts) == 14
    assert used("".join(parts) for parts in expressions) <= SERIES.keys()


def test_every_alert_is_documented_with_its_severity() -> None:
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+).*?severity: (\w+)", text, re.DOTALL)
    page = FOLDER.with_name("monitoring.md").read_text(encoding="utf-8")
    assert [(words(row[0])[0], row[2]) for row in rows(section(page, "Alerts"))] == alerts


def test_every_series_is_on_a_panel_or_has_a_reason_not_to_be() -> None:
    panels = dashboard()["panels"]
    shown = used(target["expr"] for panel in panels for target in panel.get("targets", ()))
    assert shown <= SERIES.keys()
    assert SERIES.keys() - shown == NOT_ON_A_PANEL.keys()


def test_panels_do_not_overlap_and_only_variables_that_exist_are_used() -> None:
    found = dashboard()
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(found))) <= variables
    places = [panel["gridPos"] for panel in found["panels"]]
    cells = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in found["panels"]}) == len(places)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, from Debian's package prometheus")
@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_alert_rules_and_each_of_them_fires_where_it_should(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, from Debian's package prometheus")
def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    plain = [re.sub(r"\$__\w+", "5m", expression).replace("$", "") for expression in expressions]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
