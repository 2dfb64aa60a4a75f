"""`[secrets]`: who gets them, who does not, and where they are not seen."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
from pathlib import Path

import pytest

from tests.support.project import Project, wait_until

PASSWORD = "hunter2-of-the-mail-qzxkvj"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nq/9x+first+second+third==\n-----END KEY-----"

TOML = """
    [secrets]
    smtp = "env:SMTP_PASSWORD"
    key = "file:private/key.pem"

    [workflows.email]
    secrets = ["smtp", "key"]
"""

HANDLERS = """
    import ctypes, hashlib, resource, subprocess
    from tako_lite import secret

    def digest(name):
        return hashlib.sha256(secret(name).encode()).hexdigest()

    def state():
        links = [os.readlink(entry) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry)]
        return {
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
            "sockets": sum(link.startswith("socket:") for link in links),
        }

    @workflow("digests", worker="email", retries=0)
    async def digests(payload):
        return {name: digest(name) for name in payload}
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def mail(project: Project) -> Project:
    """A project whose group `email` gets a password from the environment and a key of several lines from a file."""
    project.configure(TOML)
    put(project, KEY + "\n")
    project.workflow("a.py", HANDLERS)
    return project


def put(project: Project, value: str) -> None:
    file = project.root / "private/key.pem"
    file.parent.mkdir(exist_ok=True)
    file.write_text(value)
    file.chmod(0o600)


def files_with(project: Project, text: str) -> list[str]:
    """The files below the project, its source of a secret aside, in which a text stands."""
    files = [path for path in project.root.rglob("*") if path.is_file() and "private" not in path.parts]
    return [str(path.relative_to(project.root)) for path in files if text.encode() in path.read_bytes()]


def in_memory(pid: int, text: str) -> bool:
    """Whether a text stands in what a process can write to."""
    ranges = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for place, mode, *_ in ranges:
            if mode.startswith("rw"):
                start, end = (int(number, 16) for number in place.split("-"))
                file.seek(start)
                with contextlib.suppress(OSError):  # the guard pages of newer C libraries
                    if text.encode() in file.read(end - start):
                        return True
    return False


# Who gets them


def test_a_handler_has_the_secrets_of_its_group_and_no_process_shows_them(mail: Project) -> None:
    mail.workflow(
        "b.py",
        """
        from .a import *

        @workflow("hold", worker="email")
        def hold(payload):
            program = subprocess.Popen(["sleep", "60"], close_fds=False)
            listed = subprocess.check_output(["ls", "-l", "/proc/self/fd"], close_fds=False, text=True)
            forked = os.fork()
            if forked == 0:
                time.sleep(60)
                os._exit(0)
            digests = [digest("smtp"), digest("key")]
            witness("held", program=program.pid, forked=forked, digests=digests, listed=listed, **state())
            while not os.path.exists("go"):
                time.sleep(0.01)
            program.kill()
            program.wait()
            os.kill(forked, 9)
            os.waitpid(forked, 0)

        @workflow("plain", worker="media")
        async def plain(payload):
            return state()
        """,
    )
    daemon = mail.serve(SMTP_PASSWORD=PASSWORD)
    run_id = mail.enqueue("hold")
    (held,) = mail.wait_for_fact("held")

    assert held["digests"] == [sha(PASSWORD), sha(KEY)]
    assert (held["core"], held["dumpable"]) == ([0, 0], 0)
    zygote = mail.status()["daemon"]["zygote_pid"]
    for pid in (held["pid"], held["program"], held["forked"], zygote, daemon):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
        if pid != daemon:  # whose own environment is the source
            shown += environment(pid)
        assert PASSWORD.encode() not in shown and b"SMTP_PASSWORD" not in shown and b"MIIEvQ" not in shown
    assert not in_memory(zygote, PASSWORD) and not in_memory(zygote, "MIIEvQ")
    if os.geteuid() == 0:  # the search finds what is there; nobody else may even look
        assert in_memory(held["pid"], PASSWORD)
    else:
        with pytest.raises(PermissionError):
            in_memory(held["pid"], PASSWORD)
    plain = mail.run("plain")["result"]
    assert held["sockets"] == plain["sockets"] and "socket:" not in held["listed"]
    assert (plain["core"], plain["dumpable"]) == (list(resource.getrlimit(resource.RLIMIT_CORE)), 1)
    (mail.root / "go").touch()
    assert mail.wait(run_id)["state"] == "succeeded"
    for text in (PASSWORD, "MIIEvQ"):
        assert files_with(mail, text) == []


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:  # which is better still
        return b""


def test_a_group_without_a_secret_gets_an_error_that_says_what_to_write(mail: Project) -> None:
    mail.workflow(
        "b.py",
        """
        from tako_lite import secret

        @workflow("ask", worker="media", retries=0)
        async def ask(payload):
            return secret("smtp")

        @workflow("mistyped", worker="email", retries=0)
        async def mistyped(payload):
            return secret("smpt")
        """,
    )
    mail.serve(SMTP_PASSWORD=PASSWORD)
    error = mail.run("ask")["error"]
    assert error["type"] == "SecretError"
    assert error["message"] == (
        "the group media is not given a secret 'smtp' "
        '(name it in tako.toml: `secrets = ["smtp"]` in [workflows.media], and its source in [secrets])'
    )
    assert "(did you mean `smtp`?)" in mail.run("mistyped")["error"]["message"]
    settings = mail.command("config", "--json").stdout
    assert '"smtp": "env:SMTP_PASSWORD"' in settings and PASSWORD not in settings


# Where they are not seen


def test_secrets_are_masked_in_output_failures_and_warnings_however_they_get_there(mail: Project) -> None:
    mail.workflow(
        "b.py",
        """
        import logging
        from .a import *

        @workflow("talk", worker="email", retries=0)
        async def talk(payload, step: Step):
            password, key = secret("smtp"), secret("key")
            step.progress(0.5, "with " + password)
            print("printed", password)
            print("cut", password[:9], sep=":", end="")
            print(password[9:])
            print(key)
            print("as json", json.dumps(key), repr(key))
            for length in range(3480, 3500, 5):  # a line is cut after 3,500 bytes
                print("x" * length + password)
                print("x" * length + password + "w" * 300, end="")
                print()
            print("x" * 3495 + password[:9], end="")
            print(password[9:])
            step.log.warning("logged %s", password)
            logging.getLogger("mine").error(password)
            subprocess.run(["echo", "echoed", password])
            os.write(1, ("direct " + password[:9]).encode())
            await asyncio.sleep(0.05)
            os.write(1, (password[9:] + "\\n").encode())
            endless = ("y" * (64 * 1024 - 10) + password).encode() * 2 + b"\\n" + b"z" * (64 * 1024 - 5)
            while endless:
                endless = endless[os.write(1, endless):]
            await asyncio.sleep(0.05)
            os.write(1, password[:9].encode())
            await asyncio.sleep(0.05)
            os.write(1, (password[9:] + "\\nover\\n").encode())

        @workflow("fail", worker="email", retries=0)
        async def fail(payload, step: Step):
            async def body():
                raise ValueError("in a step: " + secret("smtp"))
            try:
                await step.run("body", body)
            except ValueError:
                raise RuntimeError("z" * 4090 + (secret("smtp") + "!") * 2000, secret("key")) from None  # it is cut

        @workflow("bail", worker="email", retries=0)
        async def bail(payload, step: Step):
            step.bail("because of " + secret("smtp"))

        @workflow("die", worker="email")
        async def die(payload):
            print("last words", secret("smtp"))
            os.write(2, secret("smtp").encode())
            os._exit(3)
        """,
    )
    mail.configure(TOML + "    max_crashes = 1\n")
    mail.serve(SMTP_PASSWORD=PASSWORD)
    talk = mail.run("talk")
    assert (talk["state"], talk["progress_note"]) == ("succeeded", "with ***"), talk["error"]
    assert mail.run("fail")["error"]["message"].startswith("('zzz")
    assert mail.run("bail")["error"]["message"] == "because of ***"
    crash = mail.run("die")["error"]
    assert crash["reason"] == "crashed" and "last words ***" in crash["message"]
    log = (mail.root / ".tako/logs/email.jsonl").read_text()
    for text in ("printed ***", "cut:***", "as json", "logged ***", "echoed ***", "direct ***", "over"):
        assert text in log
    assert (log.count("x***"), log.count("y***"), log.count("z***")) == (9, 2, 1)
    mail.stop()
    for text in (PASSWORD, PASSWORD[:6], PASSWORD[-6:], "MIIEvQ", "q/9x+first"):
        assert files_with(mail, text) == []


def test_a_secret_in_an_import_error_is_masked_in_the_group_and_in_the_log_of_the_daemon(
    mail: Project,
) -> None:
    mail.workflow(
        "b.py",
        """
        from .a import *
        raise RuntimeError("no login with " + secret("smtp"))

        @workflow("b", worker="email")
        def b(payload): ...
        """,
    )
    mail.serve(SMTP_PASSWORD=PASSWORD)
    with mail.client() as client:
        warning = client.enqueue("b").warning or ""
    assert "RuntimeError: no login with ***" in warning
    wait_until(lambda: "no login with ***" in mail.daemon_log(), "the daemon warns")
    assert files_with(mail, PASSWORD) == []


# Sources


def test_the_next_worker_reads_a_rotated_secret_and_a_reload_replaces_older_workers(mail: Project) -> None:
    mail.serve(SMTP_PASSWORD=PASSWORD)
    assert mail.run("digests", ["smtp", "key"])["result"] == {"smtp": sha(PASSWORD), "key": sha(KEY)}
    put(mail, "second\n\n")
    assert mail.run("digests", ["key"])["result"] == {"key": sha(KEY)}
    assert mail.call("reload")["changed"] == ["email"]
    assert mail.run("digests", ["key"])["result"] == {"key": sha("second\n")}
    put(mail, "third")
    wait_until(lambda: len(mail.group("email")["workers"]) == 1, "the worker that the reload replaced is gone")
    (worker,) = mail.group("email")["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    wait_until(lambda: mail.group("email")["workers"] == [], "it is gone")
    assert mail.run("digests", ["key"])["result"] == {"key": sha("third")}
    assert mail.call("reload")["changed"] == []


def test_a_group_whose_secret_cannot_be_read_waits_with_the_reason_and_blocks_no_other_group(mail: Project) -> None:
    mail.workflow("b.py", "@workflow('other')\nasync def other(payload):\n    return 1\n")
    (mail.root / "private/key.pem").unlink()
    mail.serve(SMTP_PASSWORD=PASSWORD)
    with mail.client() as client:
        made = client.enqueue("digests", ["key"])
    reason = f"the secret key cannot be read: {mail.root}/private/key.pem: No such file or directory"
    assert reason in (made.warning or "")
    group = mail.group("email")
    assert group["state"] in ("backoff", "unhealthy") and group["last_error"] == reason
    assert mail.run("other")["result"] == 1
    assert mail.get(made.id)["state"] == "pending"
    assert reason in mail.command("check").stdout
    assert reason in mail.command("doctor").stdout
    put(mail, "there")
    mail.call("resume", group="email")
    assert mail.wait(made.id)["result"] == {"key": sha("there")}


def test_secrets_that_fill_more_than_the_buffer_of_a_socket_arrive(project: Project) -> None:
    values = {f"s{number}": chr(97 + number) * 65_536 for number in range(12)}
    for name, value in values.items():
        (project.root / name).write_text(value + "\n")
    names = ", ".join(f'"{name}"' for name in values)
    sources = "\n".join(f'{name} = "file:{name}"' for name in values)
    project.configure(f"[secrets]\n{sources}\n[workflows.email]\nsecrets = [{names}]\n")
    project.workflow("a.py", HANDLERS)
    project.serve()
    assert project.run("digests", list(values))["result"] == {name: sha(value) for name, value in values.items()}
