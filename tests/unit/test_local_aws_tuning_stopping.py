from __future__ import annotations

import pytest

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.tuning.stopping import (
    MedianRule,
    SuccessiveHalving,
    hyperband_resources,
    stopping_rule,
)
from fmrec.local_aws.tuning.trials import Objective

LOSS = Objective("loss", maximize=False)
SCORE = Objective("score", maximize=True)

# Running averages after two epochs: 3, 2, 10; their median is 3.
COMPLETED = {1: [4.0, 2.0, 1.0], 2: [3.0, 1.0], 3: [10.0, 10.0, 10.0]}


@pytest.mark.parametrize(
    ("curve", "hopeless"),
    [
        ([99.0], False),  # the first value is not judged
        ([99.0, 3.0], False),  # as good as the median of the averages
        ([0.0, 3.01], True),
        ([1.0, 1.0, 2.3], False),  # after three epochs: 7/3, 2, 10, so 7/3
        ([1.0, 1.0, 2.4], True),
    ],
)
def test_median_rule(curve, hopeless):
    rule = MedianRule()
    curves = {**COMPLETED, 9: curve}
    assert rule.hopeless(9, 0, curves, [1, 2, 3], LOSS) is hopeless
    upside_down = {number: [-value for value in item] for number, item in curves.items()}
    assert rule.hopeless(9, 0, upside_down, [1, 2, 3], SCORE) is hopeless


def test_median_rule_looks_at_completed_jobs_and_new_epochs_alone():
    rule = MedianRule()
    curves = {**COMPLETED, 9: [1.0, 50.0, 1.0]}
    assert not rule.hopeless(9, 0, curves, [], LOSS)
    assert rule.hopeless(9, 1, curves, [2], LOSS)
    assert not rule.hopeless(9, 2, curves, [2], LOSS)
    assert not rule.hopeless(9, 0, {9: [1.0, 2.0], 5: []}, [5], LOSS)


def test_brackets_of_hyperband():
    rule = SuccessiveHalving(1, 27, "1")
    rungs = [tuple(rule.rungs(number)) for number in range(1, 401)]
    brackets = [(1, 3, 9), (3, 9), (9,), ()]
    assert set(rungs) == set(brackets)
    # The sooner a bracket judges, the more training jobs it has: 27, 12, 6 and 4 of 49.
    counts = [rungs.count(bracket) for bracket in brackets]
    for count, share in zip(counts, (27, 12, 6, 4), strict=True):
        assert abs(count / 400 - share / 49) < 0.08
    assert rungs == [tuple(SuccessiveHalving(1, 27, "1").rungs(n)) for n in range(1, 401)]


def members(rule, rungs, count):
    found = [number for number in range(1, 1000) if tuple(rule.rungs(number)) == rungs]
    return found[:count]


def test_successive_halving_keeps_the_best_third():
    rule = SuccessiveHalving(2, 18, "1")
    numbers = members(rule, (2, 6), 6)
    (stranger,) = members(rule, (6,), 1)
    curves = {number: [9.0, float(rank)] for rank, number in enumerate(numbers)}
    curves[stranger] = [0.0, 0.0]  # of another bracket
    judged = [rule.hopeless(number, 1, curves, [], LOSS) for number in numbers]
    assert judged == [False, False, True, True, True, True]
    judged = [rule.hopeless(number, 1, curves, [], SCORE) for number in numbers]
    assert judged == [True, True, True, True, False, False]
    # What was judged at a rung is not judged there again, nor between rungs.
    assert not any(rule.hopeless(number, 2, curves, [], LOSS) for number in numbers)
    longer = {number: [*curve, 9.0, 9.0] for number, curve in curves.items()}
    assert not any(rule.hopeless(number, 2, longer, [], LOSS) for number in numbers)
    # Two are too few to tell, a third is not.
    first, second, third = numbers[:3]
    pair = {first: [9.0, 0.0], second: [9.0, 5.0]}
    assert not rule.hopeless(second, 0, pair, [], LOSS)
    assert rule.hopeless(second, 0, {**pair, third: [9.0, 7.0]}, [], LOSS)


def test_nothing_goes_beyond_the_most_resource():
    rule = SuccessiveHalving(1, 4, "1")
    assert not rule.hopeless(1, 3, {1: [1.0] * 4}, [], LOSS)
    assert rule.hopeless(1, 4, {1: [1.0] * 5}, [], LOSS)


def test_the_rule_of_a_tuning_job():
    config = {"Strategy": "Random", "TrainingJobEarlyStoppingType": "Off"}
    assert stopping_rule({"HyperParameterTuningJobConfig": config}, "1") is None
    config["TrainingJobEarlyStoppingType"] = "Auto"
    assert isinstance(stopping_rule({"HyperParameterTuningJobConfig": config}, "1"), MedianRule)


@pytest.mark.parametrize(
    ("given", "static", "expected"),
    [
        ({"MinResource": 2, "MaxResource": 9}, {}, (2, 9)),
        ({"MaxResource": 9}, {"epochs": "50"}, (1, 9)),
        ({}, {"num_epochs": "50", "x": "99"}, (1, 50)),
        ({"MinResource": 4}, {"epochs": "4"}, (4, 4)),
    ],
)
def test_resources_of_hyperband(given, static, expected):
    config = {"StrategyConfig": {"HyperbandStrategyConfig": given}}
    found = hyperband_resources(config, [static])
    assert (found["MinResource"], found["MaxResource"]) == expected


@pytest.mark.parametrize(
    ("given", "static", "text"),
    [
        ({}, {"epochs": "many"}, "could not be inferred"),
        ({"MinResource": 5, "MaxResource": 4}, {}, "must not exceed"),
        ({"MaxResource": 20_001}, {}, "20000"),
    ],
)
def test_resources_that_are_refused(given, static, text):
    with pytest.raises(ApiError, match=text):
        hyperband_resources({"StrategyConfig": {"HyperbandStrategyConfig": given}}, [static])
