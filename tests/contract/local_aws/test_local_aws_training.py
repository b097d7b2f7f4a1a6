from __future__ import annotations

import io
import json
import os
import tarfile
from itertools import pairwise

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

FORWARD = ["Starting", "Downloading", "Training", "Uploading"]


def code_of(error) -> tuple[str, str]:
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def artifact(s3, description) -> tuple[list[tarfile.TarInfo], dict]:
    """Return the members of model.tar.gz and what the toy algorithm saw."""
    bucket, _, key = description["ModelArtifacts"]["S3ModelArtifacts"][5:].partition("/")
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return archive.getmembers(), json.loads(archive.extractfile("seen.json").read())


def states(description) -> list[str]:
    return [item["Status"] for item in description["SecondaryStatusTransitions"]]


def test_a_job_trains_and_every_state_is_told(
    sagemaker, s3, bucket, name, training_request, finished
):
    s3.put_object(Bucket=bucket, Key="data/train/part-0", Body=b"zero")
    s3.put_object(Bucket=bucket, Key="data/train/deep/part-1", Body=b"one")
    s3.put_object(Bucket=bucket, Key="data/train-not", Body=b"other")
    s3.put_object(Bucket=bucket, Key="data/test/single", Body=b"two")
    channels = {
        "train": f"s3://{bucket}/data/train/",
        "test": f"s3://{bucket}/data/test/single",
        "whole": f"s3://{bucket}/data/train",
    }
    arn = sagemaker.create_training_job(
        **training_request(name, bucket, channels=channels, lines=3, output="more"),
        Tags=[{"Key": "run", "Value": "7"}],
    )["TrainingJobArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"
    job = finished(sagemaker, name)

    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed"
    assert states(job) == [*FORWARD, "Completed"]
    transitions = job["SecondaryStatusTransitions"]
    assert [item["StatusMessage"] for item in transitions[1:]] == [
        "Downloading input data",
        "Training image download completed. Training in progress.",
        "Uploading generated training model",
        "Training job completed",
    ]
    for before, after in pairwise(transitions):
        assert before["EndTime"] == after["StartTime"]
    assert (
        job["CreationTime"]
        <= job["TrainingStartTime"]
        <= job["TrainingEndTime"]
        <= job["LastModifiedTime"]
    )
    seconds = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert seconds <= job["TrainingTimeInSeconds"] == job["BillableTimeInSeconds"] <= seconds + 1
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == (
        f"s3://{bucket}/out/{name}/output/model.tar.gz"
    )
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "run", "Value": "7"}]

    members, seen = artifact(s3, job)
    assert [(item.name, item.uid, item.gid) for item in members] == [("seen.json", 0, 0)]
    assert seen["files"] == {
        "train/part-0": "zero",
        "train/deep/part-1": "one",
        "test/single": "two",
        "whole/part-0": "zero",
        "whole/deep/part-1": "one",
        "whole/train-not": "other",
    }
    assert seen["hyperparameters"] == {"lines": "3", "output": "more"}
    assert set(seen["channels"]) == set(channels)
    assert seen["channels"]["train"]["TrainingInputMode"] == "File"
    assert seen["resources"]["current_host"] == "algo-1"
    assert not [key for key in seen["environment"] if "SECRET" in key or "ACCESS_KEY" in key]
    listing = s3.list_objects_v2(Bucket=bucket, Prefix=f"out/{name}/")["Contents"]
    assert [item["Key"].rpartition("/")[2] for item in listing] == [
        "model.tar.gz",
        "output.tar.gz",
    ]


def test_no_output_archive_without_output(s3, sagemaker, bucket, name, training_request, finished):
    sagemaker.create_training_job(**training_request(name, bucket))
    finished(sagemaker, name)
    listing = s3.list_objects_v2(Bucket=bucket, Prefix=f"out/{name}/")["Contents"]
    assert [item["Key"] for item in listing] == [f"out/{name}/output/model.tar.gz"]


def test_log_lines_arrive_while_the_job_runs(
    server, sagemaker, bucket, name, training_request, finished, wait_for
):
    logs = server.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    sagemaker.create_training_job(**training_request(name, bucket, lines=2, seconds=30))

    def messages() -> list[str]:
        try:
            found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
        except logs.exceptions.ResourceNotFoundException:
            return []
        for stream in found["logStreams"]:
            assert stream["logStreamName"].startswith(f"{name}/algo-1-")
            events = logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
            return [event["message"] for event in events]
        return []

    seen = wait_for(lambda: messages() if len(messages()) >= 4 else None)
    assert sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training"
    assert seen[1:] == [
        "#quality_metric: host=algo-1, epoch=0, train rmse <loss>=1.0",
        "#quality_metric: host=algo-1, epoch=1, train rmse <loss>=0.5",
        "#quality_metric: host=algo-1, test rmse <loss>=0.1",
    ]
    sagemaker.stop_training_job(TrainingJobName=name)
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Stopped"


def test_built_in_algorithms_bring_their_own_metrics(
    sagemaker, bucket, name, training_request, finished
):
    image = "382416733822.dkr.ecr.us-east-1.amazonaws.com/built-in-toy:1"
    request = training_request(name, bucket, image=image, lines=3)
    sagemaker.create_training_job(**request)
    metrics = finished(sagemaker, name)["FinalMetricDataList"]
    # boto3 gives back what SageMaker keeps: single precision.
    assert {item["MetricName"]: item["Value"] for item in metrics} == {
        "train:rmse:epoch": 0.3333333432674408,
        "test:rmse": 0.10000000149011612,
    }
    request["TrainingJobName"] = f"{name}-b"
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "x", "Regex": "(.)"}]
    with pytest.raises(ClientError) as error:
        sagemaker.create_training_job(**request)
    assert code_of(error) == (
        "ValidationException",
        "You can't override the metric definitions for Amazon SageMaker algorithms. "
        "Please retry the request without specifying metric definitions.",
    )


def test_own_images_define_their_metrics(sagemaker, bucket, name, training_request, finished):
    request = training_request(name, bucket, lines=2)
    request["AlgorithmSpecification"]["MetricDefinitions"] = [
        {"Name": "mine", "Regex": r"epoch=1, train rmse <loss>=(\S+)"},
        {"Name": "never", "Regex": r"no such line (\d)"},
    ]
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert [(item["MetricName"], item["Value"]) for item in job["FinalMetricDataList"]] == [
        ("mine", 0.5)
    ]


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"exit_code": 3}, "AlgorithmError: the training command ended with exit code 3"),
        ({"exit_code": 1, "failure": "no such user"}, "AlgorithmError: no such user"),
        ({"exit_code": 2, "failure": "ClientError: bad row"}, "ClientError: bad row"),
        ({"exit_code": 1, "failure": "y" * 2000}, ("AlgorithmError: " + "y" * 2000)[:1024]),
    ],
)
def test_a_failure_gives_its_reason(
    sagemaker, s3, bucket, name, training_request, finished, hyperparameters, reason
):
    sagemaker.create_training_job(**training_request(name, bucket, **hyperparameters))
    job = finished(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == reason
    assert "ModelArtifacts" not in job
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="out/")


def test_an_empty_prefix_fails_the_job_in_the_words_of_aws(
    sagemaker, bucket, name, training_request, finished
):
    uri = f"s3://{bucket}/nothing/"
    sagemaker.create_training_job(**training_request(name, bucket, channels={"train": uri}))
    job = finished(sagemaker, name)
    assert states(job) == ["Starting", "Downloading", "Failed"]
    assert job["FailureReason"].startswith(
        f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source.'
    )


def test_a_missing_output_bucket_fails_the_job_before_it_trains(
    sagemaker, name, training_request, finished
):
    sagemaker.create_training_job(**training_request(name, "no-such-bucket"))
    job = finished(sagemaker, name)
    assert "s3://no-such-bucket/out/" in job["FailureReason"]
    assert "Training" not in states(job)


def test_a_manifest_names_the_objects(sagemaker, s3, bucket, name, training_request, finished):
    for key in ("pool/a", "pool/b", "pool/c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    manifest = [{"prefix": f"s3://{bucket}/pool/"}, "a", "c"]
    s3.put_object(Bucket=bucket, Key="manifest", Body=json.dumps(manifest).encode())
    request = training_request(name, bucket, channels={"train": f"s3://{bucket}/manifest"})
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    source["S3DataType"] = "ManifestFile"
    sagemaker.create_training_job(**request)
    _, seen = artifact(s3, finished(sagemaker, name))
    assert seen["files"] == {"train/a": "pool/a", "train/c": "pool/c"}


@pytest.mark.parametrize("keys", [["in/a", "in/a/b"], ["in/../../escape"]])
def test_objects_that_are_no_files_fail_the_job(
    sagemaker, s3, bucket, name, training_request, finished, keys
):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    sagemaker.create_training_job(
        **training_request(name, bucket, channels={"train": f"s3://{bucket}/in/"})
    )
    assert "Data download failed" in finished(sagemaker, name)["FailureReason"]


def test_stop_keeps_the_model_so_far(
    sagemaker, s3, bucket, name, training_request, finished, wait_for
):
    sagemaker.create_training_job(**training_request(name, bucket, seconds=600))
    wait_for(
        lambda: (
            sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training"
        )
    )
    wait_for(lambda: pid_in_log(sagemaker, name))
    sagemaker.stop_training_job(TrainingJobName=name)
    job = finished(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert states(job) == [
        "Starting",
        "Downloading",
        "Training",
        "Stopping",
        "Uploading",
        "Stopped",
    ]
    _, seen = artifact(s3, job)
    assert seen["hyperparameters"] == {"seconds": "600"}
    with pytest.raises(ClientError) as error:
        sagemaker.stop_training_job(TrainingJobName=name)
    assert code_of(error) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


def pid_in_log(sagemaker, name) -> int | None:
    """Return the id of the training process, which the toy prints when its model is written."""
    logs = boto3.client("logs", endpoint_url=sagemaker.meta.endpoint_url)
    group = "/aws/sagemaker/TrainingJobs"
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
    except logs.exceptions.ResourceNotFoundException:
        return None
    for stream in streams["logStreams"]:
        events = logs.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
        )
        for event in events["events"]:
            if event["message"].startswith("pid "):
                return int(event["message"].split()[1])
    return None


def test_a_job_that_ignores_sigterm_is_killed_with_all_it_started(
    sagemaker, bucket, name, training_request, finished, wait_for
):
    sagemaker.create_training_job(
        **training_request(name, bucket, seconds=600, ignore_sigterm=1, child=1)
    )
    pid = wait_for(lambda: pid_in_log(sagemaker, name))
    group = [item for item in psutil.process_iter() if in_group(item, pid)]
    assert len(group) == 2
    sagemaker.stop_training_job(TrainingJobName=name)
    assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Stopping"
    assert finished(sagemaker, name)["TrainingJobStatus"] == "Stopped"
    assert not [item for item in group if item.is_running() and item.status() != "zombie"]


def in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def test_a_job_out_of_time_is_stopped(sagemaker, bucket, name, training_request, finished):
    sagemaker.create_training_job(**training_request(name, bucket, seconds=600, max_runtime=1))
    job = finished(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert "ModelArtifacts" in job


def test_two_jobs_at_once_and_the_third_waits(
    sagemaker, bucket, name, training_request, finished, wait_for
):
    names = [f"{name}-{number}" for number in range(4)]
    for each in names:
        sagemaker.create_training_job(**training_request(each, bucket, seconds=600))

    def secondary(each: str) -> str:
        return sagemaker.describe_training_job(TrainingJobName=each)["SecondaryStatus"]

    wait_for(lambda: [secondary(each) for each in names[:2]] == ["Training"] * 2)
    assert [secondary(each) for each in names[2:]] == ["Starting"] * 2
    # A job that waits can be stopped before it ever ran.
    sagemaker.stop_training_job(TrainingJobName=names[3])
    never_ran = sagemaker.describe_training_job(TrainingJobName=names[3])
    assert states(never_ran) == ["Starting", "Stopping", "Stopped"]
    assert "TrainingStartTime" not in never_ran
    sagemaker.stop_training_job(TrainingJobName=names[0])
    wait_for(lambda: secondary(names[2]) == "Training")
    for each in names[1:3]:
        sagemaker.stop_training_job(TrainingJobName=each)
    for each in names:
        assert finished(sagemaker, each)["TrainingJobStatus"] == "Stopped"
