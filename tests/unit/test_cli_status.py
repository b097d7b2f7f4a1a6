"""`python -m fmrec status`: what runs, what is in production, what it has cost."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.console import Console

from fmrec import ledger
from fmrec.cli import started, status
from fmrec.errors import FmrecError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.settings import Deployment
from fmrec.store import Store

LAYOUT = Layout("fmrec", "fmrec", "")
AT = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)


class SageMaker:
    """Lists of jobs in progress and of endpoints."""

    def __init__(self, **entries: list[dict[str, Any]]) -> None:
        self.entries = entries

    def get_paginator(self, operation: str) -> Any:
        found = self.entries

        class Pages:
            def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
                assert asked["NameContains"] == "fmrec-"
                assert asked.get("StatusEquals", "InProgress") == "InProgress"
                name = {
                    "list_training_jobs": "TrainingJobSummaries",
                    "list_hyper_parameter_tuning_jobs": "HyperParameterTuningJobSummaries",
                    "list_transform_jobs": "TransformJobSummaries",
                    "list_endpoints": "Endpoints",
                }[operation]
                yield {name: found.get(operation, [])}

        return Pages()


class Airflow:
    """Two DAGs, one of them paused, and a run that waits for a person."""

    def get(self, path: str) -> Any:
        assert path == "dagStats"
        stats = [{"state": "success", "count": 31}, {"state": "running", "count": 1}]
        return {"dags": [{"dag_id": "fmrec_retrain", "stats": stats}]}

    def every(self, path: str, name: str, **_: Any) -> Iterator[Any]:
        if name == "dags":
            due = "2026-01-02T00:00:00Z"
            yield {"dag_id": "fmrec_retrain", "is_paused": False, "next_dagrun_run_after": due}
            yield {"dag_id": "fmrec_tune", "is_paused": True, "next_dagrun_run_after": due}
        else:
            task = {"dag_id": "fmrec_retrain", "dag_run_id": "manual__1", "task_id": "approve"}
            yield task | {"state": "awaiting_input"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="fmrec")
        made = Store(s3, "fmrec")
        deployment = Deployment(bucket="fmrec", role_arn="arn", monthly_budget=20.0)
        monkeypatch.setattr(status.zone, "open_store", lambda: (made, deployment))
        monkeypatch.setattr(status.zone, "client", lambda _: SageMaker())
        monkeypatch.setattr(status.stack, "found", lambda: None)
        yield made


def shown() -> str:
    out = io.StringIO()
    status.show(Console(file=out, width=60))
    return out.getvalue()


def lines(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()]


def test_an_aws_with_nothing_in_it(store: Store) -> None:
    month = ledger.month_of(datetime.now(UTC))
    assert [line for line in shown().splitlines() if line] == [
        "SageMaker: 0 jobs in progress, 0 endpoints",
        "No champion yet",
        f"{month}: 0.0000 USD for 0 jobs, of a budget of 20.00",
    ]


def test_what_is_at_work_in_production_and_paid(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"TrainingJobName": "fmrec-r-1", "CreationTime": AT}
    endpoint = {"EndpointName": "fmrec-rating", "EndpointStatus": "InService", "CreationTime": AT}
    found = SageMaker(list_training_jobs=[training], list_endpoints=[endpoint])
    monkeypatch.setattr(status.zone, "client", lambda _: found)
    run = "20260101T000000Z-0123abcd"
    champions.appoint(
        store, LAYOUT, "rating-ml-100k-time", run=run, as_of=AT, manifest="m.json",
        artifact="s3://fmrec/m", at=AT, by="ann",
    )  # fmt: skip
    entry = {"kind": "training", "run": "r", "instances": 1, "status": "Completed"}
    for job, instance in (("a", "ml.m5.large"), ("b", "ml.unheard.of")):
        told = entry | {"job": job, "instance_type": instance, "billable_seconds": 3600}
        ledger.record(store, LAYOUT, "us-east-1", told, datetime.now(UTC))
    said = shown()
    assert "SageMaker: 1 job in progress, 1 endpoint\n" in said
    assert "  training fmrec-r-1 since 2026-01-01 09:30\n" in said
    assert "  endpoint fmrec-rating InService since 2026-01-01 09:30\n" in said
    when = ["2026-01-01", "09:30"]
    assert ["rating-ml-100k-time", "2026-01-01", run, *when, "ann"] in lines(said)
    assert "0.1150 USD for 2 jobs, of a budget of 20.00" in said
    assert "Not in the sum, as no price is known: b" in said


def test_the_rest_is_told_where_sagemaker_may_not_be_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses:
        def get_paginator(self, operation: str) -> Any:
            error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "not you"}}
            raise ClientError(error, operation)

    monkeypatch.setattr(status.zone, "client", lambda _: Refuses())
    said = shown()
    assert "SageMaker does not say what it is at" in said
    assert "No champion yet" in said


def up(monkeypatch: pytest.MonkeyPatch, *dead: str) -> None:
    """A stack of which `dead` have ended."""
    names = ("local-aws", "api-server", "scheduler")
    made = started.Stack(
        ui="http://127.0.0.1:8080", tasks="http://127.0.0.1:8081", aws="http://127.0.0.1:5566",
        password="p", key="k", source="sample",
        started=[started.Started(name, pid, AT.timestamp()) for pid, name in enumerate(names)],
    )  # fmt: skip
    monkeypatch.setattr(status.stack, "found", lambda: made)
    monkeypatch.setattr(started.Started, "runs", lambda self: self.name not in dead)


def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def airflow(_: started.Stack) -> Iterator[Airflow]:
        yield Airflow()

    monkeypatch.setattr(status.airflow_api, "opened", airflow)


def test_an_airflow_that_is_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    up(monkeypatch)
    opened(monkeypatch)
    said = shown()
    assert ["scheduler", "2", "2026-01-01", "09:30", "runs"] in lines(said)
    assert ["fmrec_retrain", "1", "0", "31", "0", "2026-01-02", "00:00"] in lines(said)
    assert ["fmrec_tune", "paused", "0", "0", "0", "0"] in lines(said)
    assert "  fmrec_retrain manual__1: approve waits for a person\n" in said
    assert "No champion yet" in said


def test_what_has_ended_is_told_with_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(monkeypatch, "scheduler")
    opened(monkeypatch)
    told = "has ended: `make up` starts it again"
    assert ["scheduler", "2", "2026-01-01", "09:30", *told.split()] in lines(shown())


def test_an_airflow_that_does_not_answer_hides_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def silent(_: started.Stack) -> Iterator[Airflow]:
        raise FmrecError("Airflow does not answer at http://127.0.0.1:8080")
        yield

    up(monkeypatch, "api-server")
    monkeypatch.setattr(status.airflow_api, "opened", silent)
    said = shown()
    assert "Airflow does not answer at http://127.0.0.1:8080" in said
    assert "No champion yet" in said


def test_components_are_shown_where_no_aws_is_left_to_ask(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise FmrecError("there is no AWS to work on")

    up(monkeypatch, "local-aws")
    opened(monkeypatch)
    monkeypatch.setattr(status.zone, "open_store", none)
    out = io.StringIO()
    with pytest.raises(FmrecError, match="there is no AWS to work on"):
        status.show(Console(file=out, width=100))
    assert "local-aws" in out.getvalue()
    assert "has ended" in out.getvalue()
