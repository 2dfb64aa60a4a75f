"""Metrics as text: the format of Prometheus (0.0.4), and OpenMetrics 1.0.

A family has a name, a type, a help text and samples. The name of a counter ends in `_total`. The samples of a histogram are
its buckets, its sum and its count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

from tako_lite.histogram import Histogram

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_MOST_EXACT: Final = 2**53

Labels = Mapping[str, str]


class Sample(NamedTuple):
    """One number; `suffix` follows the name of the family."""

    labels: Labels
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]

    def as_json(self) -> dict[str, Any]:
        samples = [{"name": self.name + each.suffix, "labels": dict(each.labels), "value": each.value} for each in self.samples]
        return {"name": self.name, "type": self.type, "help": self.help, "samples": samples}

    @staticmethod
    def from_json(about: Mapping[str, Any]) -> Family:
        """The family that `as_json` described."""
        name = about["name"]
        samples = [Sample(each["labels"], each["value"], each["name"].removeprefix(name)) for each in about["samples"]]
        return Family(name, about["type"], about["help"], samples)


def histogram_samples(labels: Labels, histogram: Histogram) -> list[Sample]:
    """The samples of a histogram of milliseconds, in seconds."""
    bounds = [*(str(bound / 1000) for bound in histogram.bounds), "+Inf"]
    buckets = [
        Sample({**labels, "le": bound}, total, "_bucket")
        for bound, total in zip(bounds, accumulate(histogram.counts), strict=True)
    ]
    return [*buckets, Sample(labels, histogram.sum / 1000, "_sum"), Sample(labels, sum(histogram.counts), "_count")]


def accepts_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics, and does not refuse it with `q=0`."""
    for part in accept.split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind == "application/openmetrics-text":
            return not any(parameter.replace(" ", "") in ("q=0", "q=0.0") for parameter in parameters)
    return False


def render(families: Iterable[Family], *, openmetrics: bool = False) -> str:
    """The text of a scrape."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        about = family.name.removesuffix("_total") if openmetrics and family.type == "counter" else family.name
        lines += (f"# HELP {about} {family.help.translate(_HELP_ESCAPES)}", f"# TYPE {about} {family.type}")
        lines += (f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}" for sample in family.samples)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""])


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return str(int(value))
    return repr(value)
