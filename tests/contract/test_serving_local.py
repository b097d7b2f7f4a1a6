"""Champions of real runs, served by the local AWS: a process of its own that really serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fmrec import jobs, ledger
from fmrec.errors import AlgorithmError, EvaluationError, RefusedError
from fmrec.evaluation import page
from fmrec.layout import Layout, Run
from fmrec.release import champions
from fmrec.steps import janitor, serve, smoke
from fmrec.steps.published import Published
from fmrec.store import Store
from local_aws_process import serving
from steps_world import World

pytestmark = pytest.mark.e2e

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fmrec-fm:local"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
LANE = "rating-sample-time"
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
DEPLOY = """
import json, sys
import boto3
from datetime import UTC, datetime
from fmrec.settings import Deployment
from fmrec.steps import serve
chosen, deployment = json.loads(sys.argv[1]), Deployment(**json.loads(sys.argv[2]))
serve.deploy(chosen, boto3.client("sagemaker"), boto3.client("s3"), deployment, datetime.now(UTC))
"""


def wait(seconds: float) -> None:
    """Of the poll's seconds a twentieth: a local endpoint is there in one."""
    time.sleep(seconds / 20)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local AWS."""
    with serving(tmp_path_factory.mktemp("aws")) as address:
        yield address


class Service:
    """A deployment on a local AWS."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        names = ("s3", "sagemaker", "sagemaker-runtime", "logs")
        self.s3, self.sagemaker, self.runtime, self.logs = (self.client(name) for name in names)
        self.s3.create_bucket(Bucket="fmrec")
        self.layout = Layout("fmrec", "fmrec", "")
        self.name = self.layout.endpoint(LANE)
        self.store = Store(self.s3, "fmrec")
        self.world = World(self.s3, cache)
        self.world.deployment = replace(
            self.world.deployment, role_arn=ROLE, poll_seconds=1, image_uri=IMAGE
        )

    def client(self, service: str) -> Any:
        return boto3.Session(region_name="us-east-1").client(
            service,
            endpoint_url=self.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(max_pool_connections=20),
        )

    def champion(self, run_id: str, **params: Any) -> Run:
        """A champion: prepared by the steps, trained and scored by jobs, published."""
        world = self.world.prepare(run_id, **params)
        run, channels = Run.from_xcom(world.xcom["run"]), world.xcom["channels"]
        deployment = world.deployment
        train = jobs.training_request(run, deployment, channels, 1)
        self.sagemaker.create_training_job(**train)
        job = self._ended("training", train["TrainingJobName"])
        artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
        model = jobs.model_request(run, deployment, {"artifact": artifact}, 1)
        self.sagemaker.create_model(**model)
        score = jobs.transform_request(run, channels, {"name": model["ModelName"]}, 1)
        self.sagemaker.create_transform_job(**score)
        output = self._ended("transform", score["TransformJobName"])["TransformOutput"]
        done = {"status": "Completed", "seconds": 1}
        world.xcom["training"] = done | {
            "name": train["TrainingJobName"], "artifact": artifact, "billable_seconds": 1,
            "metrics": {},
        }  # fmt: skip
        world.xcom["transform"] = done | {
            "name": score["TransformJobName"], "output": output["S3OutputPath"],
        }  # fmt: skip
        world.evaluate(self.logs).release()
        champions.appoint(
            self.store, self.layout, run.lane, run=run.layout.run, as_of=run.as_of,
            manifest=run.layout.published_report("manifest.json"), artifact=artifact,
            at=datetime.now(UTC),
        )  # fmt: skip
        return run

    def _ended(self, kind: str, name: str) -> Any:
        member = f"{kind.title()}Job"
        while True:
            found = getattr(self.sagemaker, f"describe_{kind}_job")(**{f"{member}Name": name})
            if found[f"{member}Status"] != "InProgress":
                assert found[f"{member}Status"] == "Completed", found
                return found
            time.sleep(0.05)

    def choose(self, **params: Any) -> Any:
        [chosen] = serve.choose({"lane": LANE} | params, [], self.s3, self.world.deployment, {})
        return chosen

    def deploy(self, chosen: Any) -> Any:
        now, deployment = datetime.now(UTC), self.world.deployment
        return serve.deploy(chosen, self.sagemaker, self.s3, deployment, now, wait)

    def prove(self, chosen: Any, deployed: Any) -> Any:
        return serve.prove(
            chosen, deployed, self.sagemaker, self.runtime, self.s3, self.world.deployment,
            datetime.now(UTC), wait,
        )  # fmt: skip

    def settle(self, chosen: Any) -> Any:
        now, deployment = datetime.now(UTC), self.world.deployment
        return serve.settle(chosen, self.sagemaker, self.s3, deployment, now, wait)

    def serve(self, **params: Any) -> Any:
        chosen = self.choose(**params)
        proven = self.prove(chosen, self.deploy(chosen))
        self.settle(chosen)
        return proven

    def clean(self, now: datetime, **params: Any) -> Any:
        found = janitor.clean(
            params, self.sagemaker, self.s3, self.world.deployment, now,
            approval_hours=20, tell=lambda *_: None, sleep=wait,
        )  # fmt: skip
        return {name: each["count"] for name, each in found["gone"].items() if each["count"]}

    def served(self) -> dict[str, list[str]]:
        """The names of the endpoints, and of what was made for them."""
        return {
            "endpoints": [
                each["EndpointName"] for each in self.sagemaker.list_endpoints()["Endpoints"]
            ],
            "configs": [
                each["EndpointConfigName"]
                for each in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]
            ],
            "models": [
                each["ModelName"]
                for each in self.sagemaker.list_models(NameContains="fmrec-serve-")["Models"]
            ],
        }


class Client(threading.Thread):
    """Somebody who asks the endpoint the same thing without a pause."""

    def __init__(self, service: Service, row: bytes) -> None:
        super().__init__()
        self.told: Counter[bytes] = Counter()
        self.errors: list[Exception] = []
        self._service, self._row, self._end = service, row, threading.Event()
        self._runtime = service.client("sagemaker-runtime")

    def run(self) -> None:
        while not self._end.is_set():
            try:
                answer = self._runtime.invoke_endpoint(
                    EndpointName=self._service.name,
                    Body=self._row,
                    ContentType=jobs.RECORDIO,
                    Accept="application/jsonlines",
                )
                self.told[answer["Body"].read()] += 1
            except (ClientError, BotoCoreError) as error:
                self.errors.append(error)

    def __enter__(self) -> Client:
        self.start()
        while not self.told:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


@pytest.fixture(scope="module")
def service(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        # Most of the time of a report goes into its drawings, which other tests look at.
        patch.setattr(page, "render", lambda report: "")
        yield Service(url, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def first(service: Service) -> Run:
    return service.champion("first", num_factors=4)


def crown(service: Service, run: Run) -> Run:
    """Make a run the champion again, whichever test comes before."""
    past = Published.of(run.layout, service.store)
    champions.appoint(
        service.store, service.layout, LANE, run=run.layout.run, as_of=run.as_of,
        manifest=run.layout.published_report("manifest.json"), artifact=past.artifact,
        at=datetime.now(UTC),
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def second(service: Service, first: Run) -> Run:
    return service.champion("second", num_factors=8, epochs=3)


@pytest.fixture(autouse=True)
def nothing_left(service: Service) -> Iterator[None]:
    yield
    service.settle(service.choose(action="teardown"))
    assert service.served() == {"endpoints": [], "configs": [], "models": []}


def row_of(service: Service, run: Run) -> bytes:
    return smoke.sample(Published.of(run.layout, service.store), 1).frames[0]


def test_the_scores_are_those_of_the_batch_transform(service: Service, first: Run) -> None:
    crown(service, first)
    proven = service.serve(smoke_rows=5000)
    rows = sum(
        each["rows"]
        for each in Published.of(first.layout, service.store).manifest["recordio"]["test"]
    )
    assert proven["rows"] == min(5000, rows) > 100
    assert proven["largest_difference"] <= 1e-6
    assert proven["run"] == first.layout.run
    found = service.served()
    assert [len(each) for each in found.values()] == [1, 1, 1]
    # A repeated run finds it, and makes nothing a second time.
    assert service.serve()["done"] == "left as it is"
    assert service.served() == found


@pytest.mark.parametrize(
    "params",
    [
        {"image": "fmrec", "solver": "mcmc", "features": "everything"},
        {"image": "fmrec", "objective": "ranking", "features": "history"},
    ],
    ids=["wide rows", "ranking"],
)
def test_other_models_answer_as_their_batch_transform_too(
    service: Service, params: dict[str, Any]
) -> None:
    """In the batch other rows came together, and sums were added up in another order."""
    run = service.champion("other", **params)
    proven = service.serve(lane=run.lane, smoke_rows=777)
    assert proven["lane"] == run.lane
    assert proven["rows"] == 777
    assert proven["largest_difference"] < smoke.TOLERANCE / 10
    service.settle(service.choose(lane=run.lane, action="teardown"))


def test_an_update_has_no_gap_and_a_rollback_neither(
    service: Service, first: Run, second: Run
) -> None:
    crown(service, first)
    service.serve()
    with Client(service, row_of(service, first)) as client:
        crown(service, second)
        assert service.serve()["done"] == "updated"
        asked = client.told.total()
        while client.told.total() < asked + 5:
            time.sleep(0.01)
        assert len(client.told) == 2
        # The artifact of the third is another model than the one whose scores are known.
        third = service.champion("third", num_factors=4, epochs=1)
        past = Published.of(third.layout, service.store)
        key = past.artifact.removeprefix("s3://fmrec/")
        other = Published.of(first.layout, service.store).artifact.removeprefix("s3://fmrec/")
        service.store.put(key, service.store.get(other), replace=True)
        chosen = service.choose()
        deployed = service.deploy(chosen)
        with pytest.raises(EvaluationError) as caught:
            service.prove(chosen, deployed)
        assert "200 of 200 test events differ" in str(caught.value)
        assert str(caught.value).endswith(f"serves {second.layout.run} again")
        service.settle(chosen)
    assert client.errors == []
    assert client.told.total() > 20
    found = service.sagemaker.describe_endpoint(EndpointName=service.name)
    assert (found["EndpointStatus"], [found["EndpointConfigName"]]) == (
        "InService", service.served()["configs"],
    )  # fmt: skip
    crown(service, second)
    assert service.serve()["done"] == "left as it is"


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(
    service: Service, first: Run, second: Run
) -> None:
    crown(service, first)
    service.serve()
    before = service.served()
    crown(service, second)
    key = Published.of(second.layout, service.store).artifact.removeprefix("s3://fmrec/")
    good = service.store.get(key)
    service.store.put(key, b"no archive", replace=True)
    chosen = service.choose()
    try:
        with pytest.raises(
            AlgorithmError, match=f"Failed to extract model .* serves {first.layout.run} as before"
        ):
            service.deploy(chosen)
    finally:
        service.store.put(key, good, replace=True)
    service.settle(chosen)
    assert service.served() == before


@pytest.mark.parametrize("there", [False, True], ids=["making", "updating"])
def test_a_worker_that_dies_in_the_middle_costs_nothing_twice(
    service: Service, first: Run, second: Run, *, there: bool
) -> None:
    if there:
        crown(service, first)
        service.serve()
    crown(service, second)
    chosen = service.choose()
    told = {"bucket": "fmrec", "role_arn": ROLE, "poll_seconds": 1}
    environ = os.environ | KEYS | {
        "AWS_ENDPOINT_URL": service.url, "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", DEPLOY, json.dumps(chosen), json.dumps(told)], env=environ
    ) as worker:
        wanted = "Updating" if there else "Creating"
        while worker.poll() is None:
            try:
                found = service.sagemaker.describe_endpoint(EndpointName=service.name)
            except ClientError:
                continue
            if found["EndpointStatus"] == wanted:
                worker.kill()
                break
    assert worker.returncode == -signal.SIGKILL
    deployed = service.deploy(chosen)
    assert deployed["done"] == "left as it is"
    assert service.prove(chosen, deployed)["run"] == second.layout.run
    service.settle(chosen)
    assert [len(each) for each in service.served().values()] == [1, 1, 1]


def test_the_janitor_takes_what_has_had_its_time_and_the_bill_is_kept(
    service: Service, first: Run
) -> None:
    crown(service, first)
    service.serve(ttl_hours=2)
    now = datetime.now(UTC)
    assert "endpoints" not in service.clean(now + timedelta(hours=1))
    assert service.clean(now + timedelta(hours=3), dry_run=True) == {
        "endpoints": 1, "configurations": 1, "models": 1,
    }  # fmt: skip
    assert len(service.served()["endpoints"]) == 1
    assert service.clean(now + timedelta(hours=3))["endpoints"] == 1
    assert service.served() == {"endpoints": [], "configs": [], "models": []}
    # An endpoint that was there when a month began counts in both.
    months = {ledger.month_of(each) for each in (now, now + timedelta(hours=3))}
    spent = [ledger.spent(service.store, service.layout, month) for month in months]
    assert sum(each["runs"].get(first.layout.run, 0) for each in spent) >= 3 * 0.115
    # Its jobs were made by no task here; the janitor has recorded them all the same.
    jobs_of = {first.layout.job(kind, 1) for kind in ("train", "score")}
    assert all(ledger.recorded(service.store, service.layout, name) for name in jobs_of)
    # Two days on, the models that the runs registered go; their files are not old enough.
    assert set(service.clean(now + timedelta(days=3))) == {"models"}
    assert service.serve()["run"] == first.layout.run


def test_an_instance_type_that_aws_does_not_know(service: Service, first: Run) -> None:
    crown(service, first)
    with pytest.raises(RefusedError, match=r"parameter endpoint_instance_type: .*'ml\.foo\.large'"):
        service.serve(endpoint_instance_type="ml.foo.large")
