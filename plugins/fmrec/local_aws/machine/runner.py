"""Runs jobs in the background, so many at once; the others wait in the order they came."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

LOG = logging.getLogger(__name__)
_SUPERVISORS = 100  # SageMaker's own limit of tuning jobs that run at once


class ServerClosingError(Exception):
    """The server ends; the job is left as it is and found in mid-flight by the next start."""


class JobControl:
    """What a running job is told from outside."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.closing = threading.Event()

    def check_closing(self) -> None:
        """Raise ServerClosingError when the server ends."""
        if self.closing.is_set():
            raise ServerClosingError


class JobRunner:
    """A fixed number of slots. A job is a function that takes its JobControl.

    A job that starts other jobs and waits for them (tuning) is not one of those that wait for a
    slot, or a few of them would wait for each other for ever.
    """

    def __init__(self, slots: int) -> None:
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix="job")
        self._supervisors = ThreadPoolExecutor(_SUPERVISORS, thread_name_prefix="supervisor")
        self._lock = threading.Lock()
        self._closing = False
        self._jobs: dict[str, tuple[Future[None], JobControl]] = {}

    def submit(
        self,
        name: str,
        job: Callable[[JobControl], None],
        record: Callable[[], None],
        *,
        supervises: bool = False,
    ) -> None:
        """Call `record`, then run a job as soon as a slot is free.

        A job that `supervises` others takes no slot.

        Whoever learns of the job from what was recorded, and stops it, waits until it is in the
        queue; no stop falls between the two. When `record` raises, nothing runs.
        """
        control = JobControl()

        def run() -> None:
            if control.closing.is_set():
                return  # it has not begun, and has its turn after the next start
            try:
                job(control)
            except ServerClosingError:
                LOG.info("%s was running when the server ended", name)
            except Exception:
                LOG.exception("%s broke off", name)
                raise
            finally:
                with self._lock:
                    # Another job may have the name by now.
                    if name in self._jobs and self._jobs[name][1] is control:
                        del self._jobs[name]

        with self._lock:
            record()
            if self._closing:
                return
            executor = self._supervisors if supervises else self._executor
            self._jobs[name] = (executor.submit(run), control)

    def stop(self, name: str) -> bool:
        """Ask a job to stop; return True when it had not begun and now never will."""
        with self._lock:
            if name not in self._jobs:
                return False
            future, control = self._jobs[name]
            control.stop.set()
            if future.cancel():
                del self._jobs[name]
                return True
            return False

    def close(self) -> None:
        """Tell every job that the server ends, and wait until all have left."""
        with self._lock:
            self._closing = True
            for _, control in self._jobs.values():
                control.closing.set()
        for executor in (self._supervisors, self._executor):
            executor.shutdown(wait=True, cancel_futures=True)
