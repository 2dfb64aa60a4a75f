"""Starts a fork server: run as a script by the interpreter that a group names.

`tako_lite` is made importable by its folder alone, so that workers see nothing that is installed beside it. The syntax here is
one that old interpreters can read, so that they report what is wrong with them.

Workers are forks of that process, so this file is their main module too. A child that multiprocessing does not fork (`spawn`,
`forkserver`) first runs its parent's main module under another name. Here that makes `tako_lite` and the project's modules
importable in the child.
"""

import os.path
import sys


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 -- a group may name any interpreter
        sys.exit("workers need Python 3.11 or newer; this is " + sys.version.split()[0])
    sys.path.pop(0)  # the folder of this file
    arguments = sys.argv[1:]
    del sys.argv[1:]  # modules that read options of their own must not see them
    make_importable(arguments[0])
    if arguments[1] == "daemon":
        from tako_lite.processes.shared_start import main as serve
    else:
        from tako_lite.processes.forkserver_main import main as serve
    serve(arguments[1:])


def prepare_child() -> None:
    if "tako_lite" not in sys.modules:
        make_importable(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 -- starts faster
    from tako_lite.importing import install_again

    install_again()


def make_importable(folder: str) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("tako_lite", folder + "/__init__.py", submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None  # noqa: S101
    package = importlib.util.module_from_spec(spec)
    sys.modules["tako_lite"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    prepare_child()
