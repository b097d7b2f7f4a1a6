"""The frame around the execution of a job: every job comes to an end, whatever happens."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from fmrec.local_aws.faults import JobFailedError
from fmrec.local_aws.job_runner import JobControl, ServerClosingError
from fmrec.local_aws.records import Identity
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
Outcome = TypeVar("Outcome")


class JobRun(ABC, Generic[Outcome]):
    """The execution of one job. Called once, in a thread of its own."""

    def __init__(self, place: Workplace, identity: Identity) -> None:
        self._place = place
        self._identity = identity
        self._folder = place.job_folder(identity)

    def __call__(self, control: JobControl) -> None:
        """Run the job to one of its ends."""
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            end = self._execute(control)
        except JobFailedError as fault:
            self._fail(str(fault))
        except ServerClosingError:
            raise
        except Exception:
            LOG.exception("%s failed within the local AWS", self._identity)
            self._fail(
                "InternalServerError: We encountered an internal error. See the server's log."
            )
        else:
            self._finish(end)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def _execute(self, control: JobControl) -> Outcome:
        """Do the work. Raises JobFailedError with the reason when the job is to end as Failed."""

    @abstractmethod
    def _finish(self, end: Outcome) -> None:
        """Record how a job ended that did not fail."""

    @abstractmethod
    def _fail(self, reason: str) -> None:
        """Record that the job failed."""
