"""A client of the queue in a FastAPI application: `Tako` opens and closes it, `TakoDep` injects it. Needs `fastapi`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from tako_lite.client import AsyncClient, Client
from tako_lite.ext.starlette import Tako, get_blocking_client, get_client

__all__ = ["BlockingTakoDep", "Tako", "TakoDep", "get_blocking_client", "get_client"]

TakoDep = Annotated[AsyncClient, Depends(get_client)]
"""The client in an `async def` endpoint. A test replaces it by `app.dependency_overrides[get_client]`."""

BlockingTakoDep = Annotated[Client, Depends(get_blocking_client)]
"""The client in a plain `def` endpoint."""
