"""Scripts, styles and icons: served from memory, under names that change with their content."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOREVER: Final = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file that pages load."""

    content: bytes
    packed: bytes
    type: str


@cache
def assets() -> dict[str, Asset]:
    """All assets by name. They are read through the package, which may be a zip file."""
    found = {}
    for file in (files("tako_lite.web") / "assets").iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        if suffix in TYPES:
            content = file.read_bytes()
            found[file.name] = Asset(content, gzip.compress(content, mtime=0), TYPES[suffix])
    return found


@cache
def fingerprint() -> str:
    """A hash of all assets: a part of their addresses, and how a page learns that a newer release serves it."""
    together = hashlib.sha256()
    for name, asset in sorted(assets().items()):
        together.update(name.encode() + b"\0" + asset.content)
    return together.hexdigest()[:12]


def asset_path(name: str) -> str:
    """The path of an asset below the base. Raises KeyError."""
    assets()[name]
    return f"/-/assets/{fingerprint()}/{name}"


async def serve_asset(request: Request) -> Response:
    """The reply with an asset. An older hash gets the newest content, which must not be kept then."""
    asset = assets().get(request.path_params["name"])
    if asset is None:
        return PlainTextResponse("There is no such file.\n", 404)
    current = request.path_params["hash"] == fingerprint()
    headers = {"Cache-Control": FOREVER if current else "no-store", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.type)
    return Response(asset.content, headers=headers, media_type=asset.type)
