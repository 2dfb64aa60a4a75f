"""The labels of metrics are bounded, and their text is what Prometheus reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tako_lite.catalog import Catalog
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.monitor.exposition import Family, Sample, accepts_openmetrics, histogram_samples, render
from tako_lite.daemon.monitor.source import MOST_LABEL_SETS, MOST_WORKFLOWS, OTHER, bounded, runs_by_label
from tako_lite.histogram import Histogram


def source_with(meter: Meter) -> Any:
    return SimpleNamespace(meter=meter, catalog=Catalog(Path(), {}))


def test_workflows_beyond_the_bound_are_counted_together_and_evaluations_not_at_all() -> None:
    meter = Meter(lambda: 0)
    for number in range(MOST_WORKFLOWS + 50):
        meter.runs_enqueued("g", f"w{number}", "client")
    meter.runs_enqueued("g", "@inbox", "client")
    labelled = list(runs_by_label(source_with(meter)))
    assert len(labelled) == MOST_WORKFLOWS + 1
    assert labelled[0].labels == {"group": "g", "workflow": "w0"}
    assert (labelled[-1].labels, len(labelled[-1].totals)) == ({"group": "g", "workflow": OTHER}, 50)


def test_pairs_of_groups_and_workflows_are_bounded_however_many_groups_payloads_name() -> None:
    meter = Meter(lambda: 0)
    for number in range(3 * MOST_LABEL_SETS):
        meter.runs_enqueued(f"g{number}", "w", "client")
    labelled = list(runs_by_label(source_with(meter)))
    assert len(labelled) <= 2 * MOST_LABEL_SETS + 1
    assert labelled[-1].labels == {"group": OTHER, "workflow": OTHER}
    assert sum(len(each.totals) for each in labelled) == 3 * MOST_LABEL_SETS
    assert set(bounded(f"g{number}" for number in range(2 * MOST_LABEL_SETS)).values()) >= {"g0", OTHER}


def test_text_has_help_type_and_escaped_labels_and_leaves_empty_families_out() -> None:
    families = [
        Family("a_total", "counter", "lines\nand \\", [Sample({"w": 'say "hi"\\\n'}, 3), Sample({}, 0.25)]),
        Family("nothing", "gauge", "no samples", []),
    ]
    assert render(families) == (
        "# HELP a_total lines\\nand \\\\\n# TYPE a_total counter\n" + 'a_total{w="say \\"hi\\"\\\\\\n"} 3\na_total 0.25\n'
    )
    opened = render(families, openmetrics=True)
    assert opened.startswith("# HELP a lines") and opened.endswith("a_total 0.25\n# EOF\n")
    assert [Family.from_json(family.as_json()) for family in families] == families


def test_buckets_are_cumulative_and_in_seconds() -> None:
    histogram = Histogram((5, 1000))
    for value in (1, 2, 999, 5000):
        histogram.observe(value)
    samples = [(sample.suffix, sample.labels.get("le"), sample.value) for sample in histogram_samples({}, histogram)]
    assert samples == [
        ("_bucket", "0.005", 2), ("_bucket", "1.0", 3), ("_bucket", "+Inf", 4), ("_sum", None, 6.002), ("_count", None, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "opened"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text; version=1.0.0; q=0.8, text/plain", True),
        ("application/openmetrics-text;q=0", False),
    ],
)
def test_openmetrics_must_be_asked_for(accept: str, opened: bool) -> None:
    assert accepts_openmetrics(accept) == opened


def test_a_daemon_without_a_listener_imports_nothing_of_the_monitor() -> None:
    code = "import sys, tako_lite.daemon.serve; print([name for name in sys.modules if 'daemon.monitor.' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
