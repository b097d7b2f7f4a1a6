"""Runs one tuning job: starts training jobs, watches them, stops them, and knows when to end."""

from __future__ import annotations

import time
from typing import Literal

from fmrec.local_aws.api.faults import ApiError, JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.run import PlainRun
from fmrec.local_aws.machine.runner import JobControl, ServerClosingError
from fmrec.local_aws.tuning.progress import TuningProgress
from fmrec.local_aws.tuning.results import report
from fmrec.local_aws.tuning.trials import Objective

_POLL_SECONDS = 0.1
_STATUS = "HyperParameterTuningJobStatus"
# A member of the document that no response shows: no training job is started any more. Its value
# is why the tuning job fails, empty when it does not.
_OVER = "_Over"

End = Literal["Completed", "Stopped"]


class TuningRun(PlainRun[End]):
    """The execution of one tuning job."""

    prefix = "HyperParameterTuningJob"
    ended = "HyperParameterTuningEndTime"

    def _begin(self) -> None:
        """Meet no fault: a tuning job has no hosts that could be missing or crash."""

    def enter_queue(self, document: Document, now: float) -> None:
        """Begin to count."""
        del now
        document.update(report([], Objective("", maximize=False), None))

    def resumable(self, document: Document) -> bool:
        """Return True: what was going on stands in the documents."""
        del document
        return True

    def _execute(self, control: JobControl) -> End:
        document = self._place.records.find(self._identity) or {}
        progress = TuningProgress(self._place, self._identity, document)
        if document[_STATUS] == "Stopping":  # by a server that was killed since
            control.stop.set()
        try:
            reason = self._supervise(document, progress, control)
        except ServerClosingError:
            raise
        except Exception:
            progress.stop_all()
            raise
        if control.stop.is_set():
            return "Stopped"
        if reason:
            raise JobFailedError(reason)
        return "Completed"

    def _resume(self, document: Document, control: JobControl) -> End:
        del document
        return self._execute(control)

    def _finish(self, end: End) -> None:
        self._move(end)

    def _supervise(self, document: Document, progress: TuningProgress, control: JobControl) -> str:
        """Return when all training jobs have ended and none is to come; why that is a failure."""
        over: str | None = document.get(_OVER)
        self._tell(progress)
        while True:
            changed = progress.refresh()
            progress.stop_hopeless()
            if over is None:
                over = self._over(document, progress)
            if over is None and not control.stop.is_set():
                try:
                    changed |= progress.start_due()
                except ApiError as refusal:
                    over = self._end(f"ClientError: {refusal.message}")
            else:
                progress.stop_all()
            if changed:
                self._tell(progress)
            if not progress.live and (over is not None or control.stop.is_set()):
                return over or ""
            if control.stop.is_set():
                time.sleep(_POLL_SECONDS)
            else:
                control.stop.wait(_POLL_SECONDS)
            control.check_closing()

    def _over(self, document: Document, progress: TuningProgress) -> str | None:
        """Return None as long as training jobs are to be started or awaited."""
        reason = progress.failure()
        if reason is not None:
            return self._end(reason)
        limits = document["HyperParameterTuningJobConfig"]["ResourceLimits"]
        most = limits.get("MaxRuntimeInSeconds", float("inf"))
        if progress.enough() or self._place.now() - document["CreationTime"] >= most:
            return self._end("")
        return "" if progress.all_started and not progress.live else None

    def _end(self, reason: str) -> str:
        """Note that no training job is started any more; those that run are stopped."""
        self._update(lambda document, now: document.update({_OVER: reason}))
        return reason

    def _tell(self, progress: TuningProgress) -> None:
        members = progress.report()
        self._update(lambda document, now: document.update(members, LastModifiedTime=now))

    def _close(self, document: Document, now: float) -> None:
        seconds = int(now - document["CreationTime"])
        document["ConsumedResources"] = {"RuntimeInSeconds": seconds}
