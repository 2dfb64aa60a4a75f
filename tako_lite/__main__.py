"""`python -m tako_lite` is `tako-lite`."""

import sys

from tako_lite.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
