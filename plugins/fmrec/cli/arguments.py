"""The parser of `python -m fmrec`: commands, their options, and what these take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from datetime import date
from pathlib import Path
from typing import Any

from fmrec import __version__
from fmrec.settings import (
    HYPERPARAMETERS,
    RunSettings,
    default_of,
    describe_limits,
    env_name,
)

Commands = Mapping[str, Callable[[argparse.Namespace], int]]
"""What does the work, by the name of the command; docstrings are texts of the help."""

_WHERE = " It works on the AWS that the environment names, else on the one that `up` started."
_SETTING = "setting:"


def parser(commands: Commands) -> argparse.ArgumentParser:
    """A parser whose result holds in `command` which of the `commands` was asked for."""
    made = argparse.ArgumentParser(
        prog="fmrec", description="Rebuild a movie recommender through Airflow and SageMaker."
    )
    made.add_argument("--version", action="version", version=f"fmrec {__version__}")
    found = made.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_run, _add_stack, _add_backfill, _add_landing, _add_models, _add_runs):
        add(found, commands)
    airflow = found.add_parser(
        "airflow",
        help="Airflow's own command line, on what `up` started",
        description="Pass everything that follows to Airflow's own command line.",
    )
    airflow.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    airflow.set_defaults(command=commands["airflow"])
    return made


def settings_given(given: argparse.Namespace) -> dict[str, str]:
    """Those settings of a run that the command line names, as text."""
    return {
        name.removeprefix(_SETTING): value
        for name, value in vars(given).items()
        if name.startswith(_SETTING) and value is not None
    }


def _add_run(found: Any, commands: Commands) -> None:
    run = found.add_parser(
        "run",
        help="run the retraining DAG once and print its report",
        description="Run the DAG fmrec_retrain once, in an Airflow database of its own, against "
        "the AWS that the environment names (AWS_ENDPOINT_URL or AIRFLOW_CONN_AWS_DEFAULT) or "
        "else a private local one. The last line printed is the path of report.json.",
    )
    _add_settings(run)
    run.add_argument(
        "--report-to",
        type=Path,
        metavar="DIR",
        help="where to put the report; default: reports/ in the state folder",
    )
    run.set_defaults(command=commands["run"])


def _add_stack(found: Any, commands: Commands) -> None:
    for name, text in (
        ("up", "start Airflow and the local AWS for the browser"),
        ("down", "stop what `up` started"),
        ("status", "what runs, what is in production, what it has cost"),
    ):
        each = found.add_parser(name, help=text, description=commands[name].__doc__)
        each.set_defaults(command=commands[name])


def _add_backfill(found: Any, commands: Commands) -> None:
    backfill = found.add_parser(
        "backfill",
        help="rebuild the models of past days, and watch them being built",
        description="Run the DAG fmrec_retrain for each day from --from to --to, in the Airflow "
        "that `up` started; show how far it is, and in the end the figures of each day. Called "
        "again for the same days, it goes on watching.",
    )
    backfill.add_argument(
        "--from", dest="first", type=_day, required=True, metavar="DAY", help="the first day"
    )
    backfill.add_argument(
        "--to", dest="last", type=_day, required=True, metavar="DAY", help="the last day"
    )
    backfill.add_argument(
        "--max-active-runs", type=_count, metavar="N", help="how many days at once"
    )
    # Each day has a moment of its own.
    _add_settings(backfill, without={"as_of"})
    backfill.set_defaults(command=commands["backfill"])


def _add_settings(command: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """An option for each setting of a run."""
    for setting in fields(RunSettings):
        if setting.name not in without:
            command.add_argument(
                f"--{setting.name.replace('_', '-')}",
                dest=f"{_SETTING}{setting.name}",
                metavar="VALUE",
                help=_help(setting),
            )


def _add_landing(found: Any, commands: Commands) -> None:
    replay = found.add_parser(
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
    replay.set_defaults(command=commands["replay"])

    listed = found.add_parser(
        "quarantine",
        help="list the rows of the landing zone that were refused",
        description="List the rows of the landing zone that were refused, and why." + _WHERE,
    )
    listed.add_argument("--day", type=_day, help="one landing day, such as 2026-03-08")
    listed.add_argument("--check", metavar="CHECK", help="only those that failed this check")
    listed.set_defaults(command=commands["quarantine"])

    readmit = found.add_parser(
        "readmit",
        help="let in rows that were refused for their clock or as duplicates",
        description="Land refused rows of a day again, as a new file of today that says a person "
        "has admitted them." + _WHERE,
    )
    readmit.add_argument("--day", type=_day, required=True, help="the day they landed")
    chosen = readmit.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--rows", metavar="FILE:ROW,...", help="these rows")
    chosen.add_argument("--check", metavar="CHECK", help="all that failed it: clock or duplicate")
    readmit.set_defaults(command=commands["readmit"])


def _add_models(found: Any, commands: Commands) -> None:
    """What is asked of the models in production, or of any other."""
    champion = found.add_parser(
        "champion",
        help="which model is in production, lane by lane; appoint another",
        description="Show the champions of each lane, or make a published run one." + _WHERE,
    )
    _add_lane(champion, "only this one")
    champion.add_argument(
        "--appoint",
        metavar="RUN",
        help="make this published run the champion of its lane, whatever the gate said: to "
        "answer it when it asks, or to go back",
    )
    champion.set_defaults(command=commands["champion"])

    recommend = found.add_parser(
        "recommend",
        help="what the model in production recommends to a user",
        description="Show which films a user rated last, and which ones the champion would "
        "recommend to that user." + _WHERE,
    )
    recommend.add_argument("user", type=int, metavar="USER", help="the user's id")
    _add_lane(recommend, "default: the only one, else that of the default settings")
    recommend.add_argument(
        "--top", type=_count, default=10, metavar="N", help="how many films to show; default: 10"
    )
    recommend.add_argument(
        "--only",
        metavar="FILTER",
        help='which films to draw from, such as "genre=Comedy,Drama and year>=1990"',
    )
    recommend.set_defaults(command=commands["recommend"])

    explain = found.add_parser(
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
    explain.set_defaults(command=commands["explain"])


def _add_runs(found: Any, commands: Commands) -> None:
    """What is asked of the runs that are over."""
    report = found.add_parser(
        "report",
        help="the report of a run, again",
        description="Show the report of a published run, and copy it to reports/ in the state "
        "folder. The last line printed is the path of report.json." + _WHERE,
    )
    report.add_argument(
        "run",
        nargs="?",
        default="latest",
        metavar="RUN",
        help="the run's folder in reports/, such as 19980308T000000Z-1c2d3e4f; default: latest, "
        "the run of the latest moment",
    )
    report.add_argument(
        "--json", action="store_true", help="print report.json itself and nothing else"
    )
    report.set_defaults(command=commands["report"])

    history = found.add_parser(
        "history",
        help="all runs in one table and one page; how often to retrain",
        description="Show all published runs, lane by lane, and write them as a page." + _WHERE,
    )
    _add_lane(history, "only this one")
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
    history.set_defaults(command=commands["history"])


def _add_lane(command: argparse.ArgumentParser, which: str) -> None:
    command.add_argument(
        "--lane", metavar="LANE", help=f"a lane such as rating-ml-100k-time; {which}"
    )


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
