"""Sign-ups: the endpoint answers once the work is stored, and a worker does it.

uvicorn app:app --reload        # with a daemon, because of serve="dev"
"""

from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from tako_lite.errors import NotFound
from tako_lite.ext.fastapi import Tako, TakoDep

tako = Tako("tako.toml", serve="dev")  # in production: serve="never", and `tako-lite serve` beside the application
app = FastAPI(lifespan=tako.lifespan)


class Signup(BaseModel):
    email: str
    name: str


@app.post("/signups", status_code=202)
async def sign_up(signup: Signup, tako: TakoDep) -> dict[str, str]:
    run = await tako.enqueue("welcome", signup, unique_key=f"welcome:{signup.email}")
    return {"run": run.id}


@app.get("/runs/{id}")
async def show(id: str, tako: TakoDep) -> dict[str, Any]:
    try:
        run = await tako.get(id)
    except NotFound as error:
        raise HTTPException(404, error.message) from error
    return {"state": run["state"], "result": run["result"]}
