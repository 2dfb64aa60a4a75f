"""Where a queue in PostgreSQL is: the URL with its schema, what may be shown of it, and how to connect."""

from __future__ import annotations

import getpass
import os
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
    def identity(self) -> str:
        """The address for comparison: two spellings of one database and schema are equal."""
        parts = urlsplit(self.url)
        options = dict(parse_qsl(parts.query))
        host = (parts.hostname or options.get("host") or "").lower()
        port = parts.port or options.get("port") or 5432
        database = unquote(parts.path.removeprefix("/")) or options.get("dbname") or ""
        return f"postgresql://{host}:{port}/{database}#{self.schema}"

    @property
    def role(self) -> str:
        """The user that logs in, as far as the URL and the environment say."""
        parts = urlsplit(self.url)
        named = unquote(parts.username or "") or dict(parse_qsl(parts.query)).get("user")
        return named or os.environ.get("PGUSER") or getpass.getuser()

    def warning(self) -> str | None:
        """What is wrong with the encryption of the connection, or None."""
        parts = urlsplit(self.url)
        options = dict(parse_qsl(parts.query))
        host = parts.hostname or options.get("host") or ""
        mode = options.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        if host in _LOCAL or host.startswith("/") or mode == _VERIFIED:
            return None
        what = f"the connection to {host} has sslmode {mode}, which does not verify the server"
        return f"{what}: add ?sslmode={_VERIFIED} to the url"

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
