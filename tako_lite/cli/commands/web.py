"""`web`: the dashboard in the foreground."""

from __future__ import annotations

import click

from tako_lite.cli.options import chosen_config, command, duration


@command
@click.option(
    "--listen", metavar="HOST:PORT", help="Address to listen on, or unix:PATH  [default: that of [web], else 127.0.0.1:8256]"
)
@click.option("--open", "open_browser", is_flag=True, help="Open the dashboard in the browser.")
@click.option("--read-only", is_flag=True, help="Allow no actions.")
@click.option("--base-path", metavar="PATH", help="Serve it below a path such as /tako.")
@click.option("--fd", type=click.IntRange(0), metavar="N", help="Serve on a socket that is already open.")
@click.option("--idle-exit", type=duration, metavar="DURATION", help="End after so long without a request.")
def web(
    listen: str | None,
    open_browser: bool,
    read_only: bool,
    base_path: str | None,
    fd: int | None,
    idle_exit: float | None,
) -> int:
    """Serve the dashboard in the foreground, until Ctrl-C.

    It prints its address. It needs no daemon: without one, it shows what the queue contains.
    """
    from importlib.util import find_spec

    from tako_lite.errors import BadInput

    if missing := [name for name in ("jinja2", "starlette", "uvicorn") if find_spec(name) is None]:
        raise BadInput(f"the dashboard needs {', '.join(missing)}", hint='pip install "tako-lite[web]"')
    from tako_lite.cli.output import write
    from tako_lite.web.command import Options, serve_web

    return serve_web(chosen_config(), Options(listen, open_browser, read_only, base_path, fd, idle_exit), write)
