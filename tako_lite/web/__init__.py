"""The dashboard: a web application that shows the queue and sends the commands of people to the daemon.

It is a process of its own (`tako-lite web`), or part of an application that mounts `app(project)`. It reads the queue file over
a read-only connection, asks the daemon at most once a second for what only that knows (`live`), and changes nothing itself:
each action is a command on the control socket (`actions`). Every request passes the `guard` (host, origin, size, headers) and
is identified (`auth`) before a page sees it.

A page is a module in `routes/` and a template in `templates/`. To add one:

1. `routes/NAME.py`: a function from a `Visit` to a `Shown`, and `PAGES = (Page("/name", name),)`. The function runs in a thread
   and changes nothing. It reads with `visit.read(function of store/reading.py)`, and asks with `visit.ask(command)`.
2. `Shown.document` is the JSON twin: the document that `tako-lite NAME --json` prints, made by the same function, without its
   schema number. What only the template needs goes into `Shown.view`.
3. `templates/NAME.html` extends `layout` and fills the block `main`. It uses the macros of `parts.html` for times, states,
   links and JSON, and the filters of `text.py`. No inline script or style: the Content-Security-Policy forbids both.
4. The module's name in `MODULES` of `routes/__init__.py`, and for a main page its line in `NAVIGATION` of `frame.py`.
5. `tests/web/test_NAME.py`: the page as HTML, and its JSON compared with the command line. Only what needs a browser goes into
   `tests/browser/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tako_lite.web.application import app
    from tako_lite.web.rights import User

__all__ = ["User", "app"]


def __getattr__(name: str) -> Any:
    if name == "app":
        from tako_lite.web.application import app  # imports starlette, which `import tako_lite.web.rights` does not need

        return app
    if name == "User":
        from tako_lite.web.rights import User

        return User
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
