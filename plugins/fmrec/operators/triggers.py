"""What waits for a job while its task is deferred; it runs in Airflow's triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger
from airflow.triggers.base import TriggerEvent
from botocore.exceptions import BotoCoreError

from fmrec.operators.hook import JobHook

# A trigger that fires at once races with the end of the process that deferred its task, and a
# scheduler that is slow takes the task for dead then (apache/airflow#72716).
_FIRST_LOOK_SECONDS = 5
_PATIENCE = 20
_STOP = {
    "training": ("stop_training_job", "TrainingJobName"),
    "tuning": ("stop_hyper_parameter_tuning_job", "HyperParameterTuningJobName"),
    "transform": ("stop_transform_job", "TransformJobName"),
}


class JobTrigger(SageMakerTrigger):
    """The provider's trigger, which also stops the job when its task is cleared or marked."""

    _client: Any = None

    def hook(self) -> JobHook:
        """A hook with patience."""
        made: JobHook = JobHook(  # type: ignore[no-untyped-call]
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            config=self.botocore_config,
        )
        return made

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire when the job has ended; a connection that fails now and then is borne."""
        # Now: when somebody clears the task there is no time for it.
        self._client = await asyncio.to_thread(self._connected)
        await asyncio.sleep(max(_FIRST_LOOK_SECONDS, self.waiter_delay))
        for left in reversed(range(_PATIENCE)):
            try:
                async for event in super().run():
                    yield event
                return
            except BotoCoreError as error:
                if not left:
                    raise
                self.log.warning("No answer about %s: %s", self.job_name, error)
                await asyncio.sleep(self.waiter_delay)

    async def on_kill(self) -> None:
        """Stop the job: a person cleared or marked the task, which must not cost money any more.

        In a thread, as only there the connection can be asked for: Airflow waits for this method
        in a way that keeps it from its own services.
        """
        try:
            await asyncio.to_thread(self._stop)
        except Exception:
            # Airflow would log no more than that something went wrong.
            self.log.exception(
                "SageMaker job %s could not be stopped and may still run", self.job_name
            )
        else:
            self.log.info("Asked SageMaker to stop %s.", self.job_name)

    def _stop(self) -> None:
        method, member = _STOP[self.job_type.lower()]
        client = self._client or self._connected()
        getattr(client, method)(**{member: self.job_name})

    def _connected(self) -> Any:
        return self.hook().get_conn()
