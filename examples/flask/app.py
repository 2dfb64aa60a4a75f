"""Sign-ups in Flask.

flask --app app run            # and beside it: flask --app app tako serve
"""

from pathlib import Path
from typing import Any

from flask import Flask, abort, request, session

from tako_lite.errors import NotFound
from tako_lite.ext.flask import Tako
from tako_lite.web import User

tako = Tako(config=Path(__file__).with_name("tako.toml"))


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="only-for-this-example", GREETING="Welcome")
    tako.init_app(app)
    tako.dashboard(app, "/tako", user=visitor)

    @app.post("/signups")
    def sign_up() -> tuple[dict[str, str], int]:
        run = tako.client.enqueue("welcome", {"email": request.form["email"]})
        return {"run": run.id}, 202

    @app.get("/runs/<id>")
    def show(id: str) -> dict[str, Any]:
        try:
            run = tako.client.get(id)
        except NotFound:
            abort(404)
        return {"state": run["state"], "result": run["result"]}

    @app.post("/login")
    def log_in() -> str:
        session["name"] = request.form["name"]
        return "logged in"

    return app


def visitor() -> User | None:
    """Who may see the dashboard: here everybody who has logged in."""
    return User(session["name"]) if "name" in session else None
