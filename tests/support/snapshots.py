"""A group and a run as the daemon describes them to the tables of the terminal."""

from __future__ import annotations

from typing import Any

NOW = 1_900_000_000_000

ID = "019aa000-0000-7000-8000-0000deadbeef"


def group(name: str = "media", **changes: Any) -> dict[str, Any]:
    workers = [
        {"pid": 11, "state": "busy", "running": [ID], "rss_bytes": 1000},
        {"pid": 12, "state": "exited", "running": [], "rss_bytes": 0},
    ]
    shape = {
        "name": name,
        "state": "active",
        "workers": workers,
        "servers": ["lax"],
        "min_workers": 1,
        "max_workers": 4,
        "concurrency": 8,
        "busy": 3,
        "pending": 1234,
        "waiting": 5,
        "dead": 7,
        "oldest_wait_s": 190.5,
        "last_error": None,
        "done_a_minute": 60,
        "failed_a_minute": 2,
    }
    return {**shape, **changes}


def run(**changes: Any) -> dict[str, Any]:
    shape = {
        "id": ID,
        "workflow": "resize",
        "group": "media",
        "state": "succeeded",
        "attempts": 1,
        "max_attempts": 3,
        "crashes": 0,
        "priority": 0,
        "payload": {"key": "cat.png"},
        "result": {"thumb": "t/cat.png"},
        "error": None,
        "unique_key": None,
        "parent": None,
        "created_at": "2030-03-17T17:40:20.000Z",
        "run_at": "2030-03-17T17:40:20.000Z",
        "started_at": "2030-03-17T17:41:20.000Z",
        "finished_at": "2030-03-17T17:42:20.000Z",
        "server": "lax",
        "worker_pid": 77,
        "progress": 0.5,
        "progress_note": "half of it",
        "cancel_requested": False,
        "steps": [
            {
                "name": "download",
                "state": "succeeded",
                "result": "cat.png",
                "attempts": 2,
                "started_at": "2030-03-17T17:41:20.000Z",
                "finished_at": "2030-03-17T17:41:20.250Z",
                "error": None,
            }
        ],
        "waits": [],
    }
    return {**shape, **changes}
