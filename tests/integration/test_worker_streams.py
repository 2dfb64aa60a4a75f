"""What a worker's standard streams can do, and what forks of handlers may do with them."""

from __future__ import annotations

from tests.support.project import Project
from tests.support.run_logs import texts, wait_for_text


def test_standard_streams_are_text_streams_like_those_of_any_program(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import faulthandler, io
        faulthandler.enable()
        sys.stdout.reconfigure(encoding="utf-8", line_buffering=True, write_through=True)
        sys.stderr.reconfigure(errors="replace")

        @workflow("look")
        async def look(payload):
            facts = []
            for stream, name, number in ((sys.stdout, "<stdout>", 1), (sys.stderr, "<stderr>", 2)):
                facts.append([
                    isinstance(stream, io.TextIOWrapper), stream.name == name, stream.mode == "w", stream.encoding == "utf-8",
                    stream.fileno() == number, stream.writable(), not stream.readable(), not stream.seekable(),
                    not stream.isatty(), not stream.closed, stream.newlines is None, stream.line_buffering,
                    stream.buffer.name == name, stream.buffer.raw.fileno() == number, stream.buffer.mode == "wb",
                ])
            facts.append([sys.stdout is not sys.stderr, sys.__stdout__ is sys.stdout, sys.__stderr__ is sys.stderr,
                sys.stdout.write_through, sys.stderr.errors == "replace", sys.stdout.write("äß") == 2,
                sys.stdout.buffer.write(memoryview(b"x\\n")) == 2])
            for wrong in (lambda: sys.stdout.write(b"x"), lambda: sys.stdout.buffer.write("x")):
                try:
                    wrong()
                except TypeError:
                    facts.append([True])
            return [fact for group in facts for fact in group]
        """,
    )
    project.serve()
    run = project.run("look")
    assert len(run["result"]) == 39 and all(run["result"]), run["result"]
    assert texts(wait_for_text(project, "äßx"), run["id"]) == ["äßx"]


def test_text_and_bytes_of_a_run_stay_in_their_order_and_are_tagged_with_it(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import codecs, contextlib, io
        @workflow("a")
        async def a(payload):
            print("text,", end="")
            sys.stdout.buffer.write(b" then bytes\\n")
            sys.stderr.write("begun on stderr, ")
            print("whole on stdout", flush=True)
            print("ended on stderr", file=sys.stderr)
            wrapped = io.TextIOWrapper(sys.stdout.buffer, "utf-8")
            wrapped.write("wrapped\\n")
            del wrapped
            codecs.getwriter("utf-8")(sys.stdout.buffer).write("übersetzt\\n")
            sys.stdout.writelines(["one\\n", "two\\n"])
            with contextlib.redirect_stdout(io.StringIO()) as kept:
                print("kept")
            print(kept.getvalue(), end="", file=sys.__stdout__)
            sys.stdout.reconfigure(encoding="latin-1", errors="backslashreplace", newline="\\r\\n")
            print("Grüße €")
            sys.stdout.reconfigure(encoding="utf-8")
            return 1
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["result"] == 1, run["error"]
    expected = ["text, then bytes", "whole on stdout", "begun on stderr, ended on stderr", "wrapped", "übersetzt"]
    expected += ["one", "two", "kept", "Grüße \\u20ac"]
    assert texts(wait_for_text(project, "Grüße"), run["id"]) == expected


def test_a_run_that_closes_or_detaches_its_streams_silences_no_other(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import io
        DETACHED = sys.stderr = io.TextIOWrapper(sys.stderr.detach(), "utf-8", line_buffering=True)

        @workflow("closes")
        async def closes(payload, step: Step):
            with sys.stdout:
                print("first")
            sys.stdout.close()
            sys.stdout.buffer.close()
            print("second")
            print("third", file=sys.stderr)
            step.log("fourth")

        @workflow("after")
        async def after(payload):
            print("still heard", sys.stdout.closed)
        """,
    )
    project.serve()
    first, second = project.run("closes"), project.run("after")
    found = wait_for_text(project, "still heard")
    assert texts(found, first["id"]) == ["first", "second", "third", "INFO fourth"]
    assert texts(found, second["id"]) == ["still heard False"]


def test_what_is_printed_goes_where_a_handler_pointed_the_descriptor(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("a")
        async def a(payload):
            saved = os.dup(1)
            with open("captured", "w+") as file:
                os.dup2(file.fileno(), 1)
                try:
                    print("a line")
                    print("no end", end="", flush=True)
                    os.system("echo , of a program")
                finally:
                    os.dup2(saved, 1)
                    os.close(saved)
            print("back")
            return open("captured").read()
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["result"] == "a line\nno end, of a program\n"
    assert texts(wait_for_text(project, "back"), run["id"]) == ["back"]


def test_a_long_line_is_cut_between_characters(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    print('x' + 'ü' * 5_000)\n    print('end')\n")
    project.serve()
    run = project.run("a")
    assert "".join(texts(wait_for_text(project, "end"), run["id"])) == "x" + "ü" * 5_000 + "end"


def test_children_that_handlers_fork_can_print_while_other_runs_do(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 4\n")
    project.workflow(
        "a.py",
        """
        import logging, multiprocessing
        logging.basicConfig()

        def child(number):
            print("child", number)
            logging.warning("log %d", number)
            print("no end", number, end="")

        @workflow("chatty")
        def chatty(payload, step: BlockingStep):
            while not os.path.exists("enough"):
                print("x" * 300)
                step.log("y")
                logging.warning("z")

        @workflow("forks")
        def forks(times):
            hung = 0
            print("begun by the parent, ", end="")
            for number in range(times):
                process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
                process.start()
                process.join(10)
                if process.exitcode is None:
                    hung += 1
                    process.kill()
            print("ended by the parent")
            return hung
        """,
    )
    project.serve()
    chatty = [project.enqueue("chatty") for _ in range(2)]
    run = project.run("forks", 100)
    (project.root / "enough").touch()
    for run_id in chatty:
        project.wait(run_id)
    assert run["result"] == 0
    found = texts(wait_for_text(project, "ended by the parent"), run["id"])
    assert found.count("begun by the parent, ended by the parent") == 1
    for number in range(100):
        printed = [found.count(text.format(number)) for text in ("child {}", "no end {}", "WARNING:root:log {}")]
        assert printed == [1, 1, 1], (number, printed)
    assert len(found) == 301


def test_a_fork_that_comes_back_from_a_handler_ends_and_one_that_exits_has_its_code(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        def fork(code):
            if (child := os.fork()) == 0:
                if code is None:
                    return "as if it were the worker"
                sys.exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        @workflow("on-loop")
        async def on_loop(code):
            return fork(code)

        @workflow("in-thread")
        def in_thread(code):
            return fork(code)
        """,
    )
    project.serve()
    for workflow in ("on-loop", "in-thread"):
        assert [project.run(workflow, code)["result"] for code in (None, 0, 5)] == [1, 0, 5], workflow


def test_a_step_in_a_fork_fails_instead_of_waiting_for_ever(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import multiprocessing

        def child(step):
            try:
                step.run("a", str, 1)
            except Exception as error:
                print(type(error).__name__, error)

        @workflow("a")
        def a(payload, step: BlockingStep):
            process = multiprocessing.get_context("fork").Process(target=child, args=(step,))
            process.start()
            process.join(10)
            return process.exitcode
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["result"] == 0
    assert "StepError" in texts(wait_for_text(project, "forked"), run["id"])[0]
