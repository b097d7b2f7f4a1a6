"""The Amazon provider's SageMaker operators, thinly subclassed; the package's only Airflow import.

What the provider lacks and these add: the request is made from the run and from what the task
before returned; a job that ended `Stopped` fails the task (the provider counts it as a success
when it does not print the log); a failed job raises an error that says whether repeating it could
help; the result is a handful of fields instead of the whole Describe response; the job is stopped
when the running task is killed from Airflow (while a task is deferred, nothing runs that could).
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerBaseOperator,
    SageMakerModelOperator,
    SageMakerTrainingOperator,
    SageMakerTransformOperator,
    SageMakerTuningOperator,
)
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from fmrec import jobs
from fmrec.errors import AlgorithmError, JobError, JobStoppedError
from fmrec.layout import Run
from fmrec.operators.clients import CONNECTION
from fmrec.settings import Deployment

if TYPE_CHECKING:
    from airflow.sdk import Context


class _JobOperator(SageMakerBaseOperator):
    """What the training and the transform operator share: how a job is asked for and ends."""

    name_key: str
    status_key: str
    run: Any

    @abstractmethod
    def request(self, attempt: int) -> dict[str, Any]:
        """The Create request of this attempt."""

    @abstractmethod
    def describe(self, name: str) -> dict[str, Any]:
        """The Describe response of a job."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """Ask SageMaker to stop a job."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the job of this attempt and wait for it."""
        deployment = Deployment.of(os.environ)
        self.check_interval = deployment.poll_seconds
        self.config = self.request(context["ti"].try_number)
        # When deferred, the trigger must outlast the job's own limit.
        limit = Run.from_xcom(self.run).settings.max_runtime_minutes * 60
        self.max_attempts = limit // self.check_interval + 60
        try:
            super().execute(context)
        except AirflowException:
            self._raise_what_ended(self.config[self.name_key])
            raise
        return self.summary(self.config[self.name_key])

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Go on after a deferral, in a process that knows no more than the event."""
        try:
            super().execute_complete(context, event)  # type: ignore[misc]
        except (AirflowException, RuntimeError):
            self._raise_what_ended((event or {}).get("job_name", ""))
            raise
        return self.summary((event or {})["job_name"])

    def _raise_what_ended(self, name: str) -> None:
        """Raise the error of an ended job: the provider has one kind for everything.

        Returns when the job did not end badly, or was never made.
        """
        try:
            status = self.describe(name)[self.status_key]
        except ClientError:
            return
        if status in {"Failed", "Stopped"}:
            self.summary(name)

    def summary(self, name: str) -> dict[str, Any]:
        """A few facts about an ended job, for XCom. Raises JobError unless it is Completed."""
        description = self.describe(name)
        status = description[self.status_key]
        if status != "Completed":
            reason = description.get("FailureReason") or description.get("SecondaryStatus", "")
            kind = JobStoppedError if status == "Stopped" else JobError
            # So AWS begins the reason when the container, not the service, has failed.
            if reason.startswith(("AlgorithmError", "ClientError")):
                kind = AlgorithmError
            raise kind(
                f"SageMaker job {name} ended as {status} ({reason or 'no reason given'}); its log "
                "in CloudWatch says more. Mend the cause, then clear this task: the job starts "
                "again under a new name"
            )
        return {"name": name, "status": status, **self.facts(description)}

    @abstractmethod
    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """What later tasks and the report need of a completed job's description."""

    def on_kill(self) -> None:
        """Stop the job: a task that Airflow killed must not go on costing money."""
        name = self.config.get(self.name_key)
        if name is None:
            return
        try:
            self.stop(name)
            self.log.info("Asked SageMaker to stop %s.", name)
        except ClientError as error:
            self.log.warning("SageMaker job %s could not be stopped: %s", name, error)


class TrainingOperator(_JobOperator, SageMakerTrainingOperator):
    """Train on the channels that the recordio step wrote."""

    template_fields = (*SageMakerTrainingOperator.template_fields, "run", "channels")
    name_key, status_key = "TrainingJobName", "TrainingJobStatus"

    def __init__(self, *, run: Any, channels: Any, **kwargs: Any) -> None:
        # print_log: the provider would look at the job only every 30 seconds.
        super().__init__(config={}, print_log=False, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        self.channels = channels

    def request(self, attempt: int) -> dict[str, Any]:
        """CreateTrainingJob."""
        run = Run.from_xcom(self.run)
        return jobs.training_request(run, Deployment.of(os.environ), self.channels, attempt)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeTrainingJob."""
        description: dict[str, Any] = self.hook.describe_training_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopTrainingJob."""
        client: Any = self.hook.get_conn()
        client.stop_training_job(TrainingJobName=name)

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The artifact, the time paid for, the final metrics."""
        metrics = description.get("FinalMetricDataList", [])
        return {
            "artifact": description["ModelArtifacts"]["S3ModelArtifacts"],
            "seconds": description["TrainingTimeInSeconds"],
            "billable_seconds": description["BillableTimeInSeconds"],
            "metrics": {metric["MetricName"]: metric["Value"] for metric in metrics},
        }


class TuningOperator(_JobOperator, SageMakerTuningOperator):
    """Tune on the channels that the recordio step wrote."""

    template_fields = (*SageMakerTuningOperator.template_fields, "run", "channels")
    name_key, status_key = "HyperParameterTuningJobName", "HyperParameterTuningJobStatus"

    def __init__(self, *, run: Any, channels: Any, **kwargs: Any) -> None:
        super().__init__(config={}, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        self.channels = channels

    def request(self, attempt: int) -> dict[str, Any]:
        """CreateHyperParameterTuningJob."""
        raise NotImplementedError

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeHyperParameterTuningJob."""
        description: dict[str, Any] = self.hook.describe_tuning_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopHyperParameterTuningJob."""
        client: Any = self.hook.get_conn()
        client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The best training job, and what was tried."""
        raise NotImplementedError


class TransformOperator(_JobOperator, SageMakerTransformOperator):
    """Score the test events with a model."""

    template_fields = (*SageMakerTransformOperator.template_fields, "run", "channels", "model")
    name_key, status_key = "TransformJobName", "TransformJobStatus"

    def __init__(self, *, run: Any, channels: Any, model: Any, **kwargs: Any) -> None:
        super().__init__(config={}, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        self.channels = channels
        self.model = model

    def request(self, attempt: int) -> dict[str, Any]:
        """CreateTransformJob."""
        return jobs.transform_request(Run.from_xcom(self.run), self.channels, self.model, attempt)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeTransformJob."""
        description: dict[str, Any] = self.hook.describe_transform_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopTransformJob."""
        client: Any = self.hook.get_conn()
        client.stop_transform_job(TransformJobName=name)

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Where the predictions are, and how long it took."""
        took = description["TransformEndTime"] - description["TransformStartTime"]
        return {
            "output": description["TransformOutput"]["S3OutputPath"],
            "seconds": round(took.total_seconds(), 1),
        }


class ModelOperator(SageMakerModelOperator):
    """Register a training job's artifact as a SageMaker model."""

    template_fields = (*SageMakerModelOperator.template_fields, "run", "training")

    def __init__(self, *, run: Any, training: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(config={}, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        self.training = training

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the model of this attempt."""
        run, deployment = Run.from_xcom(self.run), Deployment.of(os.environ)
        training = next(each for each in self.training if each is not None)
        self.config = jobs.model_request(run, deployment, training, context["ti"].try_number)
        super().execute(context)
        return {"name": self.config["ModelName"], "training": training}
