"""Variables of `env` and `env_pass` that act when a process starts act in the workers."""

from __future__ import annotations

import pytest

from tako_lite.processes.startup import acting_at_start
from tests.support.project import Project, wait_until

LOOK = """
@workflow("look", worker="{group}", retries=0)
def look(names):
    import ctypes, locale, ssl
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return {{
        "has_no_renegotiation": bool(ssl.create_default_context().options & 0x40000000),
        "started_with": dict(
            line.split("=", 1) for line in open(f"/proc/{{os.getppid()}}/environ").read().split("\\0") if "=" in line
        ),
        "own": {{name: os.environ.get(name) for name in names or ()}},
        "fork_server": os.getppid(),
    }}
"""
OPENSSL = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = NoRenegotiation\n"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "MALLOC_ARENA_MAX",
            "MALLOC_CONF",
            "GLIBC_TUNABLES",
            "_RJEM_MALLOC_CONF",
            "MIMALLOC_VERBOSE",
            "TCMALLOC_SAMPLE_PARAMETER",
        ),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "OPENSSL_CONF", "PYTHONHASHSEED", "LC_ALL", "LOCPATH", "GCONV_PATH", "ASAN_OPTIONS"),
        *("COVERAGE_PROCESS_START", "OTEL_SERVICE_NAME", "PYENV_VERSION"),
    ],
)
def test_a_variable_that_is_read_at_the_start_of_a_process_gets_a_fork_server_of_its_own(name: str) -> None:
    assert acting_at_start({name: "1", "SHOP": "2"})[0] == (name, "1")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "DATABASE_URL", "TZ", "CUDA_VISIBLE_DEVICES", "SSL_CERT_FILE", "TMPDIR"])
def test_a_variable_that_is_read_later_shares_the_fork_server(name: str) -> None:
    assert acting_at_start({name: "1"}) == ()


def test_a_library_that_is_preloaded_may_read_any_variable() -> None:
    environment = {"LD_PRELOAD": "libshop.so", "SHOP": "2", "A": "1"}
    assert dict(acting_at_start(environment)) == environment
    assert acting_at_start({"LD_PRELOAD": "", "SHOP": "2"}) == (("LD_PRELOAD", ""),)


def test_variables_of_the_c_library_and_openssl_take_effect_in_the_groups_that_have_them(project: Project) -> None:
    (project.root / "openssl.cnf").write_text(OPENSSL)
    project.configure(
        """
        [workflows.tuned]
        env = { MALLOC_ARENA_MAX = "1", OPENSSL_CONF = "openssl.cnf", SHOP = "open" }
        """
    )
    project.workflow("tuned.py", LOOK.format(group="tuned"))
    project.workflow("plain.py", LOOK.format(group="default").replace('"look"', '"plain"'))
    project.serve()
    tuned = project.run("look", ["MALLOC_ARENA_MAX", "SHOP"])["result"]
    assert tuned["has_no_renegotiation"]
    assert tuned["started_with"]["MALLOC_ARENA_MAX"] == "1"
    assert "SHOP" not in tuned["started_with"]
    assert tuned["own"] == {"MALLOC_ARENA_MAX": "1", "SHOP": "open"}
    plain = project.run("plain", ["MALLOC_ARENA_MAX"])["result"]
    assert not plain["has_no_renegotiation"]
    assert "MALLOC_ARENA_MAX" not in plain["started_with"]
    assert plain["own"] == {"MALLOC_ARENA_MAX": None}
    assert plain["fork_server"] != tuned["fork_server"]


def test_a_variable_that_is_passed_from_the_daemon_acts_too(project: Project) -> None:
    project.configure('[workflows]\nenv_pass = ["MALLOC_ARENA_MAX"]\n')
    project.workflow("look.py", LOOK.format(group="default"))
    project.serve(MALLOC_ARENA_MAX="2")
    assert project.run("look")["result"]["started_with"]["MALLOC_ARENA_MAX"] == "2"


def test_groups_whose_other_variables_differ_share_one_fork_server(project: Project) -> None:
    project.configure('[workflows.a]\nenv = { SHOP = "1" }\n[workflows.b]\nenv = { SHOP = "2", OMP_NUM_THREADS = "1" }\n')
    project.workflow("a.py", LOOK.format(group="a"))
    project.workflow("b.py", LOOK.format(group="b").replace('"look"', '"other"'))
    project.serve()
    assert project.run("look")["result"]["fork_server"] == project.run("other")["result"]["fork_server"]


def test_a_reload_that_changes_such_a_variable_takes_effect(project: Project) -> None:
    project.workflow("look.py", LOOK.format(group="default"))
    project.serve()
    assert "MALLOC_ARENA_MAX" not in project.run("look")["result"]["started_with"]
    project.configure('[workflows]\nenv = { MALLOC_ARENA_MAX = "1" }\n')
    project.call("reload")
    assert project.run("look")["result"]["started_with"]["MALLOC_ARENA_MAX"] == "1"


def test_a_handler_below_a_decorator_without_wraps_of_another_module_runs(project: Project) -> None:
    helpers = "def logged(function):\n    def inner(payload, step):\n        return function(payload, step)\n    return inner\n"
    (project.root / "helpers.py").write_text(helpers)
    project.workflow(
        "a.py",
        'from helpers import logged\n@workflow("a", retries=0)\n@logged\ndef a(payload, step):\n    return "below"\n',
    )
    project.serve()
    assert project.run("a", 1)["result"] == "below"


def test_a_handler_below_a_decorator_that_hides_its_parameters_gets_what_its_source_takes(project: Project) -> None:
    helpers = "def logged(function):\n    def inner(*args, **kw):\n        return function(*args, **kw)\n    return inner\n"
    (project.root / "helpers.py").write_text(helpers)
    project.workflow(
        "a.py",
        """
        from tako_lite import poll
        from helpers import logged

        @workflow("both", retries=0)
        @logged
        def both(payload, step):
            return step.run("x", str, payload)

        @workflow("one", retries=0)
        @logged
        def one(payload):
            return payload

        @workflow("none", retries=0)
        @logged
        def none():
            return "none"

        @poll("looks", every="1s", starts="one")
        @logged
        def looks(cursor):
            return ([] if cursor else ["found"]), 1
        """,
    )
    project.serve()
    assert [project.run(name, 1)["result"] for name in ("both", "one", "none")] == ["1", 1, "none"]
    wait_until(lambda: project.call("triggers")["triggers"][0]["cursor"] == 1, "the trigger is evaluated")
