"""Asks the listener of `[monitor]`, and reads what it answers."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.project import Project, wait_until

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: str


class Metrics(dict[tuple[str, tuple[tuple[str, str], ...]], float]):
    """The samples of a scrape, by name and labels."""

    def get_one(self, name: str, **labels: str) -> float:
        """The value of the one sample that has at least these labels; 0 where there is none."""
        found = [value for (known, pairs), value in self.items() if known == name and labels.items() <= dict(pairs).items()]
        assert len(found) <= 1, f"{name}{labels} names {len(found)} samples"
        return found[0] if found else 0.0

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self}


def monitor_of(project: Project) -> tuple[str, int]:
    """Where the daemon of a project listens, which its log says."""
    found = wait_until(
        lambda: re.findall(r"scrapes at http://\[?([^\]\s]+?)\]?:(\d+)$", project.daemon_log(), re.M), "it listens"
    )
    host, port = found[-1]
    return host, int(port)


def exchange(address: tuple[str, int] | str, data: bytes) -> Answer:
    """The answer to raw bytes."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(data)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body.decode())


def get(address: tuple[str, int] | str, path: str, method: str = "GET", **headers: str) -> Answer:
    """The answer to a request; `_` in the name of a header is a hyphen."""
    lines = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return exchange(address, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())


def scrape(address: tuple[str, int] | str, **headers: str) -> Metrics:
    """All samples."""
    answer = get(address, "/metrics", **headers)
    assert answer.status == 200
    return parse(answer.body)


def parse(text: str) -> Metrics:
    """The samples in a text."""
    metrics = Metrics()
    for line in text.splitlines():
        if not line.startswith("#"):
            found = SAMPLE.match(line)
            assert found, line
            metrics[found[1], tuple(LABEL.findall(found[2] or ""))] = float(found[3])
    return metrics
