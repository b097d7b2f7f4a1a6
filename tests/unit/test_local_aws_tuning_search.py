from __future__ import annotations

import itertools
import math
import random
from statistics import median

import pytest

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.tuning.definitions import definitions_of
from fmrec.local_aws.tuning.ranges import combinations, parse
from fmrec.local_aws.tuning.search import search_of
from fmrec.local_aws.tuning.trials import TUNING, trial_of


def chance(seed):
    return random.Random(seed)  # noqa: S311


def numbers(name, low, high, scale="Auto"):
    return {"Name": name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scale}


def one(kind, *given, **more):
    return parse({f"{kind}ParameterRanges": [numbers(*given, **more)]})[0]


def definitions(ranges, *, kind="Minimize", count=1):
    objective = {"MetricName": "score", "Type": kind}
    given = {"TuningObjective": objective, "HyperParameterRanges": ranges}
    return definitions_of(
        {"HyperParameterTuningJobConfig": {}, "TrainingJobDefinitions": [given] * count}
    )


def search(strategy, ranges, *, seed="1", parents=(), **more):
    document = {"HyperParameterTuningJobConfig": {"Strategy": strategy}}
    return search_of(document, definitions(ranges, **more), seed, parents)


def trial(number, values, score, status="Completed", definition=0):
    known = {
        "Number": number,
        "Definition": definition,
        "Tuned": values,
        "Objective": {"Type": "Minimize", "MetricName": "score"},
    }
    return trial_of(
        {
            "TrainingJobName": f"t-{number}",
            "TrainingJobStatus": status,
            "HyperParameters": {"other": "1", **values},
            "FinalMetricDataList": [{"MetricName": "score", "Value": score}],
            TUNING: known,
        }
    )


MIXED = {
    "CategoricalParameterRanges": [{"Name": "c", "Values": ["a", "b", "d e"]}],
    "ContinuousParameterRanges": [numbers("lr", 1e-8, 512), numbers("m", 0, 0.99)],
    "IntegerParameterRanges": [numbers("epochs", -2, 7)],
}


@pytest.mark.parametrize("strategy", ["Random", "Bayesian", "Hyperband"])
def test_values_stay_within_their_ranges(strategy):
    tried = search(strategy, MIXED)
    trials = []
    for number in range(1, 21):
        values = tried.propose(number, trials).values
        assert set(values) == {"c", "lr", "m", "epochs"}
        assert values["c"] in ("a", "b", "d e")
        assert 1e-8 <= float(values["lr"]) <= 512
        assert 0 <= float(values["m"]) <= 0.99
        assert values["epochs"] in [str(item) for item in range(-2, 8)]
        trials.append(trial(number, values, chance(number).random()))


@pytest.mark.parametrize(
    ("kind", "low", "high", "scale"),
    [
        ("Continuous", -3, 5, "Linear"),
        ("Continuous", 1e-8, 512, "Logarithmic"),
        ("Continuous", 0, 0.9999, "ReverseLogarithmic"),
        ("Integer", 1, 12, "Linear"),
        ("Integer", 1, 10_000, "Logarithmic"),
    ],
)
def test_a_place_and_its_value_belong_together(kind, low, high, scale):
    item = one(kind, "x", low, high, scale)
    places = [step / 97 for step in range(98)]
    texts = [item.text(place) for place in places]
    assert [float(text) for text in texts] == sorted(float(text) for text in texts)
    assert float(texts[0]) == pytest.approx(low)
    assert float(texts[-1]) == pytest.approx(high)
    for text, place in zip(texts, places, strict=True):
        assert float(item.text(item.place(text))) == pytest.approx(float(text), rel=1e-9)
        if kind == "Continuous":
            assert item.place(text) == pytest.approx(place, abs=1e-9)
    assert item.place(str(low - 1)) is None
    assert item.place(str(high + 1)) is None
    assert item.place("a") is None


def test_every_integer_is_as_likely_as_another():
    item = one("Integer", "x", 1, 5, "Linear")
    source = chance(3)
    drawn = [item.draw(source) for _ in range(5000)]
    for value in "12345":
        assert 900 < drawn.count(value) < 1100


@pytest.mark.parametrize(
    ("scale", "inside"),
    [
        # Half of the draws lie below the middle of the scale.
        ("Linear", 0.5005),
        ("Logarithmic", math.sqrt(0.001 * 1)),
    ],
)
def test_half_of_the_draws_lie_below_the_middle_of_the_scale(scale, inside):
    item = one("Continuous", "x", 0.001, 1, scale)
    source = chance(5)
    below = sum(float(item.draw(source)) < inside for _ in range(4000))
    assert 1880 < below < 2120


def test_reverse_logarithmic_draws_crowd_towards_one():
    item = one("Continuous", "x", 0, 0.9999, "ReverseLogarithmic")
    source = chance(5)
    drawn = [float(item.draw(source)) for _ in range(4000)]
    # 1 - x is spread over four orders of magnitude, a quarter of the draws to each.
    for order in range(4):
        share = sum(10 ** -(order + 1) < 1 - value <= 10**-order for value in drawn)
        assert 880 < share < 1120


def test_auto_is_logarithmic_over_several_orders():
    assert one("Continuous", "x", 1e-8, 512).scale == "Logarithmic"
    assert one("Continuous", "x", 0, 512).scale == "Linear"
    assert one("Integer", "x", 1, 100).scale == "Linear"
    assert one("Integer", "x", 100, 1_000_000).scale == "Logarithmic"


@pytest.mark.parametrize(
    ("ranges", "text"),
    [
        ({"IntegerParameterRanges": [numbers("x", 5, 1)]}, "'x' must be less than its MaxValue 1"),
        ({"IntegerParameterRanges": [numbers("x", 5, 5)]}, "must be less than"),
        ({"IntegerParameterRanges": [numbers("x", 1.5, 5)]}, "MinValue .*'1.5'.* needs an integer"),
        ({"IntegerParameterRanges": [numbers("x", 1, "9" * 400)]}, "needs an integer"),
        ({"IntegerParameterRanges": [numbers("x", 1, 5, "ReverseLogarithmic")]}, "continuous"),
        ({"ContinuousParameterRanges": [numbers("x", 1, "nan")]}, "finite number"),
        ({"ContinuousParameterRanges": [numbers("x", "many", 2)]}, "MinValue .*'many'"),
        ({"ContinuousParameterRanges": [numbers("x", 0, 2, "Logarithmic")]}, "greater than 0"),
        ({"ContinuousParameterRanges": [numbers("x", 0, 1, "ReverseLogarithmic")]}, "0<=x<1.0"),
        (
            {"CategoricalParameterRanges": [{"Name": "x", "Values": ["a", "a"]}]},
            "not all different",
        ),
        ({}, "at least one"),
        ({"AutoParameters": [{"Name": "x", "ValueHint": "1"}]}, "AutoParameters"),
        (
            {
                "IntegerParameterRanges": [numbers("x", 1, 2)],
                "ContinuousParameterRanges": [numbers("x", 1, 2)],
            },
            "'x' has more than one range",
        ),
        ({"IntegerParameterRanges": [numbers(f"x{n}", 1, 2) for n in range(31)]}, "at most 30"),
    ],
)
def test_ranges_that_are_refused(ranges, text):
    with pytest.raises(ApiError, match=text) as caught:
        parse(ranges)
    assert caught.value.code == "ValidationException"


def test_combinations():
    categories = {"Name": "c", "Values": ["a", "b", "c"]}
    given = {
        "CategoricalParameterRanges": [categories],
        "IntegerParameterRanges": [numbers("i", -1, 2)],
    }
    assert combinations(parse(given)) == 12
    given["ContinuousParameterRanges"] = [numbers("f", 0, 1)]
    assert combinations(parse(given)) == math.inf


def test_grid_tries_every_combination_once():
    lists = {"a": ["1", "2"], "b": ["x", "y", "z"], "c": ["?"]}
    ranges = {"CategoricalParameterRanges": [{"Name": k, "Values": v} for k, v in lists.items()]}
    tried = [search("Grid", ranges).propose(number, []).values for number in range(1, 7)]
    expected = [dict(zip(lists, item, strict=True)) for item in itertools.product(*lists.values())]
    assert sorted(map(str, tried)) == sorted(map(str, expected))
    # Two definitions: all of the one, then all of the other.
    both = search("Grid", ranges, count=2)
    assert [both.propose(n, []).definition.index for n in range(1, 13)] == [0] * 6 + [1] * 6


def test_random_follows_from_the_seed_and_the_number():
    def tried(seed, order=range(1, 11)):
        made = search("Random", MIXED, seed=seed)
        return {number: made.propose(number, []).values for number in order}

    assert tried("1") == tried("1", order=(7, 3, 10, 1, 2, 4, 5, 6, 8, 9))
    assert tried("1", order=[9])[9] == tried("1")[9]
    assert tried("1") != tried("2")


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_a_small_space_is_tried_out_without_repetition(strategy):
    ranges = {
        "IntegerParameterRanges": [numbers("i", 1, 3)],
        "CategoricalParameterRanges": [{"Name": "c", "Values": ["a", "b"]}],
    }
    made, trials = search(strategy, ranges), []
    for number in range(1, 7):
        values = made.propose(number, trials).values
        trials.append(trial(number, values, float(values["i"])))
    assert len({str(item.tuned) for item in trials}) == 6


def test_definitions_take_turns():
    made = search("Random", MIXED, count=3)
    assert [made.propose(n, []).definition.index for n in range(1, 7)] == [0, 1, 2, 0, 1, 2]
    assert made.propose(1, []).values != made.propose(2, []).values


PLANE = {"ContinuousParameterRanges": [numbers("x", 0, 10), numbers("y", 0.001, 10)]}


def distance(values):
    """Be 0 at x = 3, y = 1, one unit for the whole width of either scale."""
    x, y = float(values["x"]), float(values["y"])
    return (x / 10 - 0.3) ** 2 + ((math.log10(y) + 3) / 4 - 0.75) ** 2


def best_after(strategy, seed, jobs, *, at_once=2, parents=(), kind="Minimize"):
    sign = 1 if kind == "Minimize" else -1
    made = search(strategy, PLANE, seed=seed, parents=parents, kind=kind)
    trials = []
    for number in range(1, jobs + 1):
        values = made.propose(number, trials).values
        trials.append(trial(number, values, sign * distance(values), status="InProgress"))
        if number >= at_once:
            done = trials[number - at_once]
            trials[number - at_once] = trial(
                done.number, dict(done.tuned), sign * distance(done.tuned)
            )
    return min(distance(item.tuned) for item in trials)


def test_bayesian_search_beats_random_search():
    seeds = [str(seed) for seed in range(15)]
    drawn = median(best_after("Random", seed, 25) for seed in seeds)
    assert median(best_after("Bayesian", seed, 25) for seed in seeds) < drawn / 2
    assert median(best_after("Bayesian", seed, 25, kind="Maximize") for seed in seeds) < drawn / 2


def test_bayesian_search_begins_where_its_parents_ended():
    source = chance(0)
    parents = []
    for number in range(1, 41):
        values = {"x": repr(source.uniform(0, 10)), "y": repr(10 ** source.uniform(-3, 1))}
        parents.append(trial(number, values, distance(values)))
    seeds = [str(seed) for seed in range(15)]
    cold = median(best_after("Bayesian", seed, 4) for seed in seeds)
    assert median(best_after("Bayesian", seed, 4, parents=parents) for seed in seeds) < cold / 2
    # Values outside of the new ranges, and jobs without a result, are left out.
    strange = [
        trial(1, {"x": "11", "y": "1"}, 0.0),
        trial(2, {"x": "1"}, 0.0),
        trial(3, {"x": "1", "y": "1"}, math.nan),
        trial(4, {"x": "1", "y": "1"}, 0.0, status="Failed"),
    ]
    assert best_after("Bayesian", "1", 4, parents=strange) == best_after("Bayesian", "1", 4)


def test_bayesian_search_is_the_same_after_a_restart():
    values = [search("Bayesian", PLANE).propose(number, []).values for number in (1, 2)]
    trials = [trial(number, item, distance(item)) for number, item in enumerate(values, start=1)]
    proposals = [search("Bayesian", PLANE).propose(3, trials).values for _ in range(2)]
    assert proposals[0] == proposals[1]
    assert proposals[0] not in values
