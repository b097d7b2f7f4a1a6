"""Transform jobs, tuning jobs and models, as far as they differ from training jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fake_sagemaker import COMPLETED, STARTED, FakeSageMaker, context, refusal, run
from fmrec import ledger, operators
from fmrec.errors import AlgorithmError, RefusedError
from fmrec.operators import assets
from fmrec.release import tunings

MODEL = {"name": "fmrec-model-1", "training": {"name": "t"}}
TRAINING = {"name": "t", "artifact": "s3://b/model.tar.gz"}
SCORED = {
    "TransformJobStatus": "Completed",
    "TransformStartTime": STARTED,
    "TransformEndTime": STARTED + timedelta(seconds=90.5),
}


@pytest.fixture
def score(task: Any) -> Any:
    return lambda hook: task(operators.TransformOperator, hook, model=MODEL)


def test_a_transform_says_where_its_output_is(score: Any, recorded: list[Any]) -> None:
    hook = FakeSageMaker(SCORED)
    hook.put({"ModelName": MODEL["name"]}, {})
    result = score(hook).execute(context())
    [request] = hook.created
    output = request["TransformOutput"]["S3OutputPath"]
    assert result["name"] == request["TransformJobName"]
    assert (result["output"], result["seconds"]) == (output, 90.5)
    assert recorded[0]["billable_seconds"] == 90.5


def test_a_job_counts_from_its_own_end_whenever_that_is_seen(
    score: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, seen = FakeSageMaker(SCORED), []
    hook.put({"ModelName": MODEL["name"]}, {})
    operator = score(hook)
    monkeypatch.setattr(ledger, "record", lambda *told: seen.append(told[4]))
    operator.execute(context())
    assert seen == [SCORED["TransformEndTime"]]


def test_a_transform_whose_model_is_gone_by_now_is_still_a_result(score: Any) -> None:
    hook = FakeSageMaker()
    name = hook.put(score(hook).request(1), SCORED)
    assert score(hook).execute(context())["name"] == name
    assert hook.created == []


def test_a_transform_of_another_model_is_not_the_result(score: Any) -> None:
    hook = FakeSageMaker(SCORED)
    hook.put({"ModelName": MODEL["name"]}, {})
    hook.put({**score(hook).request(1), "ModelName": "another"}, SCORED)
    assert score(hook).execute(context())["name"].endswith("-2")


def test_predictions_that_are_gone_are_made_again(score: Any) -> None:
    hook = FakeSageMaker(SCORED)
    hook.put({"ModelName": MODEL["name"]}, {})
    request = score(hook).request(1)
    hook.put(request, SCORED)
    hook.gone.add(request["TransformOutput"]["S3OutputPath"])
    assert score(hook).execute(context())["name"].endswith("-2")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FMREC_BUCKET", "b")
    monkeypatch.setenv("FMREC_ROLE_ARN", "arn")
    monkeypatch.setattr(operators.ModelOperator, "expand_role", lambda _: None)

    def make(hook: FakeSageMaker, *training: Any) -> Any:
        monkeypatch.setattr(operators.ModelOperator, "hook", hook)
        return operators.ModelOperator(task_id="model", run=run(), training=training)

    return make


def test_a_model_is_made_of_whichever_training_there_was(model: Any) -> None:
    hook = FakeSageMaker()
    result = model(hook, None, TRAINING).execute(context())
    [request] = hook.created
    assert result == {"name": request["ModelName"], "training": TRAINING}
    assert request["PrimaryContainer"]["ModelDataUrl"] == TRAINING["artifact"]


def test_a_model_that_is_there_is_taken(model: Any) -> None:
    hook = FakeSageMaker()
    first = model(hook, TRAINING).execute(context())
    assert model(hook, TRAINING).execute(context()) == first
    assert len(hook.created) == 1


def test_a_model_of_another_artifact_is_not(model: Any) -> None:
    hook = FakeSageMaker()
    model(hook, TRAINING).execute(context())
    other = {**TRAINING, "artifact": "s3://b/2.tar.gz"}
    assert model(hook, other).execute(context())["name"].endswith("-2")


def test_of_two_attempts_at_a_model_the_second_takes_that_of_the_first(model: Any) -> None:
    hook = FakeSageMaker()
    create = hook.create_model

    def both(request: dict[str, Any]) -> Any:
        create(request)
        said = f'Cannot create already existing model "{request["ModelName"]}".'
        raise refusal("ValidationException", said, "CreateModel")

    hook.create_model = both  # type: ignore[method-assign]
    assert model(hook, TRAINING).execute(context())["name"].endswith("-1")


def test_a_refused_model_says_why(model: Any) -> None:
    hook = FakeSageMaker()
    said = "Could not find model data at s3://b/model.tar.gz."
    hook.refusals = [refusal("ValidationException", said, "CreateModel")]
    with pytest.raises(RefusedError, match=r"Could not find model data.*put it there"):
        model(hook, TRAINING).execute(context())


class Trials(FakeSageMaker):
    """A SageMaker with tuning jobs: the trials of each are given."""

    def __init__(self, *ends: dict[str, Any], trials: list[dict[str, Any]]) -> None:
        super().__init__(*ends)
        self.trials = trials

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_training_jobs_for_hyper_parameter_tuning_job"
        return self

    def paginate(self, **named: str) -> Any:
        told = ("BillableTimeInSeconds", "TrainingStartTime", "ModelArtifacts")
        summaries = [
            {name: value for name, value in each.items() if name not in told}
            for each in self.trials
        ]
        half = len(summaries) // 2
        yield {"TrainingJobSummaries": summaries[:half]}
        yield {"TrainingJobSummaries": summaries[half:]}

    def describe_training_job(self, name: str) -> dict[str, Any]:
        return next(each for each in self.trials if each["TrainingJobName"] == name)


def trial(number: int, value: float, **changed: Any) -> dict[str, Any]:
    metric = {"MetricName": "test:rmse", "Value": value}
    return {
        **COMPLETED,
        "TrainingJobName": f"t-00{number}",
        "TunedHyperParameters": {"factors_lr": f"0.00{number}"},
        "FinalHyperParameterTuningJobObjectiveMetric": metric,
        "BillableTimeInSeconds": 10 * number,
        **changed,
    }


def tuned(trials: list[dict[str, Any]], best: int | None, **told: Any) -> dict[str, Any]:
    status = {"HyperParameterTuningJobStatus": "Completed", **told}
    return status if best is None else {**status, "BestTrainingJob": trials[best]}


@pytest.fixture
def tune(task: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from fmrec.operators import tuning

    monkeypatch.setattr(tuning, "aws_client", lambda _: None)
    monkeypatch.setattr(tunings, "history", lambda *_: [])
    told = run(mode="tune", tuning_jobs=3)
    return lambda hook, **more: task(operators.TuningOperator, hook, run=told, **more)


FAILED = {
    "TrainingJobStatus": "Failed",
    "FailureReason": "AlgorithmError: it diverged",
    "FinalHyperParameterTuningJobObjectiveMetric": {},
}


def test_the_best_trial_is_the_result(tune: Any, recorded: list[Any]) -> None:
    trials = [trial(1, 0.95), trial(2, 0.91), trial(3, 0.0, **FAILED)]
    hook = Trials(tuned(trials, 1), trials=trials)
    told = context()
    result = tune(hook).execute(told)
    [request] = hook.created
    name = request["HyperParameterTuningJobName"]
    assert len(name) <= 32
    assert result == {
        "name": "t-002",
        "status": "Completed",
        "artifact": "s3://b/model.tar.gz",
        "seconds": 12,
        "billable_seconds": 20,
        "metrics": {"test:rmse": 0.9},
        "hyperparameters": {"factors_lr": "0.002"},
        "tuning": {
            "name": name,
            "objective": {"name": "test:rmse", "value": 0.91},
            "jobs": [
                {
                    "name": "t-001",
                    "status": "Completed",
                    "value": 0.95,
                    "billable_seconds": 10,
                    "hyperparameters": {"factors_lr": "0.001"},
                },
                {
                    "name": "t-002",
                    "status": "Completed",
                    "value": 0.91,
                    "billable_seconds": 20,
                    "hyperparameters": {"factors_lr": "0.002"},
                },
                {
                    "name": "t-003",
                    "status": "Failed",
                    "value": None,
                    "billable_seconds": 30,
                    "hyperparameters": {"factors_lr": "0.003"},
                },
            ],
            "parents": [],
            "billable_seconds": 60,
        },
    }
    [entry] = recorded
    assert (entry["job"], entry["kind"], entry["billable_seconds"]) == (name, "tuning", 60)
    assert told["outlet_events"][assets.MODEL].extra["name"] == "t-002"


def test_a_trial_of_unknown_cost_is_not_one_of_none(tune: Any, recorded: list[Any]) -> None:
    unknown = trial(3, 0.0, **FAILED)
    del unknown["BillableTimeInSeconds"]
    trials = [trial(1, 0.95), trial(2, 0.91), unknown]
    result = tune(Trials(tuned(trials, 1), trials=trials)).execute(context())
    assert result["tuning"]["billable_seconds"] is None
    assert recorded[0]["billable_seconds"] is None


@pytest.mark.parametrize("status", ["Completed", "Failed"])
def test_a_tuning_without_a_trial_that_completed_says_why_the_first_failed(
    status: str, tune: Any
) -> None:
    later = {**FAILED, "FailureReason": "AlgorithmError: later"}
    trials = [trial(1, 0.0, **FAILED), trial(2, 0.0, **later)]
    hook = Trials(tuned(trials, None, HyperParameterTuningJobStatus=status), trials=trials)
    with pytest.raises(AlgorithmError, match="it diverged"):
        tune(hook).execute(context())


def test_a_tuning_learns_from_the_earlier_ones_that_sagemaker_still_knows(
    tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [trial(1, 0.9)]
    hook = Trials(tuned(trials, 0), trials=trials)
    for name, status in (("known", "Completed"), ("busy", "InProgress")):
        state = {"HyperParameterTuningJobStatus": status}
        hook.put({"HyperParameterTuningJobName": name}, state)
    monkeypatch.setattr(tunings, "parents", lambda *_: ["known", "gone", "busy"])
    tune(hook).execute(context())
    config = hook.created[0]["WarmStartConfig"]
    assert config["ParentHyperParameterTuningJobs"] == [{"HyperParameterTuningJobName": "known"}]


def test_a_tuning_that_is_found_need_not_have_learnt_from_the_same(
    tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two attempts another tuning may have ended."""
    trials = [trial(1, 0.9)]
    hook = Trials(trials=trials)
    request = tune(hook).request(1)
    hook.put(request, tuned(trials, 0))
    hook.put({"HyperParameterTuningJobName": "new"}, {"HyperParameterTuningJobStatus": "Completed"})
    monkeypatch.setattr(tunings, "parents", lambda *_: ["new"])
    assert tune(hook).execute(context())["tuning"]["parents"] == []
    assert hook.created == []


def test_what_sagemaker_adds_to_a_tuning_changes_nothing(tune: Any) -> None:
    trials = [trial(1, 0.9)]
    hook = Trials(trials=trials)
    request = tune(hook).request(1)
    static = request["TrainingJobDefinition"]["StaticHyperParameters"]
    static["_tuning_objective_metric"] = "test:rmse"
    hook.put(request, tuned(trials, 0))
    tune(hook).execute(context())
    assert hook.created == []


def test_a_trigger_outlasts_all_rounds_of_a_tuning(tune: Any) -> None:
    hook = Trials(trials=[])
    operator = tune(hook)
    operator.config = operator.request(1)
    # Three trials, two at a time, each an hour at most.
    assert operator.longest_seconds() == 2 * 3600


def test_a_tuning_tells_how_far_it_is(tune: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial(1, 0.95), trial(2, 0.91)]
    limits = {"TrainingJobStatusCounters": {"Completed": 1, "InProgress": 2}}
    hook = Trials(trials=trials)
    live = {"HyperParameterTuningJobStatus": "InProgress"}
    states = [
        {**live, **limits},
        {**live, **limits},
        {**live, **limits, "BestTrainingJob": trials[0]},
        tuned(trials, 1, TrainingJobStatusCounters={"Completed": 2, "NonRetryableError": 1}),
    ]
    hook.put(tune(hook).request(1), *states)
    tune(hook).execute(context())
    said = capsys.readouterr().out
    assert said.count("1 of 3 trials done, 2 running ") == 1
    assert "best test:rmse 0.95 with factors_lr=0.001" in said
    assert "2 of 3 trials done, 0 running, 1 failed, best test:rmse 0.91" in said


def test_a_tuning_that_was_asked_for_by_other_settings_is_left_alone(tune: Any) -> None:
    trials = [trial(1, 0.9)]
    hook = Trials(tuned(trials, 0), trials=trials)
    request = tune(hook).request(1)
    config = request["HyperParameterTuningJobConfig"]
    config["ResourceLimits"] = {**config["ResourceLimits"], "MaxNumberOfTrainingJobs": 99}
    hook.put(request, tuned(trials, 0))
    result = tune(hook).execute(context())
    assert result["tuning"]["name"].endswith("-2")
