"""Links from a task in Airflow's web UI to the AWS console, in the region of the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.amazon.aws.links.base_aws import BASE_AWS_CONSOLE_LINK, BaseAwsLink

if TYPE_CHECKING:
    from airflow.sdk import Context

_SAGEMAKER = BASE_AWS_CONSOLE_LINK + "/sagemaker/home?region={region_name}#"
# The console wants the group and the filter in an encoding of its own: $25 for % and so on.
_LOG = (
    BASE_AWS_CONSOLE_LINK + "/cloudwatch/home?region={region_name}#logsV2:log-groups/log-group/"
    "$252Faws$252Fsagemaker$252F{group}$3FlogStreamNameFilter$3D{job_name}$252F"
)


class TrainingJobLink(BaseAwsLink):
    """The training job."""

    name = "SageMaker training job"
    key = "sagemaker_training_job"
    format_str = _SAGEMAKER + "/jobs/{job_name}"


class TuningJobLink(BaseAwsLink):
    """The tuning job, with its training jobs."""

    name = "SageMaker tuning job"
    key = "sagemaker_tuning_job"
    format_str = _SAGEMAKER + "/hyper-tuning-jobs/{job_name}"


class ModelLink(BaseAwsLink):
    """The model."""

    name = "SageMaker model"
    key = "sagemaker_model"
    format_str = _SAGEMAKER + "/models/{job_name}"


class LogLink(BaseAwsLink):
    """The log of the job."""

    name = "CloudWatch log"
    key = "sagemaker_log"
    format_str = _LOG


def show(context: Context, operator: Any, job_name: str, group: str) -> None:
    """Make the links of an operator lead to a job or model, from now on.

    The provider's way keeps what a link is made from, and Airflow makes the link when the task
    ends. While it runs is when a person looks for its job, so the link itself is kept too.
    """
    hook = operator.hook
    region, partition = hook.conn_region_name, hook.conn_partition
    facts = {"job_name": quote(job_name, safe=""), "group": group}
    for link in operator.operator_extra_links:
        link.persist(context, operator, region, partition, **facts)
        domain = link.get_aws_domain(partition)
        address = link.format_link(region_name=region, aws_domain=domain, **facts)
        context["ti"].xcom_push(key=link.xcom_key, value=address)
