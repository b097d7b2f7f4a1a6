"""Score the test events with a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.amazon.aws.links.sagemaker import SageMakerTransformJobLink
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTransformOperator
from botocore.exceptions import ClientError

from fmrec import bills, jobs
from fmrec.layout import Run
from fmrec.operators import links
from fmrec.operators.job import JobOperator
from fmrec.settings import TASK_HOURS


class TransformOperator(JobOperator, SageMakerTransformOperator):
    """Score the test events with a model."""

    template_fields = (*SageMakerTransformOperator.template_fields, "run", "channels", "model")
    operator_extra_links = (  # type: ignore[assignment]  # the provider says: one
        SageMakerTransformJobLink(),
        links.LogLink(),
    )
    kind, billed_as, log_group = "transform", "batch transform", "TransformJobs"
    name_key, status_key = "TransformJobName", "TransformJobStatus"

    def __init__(self, *, channels: Any, model: Any, **kwargs: Any) -> None:
        super().__init__(wait_for_completion=False, check_if_job_exists=False, **kwargs)
        self.channels = channels
        self.model = model

    def request(self, number: int) -> dict[str, Any]:
        """CreateTransformJob."""
        return jobs.transform_request(Run.from_xcom(self.run), self.channels, self.model, number)

    def work(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Model and input."""
        return jobs.transform_work(told)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeTransformJob."""
        description: dict[str, Any] = self.hook.describe_transform_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopTransformJob."""
        client: Any = self.hook.get_conn()
        client.stop_transform_job(TransformJobName=name)

    def longest_seconds(self) -> int:
        """No transform job is waited for any longer."""
        return TASK_HOURS * 3600  # SageMaker sets transform jobs no limit

    def left(self, description: Mapping[str, Any]) -> str:
        """The folder of the predictions."""
        return str(description["TransformOutput"]["S3OutputPath"])

    def bill(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """A transform is billed for all the time that it has machines."""
        return bills.transform(description)

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Where the predictions are, and how long it took."""
        try:
            # The provider's lineage is made from it, and from the model.
            self.serialize_result(description["TransformJobName"])
        except ClientError as error:
            self.log.info("No lineage of this job: %s", error)
        return {"output": self.left(description), "seconds": bills.transform_seconds(description)}
