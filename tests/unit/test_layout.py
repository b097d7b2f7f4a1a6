"""Names and keys derive from the run, sort by the day they describe, and fit SageMaker's limits."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from fmrec.errors import ConfigurationError
from fmrec.layout import Layout, Run, run_key, split_uri
from fmrec.settings import Deployment, RunSettings

DAY = datetime(1998, 3, 8, tzinfo=UTC)
# The pattern of TrainingJobName, TransformJobName and ModelName in the service's own model.
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def layout(run_id: str = "scheduled__1998-03-08", as_of: datetime = DAY) -> Layout:
    return Layout("bucket", "some/prefix", run_key(as_of, run_id))


def test_run_keys_sort_by_the_moment_they_describe() -> None:
    days = [DAY + timedelta(days=n, seconds=n) for n in range(40)]
    keys = [run_key(day, f"run {n}") for n, day in enumerate(days)]
    assert sorted(keys) == keys


def test_two_runs_of_one_day_share_nothing_but_sources() -> None:
    one, two = layout("a"), layout("b")
    assert one.source("s", "t") == two.source("s", "t")
    for name in ("id_map", "models"):
        assert getattr(one, name) != getattr(two, name)
    assert one.job("train", 1) != two.job("train", 1)


@pytest.mark.parametrize("kind", ["train", "model", "score"])
@pytest.mark.parametrize("attempt", [1, 99])
def test_job_names_are_what_sagemaker_takes(kind: str, attempt: int) -> None:
    name = layout("manual__2026-11-20T17:54:12.123456+00:00_Ab_c").job(kind, attempt)
    assert NAME.fullmatch(name)


def made(run_id: str = "r", bucket: str = "b", **params: object) -> str:
    deployment = Deployment(bucket=bucket, role_arn="arn")
    return Run.of(run_id, DAY, RunSettings.of(params), deployment).layout.run


def test_a_run_is_told_apart_by_its_id_its_settings_and_its_place() -> None:
    keys = [made(), made("other"), made(bucket="elsewhere"), made(seed=2)]
    assert len(set(keys)) == len(keys)
    assert made() == made()


def test_a_run_survives_xcom() -> None:
    elsewhere = DAY.astimezone(timezone(timedelta(hours=5)))
    run = Run.of(
        "r", elsewhere, RunSettings.of({"split": "u1"}), Deployment(bucket="b", role_arn="arn")
    )
    again = Run.from_xcom(json.loads(json.dumps(run.to_xcom())))
    assert again == run
    assert again.layout.run.startswith("19980308T000000Z-")


def test_uris_part_and_join() -> None:
    made = layout()
    assert split_uri(made.uri("a/b.c")) == ("bucket", "a/b.c")
    with pytest.raises(ConfigurationError, match="'file:///x' is not an S3 URI"):
        split_uri("file:///x")
