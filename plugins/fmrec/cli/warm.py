"""`python -m fmrec.cli.warm PACKAGE... -- COMMAND...`: a command whose forks need not import.

Airflow runs each task in a process that is forked from the scheduler, and reads each DAG file in
one that is forked from the DAG processor. What those two have imported, their forks have for
nothing: a task of fmrec imports for seconds otherwise, and a run has a dozen tasks. So all modules
of the packages are imported, with everything that they need, before `python -m COMMAND` is run in
this process.

fmrec's own modules are forgotten again: each fork imports them as they are by then, so a change to
them takes effect at the next task, as it would without this.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import runpy
import sys
import traceback
from collections.abc import Iterable, Iterator

_OWN = "fmrec"


def main(arguments: list[str]) -> None:
    """Import, then become the command."""
    packages, command = _split(arguments)
    load(packages)
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def load(packages: Iterable[str]) -> None:
    """Import what the packages and their modules need, but keep nothing of fmrec's own.

    A module that cannot be imported is told of and left out: its own tasks will say so again.
    """
    for name in packages:
        for module in _modules(name):
            try:
                importlib.import_module(module)
            except Exception:  # noqa: BLE001 - whatever a half-edited module raises
                traceback.print_exc()
    # The Amazon provider asks for the stack whenever it makes a client. The first time, that makes
    # an index of the files of all modules, which forks inherit.
    inspect.stack()
    for name in [name for name in sys.modules if name.partition(".")[0] == _OWN]:
        del sys.modules[name]


def _modules(package: str) -> Iterator[str]:
    """The package and its modules."""
    yield package
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        yield found.name


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    main(sys.argv[1:])
