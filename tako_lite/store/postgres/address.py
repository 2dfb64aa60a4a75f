"""Where a queue in PostgreSQL is: the URL with its schema, what may be shown of it, and how to connect."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tako_lite.secrets.source import SecretSource, read
from tako_lite.store.opening import check_database_url, check_schema

DEFAULT_SCHEMA: Final = "tako"
DEFAULT_LEASE: Final = 60.0
"""Seconds."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1", ""})
_ENVIRONMENT: Final = "env:"
_PORT: Final = re.compile(r":\d+\Z")
_VERIFIED: Final = "verify-full"


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a database without its password, and the schema of the queue in it.

    `password` returns the password, or None for what libpq finds by itself: ~/.pgpass, a service file, peer authentication.
    """

    url: str
    schema: str = DEFAULT_SCHEMA
    password: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)
    listen_url: str | None = None
    lease: float = DEFAULT_LEASE
    project: str | None = None
    """The name of the project in its tako.toml: another project may not open its queue."""

    def __str__(self) -> str:
        """As people see it: without a password, and without options."""
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc}{parts.path}"

    @property
    def shown(self) -> dict[str, str]:
        """What `config` and `status` show of it."""
        return {"address": str(self), "schema": self.schema}

    @property
    def identity(self) -> str:
        """The address for comparison: two spellings of one database and schema are equal."""
        parts = urlsplit(self.url)
        options = dict(parse_qsl(parts.query))
        hosts = (parts.netloc.rpartition("@")[2] or options.get("host") or options.get("service") or "").lower()
        port = options.get("port") or "5432"
        places = ",".join(host if _PORT.search(host) else f"{host}:{port}" for host in hosts.split(","))
        database = unquote(parts.path.removeprefix("/")) or options.get("dbname") or ""
        return f"postgresql://{places}/{database}#{self.schema}"

    @property
    def role(self) -> str:
        """The user that logs in, as far as the URL and the environment say."""
        parts = urlsplit(self.url)
        named = unquote(parts.username or "") or dict(parse_qsl(parts.query)).get("user")
        return named or os.environ.get("PGUSER") or getpass.getuser()

    def warning(self) -> str | None:
        """What is wrong with the encryption of the connections, and after a colon how to fix it; or None."""
        return _warning(self.url) or (_warning(self.listen_url) if self.listen_url else None)

    def parameters(self, *, listening: bool = False) -> tuple[str, dict[str, Any]]:
        """The connection string and the parameters beside it."""
        url = (self.listen_url if listening else None) or self.url
        parameters: dict[str, Any] = {}
        if (password := self.password()) is not None:
            parameters["password"] = password
        if "," in urlsplit(url).netloc and "target_session_attrs" not in url:
            parameters["target_session_attrs"] = "read-write"
        return url, parameters


def postgres_address(
    url: str,
    *,
    schema: str = DEFAULT_SCHEMA,
    password: SecretSource | None = None,
    listen_url: str | None = None,
    lease: float = DEFAULT_LEASE,
    project: str | None = None,
) -> Address:
    """The address of a queue. `url` may be `env:NAME`, and only then hold a password. Raises BadInput, SecretError."""
    get_password: Callable[[], str | None] = partial(read, "of the database", password, os.environ) if password else _nothing
    if url.startswith(_ENVIRONMENT):
        variable = url.removeprefix(_ENVIRONMENT)
        url, found = _without_password(read("of the queue's url", SecretSource("env", variable), os.environ))
        if found is not None and password is None:
            get_password = partial(_password_in, variable)
    check_database_url(url)
    if listen_url is not None:
        check_database_url(listen_url)
    check_schema(schema)
    return Address(url, schema, get_password, listen_url, lease, project)


def _warning(url: str) -> str | None:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    hosts = unquote(parts.netloc.rpartition("@")[2]) or options.get("host") or os.environ.get("PGHOST") or ""
    far = [host for host in hosts.split(",") if _PORT.sub("", host).strip("[]") not in _LOCAL and not host.startswith("/")]
    mode = options.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
    if not far or mode == _VERIFIED or "service" in options:
        return None
    what = f"the connection to {_PORT.sub('', far[0])} has sslmode {mode}, which does not verify the server"
    return f"{what}: add {'&' if parts.query else '?'}sslmode={_VERIFIED} to the url"


def _nothing() -> None:
    return None


def _password_in(variable: str) -> str | None:
    """The password in the URL of an environment variable, read anew for each connection."""
    return _without_password(read("of the queue's url", SecretSource("env", variable), os.environ))[1]


def _without_password(url: str) -> tuple[str, str | None]:
    """A URL without its password, and the password."""
    parts = urlsplit(url)
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not colon:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}@{host}").geturl(), unquote(password)
