"""Tunings on the local AWS: each learns from those before it, and what is better is adopted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from fmrec import jobs, tuning
from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.settings.ranges import ranges_of
from fmrec.steps.adopt import adopt
from fmrec.steps.events import events
from fmrec.steps.ingest import ingest
from fmrec.steps.plan import plan
from fmrec.steps.recordio import recordio
from local_aws_process import serving
from steps_world import AS_OF, NOW, World

pytestmark = pytest.mark.e2e

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fmrec-fm:local"
ENDED = {"Completed", "Failed", "Stopped"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local AWS."""
    with serving(tmp_path_factory.mktemp("aws")) as address:
        yield address


class Service:
    """What the tasks of a run do on a local AWS, without Airflow."""

    def __init__(self, url: str, folder: Path) -> None:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        place: Any = {"endpoint_url": url, "region_name": "us-east-1"} | keys
        self.sagemaker = boto3.client("sagemaker", **place)
        self.world = World(boto3.client("s3", **place), folder)
        self.world.deployment = replace(
            self.world.deployment, role_arn=ROLE, image_uri=IMAGE, cache_dir=folder
        )

    def prepared(self, days: int, **params: Any) -> Run:
        """Plan a run of so many days later and write its channels."""
        x, world = self.world.xcom, self.world
        given = {"source": "sample", "mode": "tune", "tuning_jobs": 4} | params
        x["run"] = plan("r", AS_OF + timedelta(days=days), given, world.deployment, world.s3)
        x["tables"] = ingest(x["run"], world.s3, world.deployment)
        x["parts"] = events(x["run"], x["tables"], world.s3)
        x["channels"] = recordio(x["run"], x["tables"], x["parts"], world.s3)
        return Run.from_xcom(x["run"])

    def trained(self, run: Run) -> dict[str, Any]:
        """Train with today's defaults."""
        deployment = self.world.deployment
        request = jobs.training_request(run, deployment, self.world.xcom["channels"], 1)
        self.sagemaker.create_training_job(**request)
        name = request["TrainingJobName"]
        ended = self.ended("training", TrainingJobName=name)
        told = ended["FinalMetricDataList"]
        return {"metrics": {each["MetricName"]: each["Value"] for each in told}}

    def tuned(self, run: Run, parents: list[str]) -> dict[str, Any]:
        """Tune; the result says what the tune task would."""
        deployment = self.world.deployment
        request = tuning.tuning_request(run, deployment, self.world.xcom["channels"], 1, parents)
        self.sagemaker.create_hyper_parameter_tuning_job(**request)
        name = request["HyperParameterTuningJobName"]
        ended = self.ended("hyper_parameter_tuning", HyperParameterTuningJobName=name)
        summaries = self.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )["TrainingJobSummaries"]
        best = ended["BestTrainingJob"]
        metric = best["FinalHyperParameterTuningJobObjectiveMetric"]
        trials = [
            {
                "status": each["TrainingJobStatus"],
                "value": each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
                "hyperparameters": each["TunedHyperParameters"],
            }
            for each in summaries
        ]
        objective = {"name": metric["MetricName"], "value": metric["Value"]}
        return {
            "hyperparameters": best["TunedHyperParameters"],
            "tuning": {"name": name, "objective": objective, "jobs": trials},
        }

    def ended(self, kind: str, **name: str) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = getattr(self.sagemaker, f"describe_{kind}_job")(**name)
            [status] = [found[key] for key in found if key.endswith("ingJobStatus")]
            if status in ENDED:
                assert status == "Completed", found
                return found
            time.sleep(0.2)

    def history(self, run: Run) -> list[tunings.Tuning]:
        return tunings.history(self.world.store, run.layout, run.kind)

    def adopted(self, run: Run, found: dict[str, Any]) -> dict[str, Any]:
        x = self.world.xcom
        return adopt(x["run"], x["parts"], self.trained(run), found, self.world.s3, NOW)


@pytest.fixture
def service(url: str, cache: Path) -> Service:
    made = Service(url, cache)
    made.world.s3.create_bucket(Bucket="fmrec")
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated archives: made once, as they are always the same."""
    return tmp_path_factory.mktemp("cache")


KINDS = [
    {},
    {"objective": "like"},
    {"objective": "ranking", "negative_ratio": 4},
    {"image": "fmrec", "iterations": 12, "chains": 2, "samples": 4},
    {"image": "fmrec", "objective": "ranking", "features": "history", "num_factors": 8},
]


@pytest.mark.parametrize("params", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_a_tuning_starts_from_the_one_before_and_is_judged_by_todays_defaults(
    service: Service, params: dict[str, Any]
) -> None:
    for day in (0, 7):
        run = service.prepared(day, **params)
        past = service.history(run)
        parents = tunings.parents(past, run)
        assert parents == [each.job for each in past]
        assert len(parents) == bool(day)
        found = service.tuned(run, parents)
        assert len(found["tuning"]["jobs"]) == 4
        ranges = {each.name: each for each in ranges_of(run.settings)}
        assert found["hyperparameters"].keys() == ranges.keys()
        for name, text in found["hyperparameters"].items():
            assert ranges[name].low <= float(text) <= ranges[name].high
        told = service.adopted(run, found)
        assert told["control"] is not None
        assert [each.run for each in service.history(run)][-1] == run.layout.run
        gain = told["objective"]["value"] - told["control"]
        better = gain > 0 if told["objective"]["name"] == "test:ndcg@10" else gain < 0
        assert told["adopted"] == better
        later = service.prepared(day + 1, **params, mode="train")
        expected = told["hyperparameters"] if told["adopted"] else run.hyperparameters()
        assert later.hyperparameters() == expected
