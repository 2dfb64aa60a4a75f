"""The form that enqueues a run, from the schema of its payload."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from tako_lite.errors import BadInput
from tako_lite.records import new_id
from tako_lite.web.actions import Form
from tako_lite.web.schema_form import form_fields, read_payload
from tests.support.project import Project
from tests.support.web import JSON, Dashboard

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["number", "to", "fast"],
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        "to": {"type": "string"},
        "fast": {"type": "boolean"},
        "colour": {"enum": ["red", "blue"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "size": {"anyOf": [{"type": "object", "properties": {"w": {"type": "number"}}, "required": ["w"]}, {"type": "null"}]},
        "other": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    },
}


def payload(**fields: str) -> Any:
    return read_payload(SCHEMA, Form([("mode", "form"), *((f"payload.{name}", value) for name, value in fields.items())]))


def test_each_kind_of_value_has_its_kind_of_field() -> None:
    found = {field.label: (field.kind, field.required) for field in form_fields(SCHEMA)}
    assert found == {
        "number": ("number", True),
        "to": ("text", True),
        "fast": ("checkbox", False),
        "colour": ("select", False),
        "tags": ("lines", False),
        "size": ("fieldset", False),
        "other": ("json", False),
    }


def test_a_form_becomes_a_payload_with_what_was_filled_in() -> None:
    assert payload(number="7", to="ann") == {"number": 7, "to": "ann", "fast": False}
    full = {"number": "7", "to": "", "fast": "true", "colour": '"red"', "tags": "a\n b \n\n", "size.w": "1.5", "other": '"x"'}
    assert payload(**full) == {
        "number": 7,
        "to": "",
        "fast": True,
        "colour": "red",
        "tags": ["a", "b"],
        "size": {"w": 1.5},
        "other": "x",
    }


def test_every_mistake_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        payload(number="1.5", to="ann", other="{")
    assert "number: must be a whole number" in caught.value.message
    assert "other" in caught.value.message
    with pytest.raises(BadInput, match="number: must be 1 or more"):
        payload(number="0", to="ann")


def test_numbers_keep_every_digit() -> None:
    assert payload(number=str(2**53 + 1), to="")["number"] == 2**53 + 1


def test_the_page_has_the_fields_of_the_annotation_and_enqueues_what_they_say(shop: Project, web: Dashboard) -> None:
    html = web.page("/workflows/order/enqueue")
    assert 'name="payload.number" type="number"' in html
    assert 'value="ann"' in html, "the default of the field"
    form = {"target": "order", "mode": "form", "payload.number": "41", "payload.to": "eve", "request": new_id()}
    reply = web.post("/do/enqueue", form)
    assert urlsplit(reply.headers["location"]).path == f"/runs/{form['request']}"
    assert shop.get(form["request"])["payload"] == {"number": 41, "to": "eve"}


def test_a_run_is_enqueued_again_from_its_payload(shop: Project, web: Dashboard) -> None:
    id = web.json("/runs?workflow=order")["runs"][-1]["id"]
    assert f'href="/workflows/order/enqueue?again={id}"' in web.page(f"/runs/{id}")
    assert 'value="bob"' in web.page(f"/workflows/order/enqueue?again={id}")


def test_a_workflow_without_an_annotation_takes_json(web: Dashboard) -> None:
    assert '<textarea id="payload" name="payload"' in web.page("/workflows/adds/enqueue")
    assert web.get("/workflows/none/enqueue").status_code == 404
    refused = web.post("/do/enqueue", {"target": "adds", "payload": "[1,", "mode": "json"}, **JSON)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "bad_input")


def test_the_page_of_a_workflow_shows_its_schema_its_source_and_its_runs(web: Dashboard) -> None:
    html = web.page("/workflows/order")
    assert "async def order(order: Order, step: Step)" in html
    assert "&#34;additionalProperties&#34;" in html
    assert "approval:" in html
    assert '<tr id="run-' in html
