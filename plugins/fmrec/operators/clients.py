"""What a task needs of Airflow: clients of AWS, the clock of its run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

from fmrec.errors import ConfigurationError

CONNECTION = "aws_default"


def aws_client(service: str) -> Any:
    """A boto3 client made from the Airflow connection `aws_default`."""
    return AwsBaseHook(aws_conn_id=CONNECTION, client_type=service).get_conn()


def clock(context: Mapping[str, Any]) -> datetime:
    """The moment a DAG run describes: the end of its data interval, else when it may run.

    A manual run has no data interval in Airflow 3 unless it was given a logical date.
    """
    dag_run = context["dag_run"]
    instant = dag_run.data_interval_end or dag_run.run_after
    if not isinstance(instant, datetime):
        raise ConfigurationError(
            f"run {dag_run.run_id} has neither a data interval nor a run_after; set Param as_of"
        )
    return instant
