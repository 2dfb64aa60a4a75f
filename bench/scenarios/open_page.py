"""What an open page of the dashboard costs a busy daemon: drains with and without one in turn."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
from collections.abc import Iterator
from statistics import median
from urllib.parse import urlsplit

from bench.figures import Goal, Plan
from bench.served import NO_OP, PYTHON, Served, drained, pool

MOST_RUNS = 3
PAIRS = 5
REFRESH = 1.0
"""Seconds after which a page that changes asks again."""
GOALS = {
    "throughput": Goal("drain with an open overview, against none", "×", least=0.98),
    "without": Goal("drain without an open page"),
}


def measure(plan: Plan) -> dict[str, float]:
    ratios, without = [], []
    for _ in range(plan.size(PAIRS, 1)):
        alone = _drain(plan, is_open=False)
        ratios.append(_drain(plan, is_open=True) / alone)
        without.append(alone)
    return {"throughput": median(ratios), "without": median(without)}


def _drain(plan: Plan, *, is_open: bool) -> float:
    payloads = [{"n": number} for number in range(plan.size(60_000, 5_000))]
    toml = f'{pool(100)}[web]\nauth = "none"\n'
    return drained(plan, toml, NO_OP, payloads, beside=_overview if is_open else None).per_second


@contextlib.contextmanager
def _overview(project: Served) -> Iterator[None]:
    """An overview that is open and asks for what is new, as a browser does."""
    command = [PYTHON, "-m", "tako_lite", "-c", str(project.root / "tako.toml"), "web", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as web:
        line = web.stdout.readline() if web.stdout is not None else ""
        address = urlsplit(next(word for word in line.split() if word.startswith("http")))
        ended = threading.Event()
        reader = threading.Thread(target=_poll, args=(address.netloc, ended))
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()
            web.terminate()


def _poll(host: str, ended: threading.Event) -> None:
    version = ""
    connection = http.client.HTTPConnection(host)
    while True:
        connection.request("GET", "/", headers={"Accept": "text/html", "Tako-Live": "1", "Tako-Seen": version})
        reply = connection.getresponse()
        reply.read()
        if reply.status not in (200, 204):
            raise RuntimeError(f"the overview answered {reply.status}")
        version = reply.headers.get("Tako-Version", version)
        if ended.wait(REFRESH):
            break
    connection.close()
