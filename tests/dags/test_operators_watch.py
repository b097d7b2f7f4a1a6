"""What the task log shows of a job: its states, its own log, its learning curve, its links."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fake_sagemaker import COMPLETED, Clock, FakeSageMaker, context, refusal
from fmrec import operators
from fmrec.operators import progress

RUNNING = {"TrainingJobStatus": "InProgress"}


def metric(epoch: int, value: float, name: str = "rmse", tag: str = "loss") -> str:
    return f"[INFO] #quality_metric: host=algo-1, epoch={epoch}, train {name} <{tag}>={value}"


def states(*names: str) -> dict[str, Any]:
    found = [{"Status": name, "StatusMessage": f"it is {name}"} for name in names]
    return {"SecondaryStatusTransitions": found}


def test_states_and_lines_appear_as_they_come(
    train: Any, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker()
    looks = [
        {**RUNNING, **states("Starting")},
        {**RUNNING, **states("Starting", "Downloading", "Training")},
        {**RUNNING, **states("Starting", "Downloading", "Training")},
        {**COMPLETED, **states("Starting", "Downloading", "Training", "Completed")},
    ]
    hook.put(train(hook).request(1), *looks)
    hook.logs.lines = ["first line"]
    heard: list[str] = []

    def then() -> None:
        heard.append(capsys.readouterr().out)
        if len(heard) == 1:
            hook.logs.lines += ["second line", metric(0, 1.5)]

    clock.then = then
    train(hook).execute(context())
    said = "".join([*heard, capsys.readouterr().out])
    assert "Starting: it is Starting" in heard[0]
    assert "first line" in heard[0]
    assert "second line" not in heard[0]
    for line in (
        *("Starting: it is Starting", "Training: it is Training", "Completed: it is Completed"),
        *("first line", "second line"),
    ):
        assert said.count(line) == 1, line


def test_another_message_of_the_same_state_is_told(
    train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker()
    first, later = states("Starting"), states("Starting")
    later["SecondaryStatusTransitions"][0]["StatusMessage"] = "no capacity, retrying"
    hook.put(train(hook).request(1), {**RUNNING, **first}, {**RUNNING, **later}, COMPLETED)
    train(hook).execute(context())
    assert "Starting: no capacity, retrying" in capsys.readouterr().out


def test_the_learning_curve_is_drawn_at_the_end(
    train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.logs.lines = [
        *(metric(epoch, 1.5 - 0.1 * epoch) for epoch in range(5)),
        metric(5, 1.2),
        *(
            metric(epoch, 0.5 + 0.1 * epoch, "binary_classification_accuracy", "score")
            for epoch in range(3)
        ),
        "[INFO] #quality_metric: host=algo-1, test rmse <loss>=1.15",
    ]
    train(hook).execute(context())
    said = capsys.readouterr().out
    assert "train rmse           █▆▅▃▁▃  1.5 → 1.2, best 1.1 (epoch 4)" in said
    assert "train accuracy       ▁▅█  0.5 → 0.7, best 0.7 (epoch 2)" in said
    assert "test rmse            1.15 (the finished model)" in said


def test_a_job_without_a_curve_says_nothing_of_one() -> None:
    assert (
        progress.curve(["hello", "[INFO] #quality_metric: host=algo-1, test rmse <loss>=1"]) == []
    )


def test_a_long_curve_is_drawn_narrow_and_what_is_no_number_shows() -> None:
    assert len(progress.sparkline([1.0 / (1 + n) for n in range(1000)])) <= 60
    assert progress.sparkline([1.0, math.nan, 2.0, math.inf]) == "▁!█!"
    assert progress.sparkline([3.0, 3.0]) == "▁▁"
    assert progress.curve([metric(0, math.nan)]) == [
        "train rmse           !  nan → nan, none is a number"
    ]


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException"])
def test_a_log_that_may_not_be_read_costs_one_warning(
    code: str, train: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.logs.refused = refusal(code, "no", "DescribeLogStreams")
    assert train(hook).execute(context())["status"] == "Completed"
    assert caplog.text.count("cannot be shown here") == 1
    assert "logs:GetLogEvents" in caplog.text


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "ThrottlingException"])
def test_a_log_that_is_not_there_yet_is_looked_for_again(
    code: str, train: Any, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.logs.refused = refusal(code, "no", "DescribeLogStreams")
    hook.logs.lines = ["a line"]

    def then() -> None:
        hook.logs.refused = None

    clock.then = then
    train(hook).execute(context())
    assert "a line" in capsys.readouterr().out


def test_of_a_deferred_job_the_end_of_the_log_is_shown(
    train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker()
    name = hook.put(train(hook).request(1), {**COMPLETED, **states("Training", "Completed")})
    hook.logs.lines = [metric(0, 1.5), *(f"line {n} ends" for n in range(400)), metric(1, 1.0)]
    train(hook).execute_complete(context(), {"status": "success", "job_name": name})
    said = capsys.readouterr().out
    assert "Training: it is Training" in said
    assert "102 lines before these are in CloudWatch" in said
    assert "line 100 ends" not in said
    assert "line 399 ends" in said
    # Of the whole log, not of what is shown.
    assert "1.5 → 1, best 1 (epoch 1)" in said


def test_of_a_job_that_prints_thousands_of_lines_the_last_are_shown(
    train: Any, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.logs.lines = [f"line {n} ends" for n in range(5000)]

    def then() -> None:
        hook.logs.lines += [f"line {len(hook.logs.lines)} ends"]

    clock.then = then
    train(hook).execute(context())
    said = capsys.readouterr().out
    assert said.count(" ends") < 400
    assert "4700 lines before these are in CloudWatch" in said
    assert "line 4999 ends" in said
    assert "line 5000 ends" in said


def test_links_lead_to_the_region_of_the_connection(train: Any) -> None:
    hook = FakeSageMaker(COMPLETED)
    told = context()
    name = train(hook).execute(told)["name"]
    pushed = told["ti"].pushed
    console = "https://console.aws.amazon.com"
    assert pushed["_link_TrainingJobLink"] == (
        f"{console}/sagemaker/home?region=eu-west-1#/jobs/{name}"
    )
    assert pushed["_link_LogLink"] == (
        f"{console}/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        f"$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3D{name}$252F"
    )
    # What Airflow makes the links from when the task ends.
    assert pushed["sagemaker_training_job"]["job_name"] == name


def test_links_are_there_while_the_job_runs(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    told = context()
    seen: list[bool] = []
    clock.then = lambda: seen.append("_link_TrainingJobLink" in told["ti"].pushed)
    train(hook).execute(told)
    assert all(seen)
    assert seen


@pytest.mark.parametrize(
    ("kind", "told", "names"),
    [
        (
            operators.TrainingOperator,
            {"channels": {}},
            {"SageMaker training job", "CloudWatch log"},
        ),
        (operators.TuningOperator, {"channels": {}}, {"SageMaker tuning job", "CloudWatch log"}),
        (
            operators.TransformOperator,
            {"channels": {}, "model": {}},
            {"Amazon SageMaker Transform Job Details", "CloudWatch log"},
        ),
        (operators.ModelOperator, {"training": []}, {"SageMaker model"}),
    ],
)
def test_links_survive_serialisation(kind: Any, told: dict[str, Any], names: set[str]) -> None:
    """What the web UI knows of a DAG is its serialised form; no plugin has to name the links."""
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("d", schedule=None) as dag:
        operator = kind(task_id="task", run={}, **told)
    read = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("task")
    assert set(read.extra_links) == names
    keys = {link.name: link.xcom_key for link in read.operator_extra_links}
    assert keys == {link.name: link.xcom_key for link in operator.operator_extra_links}
