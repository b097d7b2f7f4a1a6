"""Train on the channels that the recordio step wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator

from fmrec import bills, jobs
from fmrec.layout import Run
from fmrec.operators import assets, links, progress
from fmrec.operators.job import JobOperator
from fmrec.settings import Deployment

if TYPE_CHECKING:
    from airflow.sdk import Context


class TrainingOperator(JobOperator, SageMakerTrainingOperator):
    """Train on the channels that the recordio step wrote.

    Image `fmrec` on spot capacity goes on from its checkpoints, also in a job of another number.
    """

    template_fields = (*SageMakerTrainingOperator.template_fields, "run", "channels")
    operator_extra_links = (links.TrainingJobLink(), links.LogLink())
    kind, billed_as, log_group = "training", "training", "TrainingJobs"
    name_key, status_key = "TrainingJobName", "TrainingJobStatus"

    def __init__(self, *, channels: Any, **kwargs: Any) -> None:
        super().__init__(
            print_log=False,
            wait_for_completion=False,
            check_if_job_exists=False,
            outlets=[assets.MODEL],
            **kwargs,
        )
        self.channels = channels

    def request(self, number: int) -> dict[str, Any]:
        """CreateTrainingJob."""
        run = Run.from_xcom(self.run)
        return jobs.training_request(run, Deployment.of(os.environ), self.channels, number)

    def work(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Image, hyperparameters and channels."""
        return jobs.training_work(told)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeTrainingJob."""
        description: dict[str, Any] = self.hook.describe_training_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopTrainingJob."""
        client: Any = self.hook.get_conn()
        client.stop_training_job(TrainingJobName=name)

    def longest_seconds(self) -> int:
        """Its own limit; on spot capacity the wait for it, too."""
        limits = self.config["StoppingCondition"]
        return int(limits.get("MaxWaitTimeInSeconds", limits["MaxRuntimeInSeconds"]))

    def left(self, description: Mapping[str, Any]) -> str:
        """The artifact."""
        return str(description["ModelArtifacts"]["S3ModelArtifacts"])

    def history(self, description: Mapping[str, Any]) -> list[str]:
        """The secondary states that it has been through."""
        return progress.transitions(description)

    def bill(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """What AWS says: of spot capacity that is less than the time it took."""
        return bills.training(description)

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The artifact, the time paid for, the final metrics."""
        # The provider's lineage is made from it.
        self.serialize_result(description["TrainingJobName"])
        return training_facts(description)

    def succeeded(self, context: Context, result: Mapping[str, Any]) -> None:
        """Say what the new model is."""
        show_model(context, self.run, result)


def training_facts(description: Mapping[str, Any]) -> dict[str, Any]:
    """What later tasks and the report need of a completed training job."""
    metrics = description.get("FinalMetricDataList", [])
    return {
        "artifact": description["ModelArtifacts"]["S3ModelArtifacts"],
        "seconds": description["TrainingTimeInSeconds"],
        "billable_seconds": description["BillableTimeInSeconds"],
        "metrics": {metric["MetricName"]: metric["Value"] for metric in metrics},
    }


def show_model(context: Context, run: Any, result: Mapping[str, Any]) -> None:
    """Say what the asset of the trained model consists of now."""
    told = ("name", "artifact", "metrics", "billable_seconds")
    extra = {"run": run["layout"]["run"], **{name: result[name] for name in told}}
    context["outlet_events"][assets.MODEL].extra = extra
