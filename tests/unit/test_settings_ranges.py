"""What is searched: as it is told, refused before anything is paid for, or around the defaults."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fmrec.errors import ConfigurationError
from fmrec.settings import DEFAULTS, RunSettings
from fmrec.settings.ranges import Range, ranges_of


def found(text: str | None = None, **params: Any) -> dict[str, Range]:
    settings = RunSettings.of({"mode": "tune", "tuning_ranges": text} | params)
    return {each.name: each for each in ranges_of(settings)}


def test_a_range_is_a_name_two_ends_and_perhaps_a_scale() -> None:
    ranges = found("factors_lr=0.0001..0.01 log, epochs = 10 .. 60,linear_wd=1e-06...5")
    assert ranges == {
        "factors_lr": Range("factors_lr", 0.0001, 0.01, whole=False, log=True),
        "epochs": Range("epochs", 10, 60, whole=True, log=False),
        "linear_wd": Range("linear_wd", 1e-06, 0.5, whole=False, log=False),
    }
    lr, epochs, _ = ranges.values()
    assert [lr.text(lr.low), epochs.text(epochs.high)] == ["0.0001", "60"]


OWN = {"image": "fmrec"}
LISTS = {"image": "fmrec", "objective": "ranking", "features": "history"}


@pytest.mark.parametrize(
    ("text", "params", "said"),
    [
        ("factors_wd=0.01..0.001", {},
         "factors_wd goes from 0.01 to 0.001: write the lower bound first"),
        ("factors_wd=0.01..0.01", {}, "goes from 0.01 to 0.01, which is one value: set parameter"),
        ("epochs=10.5..20", {}, "epochs goes from 10.5 to 20: it takes whole numbers"),
        ("epochs=1..2000", {}, "epochs goes from 1 to 2000: it takes at least 1 and at most 1000"),
        ("mini_batch_size=50..200", {}, "it takes at least 100 and at most 10000"),
        ("factors_lr=0..1", {}, "it takes at least 1e-08 and at most 512"),
        ("factors_wd=-1..1", {}, "factors_wd goes from -1 to 1: it takes at least 1e-08"),
        ("epochs=10..60, epochs=20..30", {}, "epochs has two ranges: leave one of them out"),
        ("epochs=10-60", {}, "'epochs=10-60' is no range; it takes ranges such as factors_lr="),
        ("epochs=10..60,", {}, "'' is no range"),
        ("epochs=10..60 linear", {}, "is no range"),
        ("epochs=nan..inf", {}, "is no range"),
        ("num_factors=8..64", {}, "'num_factors' cannot be searched with image 'built-in' and"),
        ("speed=1..2", {}, "'speed' cannot be searched with image 'built-in' and solver 'adam'"),
        ("solver=1..2", {}, "'solver' cannot be searched"),
        ("epochs=1..60", OWN, "they take num_factors, iterations, burn_in, chains, samples"),
        ("epochs=10..60", {"epochs": 30},
         "epochs is searched, and parameter epochs sets it to 30: leave one of the two out"),
        ("dropout=0.2..1", LISTS, "goes from 0.2 to 1: it takes at least 0 and at most 0.9"),
        ("factors_init_sigma=0..1", LISTS, "it takes more than 0 and at most 1000"),
        ("als_factors=0..64 log", LISTS, "a logarithmic scale (log) needs a lower bound above 0"),
        ("iterations=10..50, burn_in=5..20", OWN,
         "burn_in may be 20 where iterations is 10, which leaves no iteration to learn from"),
        ("iterations=5..50", OWN, "burn_in may be 10 where iterations is 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_by_its_name(
    text: str, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"parameter tuning_ranges: .*{re.escape(said)}"):
        found(text, **params)


def test_ranges_are_checked_whenever_they_are_given() -> None:
    with pytest.raises(ConfigurationError, match="write the lower bound first"):
        RunSettings.of({"mode": "train", "tuning_ranges": "epochs=3..2"})
    assert RunSettings.of({"mode": "train", "tuning_ranges": ""}).tuning_ranges is None


def test_more_jobs_than_there_are_choices_are_refused() -> None:
    said = r"parameter tuning_jobs: 12 jobs are more than the 4 choices .*: lower it, or widen"
    with pytest.raises(ConfigurationError, match=said):
        found("epochs=10..13")
    assert set(found("epochs=10..13", tuning_jobs=4)) == {"epochs"}
    assert set(found("epochs=10..13, mini_batch_size=100..102")) == {"epochs", "mini_batch_size"}
    assert set(found("epochs=10..13, factors_lr=0.1..0.2")) == {"epochs", "factors_lr"}


def test_a_search_that_could_be_stopped_before_its_end_is_refused() -> None:
    said = r"40 jobs, 2 at once, .* 120 minutes .* may take 40 hours, .* stopped after 24: lower"
    with pytest.raises(ConfigurationError, match=said):
        found(tuning_jobs=40, max_runtime_minutes=120)
    assert found(tuning_jobs=24, max_runtime_minutes=120)


@pytest.mark.parametrize("split", ["u1", "ua"])
def test_nothing_is_chosen_by_the_events_that_it_is_judged_by(split: str) -> None:
    with pytest.raises(ConfigurationError, match=r"parameter mode: 'tune' .* takes time, random"):
        found(split=split)
    RunSettings.of({"mode": "train", "split": split})
    with pytest.raises(ConfigurationError, match=r"parameter validation_fraction: .* more than 0"):
        found(validation_fraction=0)
    found(validation_fraction=0, split="leave-last-k")


def kinds() -> list[dict[str, Any]]:
    return [
        {"objective": objective, "features": features, "image": image, "solver": solver}
        for solver, by_objective in DEFAULTS.items()
        for objective, by_features in by_objective.items()
        for features in by_features
        for image in ("built-in", "fmrec")
        if (image == "fmrec" or solver == "adam")
        and (solver != "catalogue" or features not in {"ids", "side"})
        and not (solver == "adam" and objective == "ranking" and image == "fmrec")
    ]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: "-".join(kind.values()))
def test_a_run_that_names_none_searches_around_its_defaults(kind: dict[str, Any]) -> None:
    ranges = found(tuning_jobs=100, tuning_parallel=10, **kind)
    defaults = DEFAULTS[kind["solver"]][kind["objective"]][kind["features"]]
    assert ranges
    for name, each in ranges.items():
        assert each.low < defaults[name] < each.high
        assert each.log
    # What stands there by default may also be said.
    said = ", ".join(
        f"{name}={each.text(each.low)}..{each.text(each.high)} log" for name, each in ranges.items()
    )
    assert found(said, **kind) == ranges


def test_a_burn_in_leaves_iterations_to_learn_from() -> None:
    assert found(**OWN, iterations=12)["burn_in"].high == 11
    assert set(found(**OWN, iterations=4, burn_in=2)) == {"num_factors"}
    said = "burn_in may be 10 where iterations is 4"
    with pytest.raises(ConfigurationError, match=said):
        found("num_factors=4..30", **OWN, iterations=4)


def test_what_the_run_sets_is_not_searched_by_default() -> None:
    assert set(found()) - set(found(epochs=20)) == {"epochs"}
    every = dict.fromkeys(found(), 1)
    with pytest.raises(ConfigurationError, match="parameter tuning_ranges: the run sets epochs"):
        found(**every)
