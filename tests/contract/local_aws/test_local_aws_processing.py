from __future__ import annotations

import json

import psutil
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

GROUP = "/aws/sagemaker/ProcessingJobs"


@pytest.fixture
def request_for(name, bucket):
    """Build a CreateProcessingJob request; arguments of the toy's process are given by keyword."""

    def build(*, inputs=(), count=1, outputs=None, **given):
        arguments = [f"{key}={value}" for key, value in given.items()]
        specification = {"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/toy:1"}
        if arguments:
            specification["ContainerArguments"] = arguments
        return {
            "ProcessingJobName": name,
            "RoleArn": "arn:aws:iam::123456789012:role/fmrec-local",
            "AppSpecification": specification,
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": count,
                    "InstanceType": "ml.m5.large",
                    "VolumeSizeInGB": 1,
                }
            },
            "ProcessingInputs": list(inputs),
            "ProcessingOutputConfig": {"Outputs": outputs or [output(f"s3://{bucket}/out")]},
        }

    return build


def an_input(name, uri, path, **members):
    source = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", **members}
    return {"InputName": name, "S3Input": source}


def output(uri, *, name="out", path="/opt/ml/processing/out", mode="EndOfJob"):
    return {
        "OutputName": name,
        "S3Output": {"S3Uri": uri, "LocalPath": path, "S3UploadMode": mode},
    }


@pytest.fixture
def ended(sagemaker, wait_for, name):
    """Wait until the test's job has ended and return its description."""

    def wait():
        def described():
            job = sagemaker.describe_processing_job(ProcessingJobName=name)
            return job if job["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return wait_for(described)

    return wait


@pytest.fixture
def seen(s3, bucket):
    """Return what the toy saw on a host, from the job's output."""

    def read(host="algo-1", prefix="out"):
        key = f"{prefix}/seen-{host}.json"
        return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    return read


def keys(s3, bucket, prefix="out/"):
    listing = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for item in listing.get("Contents", [])]


def refusal(error) -> str:
    assert error.value.response["Error"]["Code"] == "ValidationException"
    return error.value.response["Error"]["Message"]


@pytest.fixture
def running(server, wait_for, name):
    """Wait until the test's job has written its first line, and return its log's stream names."""

    def wait(hosts=1):
        logs = server.client("logs")

        def streams():
            try:
                found = logs.describe_log_streams(
                    logGroupName=GROUP, logStreamNamePrefix=f"{name}/"
                )["logStreams"]
            except logs.exceptions.ResourceNotFoundException:
                return None
            names = [stream["logStreamName"] for stream in found]
            lines = [
                event["message"]
                for stream in names
                for event in logs.get_log_events(logGroupName=GROUP, logStreamName=stream)["events"]
            ]
            return names if len(lines) == hosts else None

        return wait_for(streams)

    return wait


def test_a_job_processes_its_inputs_and_uploads_its_outputs(
    sagemaker, s3, bucket, name, request_for, ended, seen, running
):
    s3.put_object(Bucket=bucket, Key="data/part-0", Body=b"zero")
    s3.put_object(Bucket=bucket, Key="data/deep/part-1", Body=b"one")
    s3.put_object(Bucket=bucket, Key="single.txt", Body=b"two")
    s3.put_object(
        Bucket=bucket,
        Key="manifest.json",
        Body=json.dumps([{"prefix": f"s3://{bucket}/data/"}, "deep/part-1"]),
    )
    request = request_for(
        inputs=[
            an_input("data", f"s3://{bucket}/data", "/opt/ml/processing/in/data"),
            an_input("one", f"s3://{bucket}/single.txt", "/opt/ml/processing/in/one/"),
            an_input(
                "listed",
                f"s3://{bucket}/manifest.json",
                "/opt/ml/processing/listed",
                S3DataType="ManifestFile",
            ),
        ],
        message=b"CompletedWithViolations: 2".hex(),
    )
    request["Environment"] = {"LEVEL": "7", "DATA": "/opt/ml/processing/in/data"}
    request["NetworkConfig"] = {"EnableNetworkIsolation": True}
    arn = sagemaker.create_processing_job(**request, Tags=[{"Key": "run", "Value": "7"}])
    job = ended()

    assert arn["ProcessingJobArn"] == job["ProcessingJobArn"]
    assert (
        job["ProcessingJobArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:processing-job/{name}"
    )
    assert job["ProcessingJobStatus"] == "Completed"
    assert job["ExitMessage"] == "CompletedWithViolations: 2"
    assert "FailureReason" not in job
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}
    assert job["ProcessingInputs"][0] == {
        "InputName": "data",
        "AppManaged": False,
        "S3Input": {
            "S3Uri": f"s3://{bucket}/data",
            "LocalPath": "/opt/ml/processing/in/data",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }
    tags = sagemaker.list_tags(ResourceArn=job["ProcessingJobArn"])["Tags"]
    assert tags == [{"Key": "run", "Value": "7"}]

    found = seen()
    assert found["files"] == {
        "in/data/part-0": "zero",
        "in/data/deep/part-1": "one",
        "in/one/single.txt": "two",
        "listed/deep/part-1": "one",
    }
    assert found["folders"] == ["in", "listed", "out"]
    assert found["environment"]["FMREC_ML_ROOT"] == found["root"]
    assert found["environment"]["LEVEL"] == "7"
    assert found["environment"]["DATA"] == f"{found['root']}/processing/in/data"
    assert found["resourceconfig"] == {"current_host": "algo-1", "hosts": ["algo-1"]}
    configuration = found["processingjobconfig"]
    assert set(configuration) == {
        *("ProcessingJobArn", "ProcessingJobName", "AppSpecification", "Environment"),
        *("ProcessingInputs", "ProcessingOutputConfig", "ProcessingResources", "RoleArn"),
        "StoppingCondition",
    }
    assert configuration["AppSpecification"]["ContainerEntrypoint"] is None
    assert configuration["ProcessingInputs"][0]["S3Input"]["S3DownloadMode"] == "StartOfJob"
    assert configuration["Environment"] == request["Environment"]
    (stream,) = running()
    assert stream.startswith(f"{name}/algo-1-")


def test_arguments_are_words_and_not_a_shells(sagemaker, name, request_for, ended, seen, tmp_path):
    request = request_for()
    mark = tmp_path / "mark"
    given = [
        "--data",
        "/opt/ml/processing/in",
        "--both=/opt/ml/a,/opt/ml/b",
        "/opt/mlx",
        "s3://bucket/opt/ml/key",
        f"; touch {mark}",
        f"$(touch {mark})",
        "*",
    ]
    request["AppSpecification"]["ContainerArguments"] = given
    sagemaker.create_processing_job(**request)
    assert ended()["ProcessingJobStatus"] == "Completed"
    found = seen()
    root = found["root"]
    assert found["arguments"] == [
        "--data",
        f"{root}/processing/in",
        f"--both={root}/a,{root}/b",
        *given[3:],
    ]
    assert found["processingjobconfig"]["AppSpecification"]["ContainerArguments"] == given
    assert not mark.exists()


def test_a_word_that_no_process_can_be_given_fails_the_job(sagemaker, request_for, ended):
    request = request_for()
    request["AppSpecification"]["ContainerArguments"] = ["a\0b"]
    sagemaker.create_processing_job(**request)
    assert ended()["FailureReason"].startswith("ClientError: The command cannot be started")


def test_several_hosts_share_the_objects_and_one_message(
    sagemaker, s3, bucket, name, request_for, ended, seen, running
):
    for part in range(5):
        s3.put_object(Bucket=bucket, Key=f"data/{part}", Body=str(part).encode())
    sharded = an_input(
        "sharded",
        f"s3://{bucket}/data/",
        "/opt/ml/processing/mine",
        S3DataDistributionType="ShardedByS3Key",
    )
    whole = an_input("whole", f"s3://{bucket}/data/", "/opt/ml/processing/all")
    sagemaker.create_processing_job(
        **request_for(inputs=[sharded, whole], count=2, message=b"from a host; ".hex())
    )
    job = ended()
    assert job["ProcessingJobStatus"] == "Completed"
    assert job["ExitMessage"] == "from a host; from a host; "
    hosts = ["127.0.0.1", "127.0.0.2"]
    first, second = (seen(host) for host in hosts)
    assert first["resourceconfig"] == {"current_host": hosts[0], "hosts": hosts}
    assert second["resourceconfig"] == {"current_host": hosts[1], "hosts": hosts}
    assert [name for name in first["files"] if "mine" in name] == ["mine/0", "mine/2", "mine/4"]
    assert [name for name in second["files"] if "mine" in name] == ["mine/1", "mine/3"]
    for found in (first, second):
        assert [name for name in found["files"] if "all" in name] == [f"all/{n}" for n in range(5)]
    streams = running(hosts=2)
    assert [stream.rpartition("-")[0] for stream in streams] == [f"{name}/algo-1", f"{name}/algo-2"]


def test_a_command_that_fails_fails_the_job_which_keeps_its_outputs(
    sagemaker, s3, bucket, request_for, ended
):
    sagemaker.create_processing_job(**request_for(exit_code=3, message=b"no rows".hex()))
    job = ended()
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert job["ExitMessage"] == "no rows"
    assert keys(s3, bucket) == ["out/seen-algo-1.json"]


def test_one_failed_host_ends_the_others(sagemaker, request_for, ended):
    sagemaker.create_processing_job(**request_for(count=2, exit_code=4, fail_on="127.0.0.2"))
    job = ended()
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: , exit code: 4"


@pytest.mark.parametrize(("character", "kept"), [("é", 512), ("€", 341)])
def test_a_message_is_cut_after_a_kilobyte(sagemaker, request_for, ended, character, kept):
    sagemaker.create_processing_job(**request_for(message=character.encode().hex(), times=600))
    assert ended()["ExitMessage"] == character * kept


def test_a_message_that_is_not_utf_8_fails_the_job(sagemaker, request_for, ended):
    sagemaker.create_processing_job(**request_for(message=b"caf\xe9".hex()))
    job = ended()
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "ClientError: The exit message in /opt/ml/output/message"
    )


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_job_is_stopped(sagemaker, name, request_for, ended, seen, running, stubborn):
    sagemaker.create_processing_job(
        **request_for(seconds=60, **({"ignore_sigterm": 1} if stubborn else {}))
    )
    running()
    sagemaker.stop_processing_job(ProcessingJobName=name)
    job = ended()
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert not psutil.pid_exists(seen()["pid"])
    with pytest.raises(ClientError) as error:
        sagemaker.stop_processing_job(ProcessingJobName=name)
    assert "status Stopped" in refusal(error)


def test_a_job_that_runs_too_long_is_stopped(sagemaker, request_for, ended):
    request = request_for(seconds=60)
    sagemaker.create_processing_job(**request, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = ended()
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "MaxRuntimeInSeconds" in job["FailureReason"]


def test_continuous_outputs_appear_while_the_job_runs(
    sagemaker, s3, bucket, name, request_for, ended, wait_for
):
    address = f"s3://{bucket}/out"
    sagemaker.create_processing_job(
        **request_for(outputs=[output(address, mode="Continuous")], seconds=60)
    )
    assert wait_for(lambda: keys(s3, bucket)) == ["out/seen-algo-1.json"]
    job = sagemaker.describe_processing_job(ProcessingJobName=name)
    assert job["ProcessingJobStatus"] == "InProgress"
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert ended()["ProcessingJobStatus"] == "Stopped"


@pytest.mark.parametrize("target", ["/etc/hostname", "../../../..", "nowhere", "."])
def test_links_that_are_no_file_of_the_job_are_not_uploaded(
    sagemaker, s3, bucket, request_for, ended, target
):
    sagemaker.create_processing_job(**request_for(link=target))
    job = ended()
    assert job["ProcessingJobStatus"] == "Failed"
    assert "'/opt/ml/processing/out/link' is" in job["FailureReason"]
    assert keys(s3, bucket) == []


def test_a_link_to_a_file_of_the_job_is_uploaded_as_that_file(
    sagemaker, s3, bucket, request_for, ended
):
    sagemaker.create_processing_job(**request_for(link="seen-algo-1.json"))
    assert ended()["ProcessingJobStatus"] == "Completed"
    linked, seen = (
        s3.get_object(Bucket=bucket, Key=f"out/{leaf}")["Body"].read()
        for leaf in ("link", "seen-algo-1.json")
    )
    assert linked == seen


def test_inputs_and_buckets_that_are_missing_fail_the_job(
    sagemaker, bucket, name, request_for, ended
):
    absent = an_input("data", f"s3://{bucket}/nothing/", "/opt/ml/processing/in")
    sagemaker.create_processing_job(**request_for(inputs=[absent]))
    assert "No S3 objects found under S3 URL" in ended()["FailureReason"]
    sagemaker.delete_processing_job(ProcessingJobName=name)
    sagemaker.create_processing_job(**request_for(outputs=[output("s3://no-such-bucket/out")]))
    assert "'s3://no-such-bucket/out' does not exist" in ended()["FailureReason"]


@pytest.mark.parametrize("phase", ["Downloading", "Processing", "Uploading"])
def test_a_crash_on_purpose_meets_the_job_in_its_phase(
    server, sagemaker, s3, bucket, name, request_for, ended, phase
):
    plan = server.state / "faults.json"
    fault = {"fault": "crash", "kind": "processing-job", "name": name, "phase": phase}
    plan.write_text(json.dumps({"faults": [fault]}))
    try:
        sagemaker.create_processing_job(**request_for(message=b"said".hex()))
        job = ended()
    finally:
        plan.unlink()
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError")
    assert "ExitMessage" not in job
    assert keys(s3, bucket) == []


def test_jobs_are_listed_and_deleted(sagemaker, name, request_for, ended):
    sagemaker.create_processing_job(**request_for())
    with pytest.raises(ClientError) as error:
        sagemaker.create_processing_job(**request_for())
    assert error.value.response["Error"]["Code"] == "ResourceInUse"
    ended()
    listed = sagemaker.list_processing_jobs(NameContains=name, StatusEquals="Completed")
    (summary,) = listed["ProcessingJobSummaries"]
    assert summary["ProcessingJobName"] == name
    assert (
        sagemaker.list_processing_jobs(NameContains=name, StatusEquals="Failed")[
            "ProcessingJobSummaries"
        ]
        == []
    )
    sagemaker.delete_processing_job(ProcessingJobName=name)
    with pytest.raises(ClientError) as error:
        sagemaker.describe_processing_job(ProcessingJobName=name)
    assert refusal(error) == f"Could not find requested job with name: {name}"


def changed(request, path, value):
    """Return the request with another value at a path of keys and positions."""
    *above, last = path
    place = request
    for step in above:
        place = place[step]
    place[last] = value
    return request


INPUT = ("ProcessingInputs", 0)
OUTPUT = ("ProcessingOutputConfig", "Outputs", 0)
CLUSTER = ("ProcessingResources", "ClusterConfig")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("AppSpecification", "ContainerEntrypoint"), ["sh", "-c", "x"], "Register the command"),
        (("AppSpecification", "ImageUri"), "no-such-image", "has no algorithm for the image"),
        (("AppSpecification", "ImageUri"), "built-in-toy", "cannot be used for processing jobs"),
        ((*INPUT, "S3Input", "LocalPath"), "/opt/ml/processing/../../x", "'/opt/ml/processing/.."),
        ((*INPUT, "S3Input", "LocalPath"), "/opt/ml/input", "input 'data' has '/opt/ml/input'"),
        ((*INPUT, "S3Input", "LocalPath"), "/opt/ml/processing/a\0b", "must be an absolute path"),
        ((*INPUT, "S3Input", "S3InputMode"), "Pipe", "S3InputMode Pipe (input 'data')"),
        ((*INPUT, "S3Input", "S3CompressionType"), "Gzip", "when Pipe mode is specified"),
        ((*INPUT, "AppManaged"), True, "AppManaged (input 'data')"),
        ((*INPUT, "DatasetDefinition"), {}, "DatasetDefinition (input 'data')"),
        ((*OUTPUT, "S3Output", "LocalPath"), "/etc", "output 'out' has '/etc'"),
        ((*OUTPUT, "AppManaged"), True, "AppManaged (output 'out')"),
        ((*OUTPUT, "FeatureStoreOutput"), {"FeatureGroupName": "g"}, "FeatureStoreOutput"),
        ((*CLUSTER, "InstanceCount"), 17, "at most 16 hosts"),
        (
            (*CLUSTER, "InstancePreferences"),
            [{"InstanceType": "ml.m5.large"}],
            "InstancePreferences of ClusterConfig",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    sagemaker, bucket, name, request_for, path, value, told
):
    request = request_for(inputs=[an_input("data", f"s3://{bucket}/x", "/opt/ml/processing/in")])
    with pytest.raises(ClientError) as error:
        sagemaker.create_processing_job(**changed(request, path, value))
    assert told in refusal(error)
    with pytest.raises(ClientError):
        sagemaker.describe_processing_job(ProcessingJobName=name)


def test_names_of_inputs_must_be_unique(sagemaker, bucket, request_for):
    same = [
        an_input("data", f"s3://{bucket}/{leaf}", f"/opt/ml/processing/{leaf}") for leaf in "ab"
    ]
    with pytest.raises(ClientError) as error:
        sagemaker.create_processing_job(**request_for(inputs=same))
    assert "InputName must be unique" in refusal(error)


def test_a_job_in_flight_is_failed_by_a_restart(start, tmp_path, wait_for, name):
    with start(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        request = {
            "ProcessingJobName": name,
            "RoleArn": "arn:aws:iam::123456789012:role/fmrec-local",
            "AppSpecification": {"ImageUri": "toy", "ContainerArguments": ["seconds=60"]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
        }
        sagemaker = server.client("sagemaker")
        sagemaker.create_processing_job(**request)
        wait_for(
            lambda: (
                "ProcessingStartTime" in sagemaker.describe_processing_job(ProcessingJobName=name)
            )
        )
        server.kill()
    with start(tmp_path) as server:
        job = server.client("sagemaker").describe_processing_job(ProcessingJobName=name)
        assert job["ProcessingJobStatus"] == "Failed"
        assert job["FailureReason"].startswith("InternalServerError: the local AWS was restarted")
        assert job["ProcessingEndTime"] >= job["ProcessingStartTime"]
