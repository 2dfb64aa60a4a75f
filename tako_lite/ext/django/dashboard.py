"""The dashboard beside a Django project, for its staff."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tako_lite.ext.django.project import project_of_settings
from tako_lite.web.application import app
from tako_lite.web.rights import ALL, User


def with_dashboard(
    application: ASGIApp, path: str = "/tako", *, config: str | Path | None = None, **options: Any
) -> ASGIApp:  # fmt: skip
    """An ASGI application with the dashboard below a path: `with_dashboard(get_asgi_application())` in `asgi.py`.

    Staff sees it, with the rights that it has as permissions. Without `config` it is that of the first backend; the options
    are those of `tako_lite.web.app`.
    """
    dashboard = app(config or project_of_settings(), **{"user": staff_user, **options})

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] == path or scope["path"].startswith(f"{path}/")):
            await dashboard({**scope, "root_path": f"{scope.get('root_path', '')}{path}"}, receive, send)
        else:
            await application(scope, receive, send)

    return both


async def staff_user(request: Request) -> User | None:
    """The visitor of the dashboard by Django's session: an active member of the staff, else None.

    A superuser may do everything, others what their permissions `tako.retry`, `tako.see_logs` and so on allow.
    """
    found: User | None = await sync_to_async(_staff_user)(request.cookies.get(settings.SESSION_COOKIE_NAME))
    return found


def _staff_user(session_key: str | None) -> User | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    if not (user.is_active and user.is_staff):
        return None
    return User(user.get_username(), frozenset(right for right in ALL if user.has_perm(f"tako.{right}")))
