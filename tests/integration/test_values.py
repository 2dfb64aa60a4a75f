"""Values of steps and results: what is stored, as which type it comes back, and what happens where it cannot be stored."""

from __future__ import annotations

import json

import pytest

from tests.support.project import Project, wait_until

TYPES = """
    from dataclasses import dataclass
    from datetime import UTC, date, datetime, timedelta
    from decimal import Decimal
    from enum import Enum
    from functools import partial
    from pathlib import Path
    from typing import Any, Iterator, NamedTuple, TypeVar
    from uuid import UUID
    import msgspec
    import pydantic

    class Colour(Enum):
        RED = "red"

    class Point(NamedTuple):
        x: int
        y: int = 0

    @dataclass
    class Receipt:
        number: int
        at: datetime
        price: Decimal = Decimal("1.10")

    class Model(pydantic.BaseModel):
        sender: str = pydantic.Field(alias="from")

    class Struct(msgspec.Struct, rename="camel"):
        order_id: int

    class Custom:
        pass

    NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""

VALUES = {
    "Receipt(1, NOON)": {"number": 1, "at": "2030-01-01T12:00:00+00:00", "price": "1.10"},
    "Model(**{'from': 'ann'})": {"from": "ann"},
    "Struct(7)": {"orderId": 7},
    "NOON": "2030-01-01T12:00:00+00:00",
    "date(2030, 1, 1)": "2030-01-01",
    "NOON.timetz()": "12:00:00+00:00",
    "timedelta(minutes=90)": "PT1H30M",
    "UUID(int=1)": "00000000-0000-0000-0000-000000000001",
    "Decimal('1.10')": "1.10",
    "Path('a/b')": "a/b",
    "Colour.RED": "red",
    "{3, 1, 2}": [1, 2, 3],
    "frozenset({'a'})": ["a"],
    "(1, (2,))": [1, [2]],
    "Point(1)": [1, 0],
    "{NOON.date(): Receipt(1, NOON)}": {"2030-01-01": {"number": 1, "at": "2030-01-01T12:00:00+00:00", "price": "1.10"}},
}


def test_steps_and_results_take_what_payloads_take_and_come_back_as_json_the_first_time_too(live: Project) -> None:
    live.add(
        "plain_values.py",
        TYPES
        + f"""
    @workflow("plain-values", backoff=Backoff(base=0.05))
    async def plain_values(payload, step: Step):
        kept = [await step.run(f"s{{n}}", lambda: make()) for n, make in enumerate(MAKERS)]
        witness("kept", value=repr(kept))
        if step.attempt == 1:
            raise RuntimeError("once more")
        return [make() for make in MAKERS]

    @workflow("plain-values-blocking", backoff=Backoff(base=0.05))
    def plain_values_blocking(payload, step: BlockingStep):
        kept = [step.run(f"s{{n}}", lambda: make()) for n, make in enumerate(MAKERS)]
        witness("kept", value=repr(kept))
        if step.attempt == 1:
            raise RuntimeError("once more")
        return [make() for make in MAKERS]

    MAKERS = [{", ".join(f"lambda: {text}" for text in VALUES)}]
""",
    )
    for workflow in ("plain-values", "plain-values-blocking"):
        run = live.run(workflow)
        assert (run["state"], run["result"]) == ("succeeded", list(VALUES.values())), run["error"]
        assert [step["result"] for step in run["steps"]] == list(VALUES.values())
    assert {fact["value"] for fact in live.facts("kept")} == {repr(list(VALUES.values()))}
    assert len(live.facts("kept")) == 4


def test_an_annotated_step_returns_its_type_at_first_after_a_crash_and_after_a_park(live: Project) -> None:
    body = """
        got = [
            {run}("dataclass", receipt, 1),
            {run}("async", fetch),
            {run}("method", Shop().receipt),
            {run}("callable", Shop()),
            {run}("partial", partial(receipt, number=2)),
            {run}("class", Decimal, "2.50"),
            {run}("list", many),
            {run}("optional", perhaps),
            {run}("pair", pair),
            {run}("awaitable", later),
            {run}("local", local()),
        ]
        witness("typed", workflow=step.workflow_name, value=repr(got))
        if seen("typed") % 3 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        {sleep}("nap", 1.2)
        return got
    """
    live.add(
        "typed_values.py",
        TYPES
        + """
    def receipt(number: int) -> Receipt:
        return Receipt(number, NOON)

    async def fetch() -> "Model":
        return Model(**{"from": "ann"})

    class Shop:
        def receipt(self) -> list["Struct"]:
            return [Struct(7)]

        def __call__(self) -> UUID:
            return UUID(int=1)

    def many() -> dict[str, list[Receipt]]:
        return {"all": [Receipt(1, NOON)]}

    def perhaps() -> Path | None:
        return Path("a")

    def pair() -> tuple[int, timedelta]:
        return 1, timedelta(minutes=1)

    def later() -> "asyncio.Future[int] | Any":
        return 5

    def local():
        @dataclass
        class Inner:
            number: int

        def make() -> "Inner":
            return Inner(1)

        return make

    @workflow("typed-values", worker="typed-crashing")
    async def typed_values(payload, step: Step):
"""
        + body.format(run="await step.run", sleep="await step.sleep")
        + """
    @workflow("typed-values-blocking", worker="typed-crashing-too")
    def typed_values_blocking(payload, step: BlockingStep):
"""
        + body.format(run="step.run", sleep="step.sleep"),
    )
    for workflow in ("typed-values", "typed-values-blocking"):
        run = live.run(workflow)
        assert run["state"] == "succeeded", run["error"]
        seen = [fact["value"] for fact in live.facts("typed") if fact["workflow"] == workflow]
        assert len(seen) == 3 and len(set(seen)) == 1
        receipt = "datetime.datetime(2030, 1, 1, 12, 0, tzinfo=datetime.timezone.utc), price=Decimal('1.10'))"
        for part in (
            f"Receipt(number=1, at={receipt}",
            "Model(sender='ann')",
            "[Struct(order_id=7)]",
            "UUID('00000000-0000-0000-0000-000000000001')",
            f"Receipt(number=2, at={receipt}",
            "Decimal('2.50')",
            f"{{'all': [Receipt(number=1, at={receipt}]}}",
            "PosixPath('a')",
            "(1, datetime.timedelta(seconds=60))",
            "local.<locals>.Inner(number=1)",
        ):
            assert part in seen[0]


def test_an_annotation_that_means_nothing_in_json_leaves_the_value_as_it_is(live: Project) -> None:
    live.add(
        "meaningless.py",
        TYPES
        + """
    T = TypeVar("T")

    def custom() -> Custom: return (1, 2)
    def unresolved() -> "Nowhere": return (1, 2)
    def variable(of: T) -> T: return of
    def iterator() -> Iterator[int]: return (1, 2)
    def bare() -> tuple: return (1, 2)
    def anything() -> Any: return (1, 2)
    def thing() -> object: return (1, 2)
    def other(of: "Nowhere" = None) -> Point: return Point(1, 2)

    @workflow("meaningless")
    async def meaningless(payload, step: Step):
        got = [await step.run(f.__name__, f) for f in (custom, unresolved, iterator, bare, anything, thing)]
        got.append(await step.run("variable", variable, (1, 2)))
        assert got == [[1, 2]] * 7, got
        assert type(await step.run("other", other)) is Point
""",
    )
    run = live.run("meaningless")
    assert run["state"] == "succeeded", run["error"]


def test_returns_says_what_a_step_or_a_child_comes_back_as(live: Project) -> None:
    live.add(
        "returns.py",
        TYPES
        + """
    @workflow("returns-child")
    def child(payload: int) -> Receipt:
        return Receipt(payload, NOON)

    @workflow("returns")
    async def returns(payload, step: Step):
        assert await step.run("now", lambda: NOON, returns=datetime) == NOON
        assert await step.run("none", lambda: None, returns=Receipt | None) is None
        assert await step.run("json", child.function, 1, returns=dict) == {"number": 1, "at": NOON.isoformat(), "price": "1.10"}
        assert await step.invoke("by handle", child, 2) == Receipt(2, NOON)
        assert await step.invoke("by name", "returns-child", 3, returns=Receipt) == Receipt(3, NOON)
        assert (await step.invoke("as json", "returns-child", 4))["number"] == 4

    @workflow("returns-blocking")
    def returns_blocking(payload, step: BlockingStep):
        assert step.run("now", lambda: NOON, returns=datetime) == NOON
        assert step.invoke("by handle", child, 2) == Receipt(2, NOON)
        assert step.invoke("by name", "returns-child", 3, returns=Receipt) == Receipt(3, NOON)
        assert step.invoke("as json", child, 4, returns=dict)["number"] == 4
""",
    )
    for workflow in ("returns", "returns-blocking"):
        run = live.run(workflow)
        assert run["state"] == "succeeded", run["error"]


def test_returns_that_json_cannot_mean_is_refused_before_the_body_runs(live: Project) -> None:
    live.add(
        "bad_returns.py",
        TYPES
        + """
    @workflow("bad-returns", retries=3)
    async def bad_returns(payload, step: Step):
        await step.run("read", lambda: witness("body of bad-returns"), returns=bytes)
""",
    )
    run = live.run("bad-returns")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "step_error")
    assert "step 'read': returns: bytes cannot be made from JSON" in run["error"]["message"]
    assert live.facts("body of bad-returns") == []


def test_a_stored_value_that_no_longer_fits_its_type_is_an_error_of_the_step_and_is_kept(live: Project) -> None:
    source = """
    from dataclasses import dataclass

    @dataclass
    class Paid:
        {field}: int

    def charge() -> Paid:
        witness("charged")
        return Paid(5)

    @workflow("changed-type", retries=0)
    async def changed_type(payload, step: Step):
        paid = await step.run("charge", charge)
        if payload == "fail" and seen("failed") == 0:
            witness("failed")
            raise RuntimeError("later")
        return repr(paid)
    """
    live.add("changed_type.py", source.format(field="euros"))
    run = live.run("changed-type", "fail")
    assert run["state"] == "dead"
    live.add("changed_type.py", source.format(field="cents"))
    assert live.command("retry", run["id"]).returncode == 0
    run = live.wait(run["id"])
    assert (run["state"], run["error"]["reason"]) == ("dead", "step_error")
    message = run["error"]["message"]
    assert message.startswith("step 'charge': the stored value does not fit Paid: its value.cents: missing"), message
    live.add("changed_type.py", source.format(field="euros"))
    live.command("retry", run["id"])
    assert live.wait(run["id"])["result"] == "Paid(euros=5)"
    assert len(live.facts("charged")) == 1


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [("bytes", "{'data': b'x'}", "not_json"), ("nan", "float('nan')", "not_json"), ("large", "'x' * (2 << 20)", "too_large")],
)
def test_a_retry_says_which_step_ran_without_its_value_being_stored(live: Project, kind: str, value: str, reason: str) -> None:
    name = f"charge-{kind}"
    source = f"""
    def charge():
        witness("{name}")
        return {{value}}

    @workflow("{name}", retries=3)
    async def charge_it(payload, step: Step):
        await step.run("before", lambda: 1)
        return await step.run("charge", charge, retries=5)
    """
    live.add(f"charge_{kind}.py", source.format(value=value))
    run = live.run(name)
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, reason)
    assert run["error"]["message"].startswith("step 'charge' ran, but its value cannot be stored: the value of step 'charge'")
    step = run["steps"][-1]
    assert (step["name"], step["state"], step["error"]["unstored"]) == ("charge", "failed", True)
    assert "ran, but its value cannot be stored" in step["error"]["message"]
    assert "ran, but its value cannot be stored" in live.command("show", run["id"]).stdout

    said = live.command("retry", run["id"])
    warning = f"warning: step `charge` of {run['id']} ran, but its value could not be stored: it will run again"
    assert (said.returncode, said.stderr.strip()) == (0, warning)
    live.wait(run["id"])
    log = "step 'charge' ran before, but its value could not be stored: it runs again now"
    wait_until(lambda: log in live.command("logs", run["id"]).stdout, "the run's log says so")
    assert len(live.facts(name)) == 2

    live.add(f"charge_{kind}.py", source.format(value="7"))
    document = json.loads(live.command("retry", run["id"], "--json").stdout)
    assert document["outcomes"] == {run["id"]: "pending"}
    assert document["unstored"] == {run["id"]: ["charge"]}
    assert live.wait(run["id"])["result"] == 7
    with live.client() as client:
        outcomes = client.retry(run["id"])
        assert (outcomes, outcomes.unstored) == ({run["id"]: "succeeded"}, {})


def test_a_retry_without_a_daemon_says_it_too_and_a_fresh_one_does_not(project: Project) -> None:
    project.workflow(
        "charge.py",
        """
        @workflow("charge", retries=0)
        def charge(payload, step: BlockingStep):
            step.run("charge", lambda: b"receipt")
        """,
    )
    project.serve()
    run = project.run("charge")
    project.stop()
    assert "step `charge`" in project.command("retry", run["id"]).stderr
    project.serve()
    assert project.wait(run["id"])["state"] == "dead"
    said = project.command("retry", run["id"], "--fresh")
    assert (said.returncode, said.stderr) == (0, "")
    project.wait(run["id"])


def test_a_step_that_is_not_given_a_function_says_what_to_write(live: Project) -> None:
    live.add(
        "no_function.py",
        """
        async def fetch():
            return 1

        @workflow("keyword", retries=3)
        async def keyword(payload, step: Step):
            await step.run("x", print, "hi", end="!")

        @workflow("keyword-blocking", retries=3)
        def keyword_blocking(payload, step: BlockingStep):
            step.run("x", print, "hi", end="!")

        @workflow("value", retries=3)
        async def value(payload, step: Step):
            await step.run("x", print("hi"))

        @workflow("coroutine", retries=3)
        async def coroutine(payload, step: Step):
            await step.run("x", fetch())

        @workflow("coroutine-blocking", retries=3)
        def coroutine_blocking(payload, step: BlockingStep):
            step.run("x", fetch())
        """,
    )
    for workflow, message in {
        "keyword": "step 'x': end is not an option of step.run (for keywords of the function: step.run('x', "
        "functools.partial(print, …, end=…)))",
        "keyword-blocking": "functools.partial(print, …, end=…)",
        "value": "step 'x' was given None instead of a function (give the function and its arguments: "
        'step.run("x", print, "hi"))',
        "coroutine": "step 'x' was given the coroutine of a call of fetch instead of a function (give the function and its "
        'arguments: step.run("x", fetch, …))',
        "coroutine-blocking": 'step.run("x", fetch, …)',
    }.items():
        run = live.run(workflow)
        assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "step_error")
        assert message in run["error"]["message"]
        assert "never awaited" not in live.command("logs", run["id"]).stdout


def test_a_coroutine_function_runs_in_a_step_of_a_def_handler(live: Project) -> None:
    live.add(
        "async_in_def.py",
        """
        async def fetch(number):
            await asyncio.sleep(0)
            return number

        async def slow():
            await asyncio.sleep(60)

        @workflow("async-in-def", retries=0)
        def async_in_def(payload, step: BlockingStep):
            got = [step.run("direct", fetch, 1), step.run("hidden", lambda: fetch(2))]
            try:
                step.run("slow", slow, timeout=0.05)
            except TimeoutError as error:
                got.append(str(error))
            return got
        """,
    )
    assert live.run("async-in-def")["result"] == [1, 2, "step 'slow' took longer than 0.05 s"]


def test_an_async_handler_under_a_plain_decorator_is_awaited_with_the_step_of_an_async_def(live: Project) -> None:
    live.add(
        "decorated.py",
        """
        import functools

        def timed(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper

        def bare(function):
            def wrapper(payload, step):
                return function(payload, step)
            return wrapper

        @workflow("decorated", retries=0)
        @timed
        async def decorated(payload: int, step: Step) -> str:
            await step.sleep("nap", 1.2)
            return await step.run("text", str, payload)

        @workflow("bare", retries=3)
        @bare
        async def hidden(payload, step):
            return await step.run("text", str, payload)
        """,
    )
    assert live.run("decorated", 5)["result"] == "5"
    run = live.run("bare")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "step_error")
    assert "is a plain function that returned a coroutine" in run["error"]["message"]
    assert "functools.wraps" in run["error"]["message"]


def test_handlers_that_enqueue_through_handles_are_refused_what_the_other_handler_cannot_read(live: Project) -> None:
    live.add(
        "checked.py",
        """
        from dataclasses import dataclass
        from tako_lite.errors import BadInput

        @dataclass
        class Mail:
            email: str

        @workflow("mail")
        def mail(payload: Mail):
            return payload.email

        @workflow("sends-mail", retries=0)
        async def sends_mail(payload, step: Step):
            refused = []
            for call in (
                lambda: step.enqueue("a", mail, {"email": 3}),
                lambda: step.invoke("b", mail, {"mail": "x"}),
                lambda: mail.aenqueue({"email": None}),
            ):
                try:
                    await call()
                except BadInput as error:
                    refused.append(error.message)
            return [*refused, await step.invoke("c", mail, Mail("ann"))]
        """,
    )
    run = live.run("sends-mail")
    assert run["result"] == [
        "payload.email: expected str, got int 3",
        "payload.email: missing; payload.mail: not a field of Mail; did you mean `email`?",
        "payload.email: expected str, got null",
        "ann",
    ], run["error"]


def test_files_of_payloads_may_begin_with_a_byte_order_mark(live: Project) -> None:
    live.add("note.py", "@workflow('note')\ndef note(payload: dict[str, int]):\n    return payload\n")
    (live.root / "note.json").write_bytes(b'\xef\xbb\xbf{"a": 3}')
    (live.root / "notes.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n')
    (live.root / "utf16.json").write_text('{"a": 3}', encoding="utf-16")
    (live.root / "empty.jsonl").write_bytes(b"\xef\xbb\xbf")
    for arguments, stdin in (
        (["@note.json"], None),
        (["-"], '\ufeff{"a": 3}'),
        (["--jsonl", "notes.jsonl"], None),
        (["--jsonl", "-"], '\ufeff{"a": 1}\n{"a": 2}\n'),
        (['\ufeff{"a": 3}'], None),
        (["--jsonl", "empty.jsonl"], None),
    ):
        done = live.command("enqueue", "note", *arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.stderr)
    assert live.command("signal", "noted", "@note.json").returncode == 0
    for arguments in (["@utf16.json"], ["--jsonl", "utf16.json"]):
        done = live.command("enqueue", "note", *arguments)
        assert done.returncode == 2
        assert "utf16.json begins with the byte order mark of UTF-16" in done.stderr and "UTF-8" in done.stderr


def test_tako_toml_and_workflow_files_may_begin_with_a_byte_order_mark(project: Project) -> None:
    file = project.workflow("marked.py", "@workflow('marked')\ndef marked():\n    return 1\n")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    config = project.root / "tako.toml"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert project.command("check").returncode == 0
    project.serve()
    assert project.run("marked")["result"] == 1
