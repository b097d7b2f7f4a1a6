"""Runs one training job: find hosts, download, train, upload; and again when capacity is lost."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Literal

from fmrec.local_aws.api.faults import ApiError, JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host, hosts_of
from fmrec.local_aws.jobs.model_archive import pack
from fmrec.local_aws.jobs.run import LONGEST_REASON, JobRun
from fmrec.local_aws.machine.fault_plan import CAPACITY, CRASHED, Rule
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.s3.sources import join_uri, parse_uri
from fmrec.local_aws.training import states as training_states
from fmrec.local_aws.training.checkpoints import CheckpointSync
from fmrec.local_aws.training.hosts import TrainingHosts
from fmrec.local_aws.training.layout import lay_out
from fmrec.local_aws.training.states import End, StartAgain

_POLL_SECONDS = 0.05
_COPY_SECONDS = 1.0
_LONGEST_FAILURE = 4 * LONGEST_REASON  # bytes that are enough for as many characters
# A member that no response shows: how training ended, noted before anything is uploaded.
_ENDED = "_Ended"
_OWN_FAULT = "InternalServerError"

Attempt = Literal[End, "Interrupted"]


class TrainingRun(JobRun[End]):
    """The execution of one training job."""

    def enter_queue(self, document: Document, now: float) -> None:
        """Begin the log of states."""
        training_states.enter(document, "Starting", now)

    def resumable(self, document: Document) -> bool:
        """Return whether training was over when the former server ended, and its model is here."""
        here = all((host.folder / "model").is_dir() for host in self._hosts(document))
        return _ENDED in document and ("ModelArtifacts" in document or here)

    def request_stop(self) -> None:
        """Record that the job was asked to stop."""
        self._update(training_states.request_stop)

    def cancel(self) -> None:
        """Record that the job was stopped before it began."""
        self._finish("Stopped")

    def fail(self, reason: str) -> None:
        """Record that the job failed."""
        self._update(partial(training_states.fail, reason=reason))

    def _finish(self, end: End) -> None:
        self._update(partial(training_states.finish, end=end))

    def _begin(self) -> None:
        """Meet no fault yet: hosts are found attempt by attempt."""

    def _execute(self, control: JobControl) -> End:
        document = self._update(partial(training_states.say, message=training_states.LAUNCHING))
        condition = document["StoppingCondition"]
        clock = _Clock(
            condition["MaxRuntimeInSeconds"], condition.get("MaxWaitTimeInSeconds", float("inf"))
        )
        retries = document.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        while True:
            try:
                end = self._attempt(document, control, clock)
            except JobFailedError as fault:
                if not str(fault).startswith(_OWN_FAULT) or not retries or control.stop.is_set():
                    raise
                retries -= 1
                self._start_again("Restarting")
                continue
            if end != "Interrupted":
                break
            self._start_again("Interrupted")
        if not self._folder.exists():
            return end  # it ended while it had no hosts
        self._update(lambda document, now: document.update({_ENDED: end}))
        return self._upload(document, end)

    def _resume(self, document: Document, control: JobControl) -> End:
        del control
        end: End = document[_ENDED]
        return end if "ModelArtifacts" in document else self._upload(document, end)

    def _start_again(self, state: StartAgain) -> None:
        self._update(partial(training_states.start_again, state=state))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _attempt(self, document: Document, control: JobControl, clock: _Clock) -> Attempt:
        """Train on hosts that are found for this attempt."""
        end = self._find_capacity(document, control, clock)
        if end is not None:
            return end
        self._update(partial(training_states.say, message=training_states.PREPARING))
        self._update(training_states.run_hosts)
        self._reach("Downloading")
        self._check_output(document)
        hosts = self._hosts(document)
        lay_out(self._place, self._identity, document, hosts)
        checkpoints = [
            CheckpointSync(document["CheckpointConfig"], host.folder, self._place.s3)
            for host in hosts
            if "CheckpointConfig" in document
        ]
        control.check_closing()
        if control.stop.is_set():
            shutil.rmtree(self._folder)
            return "Stopped"
        return self._train(document, hosts, checkpoints, control, clock)

    def _find_capacity(
        self, document: Document, control: JobControl, clock: _Clock
    ) -> Literal["Stopped", "MaxWaitTimeExceeded"] | None:
        """Wait for hosts; return None when there are some.

        Without a fault on purpose there always are. A job on demand that meets one fails, one on
        spot capacity waits.
        """
        spot = document["EnableManagedSpotTraining"]
        rule = self._place.faults.for_job(self._identity, "Starting", spot=spot)
        if rule is None:
            return None
        if not spot or rule.fault != "capacity":
            raise JobFailedError(CAPACITY if rule.fault == "capacity" else CRASHED)
        self._update(partial(training_states.say, message=training_states.NO_CAPACITY))
        until = time.monotonic() + rule.seconds
        while time.monotonic() < until:
            control.check_closing()
            if control.stop.wait(_POLL_SECONDS):
                return "Stopped"
            if clock.waited():
                self._update(training_states.request_stop)
                return "MaxWaitTimeExceeded"
        return None

    def _hosts(self, document: Document) -> list[Host]:
        return hosts_of(document["ResourceConfig"]["InstanceCount"], self._folder)

    def _check_output(self, document: Document) -> None:
        address = document["OutputDataConfig"]["S3OutputPath"]
        bucket, _ = parse_uri(address)
        if not self._place.s3.bucket_exists(bucket):
            raise JobFailedError(
                f"ClientError: The bucket of S3OutputPath {address!r} does not exist. "
                "Create it before the job, or correct the path."
            )

    def _train(
        self,
        document: Document,
        hosts: list[Host],
        checkpoints: list[CheckpointSync],
        control: JobControl,
        clock: _Clock,
    ) -> Attempt:
        self._update(_enter_training)
        spot = document["EnableManagedSpotTraining"]
        rule = self._place.faults.for_job(self._identity, "Training", spot=spot)
        failed = None
        running = self._start(document, hosts)
        clock.start()
        try:
            end = self._wait(running, rule, checkpoints, control, clock)
            if end == "Completed":
                failed = running.failed()
        finally:
            clock.stop()
            running.close()
            self._update(partial(_set_metrics, metrics=running.metrics()))
        self._copy(checkpoints)
        if failed is not None:
            self._update(_enter_uploading)
            self._upload_output(document, hosts)
            raise JobFailedError(_failure(*failed))
        return end

    def _start(self, document: Document, hosts: list[Host]) -> TrainingHosts:
        try:
            return TrainingHosts(self._place, self._identity, document, hosts)
        except ApiError as gone:  # the server was restarted without the image while the job waited
            raise JobFailedError(f"ClientError: {gone}") from None
        except (OSError, ValueError) as error:
            raise JobFailedError(
                f"ClientError: The training command cannot be started: {error}"
            ) from None

    def _wait(
        self,
        running: TrainingHosts,
        rule: Rule | None,
        checkpoints: list[CheckpointSync],
        control: JobControl,
        clock: _Clock,
    ) -> Attempt:
        """Wait for the hosts, or for a reason to end them, and then end them."""
        copied = time.monotonic()
        end: Attempt = "Completed"
        while end == "Completed" and not running.wait(_POLL_SECONDS):
            control.check_closing()
            if control.stop.is_set():
                end = "Stopped"
            elif clock.ran() or clock.waited():
                end = "MaxRuntimeExceeded" if clock.ran() else "MaxWaitTimeExceeded"
                self._update(training_states.request_stop)
            elif rule is not None and clock.attempt() >= rule.seconds:
                if rule.fault == "crash":
                    running.kill()
                    return "Completed"
                end = "Interrupted"
            elif checkpoints and time.monotonic() - copied > _COPY_SECONDS:
                self._copy(checkpoints)
                copied = time.monotonic()
        if end == "Completed":
            return "Stopped" if control.stop.is_set() else end
        running.ask_to_end()
        kill_at = time.monotonic() + self._place.stop_grace
        while not running.wait_for_all(_POLL_SECONDS) and time.monotonic() < kill_at:
            control.check_closing()
        return end

    def _copy(self, checkpoints: list[CheckpointSync]) -> None:
        for each in checkpoints:
            each.copy(self._place.now())

    def _upload(self, document: Document, end: End) -> End:
        self._update(_enter_uploading)
        self._reach("Uploading")
        hosts = self._hosts(document)
        archive = self._folder / "model.tar.gz"
        pack([host.folder / "model" for host in hosts], archive)
        address = self._put(document, archive)
        self._upload_output(document, hosts)
        artifacts = {"S3ModelArtifacts": address}
        self._update(lambda document, now: document.update(ModelArtifacts=artifacts))
        return end

    def _upload_output(self, document: Document, hosts: list[Host]) -> None:
        folders = [host.folder / "output/data" for host in hosts]
        if any(any(folder.iterdir()) for folder in folders if folder.is_dir()):
            archive = self._folder / "output.tar.gz"
            pack(folders, archive)
            self._put(document, archive)

    def _put(self, document: Document, file: Path) -> str:
        folder = join_uri(document["OutputDataConfig"]["S3OutputPath"], self._identity.name)
        address = join_uri(folder, f"output/{file.name}")
        try:
            self._place.s3.put(*parse_uri(address), file, self._place.now())
        except FileNotFoundError as error:
            raise JobFailedError(f"ClientError: Artifact upload failed: {error}") from None
        return address


class _Clock:
    """How long a job may still run and wait, over all its attempts; in seconds."""

    def __init__(self, most_running: float, most_waiting: float) -> None:
        self._left = most_running
        self._end = time.monotonic() + most_waiting
        self._started: float | None = None

    def start(self) -> None:
        """Begin an attempt."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """End an attempt."""
        self._left -= self.attempt()
        self._started = None

    def attempt(self) -> float:
        """Return how long this attempt runs."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def ran(self) -> bool:
        """Return whether MaxRuntimeInSeconds is over."""
        return self.attempt() > self._left

    def waited(self) -> bool:
        """Return whether MaxWaitTimeInSeconds, which counts everything, is over."""
        return time.monotonic() > self._end


def _enter_uploading(document: Document, now: float) -> None:
    # A job that is taken up again after a crash may have come this far already.
    if document["SecondaryStatus"] != "Uploading":
        training_states.enter(document, "Uploading", now)


def _enter_training(document: Document, now: float) -> None:
    if document["TrainingJobStatus"] == "InProgress":
        training_states.enter(document, "Training", now)


def _set_metrics(document: Document, now: float, metrics: list[Document]) -> None:
    document["LastModifiedTime"] = now
    if metrics:
        document["FinalMetricDataList"] = metrics


def _failure(ml_root: Path, code: int) -> str:
    """Return the reason that a container left in output/failure, else its exit code."""
    path = ml_root / "output/failure"
    if path.is_file():
        with path.open("rb") as file:
            written = file.read(_LONGEST_FAILURE).decode("utf-8", "replace").strip()
        if written:
            known = written.startswith(("AlgorithmError", "ClientError"))
            return written if known else f"AlgorithmError: {written}"
    # A signal shows as 128 and its number, as Docker tells it.
    told = code if code > 0 else 128 - code
    return f"AlgorithmError: the training command ended with exit code {told}"
