"""A SageMaker in memory that hosts models, and champions that it can serve."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws
from scipy import sparse

from fmrec import recordio as codec
from fmrec.layout import Layout, Run
from fmrec.release import champions
from fmrec.settings import Deployment, RunSettings
from fmrec.steps import serve
from fmrec.store import Store

BUCKET = "fmrec"
NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)
LANE = "rating-sample-time"
PREFIX = "arn:aws:sagemaker:us-east-1:123456789012:"


class Killed(BaseException):
    """A process that is killed with -9 raises nothing that anybody could catch."""


def refusal(operation: str, code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Hosted:
    """SageMaker and its runtime, as far as serving asks: what is made is there at once, endpoints
    after two looks. `scores` says what a model answers; it is made when an endpoint starts."""

    def __init__(self, artifact: Callable[[str], bytes]) -> None:
        self.artifact = artifact
        self.models: dict[str, Any] = {}
        self.configs: dict[str, Any] = {}
        self.endpoints: dict[str, Any] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.transforms: dict[str, str] = {}
        self.jobs: dict[str, dict[str, Any]] = {}  # descriptions of jobs that have ended
        self.trials: dict[str, list[str]] = {}  # the training jobs of a tuning job
        self.now = NOW
        self.calls: list[str] = []
        self.refuse: dict[str, ClientError] = {}
        self.fails: dict[str, str] = {}  # artifact -> why an endpoint that is to have it fails
        self.dies_at: tuple[int, bool] | None = None  # number of a call; whether it is carried out
        self.hook: Callable[[str], None] = lambda operation: None

    # What a call goes through.

    def _call(self, operation: str, work: Callable[[], Any]) -> Any:
        self.calls.append(operation)
        self.hook(operation)
        number, carried_out = self.dies_at or (0, False)
        if len(self.calls) == number and not carried_out:
            raise Killed
        if operation in self.refuse:
            raise self.refuse[operation]
        try:
            return work()
        finally:
            if len(self.calls) == number:
                raise Killed

    def get_paginator(self, name: str) -> Any:
        owner = self

        class Pages:
            def paginate(self, **request: Any) -> Iterator[Any]:
                operation = "".join(word.title() for word in name.split("_"))
                yield owner._call(operation, lambda: owner._page(name, request))

        return Pages()

    def _page(self, name: str, request: Any) -> Any:
        if name == "list_tags":
            arn = request["ResourceArn"]
            self._found("a resource with ARN", self.tags, arn)
            return {"Tags": [{"Key": key, "Value": value} for key, value in self.tags[arn].items()]}
        if name == "list_training_jobs_for_hyper_parameter_tuning_job":
            trials = self.trials[request["HyperParameterTuningJobName"]]
            return {"TrainingJobSummaries": [{"TrainingJobName": each} for each in trials]}
        if "StatusEquals" not in request and name.endswith("_jobs"):
            prefix = "".join(word.title() for word in name.split("_")[1:]).removesuffix("s")
            prefix = prefix.replace("Hyperparameter", "HyperParameter")
            return {f"{prefix}Summaries": list(self._summaries(prefix, request))}
        if name == "list_transform_jobs":
            jobs = [{"TransformJobName": job} for job in self.transforms]
            return {"TransformJobSummaries": jobs}
        kind, member, held = {
            "list_models": ("Model", "Models", self.models),
            "list_endpoint_configs": ("EndpointConfig", "EndpointConfigs", self.configs),
            "list_endpoints": ("Endpoint", "Endpoints", self.endpoints),
        }[name]
        wanted = request.get("NameContains", "")
        return {
            member: [
                {
                    f"{kind}Name": each,
                    f"{kind}Arn": held[each]["arn"],
                    "CreationTime": held[each]["created"],
                }
                for each in held
                if wanted in each
            ]
        }

    def _summaries(self, prefix: str, request: Any) -> Iterator[Any]:
        for name, job in self.jobs.items():
            asked = request["NameContains"] in name
            if f"{prefix}Name" in job and asked and job["LastModifiedTime"] > request["LastModifiedTimeAfter"]:  # fmt: skip  # noqa: E501
                yield {key: job[key] for key in (f"{prefix}Name", f"{prefix}Status")}

    def _make(self, kind: str, held: dict[str, Any], name: str, request: Any) -> None:
        arn = f"{PREFIX}{kind.replace(' ', '-').replace('configuration', 'config')}/{name}"
        if name in held:
            raise refusal("Create", "ValidationException", f'Cannot create already existing {kind} "{arn}".')  # fmt: skip  # noqa: E501
        held[name] = {"arn": arn, "created": self.now, "request": request}
        self.tags[arn] = {each["Key"]: each["Value"] for each in request.get("Tags", [])}

    def _found(self, kind: str, held: dict[str, Any], name: str) -> Any:
        if name not in held:
            raise refusal("Describe", "ValidationException", f'Could not find {kind} "{name}".')
        return held[name]

    # Models and configurations.

    def create_model(self, **request: Any) -> None:
        name = request["ModelName"]
        self._call("CreateModel", lambda: self._make("model", self.models, name, request))

    def describe_model(self, ModelName: str) -> Any:
        return self._call(
            "DescribeModel", lambda: self._found("model", self.models, ModelName)["request"]
        )

    def delete_model(self, ModelName: str) -> None:
        def work() -> None:
            self._found("model", self.models, ModelName)
            del self.models[ModelName]

        self._call("DeleteModel", work)

    def create_endpoint_config(self, **request: Any) -> None:
        def work() -> None:
            for variant in request["ProductionVariants"]:
                self._found("model", self.models, variant["ModelName"])
            name = request["EndpointConfigName"]
            self._make("endpoint configuration", self.configs, name, request)

        self._call("CreateEndpointConfig", work)

    def describe_endpoint_config(self, EndpointConfigName: str) -> Any:
        def work() -> Any:
            return self._found("endpoint configuration", self.configs, EndpointConfigName)

        return self._call("DescribeEndpointConfig", work)["request"]

    def delete_endpoint_config(self, EndpointConfigName: str) -> None:
        def work() -> None:
            self._found("endpoint configuration", self.configs, EndpointConfigName)
            del self.configs[EndpointConfigName]

        self._call("DeleteEndpointConfig", work)

    # Endpoints: a transition is over when it has been looked at twice.

    def create_endpoint(self, **request: Any) -> None:
        def work() -> None:
            config = request["EndpointConfigName"]
            self._found("endpoint configuration", self.configs, config)
            name = request["EndpointName"]
            self._make("endpoint", self.endpoints, name, request)
            self.endpoints[name] |= {"status": "Creating", "config": config, "to": config, "left": 2}  # fmt: skip  # noqa: E501

        self._call("CreateEndpoint", work)

    def update_endpoint(self, EndpointName: str, EndpointConfigName: str) -> None:
        def work() -> None:
            found = self._found("endpoint", self.endpoints, EndpointName)
            self._found("endpoint configuration", self.configs, EndpointConfigName)
            if found["status"] != "InService":
                raise refusal("UpdateEndpoint", "ValidationException", "Cannot update in-progress endpoint")  # fmt: skip  # noqa: E501
            found |= {"status": "Updating", "to": EndpointConfigName, "left": 2}
            found["changed"] = self.now

        self._call("UpdateEndpoint", work)

    def delete_endpoint(self, EndpointName: str) -> None:
        def work() -> None:
            found = self._found("endpoint", self.endpoints, EndpointName)
            if found["status"] not in {"InService", "Failed"}:
                raise refusal("DeleteEndpoint", "ValidationException", "Cannot update in-progress endpoint")  # fmt: skip  # noqa: E501
            found |= {"status": "Deleting", "left": 2}

        self._call("DeleteEndpoint", work)

    def describe_endpoint(self, EndpointName: str) -> Any:
        return self._call("DescribeEndpoint", lambda: self._described(EndpointName))

    def _described(self, name: str) -> Any:
        found = self._found("endpoint", self.endpoints, name)
        if "left" in found:
            found["left"] -= 1
            if not found["left"]:
                self._arrive(name, found)
                found = self._found("endpoint", self.endpoints, name)
        told = {
            "EndpointArn": found["arn"],
            "EndpointStatus": found["status"],
            "EndpointConfigName": found["config"],
            "CreationTime": found["created"],
            "LastModifiedTime": found.get("changed", found["created"]),
        }
        if found["status"] == "Updating":
            told["PendingDeploymentSummary"] = {"EndpointConfigName": found["to"]}
        return told | ({"FailureReason": found["reason"]} if "reason" in found else {})

    def _arrive(self, name: str, found: Any) -> None:
        del found["left"]
        found.pop("reason", None)
        if found["status"] == "Deleting":
            del self.tags[self.endpoints.pop(name)["arn"]]
            return
        artifact = self.artifact_of(found["to"])
        if artifact in self.fails:
            found["reason"] = self.fails[artifact]
            found["status"] = "Failed" if found["status"] == "Creating" else "InService"
            return
        found |= {"status": "InService", "config": found["to"], "data": self.artifact(artifact)}

    def artifact_of(self, config: str) -> str:
        model = self.configs[config]["request"]["ProductionVariants"][0]["ModelName"]
        url: str = self.models[model]["request"]["PrimaryContainer"]["ModelDataUrl"]
        return url

    def add_tags(self, ResourceArn: str, Tags: Any) -> None:
        def work() -> None:
            self.tags[ResourceArn] |= {each["Key"]: each["Value"] for each in Tags}

        self._call("AddTags", work)

    def describe_transform_job(self, TransformJobName: str) -> Any:
        name = TransformJobName
        return self._call(
            "DescribeTransformJob",
            lambda: self.jobs[name] if name in self.jobs else {"ModelName": self.transforms[name]},
        )

    def describe_training_job(self, TrainingJobName: str) -> Any:
        return self._call("DescribeTrainingJob", lambda: self.jobs[TrainingJobName])

    def describe_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> Any:
        return self._call(
            "DescribeHyperParameterTuningJob", lambda: self.jobs[HyperParameterTuningJobName]
        )

    # The runtime.

    def invoke_endpoint(self, EndpointName: str, Body: bytes, ContentType: str, Accept: str) -> Any:
        assert (ContentType, Accept) == ("application/x-recordio-protobuf", "application/jsonlines")
        assert len(Body) <= 6_291_456

        def work() -> Any:
            if self.endpoints.get(EndpointName, {}).get("status") not in {"InService", "Updating"}:
                raise refusal("InvokeEndpoint", "ValidationError", "Endpoint not found.")
            answer = scored(Body, self.endpoints[EndpointName]["data"])
            return {"Body": BytesIO(answer)}

        return self._call("InvokeEndpoint", work)

    def state(self) -> dict[str, Any]:
        """What is there, without the times."""
        return {
            "models": sorted(self.models),
            "configs": sorted(self.configs),
            "endpoints": {
                name: (each["status"], each["config"], dict(self.tags[each["arn"]]))
                for name, each in self.endpoints.items()
            },
        }


def scored(rows: bytes, model: bytes) -> bytes:
    """What a model answers, which is a number, by which the values of a row are multiplied."""
    sums = np.asarray(codec.decode(rows).features.sum(axis=1)).ravel() * float(model)
    return b"".join(json.dumps({"score": float(np.float32(each))}).encode() + b"\n" for each in sums)  # fmt: skip  # noqa: E501


class Serving:
    """A deployment with champions; `sagemaker` is its SageMaker."""

    def __init__(self, s3: Any, prefix: str = "fmrec", sagemaker: Hosted | None = None) -> None:
        self.s3, self.store = s3, Store(s3, "fmrec")
        self.deployment = Deployment(bucket="fmrec", prefix=prefix, role_arn="arn:aws:iam::1:role/r")  # fmt: skip  # noqa: E501
        self.layout = Layout("fmrec", prefix, "")
        self.sagemaker = sagemaker or Hosted(self._artifact)
        self.now = NOW

    def _artifact(self, uri: str) -> bytes:
        data: bytes = self.store.get(uri.removeprefix("s3://fmrec/"))
        return data

    def run(self, name: str, day: datetime = datetime(1998, 1, 1, tzinfo=UTC)) -> Run:
        return Run.of(name, day, RunSettings.of({"source": "sample"}), self.deployment)

    def publish(self, run: Run, *, rows: int = 10, files: int = 2, width: int = 50) -> str:
        """Make the files of a run whose model is the length of its name; the artifact's URI."""
        layout, job = run.layout, run.layout.job("train", 1)
        artifact, output = f"{layout.models}/{job}/output/model.tar.gz", layout.predictions("score")
        model = str(1 + len(run.run_id)).encode()
        self.store.put(artifact, model, replace=True)
        written = []
        for number in range(files):
            there = sparse.random(rows, width, density=0.2, format="csr", random_state=number)
            data = codec.encode(there.astype(np.float32), np.ones(rows, np.float32))
            key = layout.channel_part("test", number)
            self.store.put(key, data)
            self.store.put(f"{output}{key.rpartition('/')[2]}.out", scored(data, model))
            written.append({"key": key, "rows": rows, "bytes": len(data), "sha256": ""})
        manifest = {
            "schema": 1, "run_id": run.run_id, "run": layout.run, "as_of": run.as_of.isoformat(),
            "parameters": asdict(run.settings), "tables": {}, "events": {}, "id_map": {},
            "recordio": {"test": written},
            "jobs": {
                "training": {"name": job, "artifact": layout.uri(artifact)},
                "transform": {"name": "score", "output": layout.uri(output)},
            },
        }  # fmt: skip
        self.store.put(layout.published_report("manifest.json"), json.dumps(manifest).encode())
        return layout.uri(artifact)

    def crown(self, name: str, lane: str = LANE, **given: Any) -> Run:
        """Make a run the champion of a lane."""
        run = self.run(name)
        artifact = self.publish(run, **given)
        champions.appoint(
            self.store, self.layout, lane, run=run.layout.run, as_of=run.as_of,
            manifest=run.layout.published_report("manifest.json"), artifact=artifact, at=self.now,
        )  # fmt: skip
        return run

    def choose(self, events: Any = (), **params: Any) -> list[Any]:
        values = {"lane": LANE} | params
        return serve.choose(values, events, self.s3, self.deployment, {})

    def deploy(self, chosen: Any) -> Any:
        return serve.deploy(
            chosen, self.sagemaker, self.s3, self.deployment, self.now, self.wait
        )  # fmt: skip

    def prove(self, chosen: Any, deployed: Any) -> Any:
        return serve.prove(
            chosen, deployed, self.sagemaker, self.sagemaker, self.s3, self.deployment, self.now,
            self.wait,
        )  # fmt: skip

    def settle(self, chosen: Any) -> Any:
        return serve.settle(
            chosen, self.sagemaker, self.s3, self.deployment, self.now, self.wait
        )  # fmt: skip

    def wait(self, seconds: float) -> None:
        self.waited = getattr(self, "waited", 0) + seconds

    def serve(self, **params: Any) -> Any:
        """All tasks of a run that succeeds; what the test found."""
        [chosen] = self.choose(**params)
        proven = self.prove(chosen, self.deploy(chosen))
        self.settle(chosen)
        return proven

    def tags(self, name: str) -> dict[str, str]:
        return self.sagemaker.tags[self.sagemaker.endpoints[name]["arn"]]

    def costs(self) -> Counter[str]:
        keys = list(self.store.list(self.layout.costs("2026-03")))
        return Counter(key.rpartition("/")[2] for key in keys)


@contextmanager
def s3_in_memory() -> Iterator[Any]:
    """An S3 with an empty bucket, whatever the environment says."""
    with mock_aws():
        client = boto3.client(
            "s3", region_name="us-east-1", config=Config(ignore_configured_endpoint_urls=True)
        )
        client.create_bucket(Bucket=BUCKET)
        yield client


def emptied(s3: Any) -> Any:
    """The same S3, with nothing in its bucket."""
    store = Store(s3, BUCKET)
    for key in list(store.list("")):
        store.delete(key)
    return s3


def later(**given: float) -> datetime:
    return NOW + timedelta(**given)
