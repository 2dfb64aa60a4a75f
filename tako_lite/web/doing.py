"""`POST /do/ACTION`: checks the right, sends the command, and says what came of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tako_lite.errors import NotFound, TakoError
from tako_lite.records import SCHEMA
from tako_lite.web.actions import ACTIONS, Action, Done, Form
from tako_lite.web.rights import User
from tako_lite.web.routes.workflows import payload_of
from tako_lite.web.site import SAID, Site, code_of, wants_json
from tako_lite.web.urls import Urls

SAID_AGE: Final = 30
LONGEST_SENTENCE: Final = 500
MOST_FIELDS: Final = 1_000
REMEMBERED: Final = 1_000
"""Requests whose outcome is kept, for a minute, so that a form that is sent twice acts once."""
MEMORY: Final = 60.0

CONFLICT: Final = 409
FORBIDDEN: Final = 403


class Reported(NamedTuple):
    """What came of a form: its outcome, or the error in words, and the status code."""

    code: int
    done: Done
    answer: dict[str, Any]


class Doing:
    """The actions of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._recent: OrderedDict[str, tuple[float, asyncio.Future[Reported]]] = OrderedDict()

    async def reply(self, request: Request, user: User) -> Response:
        """The reply to a form: for people a redirect to the next page, for programs the outcome as JSON."""
        name = request.path_params["action"]
        try:
            form = Form(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError:
            form = Form(())
        key = form.get("request")
        reported = await (self._once(f"{user.name} {name} {key}", name, form, user) if key else self._do(name, form, user))
        return self._as_json(reported, request) if wants_json(request) else self._as_page(reported, request, form)

    async def _once(self, key: str, name: str, form: Form, user: User) -> Reported:
        now = time.monotonic()
        while self._recent and (now - next(iter(self._recent.values()))[0] > MEMORY or len(self._recent) >= REMEMBERED):
            self._recent.popitem(last=False)
        if key not in self._recent:
            self._recent[key] = now, asyncio.ensure_future(self._do(name, form, user))
        return await asyncio.shield(self._recent[key][1])

    async def _do(self, name: str, form: Form, user: User) -> Reported:
        try:
            action = ACTIONS.get(name)
            if action is None:
                raise NotFound(f"there is no action {name[:60]!r}")
            if not action.is_allowed(user):
                return _failed(FORBIDDEN, {"type": "forbidden", "message": f"you have no right to {name}", "hint": None})
            answer = await self._send(action, form, user)
            done = action.done(form, answer)
            return Reported(200 if done.changed else CONFLICT, done, answer)
        except TakoError as error:
            return _failed(code_of(error), error.as_json())
        finally:
            self._site.live.forget()

    async def _send(self, action: Action, form: Form, user: User) -> dict[str, Any]:
        arguments = {**action.arguments(form), "by": {"actor": user.name, "source": "web"}}
        if action.command == "enqueue":
            arguments["payload"] = await anyio.to_thread.run_sync(payload_of, self._site, form)
        return await self._site.live.client.call(action.command, **arguments)

    def _as_json(self, reported: Reported, request: Request) -> Response:
        path = reported.done.path
        address = None if path is None else Urls(request.scope["tako.base"])(path)
        body = {"schema": SCHEMA, "said": reported.done.sentence, "next": address, **reported.answer}
        return Response(json.dumps(body, ensure_ascii=False), reported.code, media_type="application/json")

    def _as_page(self, reported: Reported, request: Request, form: Form) -> Response:
        urls = Urls(request.scope["tako.base"])
        path = urls(reported.done.path) if reported.done.path else urls.within(form.get("next"))
        reply = RedirectResponse(path, 303)
        sentence = quote(reported.done.sentence[:LONGEST_SENTENCE])
        reply.set_cookie(SAID, sentence, max_age=SAID_AGE, path=urls.base or "/", httponly=True, samesite="strict")
        return reply


def _failed(code: int, error: dict[str, Any]) -> Reported:
    text = "; ".join(filter(None, (error["message"], error["hint"])))
    return Reported(code, Done(text[:1].upper() + text[1:], changed=False), {"error": error})
