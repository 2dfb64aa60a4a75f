"""What servers and clients tell the servers of a queue by notifications: one JSON object each. All of it is a hint."""

from __future__ import annotations

import json
from typing import Any, Final

from tako_lite.store.membership import News

MOST_BYTES: Final = 7_500


def channel_of(schema: str) -> str:
    """The notification channel of a queue."""
    return f"tako_{schema}"


def parse(message: dict[str, Any]) -> News:
    """The news in a message, which any session of the database may have sent. Raises ValueError, TypeError and others."""
    news = News(changed=bool(message.get("changed")), signals=bool(message.get("signals")), again=bool(message.get("again")))
    news.work, news.suspects = set(map(str, message.get("work", ()))), set(map(str, message.get("suspects", ())))
    if "due" in message:
        news.due.append(int(message["due"]))
    for name in ("cancel", "ended", "awaited"):
        setattr(news, name, list(map(str, message.get(name, ()))))
    news.resolved = [(str(each[0]), str(each[1])) for each in message.get("resolved", ()) if len(each) >= 2]
    return news


def payloads(news: News, boot_id: str) -> list[str]:
    """The news as messages that fit into a notification; a look finds the rest. `boot_id` names the sender."""
    messages: list[str] = []
    head: dict[str, Any] = {"b": boot_id}
    small = {
        "work": sorted(news.work),
        "suspects": sorted(news.suspects),
        "due": min(news.due, default=None),
        "signals": news.signals,
        "changed": news.changed,
    }
    messages.append(json.dumps(head | {key: value for key, value in small.items() if value}))
    for name in ("cancel", "ended", "awaited", "resolved"):
        values = getattr(news, name)
        parts = (values[start : start + 50] for start in range(0, len(values), 50))
        messages.extend(json.dumps(head | {name: part}) for part in parts)
    return [message for message in messages if len(message.encode()) <= MOST_BYTES and len(message) > len(json.dumps(head))]
