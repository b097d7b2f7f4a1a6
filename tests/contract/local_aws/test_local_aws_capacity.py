"""Hosts that are several, interrupted, missing or broken; checkpoints that outlive them."""

from __future__ import annotations

import io
import json
import tarfile
import time

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)
INTERNAL = "InternalServerError: We encountered an internal error. Please try again."


@pytest.fixture
def plan(server, name):
    """Replace the server's plan of faults by ones about this test's job; end them afterwards."""
    path = server.state / "faults.json"

    def write(*faults: dict, seed: int = 1) -> None:
        about = [{"name": f"{name}*", **fault} for fault in faults]
        path.write_text(json.dumps({"seed": seed, "faults": about}))

    yield write
    path.unlink(missing_ok=True)


def states(job) -> list[str]:
    return [item["Status"] for item in job["SecondaryStatusTransitions"]]


def model_of(s3, bucket, name) -> dict[str, bytes]:
    body = s3.get_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {item.name: archive.extractfile(item).read() for item in archive if item.isfile()}


def log_lines(server, name) -> list[str]:
    logs, group = server.client("logs"), "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
    return [
        event["message"]
        for stream in streams["logStreams"]
        for event in logs.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
    ]


def spot(request, bucket, name, *, longest=60):
    request["EnableManagedSpotTraining"] = True
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = longest
    request["CheckpointConfig"] = {"S3Uri": f"s3://{bucket}/checkpoints/{name}"}
    return request


def test_every_host_has_its_folder_its_shard_and_its_log(
    server, sagemaker, s3, bucket, name, training_request, finished
):
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"data/part-{number}", Body=b"%d" % number)
    request = training_request(name, bucket, channels={"all": f"s3://{bucket}/data/"}, output="o")
    sharded = json.loads(json.dumps(request["InputDataConfig"][0]))
    sharded["ChannelName"] = "shards"
    sharded["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    request["InputDataConfig"].append(sharded)
    request["ResourceConfig"]["InstanceCount"] = 2
    sagemaker.create_training_job(**request)
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Completed"

    # Of files that both hosts wrote, the first host's is kept.
    seen = json.loads(model_of(s3, bucket, name)["seen.json"])
    hosts = seen["resources"]["hosts"]
    assert (len(set(hosts)), seen["resources"]["current_host"]) == (2, hosts[0])
    shards = [key for key in seen["files"] if key.startswith("shards/")]
    assert shards == ["shards/part-0", "shards/part-2", "shards/part-4"]
    assert len([key for key in seen["files"] if key.startswith("all/")]) == 5
    logs = server.client("logs")
    streams = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert [item["logStreamName"].rsplit("-", 1)[0] for item in streams] == [
        f"{name}/algo-1",
        f"{name}/algo-2",
    ]


def test_one_host_that_fails_ends_the_job(sagemaker, bucket, name, training_request, finished):
    request = training_request(name, bucket, exit_code=3)
    request["ResourceConfig"]["InstanceCount"] = 3
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert job["FailureReason"] == "AlgorithmError: the training command ended with exit code 3"


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(
    server, sagemaker, s3, bucket, name, training_request, finished, plan
):
    plan({"fault": "interrupt", "seconds": 0.8, "times": 2})
    request = spot(training_request(name, bucket, count=60), bucket, name)
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert job["TrainingJobStatus"] == "Completed"
    attempt = ["Starting", "Downloading", "Training"]
    assert states(job) == [
        *[*attempt, "Interrupted"] * 2,
        *(*attempt, "Uploading", "Completed"),
    ]
    counted = json.loads(model_of(s3, bucket, name)["counted.json"])
    assert (0 < counted["first"] < 60, counted["last"]) == (True, 60)
    kept = s3.get_object(Bucket=bucket, Key=f"checkpoints/{name}/step")["Body"].read()
    assert kept == b"60"
    starts = [
        int(line.split()[-1]) for line in log_lines(server, name) if line.startswith("counting")
    ]
    assert starts == sorted(set(starts))
    assert len(starts) == 3
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_interruptions_without_end_end_with_the_time(
    sagemaker, bucket, name, training_request, finished, plan
):
    plan({"fault": "interrupt"})
    request = spot(
        training_request(name, bucket, max_runtime=1, seconds=60), bucket, name, longest=2
    )
    sagemaker.create_training_job(**request)
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Stopped"


def test_a_checkpoint_is_there_for_the_next_job(
    sagemaker, s3, bucket, name, training_request, finished
):
    for suffix, count in (("a", 4), ("b", 7)):
        request = training_request(f"{name}-{suffix}", bucket, count=count)
        request["CheckpointConfig"] = {"S3Uri": f"s3://{bucket}/kept/"}
        sagemaker.create_training_job(**request)
        assert finished(sagemaker, f"{name}-{suffix}")["TrainingJobStatus"] == "Completed"
    counted = json.loads(model_of(s3, bucket, f"{name}-b")["counted.json"])
    assert counted == {"first": 4, "last": 7}


def test_a_job_on_demand_is_not_interrupted(
    sagemaker, bucket, name, training_request, finished, plan
):
    plan({"fault": "interrupt"})
    sagemaker.create_training_job(**training_request(name, bucket, seconds=0.3))
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Completed"


def test_without_capacity_a_job_on_demand_fails(
    sagemaker, bucket, name, training_request, finished, plan
):
    plan({"fault": "capacity", "times": 1})
    for suffix, reason in (("a", CAPACITY), ("b", None)):
        sagemaker.create_training_job(**training_request(f"{name}-{suffix}", bucket))
        assert finished(sagemaker, f"{name}-{suffix}").get("FailureReason") == reason


@pytest.mark.parametrize("longest", [1, 60])
def test_without_capacity_a_spot_job_waits_as_long_as_it_may(
    sagemaker, bucket, name, training_request, finished, plan, longest
):
    plan({"fault": "capacity", "seconds": 1.5})
    request = spot(training_request(name, bucket, max_runtime=1), bucket, name, longest=longest)
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    if longest == 1:
        assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == (
            "Stopped",
            "MaxWaitTimeExceeded",
        )
        assert "TrainingStartTime" not in job
    else:
        assert job["TrainingJobStatus"] == "Completed"
        waited = job["TrainingStartTime"] - job["CreationTime"]
        assert waited.total_seconds() >= 1.5
        assert job["TrainingTimeInSeconds"] <= 2


@pytest.mark.parametrize(
    ("phase", "reason", "trained"),
    [
        ("Starting", INTERNAL, False),
        ("Downloading", INTERNAL, False),
        ("Training", "AlgorithmError: the training command ended with exit code 137", True),
        ("Uploading", INTERNAL, True),
    ],
)
def test_a_crash_at_a_phase(
    sagemaker, s3, bucket, name, training_request, finished, plan, wait_for, phase, reason, trained
):
    plan({"fault": "crash", "phase": phase, "seconds": 0.2})
    sagemaker.create_training_job(**training_request(name, bucket, seconds=5))
    if phase == "Uploading":
        wait_for(
            lambda: (
                sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"]
                == "Training"
            )
        )
        sagemaker.stop_training_job(TrainingJobName=name)
    job = finished(sagemaker, name)
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", reason)
    assert ("Training" in states(job) or "Stopping" in states(job)) == trained
    assert "ModelArtifacts" not in job
    with pytest.raises(ClientError):
        s3.head_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")


def test_a_job_with_retries_outlives_internal_errors(
    sagemaker, bucket, name, training_request, finished, plan
):
    plan({"fault": "crash", "phase": "Downloading", "times": 2})
    request = training_request(name, bucket)
    request["RetryStrategy"] = {"MaximumRetryAttempts": 2}
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert job["TrainingJobStatus"] == "Completed"
    assert states(job).count("Restarting") == 2


def test_a_seed_decides_which_jobs_are_hit(sagemaker, bucket, training_request, finished, plan):
    outcomes = []
    for seed in (1, 1, 2):
        plan(
            {"fault": "crash", "phase": "Starting", "probability": 0.5, "name": "seeded-*"},
            seed=seed,
        )
        hit = []
        for number in range(12):
            job = f"seeded-{number}"
            sagemaker.create_training_job(**training_request(job, bucket))
        for number in range(12):
            job = f"seeded-{number}"
            hit.append(finished(sagemaker, job)["TrainingJobStatus"])
            sagemaker.delete_training_job(TrainingJobName=job)
        outcomes.append(hit)
    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert set(outcomes[0]) == {"Failed", "Completed"}


def test_a_deleted_job_is_forgotten_and_its_name_free(
    sagemaker, s3, bucket, name, training_request, finished, wait_for
):
    sagemaker.create_training_job(**training_request(name, bucket, seconds=60))
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.delete_training_job(TrainingJobName=name)
    sagemaker.stop_training_job(TrainingJobName=name)
    finished(sagemaker, name)
    sagemaker.delete_training_job(TrainingJobName=name)
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.delete_training_job(TrainingJobName=name)
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName=name)
    assert s3.head_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")
    sagemaker.create_training_job(**training_request(name, bucket))
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Completed"


def test_a_job_that_waits_for_capacity_can_be_stopped(
    sagemaker, bucket, name, training_request, finished, plan, wait_for
):
    plan({"fault": "capacity", "seconds": 600})
    request = spot(training_request(name, bucket), bucket, name)
    sagemaker.create_training_job(**request)

    def waits() -> bool:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        return "retrying" in job["SecondaryStatusTransitions"][-1]["StatusMessage"]

    wait_for(waits)
    started = time.monotonic()
    sagemaker.stop_training_job(TrainingJobName=name)
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - started < 30
