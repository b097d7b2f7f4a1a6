"""Fix the clock and the choices of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fmrec import films
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings, parse_instant

log = logging.getLogger(__name__)


def plan(
    run_id: str, clock: datetime, params: Mapping[str, Any], deployment: Deployment
) -> dict[str, Any]:
    """Fix the run: its moment (Param `as_of`, else `clock`), its choices, its keys."""
    settings = RunSettings.of(params)
    if settings.only is not None:
        films.parse(settings.only)  # a mistake must show now and not after an hour of training
    as_of = clock if settings.as_of is None else parse_instant(settings.as_of)
    run = Run.of(run_id, as_of, settings, deployment)
    log.info("Run %s sees ratings before %s", run.layout.run, run.as_of.isoformat())
    return run.to_xcom()
