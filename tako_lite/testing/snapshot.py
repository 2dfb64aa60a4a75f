"""Runs as text: a table for people, and a form that is the same each time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tako_lite.clock import milliseconds
from tako_lite.units import duration_text


def describe(runs: Sequence[Mapping[str, Any]], start: int) -> str:
    """A line for each run: its state, its payload, and its error."""
    lines = []
    for run in runs:
        error = run["error"]
        about = f"  {error['type']}: {error['message']}" if error else ""
        due = f"  due {_since(run['run_at'], start)}" if run["state"] in ("pending", "waiting") else ""
        lines.append(f"{run['id'][-8:]}  {run['state']:<9}  {run['workflow']}  {_json(run['payload'])}{due}{about}")
    return "\n".join(lines)


def snapshot(runs: Sequence[Mapping[str, Any]], start: int) -> str:
    """Runs with their steps, named by their numbers, with times since the start of the test."""
    numbers = {run["id"]: f"#{number}" for number, run in enumerate(runs, 1)}
    lines: list[str] = []
    for run in runs:
        parent = f" of {numbers[run['parent']]}" if run["parent"] in numbers else ""
        lines.append(f"{numbers[run['id']]} {run['workflow']} {_json(run['payload'])}{parent}: {run['state']}")
        lines.append(f"  enqueued {_since(run['created_at'], start)}, attempts {run['attempts']}, crashes {run['crashes']}")
        for step in run["steps"]:
            at = _since(step["finished_at"] or step["started_at"], start)
            lines.append(f"  {step['kind']} {step['name']} {at}: {_value(step, numbers)}")
        lines += [f"  waits for {wait['kind']} {wait['name']}" for wait in run["waits"]]
        if run["error"]:
            lines.append(f"  error {run['error']['type']}: {run['error']['message']}")
        if run["finished_at"]:
            lines.append(f"  {run['state']} {_since(run['finished_at'], start)}: {_json(run['result'])}")
    return "\n".join(lines) + ("\n" if lines else "")


def _value(step: Mapping[str, Any], numbers: Mapping[str, str]) -> str:
    if step["state"] != "succeeded":
        error = step["error"] or {}
        return f"failed: {error.get('message')}"
    if isinstance(step["result"], str) and step["result"] in numbers:
        return numbers[step["result"]]
    return _json(step["result"])


def _since(time: str, start: int) -> str:
    return f"+{duration_text((milliseconds(time) - start) / 1000)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
