"""`python -m fmrec`: one function for each command; what a command needs is imported by it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from fmrec.cli import arguments
from fmrec.errors import FmrecError
from fmrec.settings import RunSettings


def main(words: Sequence[str]) -> int:
    """Run one command; the exit code is 0 only when it succeeded."""
    try:
        given = _parser().parse_args(words)
        return int(given.command(given))
    except FmrecError as error:
        print(f"fmrec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fmrec: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    return arguments.parser(_COMMANDS)


def _params(given: argparse.Namespace) -> dict[str, Any]:
    """The Params that the command line names, checked and typed.

    Here, so that Airflow's Params get numbers and a mistake shows before anything starts.
    """
    from fmrec import films

    named = arguments.settings_given(given)
    checked = RunSettings.of(named)
    if checked.only is not None:
        films.parse(checked.only)
    return {name: getattr(checked, name) for name in named}


def _run(given: argparse.Namespace) -> int:
    from fmrec.cli import run

    print(run.run(_params(given), given.report_to))
    return 0


def _backfill(given: argparse.Namespace) -> int:
    from fmrec.cli import backfill

    backfill.run(_params(given), given.first, given.last, given.max_active_runs)
    return 0


def _up(_: argparse.Namespace) -> int:
    """Start Airflow and the local AWS in the background, and say where to look."""
    from fmrec.cli import stack

    stack.up()
    return 0


def _down(_: argparse.Namespace) -> int:
    """Stop Airflow and the local AWS that `up` started, every process of them."""
    from fmrec.cli import stack

    stack.down()
    return 0


def _status(_: argparse.Namespace) -> int:
    """Show what runs, what is in production and what it has cost."""
    from fmrec.cli import status

    status.show()
    return 0


def _airflow(given: argparse.Namespace) -> int:
    from fmrec.cli import stack

    return stack.airflow(given.arguments)


def _replay(given: argparse.Namespace) -> int:
    from fmrec.cli import replay

    replay.run(given.source, given.first_day, given.until)
    return 0


def _quarantine(given: argparse.Namespace) -> int:
    from fmrec.cli import quarantine

    quarantine.show(given.day, given.check)
    return 0


def _readmit(given: argparse.Namespace) -> int:
    from fmrec.cli import quarantine

    quarantine.let_in(given.day, given.rows, given.check)
    return 0


def _champion(given: argparse.Namespace) -> int:
    from fmrec.cli import champion

    champion.show(given.lane, given.appoint)
    return 0


def _recommend(given: argparse.Namespace) -> int:
    from fmrec.cli import recommend

    recommend.show(given.user, given.lane, given.top, given.only)
    return 0


def _explain(given: argparse.Namespace) -> int:
    from fmrec.cli import explain

    explain.show(given.run, given.user, given.item, given.top)
    return 0


def _report(given: argparse.Namespace) -> int:
    from fmrec.cli import report

    report.show(given.run, given.json)
    return 0


def _history(given: argparse.Namespace) -> int:
    from fmrec.cli import history

    history.show(given.lane, given.page, given.advise)
    return 0


_COMMANDS: arguments.Commands = {
    "run": _run,
    "backfill": _backfill,
    "up": _up,
    "down": _down,
    "status": _status,
    "airflow": _airflow,
    "replay": _replay,
    "quarantine": _quarantine,
    "readmit": _readmit,
    "champion": _champion,
    "recommend": _recommend,
    "explain": _explain,
    "report": _report,
    "history": _history,
}
