"""The nightly report on the pictures. It names no group, so it runs in `default`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tako_lite import workflow


@workflow("nightly-report", schedule="30 3 * * *", timezone="Europe/Berlin")
def nightly_report() -> dict[str, Any]:
    """Count the pictures and write `reports/<day>.json`. It needs no steps, so it is a plain function."""
    sizes = [file.stat().st_size for file in Path("public").rglob("*.webp")]
    now = datetime.now(UTC)
    report = {"at": now.isoformat(timespec="seconds"), "pictures": len(sizes), "bytes": sum(sizes)}
    target = Path("reports") / f"{now:%Y-%m-%d}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report
