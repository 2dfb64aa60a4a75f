"""`cancel`, `retry`, `discard` and `signal`: commands that end runs, start them over, or wake them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import click

from tako_lite.cli.bulk import count, filters_of, named_ids, run_bulk
from tako_lite.cli.options import chosen_config, command, filter_options, json_option, run_ending, without_none
from tako_lite.cli.output import warn, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.client import Client
from tako_lite.clock import SystemClock, local, milliseconds
from tako_lite.units import counted, was_or_were

LIVE: Final = ("pending", "running", "waiting")
RETRYABLE: Final = ("dead", "cancelled")
MOST_ASKED: Final = 200
"""Maximum number of runs that are read one by one before they are retried."""
REFUSED: Final = {
    "succeeded": "it succeeded; enqueue a new run instead",
    "refused": "it cannot start: its group is unavailable, unknown or closed to its tenant (tako-lite groups), or at its limit",
    "duplicate": "another live run has its unique key",
    "not_dead": "it is not dead",
    "not_later": "it is not pending, or is due already",
    "unknown": "the run no longer exists",
}

SHOWN_STEPS: Final = 20

all_option = click.option("--all", "everything", is_flag=True, help="All runs; required if no other filter is given.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only print the number of runs.")


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@filter_options(LIVE)
@all_option
@dry_run_option
@json_option
def cancel(runs: tuple[str, ...], dry_run: bool, as_json: bool, **chosen: Any) -> int:
    """Cancel runs that have not ended: the named ones, or those that match the filters.

    A running run stops at its next step. Runs that have ended do not change.
    """
    queue = QueueReader()
    ids = named_ids(queue, runs, chosen)
    if dry_run:
        return print_count(count(queue, chosen, LIVE) if ids is None else len(ids), as_json=as_json)
    if ids is None:
        return print_bulk(run_bulk(queue, "cancel", chosen), as_json=as_json)
    return print_outcomes(queue.client.cancel(*ids), as_json=as_json)


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@filter_options(RETRYABLE)
@all_option
@click.option("--fresh", is_flag=True, help="Delete the stored steps and start from the first.")
@click.option(
    "--payload", multiple=True, metavar="JSON", help="Enqueue a new run like RUN with another payload; repeat it for fields."
)
@dry_run_option
@json_option
def retry(runs: tuple[str, ...], fresh: bool, payload: tuple[str, ...], dry_run: bool, as_json: bool, **chosen: Any) -> int:
    """Re-queue dead and cancelled runs: the named ones, or those that match the filters.

    They are due at once and their attempts are counted from zero. Stored steps do not run again. A step whose value could not
    be stored runs again, and a warning names it. With --payload, the old run does not change; a new run with the same workflow
    and options starts from the first step.
    """
    queue = QueueReader()
    if payload:
        if len(runs) != 1 or dry_run:
            raise click.UsageError("--payload is for one RUN")
        return _enqueue_again(queue, runs[0], payload, as_json=as_json)
    ids = named_ids(queue, runs, chosen)
    matching = count(queue, chosen, RETRYABLE) if ids is None else len(ids)
    if dry_run:
        return print_count(matching, as_json=as_json)
    due = _due_later(queue, _few_ids(queue, chosen, matching) if ids is None else ids)
    if ids is None:
        answer = run_bulk(queue, "retry", chosen, fresh=fresh)
        outcomes, unstored = answer["outcomes"], answer["unstored"]
    else:
        done = queue.client.retry(*ids, fresh=fresh)
        outcomes, unstored = dict(done), done.unstored
    was_due = {id: moment for id, moment in due.items() if outcomes.get(id) == "pending"}
    more = {"unstored": unstored, "was_due_at": was_due}
    code = print_bulk(answer, as_json=as_json, **more) if ids is None else print_outcomes(outcomes, as_json=as_json, **more)
    if not as_json:
        _print_due_now(was_due, named=ids is not None)
        _warn_of_steps(unstored)
    return code


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@filter_options(("dead",))
@all_option
@dry_run_option
@json_option
def discard(runs: tuple[str, ...], dry_run: bool, as_json: bool, **chosen: Any) -> int:
    """Acknowledge dead runs, so that they are no longer counted: the named ones, or those that match the filters.

    They stay dead, and can be shown and retried until retention deletes them.
    """
    queue = QueueReader()
    ids = named_ids(queue, runs, chosen)
    if dry_run:
        return print_count(count(queue, chosen, ("dead",)) if ids is None else len(ids), as_json=as_json)
    if ids is None:
        return print_bulk(run_bulk(queue, "discard", chosen), as_json=as_json)
    return print_outcomes(queue.client.discard(*ids), as_json=as_json)


@command
@click.argument("event")
@click.argument("payload", nargs=-1)
@click.option("--run", type=run_ending, metavar="RUN", help="Send EVENT:ID, the event of this run alone.")
@json_option
def signal(event: str, payload: tuple[str, ...], run: str | None, as_json: bool) -> None:
    """Store a signal and wake the runs that wait for it.

    PAYLOAD is JSON, @FILE, - for stdin, or fields: key=text, n:=3. The default is true. Every wait for an EVENT gets its first
    payload, even a wait that begins later. With --run, the event is EVENT:ID with the whole id of the run, which its handler
    waits for with step.wait_for(f"EVENT:{step.run_id}").
    """
    from tako_lite.cli.payload import read_payload

    value = read_payload(*payload) if payload else True
    if run is not None:
        event = _event_of_run(QueueReader(), event, run)
    with Client(chosen_config(), source="cli") as client:
        answer = client.call("signal", event=event, payload=value)
    if as_json:
        write_json(answer)
    elif answer["stored"]:
        write(f"{event} is stored; it woke {counted(answer['woken'], 'run')}")
    else:
        write(f"{event} was already stored; its first payload is kept")


def _event_of_run(queue: QueueReader, event: str, ending: str) -> str:
    """The event that a run alone waits for. Raises UsageError for a run that has ended."""
    id = queue.ask("find", ending=ending)["id"]
    state = queue.ask("get", run_id=id)["run"]["state"]
    if state not in LIVE:
        raise click.UsageError(f"{id} is {state}: it waits for nothing")
    return f"{event}:{id}"


def _enqueue_again(queue: QueueReader, ending: str, payload: Sequence[str], *, as_json: bool) -> int:
    """Enqueue a run with the options of a dead or cancelled one and another payload."""
    from tako_lite.cli.payload import read_payload
    from tako_lite.cli.payload_check import payload_check

    value = read_payload(*payload)
    old = queue.ask("get", run_id=queue.ask("find", ending=ending)["id"])["run"]
    if old["state"] not in RETRYABLE:
        raise click.UsageError(f"{old['id']} is {old['state']}: --payload needs a dead or cancelled run")
    payload_check(queue.client, old["workflow"], chosen_config())(value)
    options = without_none(
        worker=old["group"] if old["group_source"] in ("enqueue", "moved") else None,
        fallback=old["fallback"] if old["fallback_source"] == "enqueue" else None,
        tenant=old["tenant"],
        unique_key=old["unique_key"],
    )
    made = queue.client.call(
        "enqueue",
        workflow=old["workflow"],
        payload=value,
        again_of=old["id"],
        priority=old["priority"],
        retries=old["max_attempts"] - 1,
        **options,
    )
    if as_json:
        write_json({**made, "again": old["id"]})
    else:
        write(f"{made['id']} {made['state']} in {made['group']}, as a retry of {old['id']}")
    if made["warning"]:
        warn(made["warning"])
    return 0 if made["state"] == "pending" or made["deduplicated"] else 1


def _few_ids(queue: QueueReader, chosen: dict[str, Any], matching: int) -> list[str]:
    """The ids of the runs that match the filters; none of very many."""
    if matching > MOST_ASKED:
        return []
    ids: list[str] = queue.ask("ids", **{"states": list(RETRYABLE), **filters_of(queue, chosen)})["ids"]
    return ids


def print_count(count: int, *, as_json: bool) -> int:
    """Print how many runs a command would change."""
    if as_json:
        write_json({"count": count})
    else:
        write(counted(count, "run"))
    return 0


def _warn_of_steps(unstored: dict[str, list[str]]) -> None:
    """Warn about the steps that run again because their values could not be stored."""
    steps = [(id, name) for id, names in unstored.items() for name in names]
    for id, name in steps[:SHOWN_STEPS]:
        warn(f"step `{name}` of {id} ran, but its value could not be stored: it will run again")
    if len(steps) > SHOWN_STEPS:
        warn(f"{counted(len(steps) - SHOWN_STEPS, 'other step')} will run again for the same reason; --json lists them")


def _due_later(queue: QueueReader, ids: Sequence[str]) -> dict[str, str]:
    """The future ISO times at which cancelled runs were due, by id; empty for very many runs."""
    if len(ids) > MOST_ASKED:
        return {}
    now = SystemClock().now()
    found = (queue.ask("get", run_id=id)["run"] for id in ids)
    return {run["id"]: run["run_at"] for run in found if run["state"] == "cancelled" and milliseconds(run["run_at"]) > now}


def _print_due_now(was_due: dict[str, str], *, named: bool) -> None:
    """Print which runs were due later and are due now."""
    if named:
        for id, moment in was_due.items():
            write(f"{id} is due now; it was due at {local(milliseconds(moment), whole_seconds=True)}")
    elif was_due:
        count = len(was_due)
        write(f"{counted(count, 'run')} that {was_or_were(count)} due later {'is' if count == 1 else 'are'} due now")


def print_outcomes(outcomes: dict[str, str], *, as_json: bool, **more: Any) -> int:
    """Print the outcome of each named run; return 1 if one of them was refused."""
    if as_json:
        write_json({"outcomes": outcomes, **more})
    else:
        for id, outcome in outcomes.items():
            if outcome in REFUSED:
                warn(f"{id}: {REFUSED[outcome]}")
            else:
                write(f"{id} {outcome}")
    return int(any(outcome in REFUSED for outcome in outcomes.values()))


def print_bulk(answer: dict[str, Any], *, as_json: bool, **more: Any) -> int:
    """Print how many runs a bulk action changed, by outcome."""
    if as_json:
        write_json({**answer, **more})
        return 0
    counts = Counter(answer["counts"])
    write(", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items())) or counted(0, "run"))
    if answer["stopped"]:
        warn(f"stopped: {counted(answer['matched'] - counts.total(), 'other run')} did not change")
    return 0
