from __future__ import annotations

import math

import pytest

from fmrec.local_aws.tuning.results import (
    best_of,
    complete,
    counters,
    failure,
    report,
    stagnation,
)
from fmrec.local_aws.tuning.trials import TUNING, Objective, trial_of

LOSS = Objective("loss", maximize=False)
SCORE = Objective("loss", maximize=True)


def trial(number, value=None, status="Completed", reason=None, ended=None):
    document = {
        "TrainingJobName": f"t-{number:03d}-0badcafe",
        "TrainingJobStatus": status,
        TUNING: {
            "Number": number,
            "Definition": 0,
            "Tuned": {"x": str(number)},
            "Objective": {"Type": "Minimize", "MetricName": "loss"},
        },
        "FinalMetricDataList": [{"MetricName": "other", "Value": -1.0, "Timestamp": 1.0}],
    }
    if value is not None:
        metric = {"MetricName": "loss", "Value": value, "Timestamp": 1.0}
        document["FinalMetricDataList"].append(metric)
    if status not in ("InProgress", "Stopping"):
        document["TrainingEndTime"] = float(number if ended is None else ended)
    if reason:
        document["FailureReason"] = reason
    return trial_of(document)


def many(*values):
    return [trial(number, value) for number, value in enumerate(values, start=1)]


def test_a_training_job_becomes_a_trial():
    found = trial(7, 0.25)
    assert (found.number, found.value, found.live, found.ended) == (7, 0.25, False, 7.0)
    assert found.summary == {
        "TrainingJobName": "t-007-0badcafe",
        "TrainingJobStatus": "Completed",
        "TrainingEndTime": 7.0,
        "TunedHyperParameters": {"x": "7"},
        "ObjectiveStatus": "Succeeded",
        "FinalHyperParameterTuningJobObjectiveMetric": {
            "Type": "Minimize",
            "MetricName": "loss",
            "Value": 0.25,
        },
    }


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        ("InProgress", 1.0, "Pending"),
        ("Stopping", 1.0, "Pending"),
        ("Completed", 1.0, "Succeeded"),
        ("Completed", None, "Failed"),
        ("Completed", math.nan, "Failed"),
        ("Completed", -math.inf, "Failed"),
        ("Stopped", 1.0, "Succeeded"),
        ("Stopped", None, "Failed"),
        ("Failed", 1.0, "Failed"),
    ],
)
def test_status_of_the_objective(status, value, expected):
    found = trial(1, value, status)
    assert found.summary["ObjectiveStatus"] == expected
    assert (found.value is not None) == (expected == "Succeeded")


def test_counters_tell_every_job_twice():
    trials = [
        trial(1, 1.0),
        trial(2),
        trial(3, 1.0, "Stopped"),
        trial(4, status="Failed", reason="AlgorithmError: it broke"),
        trial(5, status="Failed", reason="InternalServerError: restarted"),
        trial(6, status="InProgress"),
        trial(7, status="Stopping"),
    ]
    assert counters(trials) == {
        "TrainingJobStatusCounters": {
            "Completed": 2,
            "InProgress": 2,
            "RetryableError": 1,
            "NonRetryableError": 1,
            "Stopped": 1,
        },
        "ObjectiveStatusCounters": {"Succeeded": 2, "Pending": 2, "Failed": 3},
    }


def test_the_best_is_the_first_of_the_best_values():
    trials = [*many(3.0, 1.0, 1.0, 5.0), trial(5, 0.0, "Failed"), trial(6, 0.0, "InProgress")]
    assert best_of(reversed(trials), LOSS).number == 2
    assert best_of(reversed(trials), SCORE).number == 4
    assert best_of([trial(1)], LOSS) is None


def test_report_names_the_best_of_all():
    own, parent = many(3.0, 2.0), trial(9, 1.0)
    members = report(own, LOSS, ("parent", parent))
    assert members["BestTrainingJob"] == own[1].summary
    assert members["OverallBestTrainingJob"] == {**parent.summary, "TuningJobName": "parent"}
    assert set(report([], LOSS, None)) == {
        "TrainingJobStatusCounters",
        "ObjectiveStatusCounters",
        "TuningJobCompletionDetails",
    }


@pytest.mark.parametrize(
    ("values", "jobs"),
    [
        ([], 0),
        ([5.0], 0),
        ([100.0, 99.0], 0),  # 1 %
        ([100.0, 99.01], 1),
        ([5.0, 6.0, 4.96, 4.94], 0),
        ([100.0, 99.6, 99.2, 98.8], 0),  # small steps add up
        ([100.0, 99.6, 99.2], 2),
        ([0.0, 0.0, -1e-9, 5.0], 1),
        ([-5.0, -5.04], 1),
        ([-5.0, -5.06], 0),
        ([5.0, None, None], 0),
    ],
)
def test_jobs_since_the_last_improvement(values, jobs):
    trials = many(*values)
    assert stagnation(trials, LOSS).jobs == jobs
    upside_down = many(*[None if value is None else -value for value in values])
    assert stagnation(upside_down, SCORE).jobs == jobs


def test_improvements_count_in_the_order_in_which_jobs_ended():
    early, late = trial(1, 1.0, ended=9), trial(2, 5.0, ended=3)
    assert stagnation([early, late], LOSS).jobs == 0
    assert stagnation([trial(1, 1.0, ended=3), trial(2, 5.0, ended=9)], LOSS).jobs == 1


def test_convergence_is_dated():
    assert stagnation(many(*[1.0] * 10), LOSS).converged is None
    assert stagnation(many(*[1.0] * 11), LOSS).converged == 11.0
    assert stagnation(many(*[1.0] * 11, 0.5), LOSS).converged == 11.0
    details = report(many(*[1.0] * 12), LOSS, None)["TuningJobCompletionDetails"]
    assert details == {
        "NumberOfTrainingJobsObjectiveNotImproving": 11,
        "ConvergenceDetectedTime": 11.0,
    }


def ends(criteria, trials, objective=LOSS):
    return complete({"TuningJobCompletionCriteria": criteria}, trials, objective)


def test_completion_criteria():
    assert not complete({}, many(0.0), LOSS)
    target = {"TargetObjectiveMetricValue": 2.1}
    in_single_precision = 2.0999999046325684
    assert ends(target, many(3.0, in_single_precision))
    assert ends(target, many(in_single_precision), SCORE)
    assert not ends(target, many(3.0, 2.11))
    assert not ends(target, many(2.09), SCORE)
    assert not ends(target, [trial(1, 0.0, "InProgress"), trial(2, 0.0, "Failed")])
    patience = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    assert not ends(patience, many(1.0, 1.0, 1.0))
    assert ends(patience, many(1.0, 1.0, 1.0, 1.0))
    assert not ends(patience, many(1.0, 1.0, 1.0, 0.5))
    converged = many(*[1.0] * 11)
    assert ends({"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}, converged)
    assert not ends({"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}, converged[1:])
    assert not ends({"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}}, converged)


def failed(number, reason="AlgorithmError: it broke"):
    return trial(number, status="Failed", reason=reason)


def test_a_tuning_job_of_which_nothing_comes_fails():
    broken = [failed(number) for number in range(1, 6)]
    running = trial(6, status="InProgress")
    assert failure([], last=False) is None
    assert failure(broken[:4], last=False) is None
    assert failure([*broken[:4], running], last=True) is None
    assert failure(broken[:4], last=True).startswith("All training jobs failed.")
    reason = failure([*broken, running], last=False)
    assert reason.startswith("No training job succeeded after 5 attempts.")
    assert failure([*broken, trial(6, 1.0)], last=True) is None
    silent = [trial(number) for number in range(1, 6)]
    assert failure(silent, last=False).startswith(
        "No objective metrics found after running 5 training jobs."
    )
    assert failure([trial(1), failed(2)], last=True).startswith(
        "No objective metrics found after running 2 training jobs."
    )


def test_what_the_server_itself_broke_is_no_attempt():
    own = "InternalServerError: the local AWS was restarted while the job was running"
    broken = [failed(number, own) for number in range(1, 9)]
    assert failure(broken, last=False) is None
    assert failure(broken, last=True).startswith("All training jobs failed.")
