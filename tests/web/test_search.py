"""Searching the list of runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, strategies

from tako_lite.answers import run_filter
from tako_lite.errors import BadInput
from tako_lite.protocol.arguments import Filter
from tako_lite.states import HAS
from tako_lite.store.base import RunFilter
from tako_lite.typed import convert
from tako_lite.web.routes import runs
from tako_lite.web.search import STATES, WORDS, Word, as_document, read_search, words_of
from tests.support.project import Project
from tests.support.web import Dashboard, text_of

NOW = 1_700_000_000_000


def chosen(**query: str) -> RunFilter:
    return read_search(query, NOW).chosen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workflow:render group:media", {"workflow": "render", "group": "media"}),
        ("state:dead fp:1ab since:2h", {"states": ("dead",), "fingerprint": "1ab", "since": NOW - 7_200_000}),
        ("state:due", {"due_before": NOW + 1}),
        ("state:scheduled", {"due_after": NOW}),
        ('key:"order 7" longer:5s', {"unique_key": "order 7", "min_duration": 5_000}),
        ("since:2023-11-14T00:00:00Z", {"since": 1_699_920_000_000}),
        ("broken pipe", {"text": "broken pipe"}),
        ('workflow:a "two words" http://x/y', {"workflow": "a", "text": "two words http://x/y"}),
        ('an "open quote', {"text": 'an "open quote'}),
        (
            "step:reserve has:retries has:waits error:timeout",
            {"step": "reserve", "has": ("retries", "waits"), "error": "timeout"},
        ),
        ("-workflow:a -workflow:b -has:error", {"without": (("workflow", "a"), ("workflow", "b"), ("has", "error"))}),
        ("-state:dead -state:due", {"without": (("state", "dead"), ("due_before", NOW + 1))}),
        ("-longer:5s -since:2h", {"without": (("min_duration", 5_000), ("since", NOW - 7_200_000))}),
        ("workflow:a workflow:b", {"workflow": "b"}),
        ("-1 -x", {"text": "-1 -x"}),
        ("", {}),
    ],
)
def test_words_become_a_filter(text: str, expected: dict[str, Any]) -> None:
    assert chosen(q=text) == RunFilter(**expected)


def test_parameters_of_the_address_have_the_same_names() -> None:
    assert chosen(workflow="a", state="dead", q="group:b") == RunFilter(workflow="a", states=("dead",), group="b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state:ded", "dead"),
        ("-worfklow:a", "workflow"),
        ("has:retry", "retries"),
        ("-state:ded", "dead"),
        ("worfklow:a", "workflow"),
        ("since:soon", "is not a time"),
        ("longer:5", "5s"),
    ],
)
def test_mistakes_are_named_with_what_was_meant(text: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        chosen(q=text)
    assert expected in f"{caught.value.message} {caught.value.hint}"


@given(
    strategies.lists(
        strategies.builds(
            Word,
            strategies.sampled_from(["workflow", "key", "error", "step", "text"]),
            strategies.text("ab \"'\\:-", min_size=1).filter(str.strip),
            strategies.booleans(),
        )
    )
)
def test_a_search_says_the_same_when_it_is_typed_again(words: list[Word]) -> None:
    typed = " ".join(str(word) for word in words if word.name != "text" or not word.is_opposite)
    search = read_search({"q": typed}, NOW)
    again = read_search({"q": search.text}, NOW)
    assert again.chosen == search.chosen


def test_the_filter_of_a_command_becomes_the_same_words_again() -> None:
    text = "workflow:order -tenant:acme has:retries -has:error longer:5000ms since:2023-11-14T00:00:00.000Z state:due step:a"
    search = read_search({"q": text}, NOW)
    again = read_search({"q": " ".join(map(str, words_of(as_document(search.chosen))))}, NOW)
    assert again.chosen == search.chosen
    assert run_filter(convert(json.loads(json.dumps(as_document(search.chosen))), Filter)) == search.chosen, (
        "a bulk action means the same runs"
    )


def found(web: Dashboard, text: str) -> list[str]:
    return [run["workflow"] for run in web.json(f"/runs?q={quote(text)}")["runs"]]


def test_the_list_shows_what_is_searched_for(web: Dashboard) -> None:
    assert set(found(web, "workflow:adds")) == {"adds"}
    assert found(web, "state:scheduled") == ["adds"]
    assert found(web, "&lt;b&gt;") == []
    assert found(web, "no <b>") == ["fails"], "the text of an error"
    assert found(web, "bob") == ["order"], "the text of a payload"
    assert found(web, "step:reserve") == ["order"]
    assert found(web, "has:waits") == ["order"]
    assert found(web, "-has:steps -state:scheduled") == ["fails"]
    assert "order" not in found(web, "-workflow:order")


def test_the_list_shows_the_whole_search_in_its_box_and_the_words_there_are(web: Dashboard) -> None:
    html = web.page("/runs?workflow=adds&q=-has:error&state=succeeded")
    assert 'value="workflow:adds -has:error"' in html
    assert '<input type="hidden" name="state" value="succeeded">' in html
    assert {"workflow:order", "group:io", "state:due", "has:retries", "key:"} <= set(re.findall("<option>(.*?)</option>", html))


def test_an_empty_list_says_whether_another_state_would_match(web: Dashboard) -> None:
    text = text_of(web.page("/runs?workflow=adds&state=dead"))
    assert "No run that matches is dead; there are such runs in other states." in text
    assert "No runs match." in text_of(web.page("/runs?workflow=nothing"))


def test_an_id_or_its_end_opens_the_run(web: Dashboard) -> None:
    id = web.json("/runs?workflow=fails")["runs"][0]["id"]
    for text in (id, id[-8:].upper(), f" {id} "):
        reply = web.get(f"/runs?q={quote(text)}")
        assert (reply.status_code, reply.headers["location"]) == (303, f"/runs/{id}")
    assert web.get("/runs?q=beef00").status_code == 200, "no run ends so: it is searched as a text"


def test_a_long_search_stops_and_can_be_continued(shop: Project, web: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    every = web.json("/runs")["runs"]
    oldest = every[-1]
    monkeypatch.setattr(runs, "SLICE", 1)
    monkeypatch.setattr(runs, "PATIENCE", 0.0)
    path, pages, seen = f"/runs?workflow={oldest['workflow']}", 0, []
    while path:
        document = web.json(path)
        assert "Searched 1 run" in text_of(web.page(path)) or document["next"] is None
        seen += [run["id"] for run in document["runs"]]
        path = f"/runs?workflow={oldest['workflow']}&before={document['next']}" if document["next"] else ""
        pages += 1
    assert pages >= len(every) - 1
    assert seen == [run["id"] for run in every if run["workflow"] == oldest["workflow"]]


def test_the_documentation_names_every_word_of_the_search() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dashboard.md").read_text(encoding="utf-8")
    assert [word for word in WORDS if f"`{word}:`" not in page] == []
    assert [word for word in (*HAS, *STATES) if f"`{word}`" not in page] == []
