"""Entry point of `python -m fmrec`."""

import sys

from fmrec.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
