"""The frame around the execution of a job: every job comes to an end, whatever happens."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Generic, TypeVar

from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.machine.phases import Phase
from fmrec.local_aws.machine.runner import JobControl, ServerClosingError
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
Outcome = TypeVar("Outcome")
FINAL = ("Completed", "Failed", "Stopped")
LIVE = ("InProgress", "Stopping")
LONGEST_REASON = 1024  # characters of a FailureReason that SageMaker keeps
# A member of a job's document that no response shows: the job has had its turn, so that after a
# crash it must not be run once more as if nothing had happened.
BEGUN = "_Begun"


class JobRun(ABC, Generic[Outcome]):
    """The execution of one job. Called once, in a thread of its own."""

    def __init__(self, place: Workplace, identity: Identity) -> None:
        self._place = place
        self._identity = identity
        self._folder = place.job_folder(identity)

    def __call__(self, control: JobControl) -> None:
        """Run the job to one of its ends."""
        conclude: Callable[[], None]
        try:
            document = self._place.records.find(self._identity) or {}
            if BEGUN in document:
                end = self._resume(document, control)
            else:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._update(lambda document, now: document.update({BEGUN: now}))
                self._begin()
                end = self._execute(control)
            conclude = partial(self._finish, end)
        except JobFailedError as fault:
            conclude = partial(self.fail, str(fault))
        except ServerClosingError:
            raise
        except Exception:
            LOG.exception("%s failed within the local AWS", self._identity)
            conclude = partial(
                self.fail,
                "InternalServerError: We encountered an internal error. See the server's log.",
            )
        # First, for a job that has ended can be deleted, and another take its name and folder.
        shutil.rmtree(self._folder, ignore_errors=True)
        conclude()

    def enter_queue(self, document: Document, now: float) -> None:
        """Complete the document of a new job before it is recorded."""

    def resumable(self, document: Document) -> bool:
        """Return whether a job that a former server began can be taken to its end by this one."""
        del document
        return False

    @abstractmethod
    def request_stop(self) -> None:
        """Record that the job was asked to stop."""

    @abstractmethod
    def cancel(self) -> None:
        """Record that the job was stopped before it began."""

    @abstractmethod
    def fail(self, reason: str) -> None:
        """Record that the job failed."""

    def _begin(self) -> None:
        """Meet what faults on purpose wait for a job before it does anything."""
        self._reach("Starting")

    @abstractmethod
    def _execute(self, control: JobControl) -> Outcome:
        """Do the work. Raises JobFailedError with the reason when the job is to end as Failed."""

    def _resume(self, document: Document, control: JobControl) -> Outcome:
        """Do the rest of the work of a job that is `resumable`."""
        raise NotImplementedError

    @abstractmethod
    def _finish(self, end: Outcome) -> None:
        """Record how a job ended that did not fail."""

    def _reach(self, phase: Phase) -> None:
        """Enter a phase; raise JobFailedError when a fault on purpose waits there."""
        self._place.faults.reach(self._identity, phase)

    def _update(self, change: Callable[[Document, float], None]) -> Document:
        """Change the job's document at this moment and return it."""
        now = self._place.now()
        return self._place.records.update(
            self._identity, lambda document: change(document, now), now
        )


class PlainRun(JobRun[Outcome]):
    """The execution of a job whose status is all of its state.

    `prefix` is what SageMaker puts before Status, `ended` the member that holds the time of its
    end.
    """

    prefix: ClassVar[str]
    ended: ClassVar[str]

    def request_stop(self) -> None:
        """Record that the job was asked to stop."""
        self._move("Stopping")

    def cancel(self) -> None:
        """Record that the job was stopped before it began."""
        self._move("Stopped")

    def fail(self, reason: str) -> None:
        """Record that the job failed."""
        self._move("Failed", FailureReason=reason[:LONGEST_REASON])

    def _move(self, status: str, **members: str) -> None:
        """Enter a status, unless the job has ended."""

        def change(document: Document, now: float) -> None:
            if document[f"{self.prefix}Status"] in FINAL:
                return
            document.update({f"{self.prefix}Status": status, "LastModifiedTime": now, **members})
            if status in FINAL:
                document[self.ended] = now
                self._close(document, now)

        self._update(change)

    def _close(self, document: Document, now: float) -> None:
        """Complete the document of a job that has ended."""
