"""Arguments of `python -m fmrec`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from fmrec import __version__
from fmrec.errors import FmrecError
from fmrec.settings import (
    LIKE_DEFAULTS,
    RATING_DEFAULTS,
    RunSettings,
    default_of,
    describe_limits,
    env_name,
)


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
    airflow = commands.add_parser(
        "airflow",
        help="Airflow's own command line, on what `up` started",
        description="Pass everything that follows to Airflow's own command line.",
    )
    airflow.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    airflow.set_defaults(command=_airflow)
    return parser


def _help(setting: Field[Any]) -> str:
    name = setting.name
    default = default_of(setting, os.environ)
    if default is None and name in RATING_DEFAULTS:
        default = f"{RATING_DEFAULTS[name]} for rating, {LIKE_DEFAULTS[name]} for like"
    shown = "" if default is None else f" Default: {default} ({env_name(setting)} changes it)."
    text = f"{setting.metadata['description']} Takes {describe_limits(setting)}.{shown}"
    return text.replace("%", "%%").replace("`", "")


def _run(given: argparse.Namespace) -> int:
    from fmrec.cli import run

    params = {
        name.removeprefix("param:"): value
        for name, value in vars(given).items()
        if name.startswith("param:") and value is not None
    }
    # Typed here, so that Airflow's Params get numbers and a mistake shows before anything starts.
    checked = RunSettings.of(params)
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
