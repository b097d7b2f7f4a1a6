"""Training jobs as SageMaker documents them, on the local AWS or on AWS."""

from __future__ import annotations

import re

import contract_rows
import numpy as np
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

FORWARD = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
GROUP = "/aws/sagemaker/TrainingJobs"


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_every_state_is_passed_in_order_and_told(trained):
    job = trained.description
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    transitions = job["SecondaryStatusTransitions"]
    # AWS also passes through Pending when machines are scarce.
    assert [item["Status"] for item in transitions if item["Status"] in FORWARD] == FORWARD
    told = {item["Status"]: item["StatusMessage"] for item in transitions}
    assert told["Downloading"] == "Downloading input data"
    assert told["Training"] == "Training image download completed. Training in progress."
    assert told["Uploading"] == "Uploading generated training model"
    assert told["Completed"] == "Training job completed"
    starts = [item["StartTime"] for item in transitions]
    assert starts == sorted(starts)
    assert all(item["StartTime"] <= item["EndTime"] for item in transitions)
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["TrainingEndTime"] <= job["LastModifiedTime"]
    assert 0 < job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_the_request_is_given_back(trained):
    for member in ("HyperParameters", "ResourceConfig", "RoleArn", "TrainingJobName"):
        assert trained.description[member] == trained.request[member]
    given, kept = trained.request["InputDataConfig"], trained.description["InputDataConfig"]
    assert [item["DataSource"] for item in kept] == [item["DataSource"] for item in given]
    assert trained.description["StoppingCondition"]["MaxRuntimeInSeconds"] == 1800
    arn = trained.description["TrainingJobArn"]
    assert arn.endswith(f":training-job/{trained.request['TrainingJobName']}")


def test_the_artifact_is_where_it_is_said_to_be(trained):
    path = trained.request["OutputDataConfig"]["S3OutputPath"]
    name = trained.request["TrainingJobName"]
    assert trained.description["ModelArtifacts"]["S3ModelArtifacts"] == (
        f"{path}/{name}/output/model.tar.gz"
    )
    _, w, V = contract_rows.parameters(trained.archive)
    assert (w.shape, V.shape) == ((20,), (20, 3))


def test_final_metrics_are_those_of_the_built_in_algorithm(trained):
    final = trained.description["FinalMetricDataList"]
    values = {item["MetricName"]: item["Value"] for item in final}
    names = {"train:progress", "train:throughput", "test:binary_f_beta"}
    for measure in ("binary_classification_accuracy", "binary_classification_cross_entropy"):
        names |= {f"train:{measure}", f"train:{measure}:epoch", f"train:{measure}:batch"}
        names.add(f"test:{measure}")
    assert names <= set(values)
    assert values["train:progress"] == 100
    # What the test channel's metrics say is true of the model in the artifact.
    features, labels = contract_rows.rows(2)
    scores = contract_rows.probabilities(trained.archive, features)
    right = np.where(labels == 1, scores, 1 - scores)
    assert values["test:binary_classification_accuracy"] == pytest.approx((right >= 0.5).mean())
    assert values["test:binary_classification_cross_entropy"] == pytest.approx(
        -np.log(right).mean(), rel=1e-4
    )
    assert (right >= 0.5).mean() > 0.8
    for item in final:
        assert np.float32(item["Value"]) == item["Value"], "SageMaker keeps single precision"


def test_the_log_is_in_cloudwatch(logs, trained, wait):
    name = trained.request["TrainingJobName"]

    def streams() -> list[str]:
        found = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")
        return [item["logStreamName"] for item in found["logStreams"]]

    (stream,) = wait(streams)
    assert stream.startswith(f"{name}/algo-1-")
    assert stream.rpartition("-")[2].isdigit()

    def lines() -> list[str]:
        page = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)
        found = [event["message"] for event in page["events"]]
        return found if any("test binary_f_1.000 <score>=" in line for line in found) else []

    told = wait(lines)
    for measure in ("binary_classification_accuracy <score>=", "binary_f_1.000 <score>="):
        for place in ("epoch=14, train ", "train ", "test "):
            wanted = f"#quality_metric: host=algo-1, {place}{measure}"
            assert any(wanted in line for line in told), wanted


def test_a_name_is_taken_once(sagemaker, trained):
    code, message = refusal(sagemaker.create_training_job, **trained.request)
    assert code == "ResourceInUse"
    assert trained.description["TrainingJobArn"] in message


def test_what_does_not_exist(sagemaker, name):
    """The provider's operators take this code, and no other, for a name that is free."""
    missing = ("ValidationException", "Requested resource not found.")
    assert refusal(sagemaker.describe_training_job, TrainingJobName=name) == missing
    assert refusal(sagemaker.stop_training_job, TrainingJobName=name)[0] == "ValidationException"


def test_requests_that_break_the_model_are_refused(sagemaker, trained, name):
    cases = [
        (
            {"TrainingJobName": "under_score"},
            "Value 'under_score' at 'trainingJobName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ",
        ),
        ({"TrainingJobName": "x" * 64}, "Member must have length less than or equal to 63"),
        ({"RoleArn": "arn:aws:iam::1:role/x"}, "at 'roleArn' failed to satisfy constraint"),
        (
            {"HyperParameters": {"k" * 257: "1"}},
            "Member must have length less than or equal to 256",
        ),
    ]
    for change, complaint in cases:
        request = {**trained.request, "TrainingJobName": name, **change}
        code, message = refusal(sagemaker.create_training_job, **request)
        assert code == "ValidationException"
        assert complaint in message
        assert re.match(r"\d validation errors? detected: ", message)
    request = {**trained.request, "TrainingJobName": name}
    request["AlgorithmSpecification"] = {
        **request["AlgorithmSpecification"],
        "MetricDefinitions": [{"Name": "mine", "Regex": r"rmse=(\S+)"}],
    }
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert "You can't override the metric definitions for Amazon SageMaker algorithms" in message


def test_a_wrong_hyperparameter_fails_the_job_with_its_name(
    sagemaker, ended, cleaner, trained, name, prefix, target
):
    request = {
        **trained.request,
        "TrainingJobName": name,
        "HyperParameters": {**trained.request["HyperParameters"], "mini_batch_siz": "100"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{target.bucket}/{prefix}"},
    }
    cleaner.job("training_job", name)
    sagemaker.create_training_job(**request)
    job = ended("training_job", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert "Additional properties are not allowed" in job["FailureReason"]
    assert "mini_batch_siz" in job["FailureReason"]
    assert "ModelArtifacts" not in job or not job["ModelArtifacts"].get("S3ModelArtifacts")


def test_data_that_are_not_there(sagemaker, ended, cleaner, training_request, name, prefix):
    """AWS looks when the job is made; a role that may not look finds out when it runs."""
    request = training_request(name, prefix, contract_rows.HYPERPARAMETERS)
    cleaner.job("training_job", name)
    try:
        sagemaker.create_training_job(**request)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ValidationException"
        reason = error.response["Error"]["Message"]
    else:
        reason = ended("training_job", name)["FailureReason"]
    assert "No S3 objects found under S3 URL" in reason
    assert f"{prefix}train/" in reason


def test_stop(sagemaker, ended, wait, cleaner, trained, name, prefix, target):
    request = {
        **trained.request,
        "TrainingJobName": name,
        "HyperParameters": {**trained.request["HyperParameters"], "epochs": "10000000"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{target.bucket}/{prefix}"},
    }
    cleaner.job("training_job", name)
    sagemaker.create_training_job(**request)

    def secondary() -> str:
        return sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"]

    wait(lambda: secondary() == "Training")
    listed = sagemaker.list_training_jobs(NameContains=name, StatusEquals="InProgress")
    assert [item["TrainingJobName"] for item in listed["TrainingJobSummaries"]] == [name]
    code, message = refusal(sagemaker.delete_training_job, TrainingJobName=name)
    assert code in ("ResourceInUse", "ValidationException"), message
    sagemaker.stop_training_job(TrainingJobName=name)
    assert secondary() in ("Stopping", "Uploading", "Stopped")
    job = ended("training_job", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    passed = [item["Status"] for item in job["SecondaryStatusTransitions"]]
    assert passed.index("Training") < passed.index("Stopping") < passed.index("Stopped")
    assert refusal(sagemaker.stop_training_job, TrainingJobName=name) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


def test_a_job_out_of_time_is_stopped(sagemaker, ended, cleaner, trained, name, prefix, target):
    request = {
        **trained.request,
        "TrainingJobName": name,
        "HyperParameters": {**trained.request["HyperParameters"], "epochs": "10000000"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{target.bucket}/{prefix}"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 1},
    }
    cleaner.job("training_job", name)
    sagemaker.create_training_job(**request)
    job = ended("training_job", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_lists_filter_sort_and_turn_pages(sagemaker, ended, cleaner, trained, name, prefix, target):
    """The jobs fail at once: what is tested is how they are listed."""
    names = [f"{name}-{letter}" for letter in "bac"]
    for each in names:
        cleaner.job("training_job", each)
        sagemaker.create_training_job(
            **{
                **trained.request,
                "TrainingJobName": each,
                "HyperParameters": {"feature_dim": "none"},
                "OutputDataConfig": {"S3OutputPath": f"s3://{target.bucket}/{prefix}"},
            }
        )
    for each in names:
        assert ended("training_job", each)["TrainingJobStatus"] == "Failed"

    def listed(**filters) -> list[str]:
        pages = sagemaker.get_paginator("list_training_jobs").paginate(NameContains=name, **filters)
        return [item["TrainingJobName"] for page in pages for item in page["TrainingJobSummaries"]]

    by_name = {"SortBy": "Name", "SortOrder": "Ascending"}
    assert listed(**by_name) == sorted(names)
    assert listed(**by_name, PaginationConfig={"PageSize": 2}) == sorted(names)
    assert listed(SortBy="CreationTime", SortOrder="Ascending") == names
    assert listed(SortBy="CreationTime", SortOrder="Descending") == names[::-1]
    assert listed(StatusEquals="Completed") == []
    assert sorted(listed(StatusEquals="Failed")) == sorted(names)
    page = sagemaker.list_training_jobs(NameContains=name, MaxResults=2)
    assert len(page["TrainingJobSummaries"]) == 2
    assert page["NextToken"]
    created = sagemaker.describe_training_job(TrainingJobName=names[1])["CreationTime"]
    after, before = listed(CreationTimeAfter=created), listed(CreationTimeBefore=created)
    assert (names[2] in after, names[0] in after) == (True, False)
    assert (names[2] in before, names[0] in before) == (False, True)
    (summary,) = sagemaker.list_training_jobs(NameContains=names[2])["TrainingJobSummaries"]
    for member in ("TrainingJobArn", "TrainingJobStatus", "CreationTime", "TrainingEndTime"):
        assert member in summary


def test_tags(sagemaker, trained):
    arn = trained.description["TrainingJobArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "suite", "Value": "contract"}]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "1"}])
    tags = sagemaker.list_tags(ResourceArn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"suite": "contract", "more": "1"}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["more"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "suite", "Value": "contract"}]
