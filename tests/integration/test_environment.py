"""Variables of a worker's environment, and what an error says of one that is missing."""

from __future__ import annotations

from tests.support.project import Project, wait_until

LOOK = """
    @workflow("look", retries=0)
    async def look(payload):
        return os.environ[payload]

    @workflow("step", retries=0)
    async def in_a_step(payload, step: Step):
        return await step.run("look", os.environ.__getitem__, payload)
"""
TOML = """
    [secrets]
    smtp = "env:SMTP_PASSWORD"
    [workflows]
    env_pass = ["AWS_*"]
    env_file = "shop.env"
"""


def failure(project: Project, workflow: str, variable: str) -> str:
    error = project.run(workflow, variable)["error"]
    assert error["type"] == "KeyError"
    return str(error["message"])


def test_the_error_of_a_missing_variable_says_who_has_it_and_what_to_add(project: Project) -> None:
    project.configure(TOML)
    (project.root / "shop.env").write_text("FROM_FILE='first'\n")
    project.workflow("a.py", LOOK)
    project.serve(AWS_REGION="eu", DATABASE_URL="db", SMTP_PASSWORD="s")
    assert [project.run("look", name)["result"] for name in ("AWS_REGION", "FROM_FILE")] == ["eu", "first"]
    for workflow in ("look", "step"):
        hint = 'the daemon has this variable, but this group does not pass it on: add env_pass = ["DATABASE_URL"]'
        assert hint in failure(project, workflow, "DATABASE_URL")
        assert "the daemon does not have this variable either" in failure(project, workflow, "NEVER_SET")
        assert 'read it with secret("smtp")' in failure(project, workflow, "SMTP_PASSWORD")

    (project.root / "shop.env").write_text("FROM_FILE='second'\n")
    assert project.call("reload")["changed"] == ["default"]
    assert project.run("look", "FROM_FILE")["result"] == "second"
    (project.root / "shop.env").write_text("FROM_FILE='third\n")
    project.call("reload")
    waiting = project.enqueue("look", "FROM_FILE")
    wait_until(lambda: "shop.env:1:11: the value of FROM_FILE has no closing quote" in project.daemon_log(), "it is logged")
    (project.root / "shop.env").write_text("FROM_FILE='fourth'\n")
    project.call("reload")
    assert project.wait(waiting)["result"] == "fourth"
