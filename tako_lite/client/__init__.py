"""The clients: applications import them to enqueue runs and to query the queue.

`requests` builds and checks a request. `transport` delivers it in one of three ways: in a worker through `link`, else over a
`connection` to the daemon's socket, else, if no daemon runs, to the `offline` backend, which works on the files of the
`project`. `pipeline` keeps several requests in flight. `client_core` is the API of both clients, written once as coroutines
that wait only through an `IO`; `blocking` and `asynchronous` are two thin shells around it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.client.link import use_link

if TYPE_CHECKING:
    from tako_lite.client.asynchronous import AsyncClient
    from tako_lite.client.blocking import Client
    from tako_lite.client.requests import Ids

__all__ = ["AsyncClient", "Client", "Ids", "default_async_client", "default_client", "use_link"]

_PLACES = {
    "AsyncClient": "tako_lite.client.asynchronous",
    "Client": "tako_lite.client.blocking",
    "Ids": "tako_lite.client.requests",
}


@cache
def default_client() -> Client:
    """The client that `Workflow.enqueue` uses: `Client()`, created on first use."""
    from tako_lite.client.blocking import Client  # a worker imports this package, but most workers need no client

    return Client()


@cache
def default_async_client() -> AsyncClient:
    """The same for asyncio code."""
    from tako_lite.client.asynchronous import AsyncClient  # for the same reason

    return AsyncClient()


def client_at(file: str) -> Client:
    """The client of the project of a Python file: the nearest tako.toml in the folders above it. Raises NoProject."""
    return _client_of(_project_of(file))


def async_client_at(file: str) -> AsyncClient:
    """The same for asyncio code."""
    return _async_client_of(_project_of(file))


@cache
def _client_of(project: Path) -> Client:
    from tako_lite.client.blocking import Client

    return Client(project)


@cache
def _async_client_of(project: Path) -> AsyncClient:
    from tako_lite.client.asynchronous import AsyncClient

    return AsyncClient(project)


@cache
def _project_of(file: str) -> Path:
    from tako_lite.config.files import current_folder, find_file, no_project

    found = find_file(Path(file).parent)
    if found is None:
        raise no_project(current_folder())
    return found


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
