"""The algorithm under the local AWS: on two hosts, and on spot capacity that is taken back."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from scipy import sparse

from conftest import Server, spawn
from fmrec import recordio
from fmrec.fm import artifact

pytestmark = pytest.mark.e2e

D, ROWS = 12, 95
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fmrec-fm:1"
PARAMETERS = {
    "feature_dim": D,
    "num_factors": 3,
    "predictor_type": "regressor",
    "mini_batch_size": 10,
    "epochs": 3,
    "factors_init_sigma": 0.3,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A server with the real images and the rows of a small problem in a bucket."""
    state = tmp_path_factory.mktemp("real")
    process = spawn("-m", "fmrec.local_aws", "--port", "0", "--state", str(state))
    server = Server(process, process.stdout.readline().split()[4].rstrip(","), state)
    rng = np.random.default_rng(0)
    keys = np.column_stack([rng.integers(0, 5, ROWS), rng.integers(5, D, ROWS)]).ravel()
    X = sparse.csr_matrix((np.ones(2 * ROWS), keys, np.arange(0, 2 * ROWS + 1, 2)), shape=(ROWS, D))
    y = rng.normal(3, 1, ROWS).astype(np.float32)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for number, part in enumerate((slice(0, 40), slice(40, 70), slice(70, 95))):
        body = recordio.encode(X[part], y[part])
        s3.put_object(Bucket="bucket", Key=f"train/part-{number}", Body=body)
    yield server
    server.terminate()
    process.stdout.close()
    process.stderr.close()


@pytest.fixture
def train(real, training_request, finished, tmp_path):
    """Train a model and return the job and its parameters."""

    def run(name, change, **parameters):
        request = training_request(
            name,
            "bucket",
            image=IMAGE,
            channels={"train": "s3://bucket/train/"},
            **{**PARAMETERS, **parameters},
        )
        change(request)
        sagemaker = real.client("sagemaker")
        sagemaker.create_training_job(**request)
        job = finished(sagemaker, name)
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
        body = real.client("s3").get_object(Bucket="bucket", Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            archive.extractall(tmp_path / name, filter="data")
        return job, artifact.load(tmp_path / name)

    return run


def nothing(request) -> None:
    """Leave a request as it is."""


def assert_same(first, second) -> None:
    assert first.w0 == pytest.approx(second.w0, rel=1e-5)
    np.testing.assert_allclose(first.w, second.w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.V, second.V, rtol=1e-5, atol=1e-6)


def test_two_hosts_train_what_one_trains(train):
    def two(request) -> None:
        request["ResourceConfig"]["InstanceCount"] = 2

    _, alone = train("alone", nothing)
    job, together = train("together", two)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert_same(together, alone)


def test_two_jobs_of_two_hosts_do_not_meet(real, training_request, finished):
    sagemaker = real.client("sagemaker")
    names = ["pair-a", "pair-b"]
    for name in names:
        request = training_request(
            name,
            "bucket",
            image=IMAGE,
            channels={"train": "s3://bucket/train/"},
            **PARAMETERS,
        )
        request["ResourceConfig"]["InstanceCount"] = 2
        sagemaker.create_training_job(**request)
    assert [finished(sagemaker, name)["TrainingJobStatus"] for name in names] == ["Completed"] * 2


def test_an_interrupted_job_trains_the_same_model(real, train):
    """The state of the chains is kept, so that it does not matter how often they were cut."""
    chains = {"solver": "mcmc", "iterations": 10_000, "burn_in": 500, "chains": 1, "samples": 20}
    (real.state / "faults.json").write_text(
        json.dumps({"faults": [{"fault": "interrupt", "name": "cut", "seconds": 2, "times": 1}]})
    )

    def spot(request) -> None:
        request["EnableManagedSpotTraining"] = True
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 120
        request["CheckpointConfig"] = {"S3Uri": "s3://bucket/checkpoints"}

    _, whole = train("whole", nothing, **chains)
    job, cut = train("cut", spot, **chains)
    states = [item["Status"] for item in job["SecondaryStatusTransitions"]]
    assert states.count("Interrupted") == 1
    assert_same(cut, whole)
