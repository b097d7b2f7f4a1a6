"""Clients that nobody here wrote, on the local AWS: the SageMaker SDK 2.x and 3.x, the AWS CLI.

The SDK 2.x and the CLI live in an environment of their own (`make .venv/sdk`). Their scripts, in
sdk/, run beside each other: they mostly wait, as the SDK does.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.fm import artifact
from fmrec.fm.model import Model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "sdk"
SDK = ROOT / ".venv" / "sdk-environment" / "bin"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
ENTROPY = "test:binary_classification_cross_entropy"
ACCURACY = "test:binary_classification_accuracy"


@dataclass(frozen=True)
class Cloud:
    """A local AWS, and the environment of a client that is pointed at it and at nothing else."""

    url: str
    environ: dict[str, str]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

    def training_job(self, name: str) -> dict[str, Any]:
        return self.client("sagemaker").describe_training_job(TrainingJobName=name)

    def metrics(self, job: str) -> dict[str, float]:
        found = self.training_job(job)["FinalMetricDataList"]
        return {item["MetricName"]: item["Value"] for item in found}

    def model(self, address: str, folder: Path) -> Model:
        """Return the Factorization Machine in the model.tar.gz at an address."""
        bucket, _, key = address.removeprefix("s3://").partition("/")
        body = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            archive.extractall(folder, filter="data")
        return artifact.load(folder)


@dataclass
class Script:
    """A script that runs, or ran: what it printed, and the facts that it wrote down."""

    process: subprocess.Popen[bytes]
    printed: Path
    result: Path

    def facts(self) -> dict[str, Any]:
        """Wait for its end and return what it wrote down."""
        code = self.process.wait(400)
        assert code == 0, self.text()[-6000:]
        return json.loads(self.result.read_text())

    def text(self) -> str:
        return self.printed.read_text()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if not SDK.is_dir():
        pytest.skip(f"{SDK.parent.relative_to(ROOT)} is not there: run `make .venv/sdk`")
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0", "--state"]
    server = subprocess.Popen(
        [*command, str(tmp_path_factory.mktemp("state"))], stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().split()[4].rstrip(",")
        yield Cloud(
            url,
            {
                "PATH": f"{SDK}:{os.environ['PATH']}",
                "HOME": str(home),
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_PAGER": "",
                # What would go to AWS itself goes by TLS, and finds a closed port.
                "HTTPS_PROXY": "http://127.0.0.1:9",
                "SAGEMAKER_USER_CONFIG_OVERRIDE": str(SCRIPTS / "config.yaml"),
                "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
            },
        )
    finally:
        server.terminate()
        assert server.wait(60) == 0
        server.stdout.close()


def rows(seed: int, count: int = 300) -> bytes:
    """RecordIO of one-hot rows 50 wide, for scripts that bring none of their own."""
    draw = np.random.default_rng(seed)
    keys = np.column_stack([draw.integers(0, 20, count), 20 + draw.integers(0, 30, count)])
    features = sparse.csr_matrix(
        (np.ones(2 * count, np.float32), keys.ravel(), np.arange(0, 2 * count + 1, 2)),
        shape=(count, 50),
    )
    labels = np.sin(keys[:, 0]) + np.cos(keys[:, 1]) > 0
    return recordio.encode(features, labels.astype(np.float32))


@pytest.fixture(scope="module")
def bucket(cloud: Cloud) -> str:
    """A bucket with train/rows and test/rows."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="rows")
    for channel, seed in (("train", 1), ("test", 2)):
        s3.put_object(Bucket="rows", Key=f"{channel}/rows", Body=rows(seed))
    return "rows"


@pytest.fixture(scope="module", autouse=True)
def scripts(
    cloud: Cloud, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Script]]:
    """All scripts that can run here, under way before the first test begins."""
    folder = tmp_path_factory.mktemp("scripts")
    own = str(SDK / "python")
    wanted: dict[str, list[str]] = {
        name: [own, str(SCRIPTS / f"{name}.py"), name.replace("_", "-")]
        for name in ("record_sets", "factorization_machines", "movielens", "tuning", "neighbours")
    }
    wanted["resources_v3"] = [sys.executable, str(SCRIPTS / "resources_v3.py"), bucket]
    more = {}
    if "FMREC_DATA_DIR" in os.environ:
        data = Path(os.environ["FMREC_DATA_DIR"])
        more["movielens"] = [str(data / name) for name in ("ml-100k.zip", "published-fm-logs.json")]
    else:
        del wanted["movielens"]
    if importlib.util.find_spec("sagemaker") is None:
        del wanted["resources_v3"]
    running = {}
    for name, command in wanted.items():
        printed, result = folder / f"{name}.log", folder / f"{name}.json"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(result), *more.get(name, [])],
                env=cloud.environ,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running[name] = Script(process, printed, result)
    yield running
    for script in running.values():
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait()


@pytest.fixture(scope="module")
def aws(cloud: Cloud) -> Callable[..., Any]:
    """Run the AWS CLI and return what it printed, parsed where it is JSON."""

    def run(*words: str) -> Any:
        done = subprocess.run(
            ["aws", *words, "--endpoint-url", cloud.url],
            executable=shutil.which("aws", path=cloud.environ["PATH"]),
            env={**cloud.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    return run


def test_the_command_line(
    cloud: Cloud, bucket: str, aws: Callable[..., Any], tmp_path: Path
) -> None:
    channels = [
        {
            "ChannelName": channel,
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{channel}/"}
            },
        }
        for channel in ("train", "test")
    ]
    hyperparameters = {
        "feature_dim": "50",
        "num_factors": "4",
        "predictor_type": "binary_classifier",
        "mini_batch_size": "100",
    }
    made = aws(
        *("sagemaker", "create-training-job", "--training-job-name", "by-hand"),
        *("--algorithm-specification", f"TrainingImage={IMAGE},TrainingInputMode=File"),
        *("--role-arn", ROLE, "--hyper-parameters", json.dumps(hyperparameters)),
        *("--input-data-config", json.dumps(channels)),
        *("--output-data-config", f"S3OutputPath=s3://{bucket}/models"),
        *("--resource-config", "InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=5"),
        *("--stopping-condition", "MaxRuntimeInSeconds=600"),
    )
    assert made["TrainingJobArn"].endswith(":training-job/by-hand")
    # The CLI's own wait looks again after two minutes; this one ends before its first look.
    waiter = cloud.client("sagemaker").get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="by-hand", WaiterConfig={"Delay": 1, "MaxAttempts": 250})
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "by-hand")
    told = aws("sagemaker", "describe-training-job", "--training-job-name", "by-hand")
    assert told["TrainingJobStatus"] == "Completed"
    listed = aws("sagemaker", "list-training-jobs", "--name-contains", "by-hand")
    assert [each["TrainingJobName"] for each in listed["TrainingJobSummaries"]] == ["by-hand"]

    place = f"s3://{bucket}/models/by-hand/output/"
    assert "model.tar.gz" in aws("s3", "ls", place)
    copy = tmp_path / "copy.tar.gz"
    aws("s3", "cp", f"{place}model.tar.gz", str(copy))
    assert tarfile.is_tarfile(copy)

    group = ("--log-group-name", "/aws/sagemaker/TrainingJobs")
    streams = aws("logs", "describe-log-streams", *group, "--log-stream-name-prefix", "by-hand/")
    (stream,) = [each["logStreamName"] for each in streams["logStreams"]]
    events = aws("logs", "get-log-events", *group, "--log-stream-name", stream)
    assert any("#test_score (algo-1)" in each["message"] for each in events["events"])
    # By name: moto does not look at --log-stream-name-prefix.
    words = ("--log-stream-names", stream, "--filter-pattern", '"#test_score"')
    found = aws("logs", "filter-log-events", *group, *words)
    assert len(found["events"]) == 3

    container = {"Image": IMAGE, "ModelDataUrl": f"{place}model.tar.gz"}
    aws(
        *("sagemaker", "create-model", "--model-name", "by-hand", "--execution-role-arn", ROLE),
        *("--primary-container", json.dumps(container)),
    )
    variant = "VariantName=only,ModelName=by-hand,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws(
        *("sagemaker", "create-endpoint-config", "--endpoint-config-name", "by-hand"),
        *("--production-variants", variant),
    )
    endpoint = ("--endpoint-name", "by-hand")
    aws("sagemaker", "create-endpoint", *endpoint, "--endpoint-config-name", "by-hand")
    waiter = cloud.client("sagemaker").get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="by-hand", WaiterConfig={"Delay": 1, "MaxAttempts": 250})
    aws("sagemaker", "wait", "endpoint-in-service", *endpoint)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"instances": [{"features": [1.0] * 50}]}))
    answer = tmp_path / "answer.json"
    told = aws(
        *("sagemaker-runtime", "invoke-endpoint", *endpoint, "--body", f"fileb://{body}"),
        *("--content-type", "application/json", str(answer)),
    )
    assert told["InvokedProductionVariant"] == "only"
    assert 0 < json.loads(answer.read_text())["predictions"][0]["score"] < 1
    aws("sagemaker", "delete-endpoint", *endpoint)


def blocks(language: str) -> list[str]:
    """The page's examples in a language, pointed at nothing yet."""
    page = (ROOT / "docs" / "local-aws-clients.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S)


def test_the_examples_of_the_page_run(cloud: Cloud, tmp_path: Path) -> None:
    """In the order of the page: each builds on the ones before."""

    def run(*command: str, **changes: str) -> str:
        done = subprocess.run(
            command,
            env={**cloud.environ, **changes},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    rows, by_boto3, by_sdk, by_v3, by_hook = blocks("python")
    run(sys.executable, "-c", rows)
    artifact = "s3://recommender/models/likes/output/model.tar.gz"
    assert run(sys.executable, "-c", by_boto3) == f"Completed {artifact}\n"
    assert "s3://recommender/models/factorization-machines-" in run(
        str(SDK / "python"), "-c", by_sdk
    )
    if importlib.util.find_spec("sagemaker") is not None:
        assert "['likes']" in run(sys.executable, "-c", by_v3)
    shell = blocks("sh")
    exports, commands, connection = shell[0], shell[1], shell[2]
    assert cloud.environ.items() >= dict(re.findall(r"(AWS_\w+KEY\w*)=(\S+)", exports)).items()
    printed = run("bash", "-e", "-c", commands)
    for told in ('"test:binary_f_beta"', "model.tar.gz", '"logStreamName": "likes/algo-1-'):
        assert told in printed
    connection = connection.replace("http://127.0.0.1:5566", cloud.url)
    hook = f"{connection}\n{sys.executable} -c '{by_hook}'"
    told = run(
        *("bash", "-e", "-c", hook),
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
    )
    assert told.endswith("Completed\n")


@pytest.fixture(scope="module")
def machine(scripts: dict[str, Script]) -> dict[str, Any]:
    return scripts["factorization_machines"].facts()


def probabilities(model: Model, dense: Any) -> np.ndarray:
    """The equation itself: a sum over all pairs of columns."""
    X = np.asarray(dense, float)
    interactions = model.V.astype(float) @ model.V.T.astype(float)
    pairs = np.array([np.triu(np.outer(x, x) * interactions, 1).sum() for x in X])
    return 1 / (1 + np.exp(-(model.w0 + X @ model.w + pairs)))


def test_fit_tails_the_log_and_knows_its_model(
    cloud: Cloud, machine: dict[str, Any], scripts: dict[str, Script]
) -> None:
    printed = scripts["factorization_machines"].text()
    for told in (
        "Downloading - Downloading input data",
        "#quality_metric: host=algo-1, epoch=19, train binary_classification_accuracy <score>=",
        "#quality_metric: host=algo-1, test binary_classification_cross_entropy <loss>=",
        "Completed - Training job completed",
        "Billable seconds: ",
    ):
        assert told in printed
    job = machine["job"]
    assert machine["model_data"] == f"s3://factorization-machines/models/{job}/output/model.tar.gz"
    assert machine["attached"] == machine["model_data"]
    told = cloud.training_job(job)
    assert told["HyperParameters"]["linear_lr"] == "0.05"
    tags = cloud.client("sagemaker").list_tags(ResourceArn=told["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "made-by", "Value": "sdk"}]


def test_endpoint_and_transform_give_the_scores_of_the_model(
    cloud: Cloud, machine: dict[str, Any], tmp_path: Path
) -> None:
    expected = probabilities(cloud.model(machine["model_data"], tmp_path), machine["rows"])
    assert machine["dense"] == pytest.approx(expected, abs=1e-5)
    assert machine["sparse"] == pytest.approx(expected, abs=1e-5)
    assert machine["scores"]["a"] == pytest.approx(expected, abs=1e-5)
    assert machine["scores"]["b"] == pytest.approx(expected[::-1], abs=1e-5)
    assert machine["endpoints_left"] == 0


def test_the_frame_of_a_training_job_is_its_curve(cloud: Cloud, machine: dict[str, Any]) -> None:
    """CloudWatch averages over a minute, which is longer than this job."""
    curve = machine["curve"]
    names = [point["metric_name"] for point in curve]
    assert names == ["train:binary_classification_cross_entropy:epoch", ACCURACY]
    final = cloud.metrics(machine["job"])
    assert curve[1]["value"] == pytest.approx(final[ACCURACY])
    assert curve[0]["value"] > final["train:binary_classification_cross_entropy:epoch"]


def test_a_model_is_registered_approved_and_deployed(cloud: Cloud, machine: dict[str, Any]) -> None:
    told = machine["registered"]
    assert told["arn"].endswith(":model-package/clicks/1")
    assert (told["status"], told["description"]) == ("Approved", "made by the SDK")
    assert told["answers"] == 1
    listed = cloud.client("sagemaker").list_model_packages(
        ModelPackageGroupName="clicks", ModelApprovalStatus="Approved"
    )["ModelPackageSummaryList"]
    assert [each["ModelPackageArn"] for each in listed] == [told["arn"]]


def test_record_sets_go_in_and_records_come_out(
    cloud: Cloud, scripts: dict[str, Script], tmp_path: Path
) -> None:
    found = scripts["record_sets"].facts()
    expected = probabilities(cloud.model(found["model_data"], tmp_path), found["rows"])
    assert found["scores"] == pytest.approx(expected, abs=1e-5)
    assert found["labels"] == (expected >= 0.5).tolist()
    told = cloud.training_job(found["job"])
    assert told["HyperParameters"]["feature_dim"] == "50"
    assert {channel["ChannelName"] for channel in told["InputDataConfig"]} == {"train", "test"}


def test_a_search_of_six_jobs_two_at_a_time(cloud: Cloud, scripts: dict[str, Script]) -> None:
    found = scripts["tuning"].facts()
    assert found["status"] == "Completed"
    frame = found["frame"]
    assert len(frame) == 6
    assert {row["TrainingJobStatus"] for row in frame} == {"Completed"}
    best = min(frame, key=lambda row: row["FinalObjectiveValue"])
    assert found["best_job"] == best["TrainingJobName"]
    assert found["best_model"].endswith(f"/{best['TrainingJobName']}/output/model.tar.gz")
    assert float(found["best_hyperparameters"]["linear_lr"]) == pytest.approx(best["linear_lr"])
    assert int(found["best_hyperparameters"]["epochs"]) == best["epochs"]
    assert set(found["ranges"]) == {"linear_lr", "epochs"}
    for row in frame:
        assert row["TrainingJobName"].startswith(f"{found['job']}-")
        assert 0.001 <= row["linear_lr"] <= 0.2
        assert 2 <= row["epochs"] <= 20
        metrics = cloud.metrics(row["TrainingJobName"])
        assert row["FinalObjectiveValue"] == pytest.approx(metrics[ENTROPY], rel=1e-6)
    moments = [(row["TrainingStartTime"], 1) for row in frame]
    moments += [(row["TrainingEndTime"], -1) for row in frame]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most == 2


def test_neighbours_and_clusters(cloud: Cloud, scripts: dict[str, Script]) -> None:
    found = scripts["neighbours"].facts()
    assert found["knn_labels"] == found["knn_by_csv"] == found["expected"]
    assert cloud.metrics(found["knn_job"])["test:accuracy"] == 1
    # A cluster has a number of its own for each of the three centres.
    pairs = set(zip(found["expected"], found["clusters"], strict=True))
    assert len(pairs) == len({cluster for _, cluster in pairs}) == 3
    mean = np.square(found["distances"]).mean()
    assert cloud.metrics(found["kmeans_job"])["test:msd"] == pytest.approx(mean, rel=1e-4)


def test_resource_classes_of_version_three(scripts: dict[str, Script]) -> None:
    if "resources_v3" not in scripts:
        pytest.skip("the SageMaker SDK 3.x is not installed: it needs Python below 3.12 here")
    found = scripts["resources_v3"].facts()
    assert (found["training"], found["stopped"]) == ("Completed", "Stopped")
    assert found["artifact"].endswith("/models/v3-trained/output/model.tar.gz")
    assert found["metrics"]["train:progress"] == 100
    assert sorted(found["listed"]) == ["v3-stopped", "v3-trained"]
    assert found["kept"] == ["v3-trained"]
    assert (found["transform"], found["tuning"]) == ("Completed", "Completed")
    assert found["best"] in found["children"]
    assert len(found["children"]) == 2
    assert 0 < found["answer"]["predictions"][0]["score"] < 1
    assert (found["endpoints_left"], found["models_left"]) == (0, 0)
    assert found["group"] == "Completed"


@pytest.mark.data
def test_likes_of_movielens_are_learnt_as_well_as_on_aws(
    cloud: Cloud, scripts: dict[str, Script], data_dir: Path
) -> None:
    """The published job: 0.6935 of 9,428 ratings right, cross-entropy 0.6040."""
    found = scripts["movielens"].facts()
    told = cloud.metrics(found["job"])
    assert told[ACCURACY] == pytest.approx(0.6935, abs=0.006)
    assert told[ENTROPY] == pytest.approx(0.604, abs=0.002)
    scores, labels = np.array(found["scores"]), np.array(found["labels"])
    assert len(scores) == 9428
    right = np.where(labels == 1, scores, 1 - scores)
    assert (right >= 0.5).mean() == pytest.approx(told[ACCURACY], abs=1e-6)
    assert -np.log(right).mean() == pytest.approx(told[ENTROPY], rel=1e-5)


@pytest.mark.data
def test_neighbours_by_inner_product_are_the_best_films_last(
    cloud: Cloud, scripts: dict[str, Script], data_dir: Path, tmp_path: Path
) -> None:
    """k-NN over the factors orders 100 of 1,680 films for each of 943 users as the model does."""
    found = scripts["movielens"].facts()
    model = cloud.model(found["model_data"], tmp_path)
    w, V = model.w.astype(float), model.V.astype(float)
    nearest = np.array(found["nearest"])
    assert nearest.shape == (943, 100)
    direct = V[:943] @ V[943:].T + w[943:]  # what of a score depends on the film
    chosen = np.take_along_axis(direct, nearest, axis=1)
    assert np.array(found["distances"]) == pytest.approx(chosen, abs=1e-5)
    best = np.sort(direct, axis=1)[:, -100:]
    assert chosen == pytest.approx(best, abs=1e-6)  # the same films in the same order, ties aside
