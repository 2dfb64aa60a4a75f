"""`[web]` of tako.toml, which is read whether the dashboard is installed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako_lite.config import load_text
from tako_lite.config.listen import Listen
from tako_lite.config.web_settings import RIGHTS, WebSettings
from tako_lite.errors import ConfigError
from tako_lite.web.rights import READING, visitor


def web(text: str) -> WebSettings:
    return load_text(f"[web]\n{text}\n", Path("/srv/shop/tako.toml"), server="here").web


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        web(text)
    return [f"{one.line}:{one.column} {one.message}; {one.hint}" for one in caught.value.mistakes]


def test_without_a_table_nothing_listens_and_a_token_is_needed() -> None:
    settings = web("")
    assert settings == WebSettings()
    assert (settings.listen, settings.auth, settings.may) == (None, "token", ("*",))


def test_addresses_are_hosts_with_ports_or_paths() -> None:
    assert web('listen = "[::1]:80"').listen == Listen("::1", 80)
    assert web('listen = "unix:.tako/web.sock"').listen == Listen(path=Path("/srv/shop/.tako/web.sock"))
    assert len(mistakes('listen = "8256"')) == 1


def test_every_mistake_is_reported_with_its_place_and_what_was_meant() -> None:
    found = mistakes(
        'auth = "tokens"\nmay = ["retrie"]\nbase_path = "tako"\nread_onyl = true\nrefresh = 1\ntrusted_proxies = ["proxy"]'
    )
    assert [text.partition(" ")[0] for text in found] == ["2:8", "3:7", "4:13", "5:1", "6:11", "7:19"]
    for text, expected in zip(found, ("`token`", "`retry`", '"/tako"', "`read_only`", '"1s"', '"10.0.0.0/8"'), strict=True):
        assert expected in text


@pytest.mark.parametrize("address", ["0.0.0.0:80", "192.168.1.7:80", "shop.example.com:80", "[::]:80"])
def test_an_open_dashboard_is_only_allowed_on_this_machine(address: str) -> None:
    (found,) = mistakes(f'listen = "{address}"\nauth = "none"')
    assert found.startswith('3:8 `auth`: "none" is only allowed on a loopback address')


@pytest.mark.parametrize("address", ["127.0.0.1:80", "localhost:80", "[::1]:80", "unix:w"])
def test_an_open_dashboard_is_allowed_on_this_machine(address: str) -> None:
    assert web(f'listen = "{address}"\nauth = "none"').auth == "none"


def test_a_password_is_needed_for_basic_and_is_never_in_the_file() -> None:
    assert "needs a password" in mistakes('auth = "basic"')[0]
    (found,) = mistakes('auth = "basic"\npassword = "sesame"')
    assert "sesame" not in found
    assert str(web('auth = "basic"\npassword = "env:P"').password) == "env:P"


def test_rights_are_those_of_the_visitor_or_of_all() -> None:
    settings = web('may = ["retry"]\n[web.users.ann]\nmay = ["*"]\n[web.users.bob]\nmay = []')
    assert visitor("eve", settings).may == {"retry"}
    assert visitor("ann", settings).may == set(RIGHTS)
    assert visitor("bob", settings).may == set()


def test_reading_only_takes_every_action_from_everybody() -> None:
    settings = web('read_only = true\n[web.users.ann]\nmay = ["*"]')
    assert visitor("ann", settings).may == READING
    assert visitor("ann", web('payloads = "never"')).may == set(RIGHTS) - {"see_payloads"}
