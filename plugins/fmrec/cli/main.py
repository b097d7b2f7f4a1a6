"""Arguments of `python -m fmrec`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from datetime import date
from pathlib import Path
from typing import Any

from fmrec import __version__
from fmrec.errors import FmrecError
from fmrec.settings import (
    HYPERPARAMETERS,
    RunSettings,
    default_of,
    describe_limits,
    env_name,
)

_WHERE = " It works on the AWS that the environment names, else on the one that `up` started."


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code is 0 only when it succeeded."""
    try:
        given = _parser().parse_args(arguments)
        return int(given.command(given))
    except FmrecError as error:
        print(f"fmrec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fmrec: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fmrec", description="Rebuild a movie recommender through Airflow and SageMaker."
    )
    parser.add_argument("--version", action="version", version=f"fmrec {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run the retraining DAG once and print its report",
        description="Run the DAG fmrec_retrain once, in an Airflow database of its own, against "
        "the AWS that the environment names (AWS_ENDPOINT_URL or AIRFLOW_CONN_AWS_DEFAULT) or "
        "else a private local one. The last line printed is the path of report.json.",
    )
    for setting in fields(RunSettings):
        run.add_argument(
            f"--{setting.name.replace('_', '-')}",
            dest=f"param:{setting.name}",
            metavar="VALUE",
            help=_help(setting),
        )
    run.add_argument(
        "--report-to",
        type=Path,
        metavar="DIR",
        help="where to put the report; default: reports/ in the state folder",
    )
    run.set_defaults(command=_run)

    up = commands.add_parser(
        "up", help="start Airflow and the local AWS for the browser", description=_up.__doc__
    )
    up.set_defaults(command=_up)
    down = commands.add_parser("down", help="stop what `up` started", description=_down.__doc__)
    down.set_defaults(command=_down)
    _add_landing(commands)
    _add_explain(commands)
    _add_history(commands)
    _add_champion(commands)
    airflow = commands.add_parser(
        "airflow",
        help="Airflow's own command line, on what `up` started",
        description="Pass everything that follows to Airflow's own command line.",
    )
    airflow.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    airflow.set_defaults(command=_airflow)
    return parser


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain",
        help="say why a user and a film have the score they have",
        description="Take the score that a published run gives a user and a film apart into the "
        "terms that it is the sum of." + _WHERE,
    )
    explain.add_argument(
        "--run",
        default="latest",
        metavar="RUN",
        help="the run's folder in reports/, such as 19980308T000000Z-1c2d3e4f; default: latest, "
        "the run of the latest moment",
    )
    explain.add_argument("--user", type=int, required=True, metavar="ID")
    explain.add_argument("--item", type=int, required=True, metavar="ID")
    explain.add_argument(
        "--top", type=_count, default=10, metavar="N", help="how many terms to show; default: 10"
    )
    explain.set_defaults(command=_explain)


def _add_history(commands: Any) -> None:
    history = commands.add_parser(
        "history",
        help="all runs in one table and one page; how often to retrain",
        description="Show all published runs, lane by lane, and write them as a page." + _WHERE,
    )
    history.add_argument(
        "--lane", metavar="LANE", help="only this lane, such as rating-ml-100k-time"
    )
    history.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="where to put the page; default: reports/history.html in the state folder",
    )
    history.add_argument(
        "--advise",
        action="store_true",
        help="judge models of 1, 7, 14 and 28 days by the same ratings, and say how often to "
        "retrain; needs the runs of a backfill",
    )
    history.set_defaults(command=_history)


def _add_champion(commands: Any) -> None:
    champion = commands.add_parser(
        "champion",
        help="which model is in production, lane by lane; appoint another",
        description="Show the champions of each lane, or make a published run one." + _WHERE,
    )
    champion.add_argument(
        "--lane", metavar="LANE", help="only this lane, such as rating-ml-100k-time"
    )
    champion.add_argument(
        "--appoint",
        metavar="RUN",
        help="make this published run the champion of its lane, whatever the gate said: to "
        "answer it when it asks, or to go back",
    )
    champion.set_defaults(command=_champion)


def _add_landing(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="land the ratings of an archive day by day, as if they were given now",
        description="Land the ratings of an archive day by day, shifted so that its first day is "
        "--first-day. Called again, it lands the days that have come since." + _WHERE,
    )
    replay.add_argument("--source", metavar="NAME", help="the archive; needed the first time")
    replay.add_argument(
        "--first-day",
        type=_day,
        metavar="DAY",
        help="when the archive's first day happens again; default: 30 days before today",
    )
    replay.add_argument(
        "--until", type=_day, metavar="DAY", help="the last day to land; default: yesterday (UTC)"
    )
    replay.set_defaults(command=_replay)

    listed = commands.add_parser(
        "quarantine",
        help="list the rows of the landing zone that were refused",
        description="List the rows of the landing zone that were refused, and why." + _WHERE,
    )
    listed.add_argument("--day", type=_day, help="one landing day, such as 2026-03-08")
    listed.add_argument("--check", metavar="CHECK", help="only those that failed this check")
    listed.set_defaults(command=_quarantine)

    readmit = commands.add_parser(
        "readmit",
        help="let in rows that were refused for their clock or as duplicates",
        description="Land refused rows of a day again, as a new file of today that says a person "
        "has admitted them." + _WHERE,
    )
    readmit.add_argument("--day", type=_day, required=True, help="the day they landed")
    chosen = readmit.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--rows", metavar="FILE:ROW,...", help="these rows")
    chosen.add_argument("--check", metavar="CHECK", help="all that failed it: clock or duplicate")
    readmit.set_defaults(command=_readmit)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-03-08") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _help(setting: Field[Any]) -> str:
    name = setting.name
    default = default_of(setting, os.environ)
    if default is None and name in HYPERPARAMETERS:
        default = "by solver, objective and features: docs/settings.md"
    shown = "" if default is None else f" Default: {default} ({env_name(setting)} changes it)."
    text = f"{setting.metadata['description']} Takes {describe_limits(setting)}.{shown}"
    return text.replace("%", "%%").replace("`", "")


def _run(given: argparse.Namespace) -> int:
    from fmrec import films
    from fmrec.cli import run

    params = {
        name.removeprefix("param:"): value
        for name, value in vars(given).items()
        if name.startswith("param:") and value is not None
    }
    # Typed here, so that Airflow's Params get numbers and a mistake shows before anything starts.
    checked = RunSettings.of(params)
    if checked.only is not None:
        films.parse(checked.only)
    print(run.run({name: getattr(checked, name) for name in params}, given.report_to))
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


def _explain(given: argparse.Namespace) -> int:
    from fmrec.cli import explain

    explain.show(given.run, given.user, given.item, given.top)
    return 0


def _history(given: argparse.Namespace) -> int:
    from fmrec.cli import history

    history.show(given.lane, given.page, given.advise)
    return 0


def _champion(given: argparse.Namespace) -> int:
    from fmrec.cli import champion

    champion.show(given.lane, given.appoint)
    return 0
