"""What the package's operators of SageMaker jobs share: how a job is found, made, watched, ended.

They submit through the Amazon provider's operators, and add what those lack: an attempt goes on
with the job that an earlier one started instead of paying for another
(docs/decisions/0030-jobs-are-found-by-name.md); a job is stopped when its task is cleared, marked
or killed, deferred or not; `Stopped` is not a success; errors say whether repeating could help;
the job's log and learning curve are in the task's log; the result is a handful of fields.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerBaseOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from fmrec import bills
from fmrec.errors import JobError, JobStoppedError, RefusedError, StoreError
from fmrec.operators import billing, links, progress, refusals
from fmrec.operators.clients import CONNECTION
from fmrec.operators.hook import JobHook
from fmrec.operators.killed import goes_on_elsewhere
from fmrec.operators.retries import is_final
from fmrec.operators.triggers import JobTrigger
from fmrec.settings import Deployment, Operations

if TYPE_CHECKING:
    from airflow.sdk import Context

LIVE = frozenset({"InProgress", "Stopping"})
# A job that waited for capacity, or uploads a model, is longer alive than it may train.
_MARGIN_SECONDS = 2 * 3600
_PATIENCE = 20  # so many looks in a row may fail before the attempt does
_KILL_SECONDS = 1
# What is stopped so soon after an attempt found it was stopped for the attempt before.
_HEIR_SECONDS = 300


class JobOperator(SageMakerBaseOperator):
    """A task that holds one SageMaker job; subclasses say which."""

    aws_hook_class = JobHook

    kind: ClassVar[str]  # as the provider's trigger calls it
    billed_as: ClassVar[str]
    log_group: ClassVar[str]
    name_key: ClassVar[str]
    status_key: ClassVar[str]

    def __init__(
        self,
        *,
        run: Any,
        pool: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        pool = pool or Operations.of(os.environ).jobs_pool
        super().__init__(config={}, pool=pool, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        # Not for the provider: what is deferred there is not ours to end.
        self.deferrable = deferrable
        self._ti: Any = None
        self._ending: threading.Thread | None = None
        self._lives_on = False
        self._heir = 0.0

    @abstractmethod
    def request(self, number: int) -> dict[str, Any]:
        """The Create request of the run's job of this number."""

    @abstractmethod
    def work(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What a job does, by its request or its description."""

    @abstractmethod
    def describe(self, name: str) -> dict[str, Any]:
        """The Describe response of a job."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """Ask SageMaker to stop a job."""

    @abstractmethod
    def longest_seconds(self) -> int:
        """How long the job may run."""

    @abstractmethod
    def left(self, description: Mapping[str, Any]) -> str:
        """The S3 URI of what a completed job has left."""

    @abstractmethod
    def bill(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Instance type, instances and billable seconds (None when unknown) of an ended job."""

    @abstractmethod
    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """What later tasks and the report need of a completed job's description."""

    def reason(self, description: Mapping[str, Any]) -> str:
        """Why a job failed or stopped."""
        found = description.get("FailureReason") or description.get("SecondaryStatus")
        return str(found or "no reason given")

    def history(self, description: Mapping[str, Any]) -> list[str]:
        """What a job has been through, or where it stands: lines for the log."""
        return [str(description[self.status_key])]

    def succeeded(self, context: Context, result: Mapping[str, Any]) -> None:
        """What else is to be done with the result of a completed job."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Go on with the run's job, or start it, and wait for it."""
        self._ti = context["ti"]
        self.check_interval = Deployment.of(os.environ).poll_seconds
        number = 1
        while True:
            self.config = self.request(number)
            asked, name = self.work(self.config), self.config[self.name_key]
            description, created = self._found(name), False
            if description is None:
                created = self._submit(context)
                description = self._seen(name)
            if created or self._is_ours(asked, description):
                result = self._attend(context, description, created=created)
                if result is not None:
                    return result
            elif description[self.status_key] not in LIVE:
                self._record(description)
            number += 1

    def execute_complete(
        self, context: Context, event: Any = None, *, created: bool = True, heir: float = 0.0
    ) -> dict[str, Any]:
        """Go on after a deferral, in a process that knows no more than the event.

        `created`: whether this attempt started the job; `heir`: until when (epoch seconds) a stop
        of one that it found was meant for the attempt before.
        """
        self._heir = heir
        self._ti = context["ti"]
        self.check_interval = Deployment.of(os.environ).poll_seconds
        told = event or {}
        name = str(told.get("job_name", ""))
        self.config = {self.name_key: name}
        description = self._seen(name)
        if description[self.status_key] in LIVE:
            self._give_up(name, told)
        self._watch(name).look(self.history(description), ended=True)
        result = self._ended(context, description, created=created)
        # A job of an earlier attempt was stopped: this one starts its own.
        return self.execute(context) if result is None else result

    def on_kill(self) -> None:
        """Stop the job, unless the task goes on elsewhere.

        Airflow calls this from a signal handler and kills the process 5 s later. The work is done
        in a thread: the code that was interrupted may hold a lock that it needs.
        """
        timed_out = isinstance(sys.exception(), AirflowTaskTimeout)
        self._ending = threading.Thread(target=self._end, args=(timed_out,))
        self._ending.start()
        self._ending.join(_KILL_SECONDS)

    def _end(self, timed_out: bool) -> None:
        name = self.config.get(self.name_key)
        if name is None:
            return
        if not timed_out and goes_on_elsewhere(self._ti):
            self._lives_on = True
            self.log.info("The task goes on elsewhere, and with it SageMaker job %s.", name)
            return
        self._stop(name)

    def _stop(self, name: str) -> None:
        try:
            self.stop(name)
            self.log.info("Asked SageMaker to stop %s.", name)
        except (ClientError, BotoCoreError) as error:
            self.log.warning("SageMaker job %s could not be stopped: %s", name, error)

    def _found(self, name: str) -> dict[str, Any] | None:
        """The description of a job; None when there is none of that name."""
        try:
            return self.describe(name)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and refusals.means_missing(error):
                return None
            self._abandon(name, error)
            raise

    def _seen(self, name: str) -> dict[str, Any]:
        """The description of a job that exists; a service that fails for a while is borne."""
        for left in reversed(range(_PATIENCE)):
            try:
                return self.describe(name)
            except (ClientError, BotoCoreError) as error:
                # One that was just made may not be known everywhere yet.
                new = isinstance(error, ClientError) and refusals.means_missing(error)
                if not left or not (new or refusals.is_of_the_moment(error)):
                    self._abandon(name, error)
                    raise
                self.log.warning("No answer about %s: %s", name, error)
            self._pause(name)
        raise AssertionError("unreachable")

    def _is_ours(self, asked: Mapping[str, Any], description: Mapping[str, Any]) -> bool:
        """Whether a job that was found is the one that this attempt would start."""
        name, status = description[self.name_key], description[self.status_key]
        found = self.work(description)
        if found != asked:
            differing = ", ".join(each for each in asked if found[each] != asked[each])
            self.log.info(
                "SageMaker job %s (%s) was asked for something else (%s): it is left alone, and "
                "the next number taken.", name, status, differing,
            )  # fmt: skip
            return False
        if status == "Completed" and not self._is_there(self.left(description)):
            self.log.info(
                "SageMaker job %s is Completed, but what it left is gone (%s): the next number is "
                "taken.", name, self.left(description),
            )  # fmt: skip
            return False
        return True

    def _is_there(self, uri: str) -> bool:
        try:
            return bool(self.hook.check_s3_url(uri))
        except AirflowException:
            return False

    def _submit(self, context: Context) -> bool:
        """Create the job that `config` asks for, through the provider's own operator.

        False when somebody else has created one of its name in the meantime.
        """
        name = self.config[self.name_key]
        wanted, self.deferrable = self.deferrable, False
        try:
            super().execute(context)
        except ClientError as error:
            if error.operation_name.startswith("Describe"):
                return True  # it was created; the provider looks at it afterwards
            if refusals.means_taken(error):
                return False
            role = Deployment.of(os.environ).role_arn
            raise refusals.refused(error, name, role) or error from error
        except ParamValidationError as error:
            raise RefusedError(f"{name} cannot be asked for: {error}") from error
        except AirflowException as error:
            raise StoreError(
                f"{name} cannot be asked for: {error}. Clear the task that writes it"
            ) from error
        finally:
            self.deferrable = wanted
        return True

    def _attend(
        self, context: Context, description: dict[str, Any], *, created: bool
    ) -> dict[str, Any] | None:
        """Wait for a job. The result is None when the next number has to be taken."""
        name, status = description[self.name_key], description[self.status_key]
        # One that is being stopped already may take its time.
        self._heir = time.time() + (_MARGIN_SECONDS if status == "Stopping" else _HEIR_SECONDS)
        links.show(context, self, name, self.log_group)
        if status not in LIVE:
            if status == "Completed":
                self.log.info("SageMaker job %s is Completed already.", name)
                return self._ended(context, description, created=created)
            if not created:
                self.log.info(
                    "SageMaker job %s is %s (%s): this attempt starts another.",
                    name, status, self.reason(description),
                )  # fmt: skip
                self._record(description)
                return None
        elif not created:
            self.log.info("SageMaker job %s is %s: this attempt waits for it.", name, status)
        if self.deferrable and status in LIVE:
            self._heed(name)
            self._defer(name, created=created)
        return self._ended(context, self._wait(name, description), created=created)

    def _defer(self, name: str, *, created: bool) -> None:
        limit = self.longest_seconds() + _MARGIN_SECONDS
        if self.execution_timeout is not None:
            # The trigger's own end is one that can be told from others, and acted on.
            limit = min(limit, int(self.execution_timeout.total_seconds()))
        self.defer(
            trigger=JobTrigger(
                job_name=name,
                job_type=self.kind,
                waiter_delay=self.check_interval,
                waiter_max_attempts=limit // self.check_interval + 1,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            method_name="execute_complete",
            kwargs={"created": created, "heir": self._heir},
        )

    def _give_up(self, name: str, event: Mapping[str, Any]) -> None:
        """Raise what it means that the trigger has ended before the job."""
        if event.get("status") == "timeout":
            self._stop(name)
            raise JobStoppedError(
                f"SageMaker job {name} took longer than it was waited for and was stopped; "
                "lengthen the task's execution_timeout, or shorten the job"
            )
        said = event.get("message", "no reason given")
        error = JobError(f"the wait for SageMaker job {name} failed: {said}")
        self._abandon(name, error)
        raise error

    def _abandon(self, name: str, error: Exception) -> None:
        """Stop a job that cannot be seen, unless another attempt will look for it."""
        if is_final(error, self._ti):
            self.log.warning("No attempt is left that would wait for SageMaker job %s.", name)
            self._stop(name)

    def _wait(self, name: str, description: dict[str, Any]) -> dict[str, Any]:
        """Look at a job until it has ended, and tell what it says; its last description."""
        watch = self._watch(name)
        while True:
            ended = description[self.status_key] not in LIVE
            watch.look(self.history(description), ended=ended)
            if ended:
                return description
            self._pause(name)
            description = self._seen(name)

    def _watch(self, name: str) -> progress.Watch:
        return progress.Watch(self.hook.logs_hook.get_conn(), self.log_group, name, self.log)

    def _pause(self, name: str) -> None:
        """Wait until the next look. Raises JobError when the task is killed meanwhile."""
        until = time.monotonic() + self.check_interval
        while self._ending is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 1))
        self._heed(name)

    def _heed(self, name: str) -> None:
        """Raise JobError when the task was killed: see to it that the job is stopped."""
        if self._ending is None:
            return
        self._ending.join()
        if self._lives_on:
            raise JobError(f"the task goes on elsewhere; so does SageMaker job {name}")
        self._stop(name)  # it may have come to be after the first attempt to stop it
        raise JobError(f"the task was killed, and SageMaker job {name} stopped")

    def _ended(
        self, context: Context, description: Mapping[str, Any], *, created: bool
    ) -> dict[str, Any] | None:
        """The result of a completed job. Raises the error of one that failed.

        None for a job that an earlier attempt started and somebody has stopped since: that was
        meant for the earlier attempt.
        """
        name, status = description[self.name_key], description[self.status_key]
        if status == "Completed":
            self._record(description)
            result = {"name": name, "status": status, **self.facts(description)}
            self.succeeded(context, result)
            return result
        try:
            self._record(description)
        except Exception:
            self.log.exception("What %s cost is not recorded", name)  # its own error comes next
        told = description.get("SecondaryStatus")
        end = bills.ended(description)
        soon = (time.time() if end is None else end.timestamp()) < self._heir
        if status == "Stopped" and soon and not created and told in {None, "Stopped"}:
            self.log.info("SageMaker job %s was stopped: this attempt starts another.", name)
            return None
        raise refusals.ended_badly(name, status, self.reason(description))

    def _record(self, description: Mapping[str, Any]) -> None:
        """Write down what an ended job cost."""
        entry = {
            "job": description[self.name_key],
            "kind": self.billed_as,
            "status": description[self.status_key],
            **self.bill(description),
        }
        billing.record(self.run, entry, bills.ended(description) or datetime.now(UTC))
