"""A client of the queue in a Flask application, and the application's context in handlers. Needs `flask`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, current_app
from flask.cli import ScriptInfo
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tako_lite import hooks
from tako_lite.client import Client
from tako_lite.errors import TakoError
from tako_lite.ext.passthrough import tako_command

if TYPE_CHECKING:
    from starlette.requests import Request

    from tako_lite.web import User

_NAME: Final = "tako"
_VISITOR: Final = "tako_lite.visitor"


class _Extension:
    """What `app.extensions["tako"]` is: the project of one application, and its client."""

    def __init__(self, config: str | Path | None) -> None:
        self.config = config

    @cached_property
    def client(self) -> Client:
        return Client(self.config, source="app")


class Tako:
    """The queue of a project in Flask applications: `tako = Tako(app)`, or `tako = Tako()` and `tako.init_app(app)`.

    `config` is that of `Client`; the setting `TAKO_CONFIG` of the application replaces it. `flask tako …` is the command line.
    """

    def __init__(self, app: Flask | None = None, config: str | Path | None = None) -> None:
        self._config = config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the extension and the command to an application."""
        made = _Extension(app.config.get("TAKO_CONFIG", self._config))
        app.extensions[_NAME] = made
        app.cli.add_command(tako_command(lambda: made.config))

    @property
    def client(self) -> Client:
        """The client of the current application. Raises TakoError if that has no extension."""
        return _extension_of(current_app).client

    def dashboard(self, app: Flask, path: str = "/tako", *, user: Callable[[], User | None], **settings: Any) -> None:
        """Mount the dashboard of the project below a path. Needs `a2wsgi` and `tako-lite[web]`.

        `user` returns who the visitor is; it is called in the context of the request, so it may use `flask.session`. The
        settings are those of `tako_lite.web.app`.
        """
        from a2wsgi import ASGIMiddleware

        from tako_lite.web import app as dashboard_of

        def visitor(request: Request) -> User | None:
            found: User | None = request.scope["wsgi_environ"][_VISITOR]
            return found

        served: Any = dashboard_of(_extension_of(app).config, user=visitor, **settings)
        inner: Any = ASGIMiddleware(served)

        def dashboard(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            with app.request_context(environ):
                environ[_VISITOR] = user()
            reply: Iterable[bytes] = inner(environ, start_response)
            return reply

        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {path: dashboard})


def setup() -> None:
    """Give handlers the context of the application; name it in tako.toml: `setup = "tako_lite.ext.flask:setup"`.

    The application is found as by the command `flask`: `FLASK_APP` in the `env` of the group, else `app.py` or `wsgi.py`.
    """
    handlers_in(ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app())


def handlers_in(app: Flask) -> None:
    """Give handlers and steps of this worker the context of an application, a new one for each attempt."""

    @hooks.around
    async def attempt(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
        with app.app_context():
            return await proceed()


def _extension_of(app: Flask) -> _Extension:
    found = app.extensions.get(_NAME)
    if not isinstance(found, _Extension):
        raise TakoError("the application has no extension of tako-lite", hint="call Tako(app), or init_app(app)")
    return found
