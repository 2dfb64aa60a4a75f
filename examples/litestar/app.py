"""Sign-ups in Litestar.

litestar run                   # with a daemon, because of serve="dev"
"""

from dataclasses import dataclass
from typing import Any

from litestar import Litestar, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from tako_lite.errors import NotFound
from tako_lite.ext.litestar import TakoDep, TakoPlugin
from tako_lite.web import User


@dataclass
class Signup:
    email: str
    name: str


@post("/signups", status_code=202)
async def sign_up(data: Signup, tako: TakoDep) -> dict[str, str]:
    run = await tako.enqueue("welcome", data)
    return {"run": run.id}


@get("/runs/{id:str}")
async def show(id: FromPath[str], tako: TakoDep) -> dict[str, Any]:
    try:
        run = await tako.get(id)
    except NotFound as error:
        raise NotFoundException(error.message) from error
    return {"state": run["state"], "result": run["result"]}


plugin = TakoPlugin("tako.toml", serve="dev", dashboard="/tako", user=lambda request: User("developer"))
app = Litestar([sign_up, show], plugins=[plugin])
