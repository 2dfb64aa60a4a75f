"""The URL of a queue in PostgreSQL: what is refused, what is shown, which two are the same, and what is warned of."""

from __future__ import annotations

import pytest

from tako_lite.errors import BadInput, SecretError
from tako_lite.store.postgres.address import Address, postgres_address


@pytest.fixture(autouse=True)
def _no_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGSSLMODE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://shop:secret@db/app", "has a password in it"),
        ("postgresql://shop@db/app?password=secret", "has a password in it"),
        ("postgresql://shop@db/app?sslpassword=secret", "has a password in it"),
        ("postgresql://shop:sec#ret@db/app", "cannot be read as a URL"),
        ("mysql://db/app", "is no URL of PostgreSQL"),
    ],
)
def test_a_url_that_holds_a_password_or_cannot_be_read_is_refused_without_showing_it(url: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        postgres_address(url)
    assert not {"secret", "sec#ret"} & set(f"{refused.value} {refused.value.hint}".split())


def test_a_variable_may_hold_the_password_which_nothing_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://shop:p%40ss@db.example/app?sslmode=verify-full")
    address = postgres_address("env:SHOP_URL")
    assert address.parameters()[1]["password"] == "p@ss"
    assert "ss@" not in f"{address} {address!r} {address.url} {address.identity} {address.shown}".replace("sslmode", "")
    monkeypatch.setenv("SHOP_URL", "postgresql://shop:new@db.example/app")
    assert address.parameters()[1]["password"] == "new"
    monkeypatch.delenv("SHOP_URL")
    with pytest.raises(SecretError, match="SHOP_URL is not set"):
        postgres_address("env:SHOP_URL")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("postgresql://a@db/app", "postgres://b@DB:5432/app?sslmode=require", True),
        ("postgresql:///app?host=/run/postgresql", "postgresql:///app?host=/run/postgresql&port=5432", True),
        ("postgresql://db1,db2:5433/app", "postgresql://db1:5432,db2:5433/app", True),
        ("postgresql://db/app", "postgresql://db/other", False),
        ("postgresql://db/app", "postgresql://db:5433/app", False),
        ("postgresql:///?service=one", "postgresql:///?service=two", False),
    ],
)
def test_two_spellings_of_one_place_are_the_same(one: str, other: str, is_same: bool) -> None:
    assert (Address(one).identity == Address(other).identity) is is_same
    assert Address(one).identity != Address(one, schema="second").identity


@pytest.mark.parametrize(
    ("url", "warning"),
    [
        ("postgresql://db.example/app", "db.example has sslmode prefer"),
        ("postgresql://db.example:5433/app?sslmode=require", "db.example has sslmode require"),
        ("postgresql://localhost,db2/app", "db2 has sslmode prefer"),
        ("postgresql://db.example/app?sslmode=verify-full", None),
        ("postgresql://localhost:5433/app", None),
        ("postgresql://[::1]:5433/app", None),
        ("postgresql:///app?host=/run/postgresql", None),
        ("postgresql://%2Frun%2Fpostgresql/app", None),
        ("postgresql:///app", None),
    ],
)
def test_a_connection_over_a_network_that_does_not_verify_the_server_is_warned_of(url: str, warning: str | None) -> None:
    found = Address(url).warning()
    assert found is None if warning is None else warning in str(found)
    assert Address("postgresql:///app", listen_url=url).warning() == found


def test_the_role_is_that_of_the_url_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Address("postgresql://sh%C3%B6p@db/app").role == "shöp"
    monkeypatch.setenv("PGUSER", "other")
    assert Address("postgresql://db/app").role == "other"
