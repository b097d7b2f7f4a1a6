"""Hyperparameter tuning jobs as SageMaker documents them, on the local AWS or on AWS."""

from __future__ import annotations

import re
import uuid

import contract_rows
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

ACCURACY = "test:binary_classification_accuracy"
ENTROPY = "test:binary_classification_cross_entropy"


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


@pytest.fixture(scope="module")
def tuning_request(training_request):
    """Build a CreateHyperParameterTuningJob request over the linear terms' rate and the epochs."""

    def build(name: str, prefix: str, *, jobs: int = 4, parallel: int = 2, **config) -> dict:
        tuned = ("linear_lr", "epochs")
        static = {
            key: str(value)
            for key, value in contract_rows.HYPERPARAMETERS.items()
            if key not in tuned
        }
        training = training_request("unused", prefix, {})
        return {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": ENTROPY},
                "ResourceLimits": {
                    "MaxNumberOfTrainingJobs": jobs,
                    "MaxParallelTrainingJobs": parallel,
                },
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {
                            "Name": "linear_lr",
                            "MinValue": "0.001",
                            "MaxValue": "0.1",
                            "ScalingType": "Logarithmic",
                        }
                    ],
                    "IntegerParameterRanges": [
                        {"Name": "epochs", "MinValue": "2", "MaxValue": "12"}
                    ],
                },
                "RandomSeed": 7,
                **config,
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": static,
                **{
                    member: training[member]
                    for member in (
                        *("AlgorithmSpecification", "RoleArn", "InputDataConfig"),
                        *("OutputDataConfig", "ResourceConfig", "StoppingCondition"),
                    )
                },
            },
        }

    return build


@pytest.fixture(scope="module")
def tuned(sagemaker, session_cleaner, tuning_request, put_rows, ended):
    """A tuning job of four, two at a time, run to its end: its request and its description."""
    name = f"fmrec-{uuid.uuid4().hex[:12]}"
    prefix = f"fmrec-contract/{name}/"
    session_cleaner.prefix(prefix)
    put_rows(prefix)
    request = tuning_request(name, prefix)
    session_cleaner.job("hyper_parameter_tuning_job", name)
    arn = sagemaker.create_hyper_parameter_tuning_job(
        **request, Tags=[{"Key": "suite", "Value": "contract"}]
    )["HyperParameterTuningJobArn"]
    assert arn.endswith(f":hyper-parameter-tuning-job/{name}")
    told = ended("hyper_parameter_tuning_job", name)
    assert told["HyperParameterTuningJobStatus"] == "Completed", told.get("FailureReason")
    return request, told


@pytest.fixture(scope="module")
def children(sagemaker, tuned) -> list[dict]:
    listed = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=tuned[0]["HyperParameterTuningJobName"]
    )
    return listed["TrainingJobSummaries"]


def objective(summary: dict) -> float:
    told = summary["FinalHyperParameterTuningJobObjectiveMetric"]
    assert told["MetricName"] == ENTROPY
    return told["Value"]


def test_a_tuning_job_counts_its_children_and_names_the_best(tuned, children):
    request, told = tuned
    config = request["HyperParameterTuningJobConfig"]
    kept = told["HyperParameterTuningJobConfig"]
    for member in ("Strategy", "HyperParameterTuningJobObjective", "RandomSeed"):
        assert kept[member] == config[member]
    limits = kept["ResourceLimits"]
    assert (limits["MaxNumberOfTrainingJobs"], limits["MaxParallelTrainingJobs"]) == (4, 2)
    counters = told["TrainingJobStatusCounters"]
    assert counters == {
        "Completed": 4,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert told["ObjectiveStatusCounters"] == {"Succeeded": 4, "Pending": 0, "Failed": 0}
    best = told["BestTrainingJob"]
    assert best["TrainingJobName"] == min(children, key=objective)["TrainingJobName"]
    assert objective(best) == min(map(objective, children))
    assert best["ObjectiveStatus"] == "Succeeded"
    assert told["CreationTime"] <= told["HyperParameterTuningEndTime"]


def test_children_are_training_jobs_with_names_of_their_own(sagemaker, tuned, children):
    request, told = tuned
    name = request["HyperParameterTuningJobName"]
    pattern = re.compile(re.escape(name) + r"-(\d{3})-[0-9a-f]{8}")
    numbers = [pattern.fullmatch(child["TrainingJobName"])[1] for child in children]
    assert sorted(numbers) == ["001", "002", "003", "004"]
    static = request["TrainingJobDefinition"]["StaticHyperParameters"]
    for child in children:
        tried = child["TunedHyperParameters"]
        assert set(tried) == {"linear_lr", "epochs"}
        assert 0.001 <= float(tried["linear_lr"]) <= 0.1
        assert 2 <= int(tried["epochs"]) <= 12
        job = sagemaker.describe_training_job(TrainingJobName=child["TrainingJobName"])
        assert job["TuningJobArn"] == told["HyperParameterTuningJobArn"]
        given = {**static, **tried, "_tuning_objective_metric": ENTROPY}
        assert given.items() <= job["HyperParameters"].items()
        metrics = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
        assert objective(child) == pytest.approx(metrics[ENTROPY], rel=1e-6)
        assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith(
            f"/{child['TrainingJobName']}/output/model.tar.gz"
        )
    assert len({child["TunedHyperParameters"]["linear_lr"] for child in children}) == 4


def test_no_more_children_run_at_once_than_allowed(children):
    moments = [
        (moment, change)
        for child in children
        for moment, change in ((child["TrainingStartTime"], 1), (child["TrainingEndTime"], -1))
    ]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most <= 2


def test_children_are_listed_by_objective_and_page_by_page(sagemaker, tuned, children):
    name = tuned[0]["HyperParameterTuningJobName"]
    by_objective = sorted(children, key=objective)
    names = [child["TrainingJobName"] for child in by_objective]

    def listed(**filters) -> list[str]:
        pages = sagemaker.get_paginator(
            "list_training_jobs_for_hyper_parameter_tuning_job"
        ).paginate(HyperParameterTuningJobName=name, **filters)
        return [item["TrainingJobName"] for page in pages for item in page["TrainingJobSummaries"]]

    ascending = {"SortBy": "FinalObjectiveMetricValue", "SortOrder": "Ascending"}
    assert listed(**ascending) == names
    assert listed(**ascending, PaginationConfig={"PageSize": 3}) == names
    assert listed(SortBy="FinalObjectiveMetricValue", SortOrder="Descending") == names[::-1]
    assert listed(SortBy="Name", SortOrder="Ascending") == sorted(names)
    assert sorted(listed(StatusEquals="Completed")) == sorted(names)
    assert listed(StatusEquals="Failed") == []


def test_tuning_jobs_are_listed_and_tagged(sagemaker, tuned):
    request, told = tuned
    name = request["HyperParameterTuningJobName"]
    (summary,) = sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name)[
        "HyperParameterTuningJobSummaries"
    ]
    assert summary["HyperParameterTuningJobName"] == name
    assert summary["HyperParameterTuningJobStatus"] == "Completed"
    assert summary["Strategy"] == "Random"
    assert summary["TrainingJobStatusCounters"]["Completed"] == 4
    assert summary["ResourceLimits"]["MaxParallelTrainingJobs"] == 2
    none = sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name, StatusEquals="Failed")
    assert none["HyperParameterTuningJobSummaries"] == []
    arn = told["HyperParameterTuningJobArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "suite", "Value": "contract"}]


def test_a_name_is_taken_once_and_what_is_missing_is_not_found(sagemaker, tuned, name):
    request, _ = tuned
    code, message = refusal(sagemaker.create_hyper_parameter_tuning_job, **request)
    assert code == "ResourceInUse"
    assert request["HyperParameterTuningJobName"] in message
    for call in (
        sagemaker.describe_hyper_parameter_tuning_job,
        sagemaker.stop_hyper_parameter_tuning_job,
        sagemaker.list_training_jobs_for_hyper_parameter_tuning_job,
    ):
        assert refusal(call, HyperParameterTuningJobName=name)[0] == "ResourceNotFound"


def test_requests_that_make_no_sense_are_refused(sagemaker, tuned, name):
    request, _ = tuned
    config = request["HyperParameterTuningJobConfig"]
    long = {**request, "HyperParameterTuningJobName": "x" * 33}
    code, message = refusal(sagemaker.create_hyper_parameter_tuning_job, **long)
    assert code == "ValidationException"
    assert "Member must have length less than or equal to 32" in message
    request = {**request, "HyperParameterTuningJobName": name}
    backwards = {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": "12", "MaxValue": "2"}]}
    unknown = {"Type": "Minimize", "MetricName": "test:no_such_metric"}
    for change in (
        {"ParameterRanges": backwards},
        {"HyperParameterTuningJobObjective": unknown},
        {"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}},
        {"Strategy": "Grid"},  # which takes categories alone
    ):
        changed = {**request, "HyperParameterTuningJobConfig": {**config, **change}}
        code, _ = refusal(sagemaker.create_hyper_parameter_tuning_job, **changed)
        assert code == "ValidationException"


def test_stop(sagemaker, cleaner, wait, ended, tuning_request, put_rows, name, prefix):
    put_rows(prefix)
    request = tuning_request(name, prefix, jobs=6)
    config = request["HyperParameterTuningJobConfig"]
    config["ParameterRanges"]["IntegerParameterRanges"] = [
        {"Name": "epochs", "MinValue": "10000000", "MaxValue": "20000000"}
    ]
    cleaner.job("hyper_parameter_tuning_job", name)
    sagemaker.create_hyper_parameter_tuning_job(**request)

    def children(**filters) -> list[dict]:
        return sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, **filters
        )["TrainingJobSummaries"]

    wait(lambda: len(children(StatusEquals="InProgress")) == 2)
    told = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert told["HyperParameterTuningJobStatus"] == "InProgress"
    assert told["TrainingJobStatusCounters"]["InProgress"] == 2
    assert "TrainingJobName" not in told.get("BestTrainingJob", {})
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    told = ended("hyper_parameter_tuning_job", name)
    assert told["HyperParameterTuningJobStatus"] == "Stopped"
    assert told["TrainingJobStatusCounters"]["Stopped"] == 2
    assert [child["TrainingJobStatus"] for child in children()] == ["Stopped"] * 2


def test_a_target_that_is_reached_ends_the_search(
    sagemaker, cleaner, ended, tuning_request, put_rows, name, prefix
):
    put_rows(prefix)
    request = tuning_request(
        name,
        prefix,
        jobs=8,
        parallel=1,
        HyperParameterTuningJobObjective={"Type": "Maximize", "MetricName": ACCURACY},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.01},
    )
    cleaner.job("hyper_parameter_tuning_job", name)
    sagemaker.create_hyper_parameter_tuning_job(**request)
    told = ended("hyper_parameter_tuning_job", name)
    assert told["HyperParameterTuningJobStatus"] == "Completed"
    # On AWS the next job may have begun before the first was known to be good enough.
    assert 1 <= told["TrainingJobStatusCounters"]["Completed"] < 8


def test_a_warm_start_takes_what_parents_found(
    sagemaker, cleaner, ended, tuning_request, tuned, put_rows, name, prefix
):
    parent = tuned[0]["HyperParameterTuningJobName"]
    put_rows(prefix)
    request = tuning_request(name, prefix, jobs=2, Strategy="Bayesian")
    request["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
        "WarmStartType": "TransferLearning",
    }
    cleaner.job("hyper_parameter_tuning_job", name)
    sagemaker.create_hyper_parameter_tuning_job(**request)
    told = ended("hyper_parameter_tuning_job", name)
    assert told["HyperParameterTuningJobStatus"] == "Completed", told.get("FailureReason")
    assert told["WarmStartConfig"] == request["WarmStartConfig"]
    assert told["TrainingJobStatusCounters"]["Completed"] == 2
    request["WarmStartConfig"]["ParentHyperParameterTuningJobs"] = [
        {"HyperParameterTuningJobName": f"{name}-never"}
    ]
    request["HyperParameterTuningJobName"] = f"{name}-b"
    code, _ = refusal(sagemaker.create_hyper_parameter_tuning_job, **request)
    assert code in ("ValidationException", "ResourceNotFound")
