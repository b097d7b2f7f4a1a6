from __future__ import annotations

import re

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/toy:1"
BUILT_IN = IMAGE.replace("toy", "built-in-toy")
SCORE = {"Name": "score", "Regex": r"score=(\S+)"}
FINAL = ("Completed", "Failed", "Stopped")


def continuous(name, low, high, scale="Linear"):
    return {"Name": name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scale}


@pytest.fixture
def tuning_request(bucket):
    """Build a request that tunes `x` of the toy, whose objective is x + 1 after one epoch."""

    def build(name, *, strategy="Random", values=None, jobs=6, parallel=2, image=IMAGE, **fixed):
        to = fixed.pop("to", bucket)
        config = {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "score"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": jobs,
                "MaxParallelTrainingJobs": parallel,
            },
            "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "x", "Values": values}]}
            if values
            else {"ContinuousParameterRanges": [continuous("x", 0, 5)]},
            "RandomSeed": 7,
        }
        config.update(fixed.pop("config", {}))
        return {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": {
                "StaticHyperParameters": {key: str(value) for key, value in fixed.items()},
                "AlgorithmSpecification": {
                    "TrainingImage": image,
                    "TrainingInputMode": "File",
                    **({} if image == BUILT_IN else {"MetricDefinitions": [SCORE]}),
                },
                "RoleArn": ROLE,
                "OutputDataConfig": {"S3OutputPath": f"s3://{to}/out/"},
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                },
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            },
        }

    return build


def describe(client, name):
    return client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def children(client, name, **given):
    pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, **given
    )
    return [item for page in pages for item in page["TrainingJobSummaries"]]


def status(client, name):
    return describe(client, name)["HyperParameterTuningJobStatus"]


@pytest.fixture
def tuned(sagemaker, wait_for):
    """Start a tuning job, wait for its end, and return its description."""

    def run(request):
        sagemaker.create_hyper_parameter_tuning_job(**request)
        name = request["HyperParameterTuningJobName"]
        wait_for(lambda: status(sagemaker, name) in FINAL)
        return describe(sagemaker, name)

    return run


def value(summary):
    return summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]


def test_six_jobs_two_at_once(sagemaker, s3, bucket, name, tuning_request, wait_for):
    request = tuning_request(name, seconds=0.3)
    request["TrainingJobDefinition"]["Environment"] = {"TOLD": "to all"}
    request["Tags"] = [{"Key": "team", "Value": "films"}]
    arn = sagemaker.create_hyper_parameter_tuning_job(**request)["HyperParameterTuningJobArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/{name}"
    running = []

    def ended():
        job = describe(sagemaker, name)
        counters = job["TrainingJobStatusCounters"]
        live = children(sagemaker, name, StatusEquals="InProgress")
        running.append((counters["InProgress"], len(live)))
        return job["HyperParameterTuningJobStatus"] in FINAL

    wait_for(ended)
    assert max(max(pair) for pair in running) == 2

    job, found = describe(sagemaker, name), children(sagemaker, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"] == {
        **dict.fromkeys(("InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0),
        "Completed": 6,
    }
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 6, "Pending": 0, "Failed": 0}
    assert job["HyperParameterTuningEndTime"] >= max(item["TrainingEndTime"] for item in found)
    assert 0 <= job["ConsumedResources"]["RuntimeInSeconds"] < 60
    pattern = rf"{name}-00[1-6]-[0-9a-f]{{8}}"
    assert all(re.fullmatch(pattern, item["TrainingJobName"]) for item in found)
    assert [item["TrainingJobName"][-12:-9] for item in found] == [f"00{n}" for n in range(1, 7)]
    for item in found:
        x = float(item["TunedHyperParameters"]["x"])
        assert 0 <= x <= 5
        assert value(item) == pytest.approx(x + 1, rel=1e-6)
        assert item["ObjectiveStatus"] == "Succeeded"
        child = sagemaker.describe_training_job(TrainingJobName=item["TrainingJobName"])
        assert child["TuningJobArn"] == arn
        assert child["HyperParameters"] == {
            "seconds": "0.3",
            "x": item["TunedHyperParameters"]["x"],
            "_tuning_objective_metric": "score",
        }
        assert child["Environment"] == {"TOLD": "to all"}
        assert sagemaker.list_tags(ResourceArn=child["TrainingJobArn"])["Tags"] == request["Tags"]
    best = min(found, key=value)
    assert job["BestTrainingJob"] == best
    assert "OverallBestTrainingJob" not in job
    # Never more than two at any time, by the children's own times.
    starts = [item["CreationTime"] for item in found]
    for start in starts:
        at_once = [i for i in found if i["CreationTime"] <= start < i["TrainingEndTime"]]
        assert len(at_once) <= 2
    key = f"out/{best['TrainingJobName']}/output/model.tar.gz"
    assert s3.head_object(Bucket=bucket, Key=key)

    summaries = sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name)
    (summary,) = summaries["HyperParameterTuningJobSummaries"]
    assert (summary["Strategy"], summary["ResourceLimits"]["MaxParallelTrainingJobs"]) == (
        "Random",
        2,
    )
    assert summary["TrainingJobStatusCounters"] == job["TrainingJobStatusCounters"]


def test_lists_of_training_jobs(sagemaker, name, tuning_request, tuned):
    values = ["3", "1", "2", "failing"]  # float("failing") ends the toy with an error
    tuned(tuning_request(name, strategy="Grid", values=values, jobs=4))

    def tried(**given):
        return [item["TunedHyperParameters"]["x"] for item in children(sagemaker, name, **given)]

    pages = {"PaginationConfig": {"PageSize": 2}}
    assert tried() == values
    assert tried(SortBy="FinalObjectiveMetricValue", **pages) == ["1", "2", "3"]
    order = {"SortBy": "FinalObjectiveMetricValue", "SortOrder": "Descending"}
    assert tried(**order, **pages) == ["3", "2", "1"]
    assert tried(SortBy="Name", SortOrder="Descending", **pages) == values[::-1]
    assert tried(StatusEquals="Failed") == ["failing"]
    assert tried(SortBy="Status", **pages)[-1] == "failing"
    (failed,) = children(sagemaker, name, StatusEquals="Failed")
    assert failed["ObjectiveStatus"] == "Failed"
    assert "exit code 1" in failed["FailureReason"]
    job = describe(sagemaker, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 1}
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "1"}


def test_a_seed_tries_the_same_values_again(sagemaker, name, tuning_request, tuned):
    tried = []
    for suffix in ("a", "b"):
        tuned(tuning_request(name + suffix, jobs=3))
        tried.append([item["TunedHyperParameters"] for item in children(sagemaker, name + suffix)])
    assert tried[0] == tried[1]


def test_bayesian_search_of_every_kind_of_range(sagemaker, name, tuning_request, tuned):
    ranges = {
        "ContinuousParameterRanges": [continuous("x", 1e-6, 1, "Logarithmic")],
        "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "3"}],
        "CategoricalParameterRanges": [{"Name": "output", "Values": ["a", "b"]}],
    }
    config = {"Strategy": "Bayesian", "ParameterRanges": ranges}
    job = tuned(tuning_request(name, config=config, jobs=8))
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    found = children(sagemaker, name)
    assert len(found) == 8
    for item in found:
        values = item["TunedHyperParameters"]
        assert 1e-6 <= float(values["x"]) <= 1
        assert values["epochs"] in ("1", "2", "3")
        assert values["output"] in ("a", "b")
        expected = float(values["x"]) + 1 / int(values["epochs"])
        assert value(item) == pytest.approx(expected, rel=1e-6)
    assert job["BestTrainingJob"] == min(found, key=value)


def test_stop(sagemaker, name, tuning_request, wait_for):
    request = tuning_request(name, seconds=600)
    sagemaker.create_hyper_parameter_tuning_job(**request)
    stop = {"HyperParameterTuningJobName": name}
    wait_for(lambda: len(children(sagemaker, name)) == 2)
    with pytest.raises(ClientError, match="ResourceInUse"):
        sagemaker.delete_hyper_parameter_tuning_job(**stop)
    sagemaker.stop_hyper_parameter_tuning_job(**stop)
    wait_for(lambda: status(sagemaker, name) in FINAL)
    job, found = describe(sagemaker, name), children(sagemaker, name)
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert [item["TrainingJobStatus"] for item in found] == ["Stopped", "Stopped"]
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2
    with pytest.raises(ClientError, match=r"ValidationException.*Stopped"):
        sagemaker.stop_hyper_parameter_tuning_job(**stop)
    # Its name is free again once it is deleted; its training jobs are another's.
    with pytest.raises(ClientError, match=r"ResourceInUse.*the name, .*already exists"):
        sagemaker.create_hyper_parameter_tuning_job(**request)
    sagemaker.delete_hyper_parameter_tuning_job(**stop)
    with pytest.raises(ClientError, match=r"ResourceNotFound.*can't find a tuning job called"):
        describe(sagemaker, name)
    assert found[0]["TrainingJobName"] in str(sagemaker.list_training_jobs(NameContains=name))
    request = tuning_request(name, jobs=1, parallel=1)
    sagemaker.create_hyper_parameter_tuning_job(**request)
    wait_for(lambda: status(sagemaker, name) in FINAL)
    (child,) = children(sagemaker, name)
    assert child["TrainingJobName"] not in [item["TrainingJobName"] for item in found]
    assert describe(sagemaker, name)["BestTrainingJob"] == child


@pytest.mark.parametrize(
    ("jobs", "fixed", "reason", "counters"),
    [
        (3, {"exit_code": 1}, "All training jobs failed. ", (0, 3)),
        (40, {"exit_code": 1}, "No training job succeeded after 5 attempts. ", (0, 5)),
        (5, {"epochs": 0}, "No objective metrics found after running 5 training jobs. ", (5, 0)),
    ],
)
def test_nothing_comes_of_any_training_job(
    sagemaker, name, tuning_request, tuned, jobs, fixed, reason, counters
):
    job = tuned(tuning_request(name, jobs=jobs, parallel=1, **fixed))
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(reason)
    found = job["TrainingJobStatusCounters"]
    assert (found["Completed"], found["NonRetryableError"]) == counters
    assert "BestTrainingJob" not in job


def test_the_target_ends_the_job(sagemaker, name, tuning_request, tuned):
    criteria = {"TargetObjectiveMetricValue": 2.1}
    values = ["4", "3", "1.1", "2", "5"]  # 1.1 + 1 is 2.1, in single precision
    job = tuned(
        tuning_request(
            name,
            strategy="Grid",
            values=values,
            jobs=5,
            parallel=1,
            config={"TuningJobCompletionCriteria": criteria},
        )
    )
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 3
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "1.1"}


def test_a_bad_training_job_is_stopped_early(sagemaker, name, tuning_request, tuned, logged):
    values = ["1", "50", "0"]
    job = tuned(
        tuning_request(
            name,
            strategy="Grid",
            values=values,
            jobs=3,
            parallel=1,
            epochs=30,
            pace=0.04,
            config={"TrainingJobEarlyStoppingType": "Auto"},
        )
    )
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    first, bad, good = children(sagemaker, name)
    assert [first["TrainingJobStatus"], good["TrainingJobStatus"]] == ["Completed", "Completed"]
    assert bad["TrainingJobStatus"] == "Stopped"
    assert len(logged(first)) == len(logged(good)) == 30
    assert len(logged(bad)) < 30
    # What it had reached counts, though it is not the best.
    assert value(bad) == pytest.approx(logged(bad)[-1], rel=1e-6)
    assert job["ObjectiveStatusCounters"]["Succeeded"] == 3
    assert job["BestTrainingJob"] == good


@pytest.fixture
def logged(server):
    """Return the scores in a training job's log."""

    def read(summary):
        logs, group = server.client("logs"), "/aws/sagemaker/TrainingJobs"
        name = summary["TrainingJobName"]
        (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")[
            "logStreams"
        ]
        events = logs.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
        return [
            float(event["message"].split("=")[1])
            for event in events
            if event["message"].startswith("score=")
        ]

    return read


def test_hyperband_stops_what_is_worse_at_the_same_epoch(
    sagemaker, name, tuning_request, tuned, logged
):
    config = {
        "ParameterRanges": {
            "CategoricalParameterRanges": [{"Name": "x", "Values": ["0", *"123456789"]}]
        },
        "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 3}},
    }
    request = tuning_request(
        name, strategy="Hyperband", jobs=10, config=config, epochs=30, pace=0.02
    )
    job = tuned(request)
    given = job["HyperParameterTuningJobConfig"]["StrategyConfig"]["HyperbandStrategyConfig"]
    assert given == {"MinResource": 3, "MaxResource": 30}
    found = children(sagemaker, name)
    assert len(found) == 10
    stopped = [item for item in found if item["TrainingJobStatus"] == "Stopped"]
    assert stopped
    assert all(len(logged(item)) >= 3 for item in stopped)
    completed = [item for item in found if item["TrainingJobStatus"] == "Completed"]
    assert len(stopped) + len(completed) == 10
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0"}


def test_warm_start(sagemaker, name, tuning_request, tuned, wait_for):
    parent = tuned(tuning_request(f"{name}-p", strategy="Grid", values=["2", "0.5"], jobs=2))
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": f"{name}-p"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    request = tuning_request(f"{name}-w", strategy="Bayesian", values=["1", "3"], jobs=2)
    job = tuned({**request, "WarmStartConfig": warm})
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "1"}
    assert job["OverallBestTrainingJob"] == {
        **parent["BestTrainingJob"],
        "TuningJobName": f"{name}-p",
    }
    assert job["WarmStartConfig"] == warm
    assert job["TrainingJobStatusCounters"]["Completed"] == 2

    warm["WarmStartType"] = "TransferLearning"
    request = tuning_request(f"{name}-t", values=["9", "8"], jobs=1, parallel=1)
    assert "OverallBestTrainingJob" not in tuned({**request, "WarmStartConfig": warm})

    def refused(text, **changes):
        changes = {"values": ["2", "1"], **changes}
        request = tuning_request(f"{name}-x", jobs=1, parallel=1, **changes)
        with pytest.raises(ClientError, match=text) as caught:
            sagemaker.create_hyper_parameter_tuning_job(**request, WarmStartConfig=warm)
        assert caught.value.response["Error"]["Code"] == "ValidationException"

    refused("The set of tunable plus static HyperParameter names is not the same", seconds=1)
    maximize = {"Type": "Maximize", "MetricName": "score"}
    refused("The type of the hyperparameter 'x' must not change", values=None)
    refused(
        "objective metric .* must be the same",
        config={"HyperParameterTuningJobObjective": maximize},
    )
    warm["ParentHyperParameterTuningJobs"][0]["HyperParameterTuningJobName"] = "unknown"
    refused("can't find a tuning job called unknown")
    slow = tuning_request(f"{name}-s", seconds=600)
    sagemaker.create_hyper_parameter_tuning_job(**slow)
    warm["ParentHyperParameterTuningJobs"][0]["HyperParameterTuningJobName"] = f"{name}-s"
    refused("in status InProgress")
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=f"{name}-s")
    wait_for(lambda: status(sagemaker, f"{name}-s") in FINAL)


def test_a_built_in_algorithm(sagemaker, name, tuning_request, tuned):
    objective = {"Type": "Minimize", "MetricName": "test:rmse"}
    config = {"HyperParameterTuningJobObjective": objective}
    job = tuned(tuning_request(name, jobs=2, image=BUILT_IN, config=config))
    definition = job["TrainingJobDefinition"]
    assert definition["StaticHyperParameters"] == {"_tuning_objective_metric": "test:rmse"}
    metrics = definition["AlgorithmSpecification"]["MetricDefinitions"]
    assert "test:rmse" in [metric["Name"] for metric in metrics]
    assert job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"] == {
        **objective,
        "Value": pytest.approx(0.1),
    }

    def refused(text, **changes):
        config = {"HyperParameterTuningJobObjective": {**objective, **changes}}
        request = tuning_request(f"{name}-x", jobs=2, image=BUILT_IN, config=config)
        with pytest.raises(ClientError, match=text):
            sagemaker.create_hyper_parameter_tuning_job(**request)

    refused(r"objective metric, \[score\], isn't valid for the", MetricName="score")
    refused(r"objective metric type, \[Maximize\], that you specified", Type="Maximize")


def test_several_definitions(sagemaker, name, tuning_request, tuned):
    single = tuning_request(name, jobs=6)
    config = single["HyperParameterTuningJobConfig"]
    ranges = config.pop("ParameterRanges")
    objective = config.pop("HyperParameterTuningJobObjective")
    definition = single.pop("TrainingJobDefinition")
    definitions = [
        {
            **definition,
            "DefinitionName": label,
            "StaticHyperParameters": {"epochs": epochs},
            "TuningObjective": objective,
            "HyperParameterRanges": ranges,
        }
        for label, epochs in (("short", "1"), ("long", "4"))
    ]
    job = tuned({**single, "TrainingJobDefinitions": definitions})
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    found = children(sagemaker, name)
    assert [item["TrainingJobDefinitionName"] for item in found] == ["short", "long"] * 3
    for item in found:
        last = {"short": 1, "long": 1 / 4}[item["TrainingJobDefinitionName"]]
        assert value(item) == pytest.approx(float(item["TunedHyperParameters"]["x"]) + last)
    assert job["BestTrainingJob"] == min(found, key=value)


def test_kill_in_the_middle(tmp_path, start, tuning_request, wait_for):
    """Every training job runs once, and all are counted, whenever the server is killed."""
    ledger, state = tmp_path / "ledger", tmp_path / "state"

    def run(*, due=None, create=()):
        """Start a server, and kill it when so many training jobs are due, or all have ended."""
        with start(state) as server:
            sagemaker = server.client("sagemaker")
            for request in create:
                server.client("s3").create_bucket(Bucket=request.pop("bucket"))
                sagemaker.create_hyper_parameter_tuning_job(**request)
            if due is not None:
                wait_for(lambda: len(children(sagemaker, "tuned")) >= due)
                server.kill()
                return None
            names = ["tuned", "again"]
            wait_for(lambda: all(status(sagemaker, name) in FINAL for name in names))
            return [(describe(sagemaker, name), children(sagemaker, name)) for name in names]

    request = tuning_request("tuned", to="kept", jobs=8, ledger=ledger, seconds=0.2)
    run(due=1, create=[{**request, "bucket": "kept"}])
    run(due=3)
    run(due=5)
    request = tuning_request("again", to="kept-too", jobs=8)
    (job, found), (_, whole) = run(create=[{**request, "bucket": "kept-too"}])

    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert len(found) == 8
    # The seed and a training job's number tell its values.
    tried, tried_at_once = (
        [item["TunedHyperParameters"] for item in each] for each in (found, whole)
    )
    assert tried == tried_at_once
    states = [item["TrainingJobStatus"] for item in found]
    counters = job["TrainingJobStatusCounters"]
    assert sum(counters.values()) == 8
    assert counters["Completed"] == states.count("Completed") >= 2
    assert counters["RetryableError"] == states.count("Failed") <= 6
    ran = ledger.read_text().split()
    assert len(set(ran)) == len(ran)
    completed = {i["TrainingJobName"] for i in found if i["TrainingJobStatus"] == "Completed"}
    assert completed <= set(ran) <= {item["TrainingJobName"] for item in found}
    best = min((item for item in found if item["ObjectiveStatus"] == "Succeeded"), key=value)
    assert job["BestTrainingJob"] == best


def test_kill_while_stopping(tmp_path, start, tuning_request, wait_for):
    with start(tmp_path, stop_grace=120) as server:
        sagemaker = server.client("sagemaker")
        server.client("s3").create_bucket(Bucket="kept")
        request = tuning_request("tuned", to="kept", seconds=600, ignore_sigterm=1)
        sagemaker.create_hyper_parameter_tuning_job(**request)
        wait_for(lambda: len(children(sagemaker, "tuned")) == 2)
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="tuned")
        assert status(sagemaker, "tuned") == "Stopping"
        server.kill()
    with start(tmp_path) as server:
        sagemaker = server.client("sagemaker")
        wait_for(lambda: status(sagemaker, "tuned") in FINAL)
        job = describe(sagemaker, "tuned")
        assert job["HyperParameterTuningJobStatus"] == "Stopped"
        assert sum(job["TrainingJobStatusCounters"].values()) == 2
        assert job["TrainingJobStatusCounters"]["InProgress"] == 0


def test_refused_requests(sagemaker, name, tuning_request):
    def refused(text, code="ValidationException", **given):
        with pytest.raises(ClientError, match=text) as caught:
            sagemaker.create_hyper_parameter_tuning_job(**tuning_request(name, **given))
        assert caught.value.response["Error"]["Code"] == code

    refused("MaxParallelTrainingJobs 3 must not exceed", jobs=2, parallel=3)
    refused(r"provided ranges \[3.0\] must be equal or greater", values=["1", "2", "3"], jobs=4)
    refused("'x' is static and has a range", x=1)
    refused("service limit", code="ResourceLimitExceeded", jobs=751)
    refused("no algorithm for the image", image=IMAGE.replace("toy", "unknown"))
    refused(
        "A metric is required for this hyperparameter tuning job objective",
        config={"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "other"}},
    )
    with pytest.raises(ClientError, match="Autotune"):
        sagemaker.create_hyper_parameter_tuning_job(
            **tuning_request(name), Autotune={"Mode": "Enabled"}
        )
    for operation in (
        "describe_hyper_parameter_tuning_job",
        "stop_hyper_parameter_tuning_job",
        "delete_hyper_parameter_tuning_job",
        "list_training_jobs_for_hyper_parameter_tuning_job",
    ):
        with pytest.raises(ClientError, match="Type another name") as caught:
            getattr(sagemaker, operation)(HyperParameterTuningJobName=name)
        assert caught.value.response["Error"]["Code"] == "ResourceNotFound"
