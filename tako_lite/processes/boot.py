"""Starts a zygote: run as a file, by whatever interpreter a group names.

`tako_lite` is made importable by its folder alone, so that workers see nothing of what is installed beside it. Kept to a syntax
that old interpreters can read, so that they say what is wrong with them.
"""

import sys


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 -- a group may name any interpreter
        sys.exit("workers need Python 3.11 or newer; this is " + sys.version.split()[0])
    import importlib.util

    sys.path.pop(0)  # the folder of this file
    folder = sys.argv[1]
    spec = importlib.util.spec_from_file_location("tako_lite", folder + "/__init__.py", submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None  # noqa: S101
    package = importlib.util.module_from_spec(spec)
    sys.modules["tako_lite"] = package
    spec.loader.exec_module(package)
    from tako_lite.processes.zygote import main as serve

    serve(sys.argv[2:])


if __name__ == "__main__":
    main()
