"""How a training container says why it failed: on its log and in ``output/failure``."""

from __future__ import annotations

import traceback
from pathlib import Path

from fmrec.errors import FmrecError
from fmrec.fm.joblog import JobLog


def report(error: Exception, ml_root: Path, log: JobLog, advice: str | None = None) -> None:
    """Explain an error; one that nobody foresaw with its traceback, unless there is ``advice``."""
    reason = f"AlgorithmError: {advice or error}"
    if advice is None and not isinstance(error, FmrecError):
        reason = f"AlgorithmError: {type(error).__name__}: {error}"
        log.line(traceback.format_exc())
    log.error(reason)
    failure = ml_root / "output" / "failure"
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.write_text(reason, encoding="utf-8")
