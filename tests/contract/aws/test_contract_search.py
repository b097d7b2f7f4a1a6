"""Search and the metrics in CloudWatch as AWS documents them; both lag behind on AWS."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

ACCURACY = "test:binary_classification_accuracy"


@pytest.fixture
def search(sagemaker):
    """Return the names of the training jobs for which all filters hold."""

    def names(*filters: tuple[str, str, str], **more) -> list[str]:
        expression = {
            "Filters": [
                {"Name": name, "Operator": operator, "Value": value}
                for name, operator, value in filters
            ]
        }
        found = sagemaker.search(Resource="TrainingJob", SearchExpression=expression, **more)
        return [each["TrainingJob"]["TrainingJobName"] for each in found["Results"]]

    return names


def test_a_training_job_is_found_by_what_it_says(sagemaker, trained, search, wait):
    name = trained.request["TrainingJobName"]
    address = trained.description["ModelArtifacts"]["S3ModelArtifacts"]
    by_artifact = ("ModelArtifacts.S3ModelArtifacts", "Equals", address)
    assert wait(lambda: search(by_artifact)) == [name]
    mine = ("TrainingJobName", "Equals", name)
    created = trained.description["CreationTime"]
    before, after = (created + timedelta(days=days) for days in (-1, 1))
    for holds, condition in (
        (True, ("TrainingJobStatus", "Equals", "Completed")),
        (False, ("TrainingJobStatus", "NotEquals", "Completed")),
        (True, ("TrainingJobStatus", "In", "Failed,Completed")),
        (False, ("TrainingJobStatus", "In", "Failed,Stopped")),
        (True, ("TrainingJobName", "Contains", name[3:])),
        (True, ("HyperParameters.epochs", "Equals", "15")),
        (True, ("ResourceConfig.InstanceCount", "GreaterThanOrEqualTo", "1")),
        (False, ("ResourceConfig.InstanceCount", "GreaterThan", "1")),
        (True, ("CreationTime", "GreaterThan", f"{before:%Y-%m-%dT%H:%M:%SZ}")),
        (False, ("CreationTime", "GreaterThan", f"{after:%Y-%m-%dT%H:%M:%SZ}")),
    ):
        assert search(mine, condition) == ([name] if holds else []), condition
    exists = {"Name": "FailureReason", "Operator": "NotExists"}
    whole = {"Name": "TrainingJobName", "Value": name}
    found = sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": [whole, exists]})[
        "Results"
    ]
    (job,) = [each["TrainingJob"] for each in found]
    assert job["TrainingJobArn"] == trained.description["TrainingJobArn"]
    assert job["HyperParameters"] == trained.request["HyperParameters"]
    assert {"Key": "suite", "Value": "contract"} in job["Tags"]


def test_a_name_is_no_statement(search):
    with pytest.raises(ClientError) as error:
        search(("Name') OR 1=1 --", "Equals", "x"))
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_the_curve_of_a_training_job_is_in_cloudwatch(target, trained, wait):
    cloudwatch = target.client("cloudwatch")
    job = trained.description

    def points(metric: str, name: str = job["TrainingJobName"]) -> list[dict]:
        return cloudwatch.get_metric_statistics(
            Namespace="/aws/sagemaker/TrainingJobs",
            MetricName=metric,
            Dimensions=[{"Name": "TrainingJobName", "Value": name}],
            StartTime=job["TrainingStartTime"] - timedelta(minutes=1),
            EndTime=job["TrainingEndTime"] + timedelta(minutes=2),
            Period=60,
            Statistics=["Average", "Minimum", "SampleCount"],
        )["Datapoints"]

    found = wait(lambda: points(ACCURACY))
    final = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
    assert [each["Average"] for each in found] == [pytest.approx(final[ACCURACY])]
    epochs = points("train:binary_classification_cross_entropy:epoch")
    assert sum(each["SampleCount"] for each in epochs) == 15
    last = final["train:binary_classification_cross_entropy:epoch"]
    assert min(each["Minimum"] for each in epochs) == pytest.approx(last)
    assert points("no:such_metric") == []
    assert points(ACCURACY, f"{job['TrainingJobName']}-never") == []
