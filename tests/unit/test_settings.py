"""Parameters are checked before anything starts, and one table makes every form of them."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from fmrec import ratings, settings
from fmrec.cli.main import _parser
from fmrec.errors import ConfigurationError
from fmrec.events.encoders import PRESETS
from fmrec.events.objectives import OBJECTIVES
from fmrec.events.policy import POLICIES
from fmrec.events.prepare import ORDERS
from fmrec.settings import Deployment, RunSettings
from fmrec.settings.run import WITH_HISTORIES


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"sources": "sample"}, r"unknown parameter 'sources'; the parameters are: source, base"),
        ({"source": "netflix"}, r"source: 'netflix' is not allowed; it takes ml-100k, ml-latest"),
        ({"split": "u6"}, r"split: 'u6' is not allowed"),
        ({"source": "landing", "split": "u1"}, r"split: 'u1' needs an archive"),
        ({"base": "ml-1m"}, r"base: 'ml-1m' goes with source 'landing' alone"),
        ({"objective": "ranking", "image": "fmrec"}, r"features: 'ids' has no histories"),
        ({"epochs": 0}, r"epochs: 0 is not allowed; it takes a whole number at least 1"),
        ({"epochs": "ten"}, r"epochs: 'ten' is not a whole number"),
        ({"epochs": 1.5}, r"epochs: 1.5 is not a whole number"),
        ({"seed": True}, r"seed: True is not a whole number"),
        ({"seed": None}, r"seed: a value is needed"),
        ({"factors_lr": "nan"}, r"factors_lr: 'nan' is not a number"),
        ({"factors_lr": -1}, r"factors_lr: -1 is not allowed; it takes a number at least 0.0"),
        ({"factors_init_sigma": 0}, r"more than 0.0"),
        ({"test_fraction": 0.6}, r"test_fraction: 0.6 is not allowed"),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, r"leave no training events"),
        ({"as_of": "yesterday"}, r"as_of: 'yesterday' is not a date or time; write it as"),
        ({"as_of": "9999-12-31T23:59:59-05:00"}, r"as_of: '9999-12-31T23:59:59-05:00' is not"),
        ({"num_factors": 10**60}, r"at least 1 and at most 10000"),
        ({"instance_type": "t2.micro"}, r"instance_type: 't2.micro' .* text like ml.m5.large"),
        ({"instance_type": "ml.m5.large\n"}, r"text like ml.m5.large"),
        ({"source": 3}, r"source: 3 is not text"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RunSettings.of(values)


def test_text_and_typed_values_mean_the_same() -> None:
    typed = {"seed": 7, "epochs": 3, "factors_lr": 0.01, "as_of": None, "source": "sample"}
    text = {"seed": "7", "epochs": "3", "factors_lr": "0.01", "as_of": "", "source": "sample"}
    assert RunSettings.of(typed) == RunSettings.of(text)


def test_histories_are_long_enough_for_what_is_asked() -> None:
    assert RunSettings().histories == RunSettings.of({"history_length": ""}).histories == 30
    assert RunSettings.of({"history_length": 7}).histories == 7


def test_ranking_by_the_own_image_takes_what_has_histories() -> None:
    graded = {"objective": "ranking", "image": "fmrec"}
    for features, names in PRESETS.items():
        if "rated" in names:
            assert RunSettings.of(graded | {"features": features}).features == features
            continue
        with pytest.raises(ConfigurationError, match="it takes history, profile, full, everything"):
            RunSettings.of(graded | {"features": features})


def test_a_day_is_written_out_as_the_param_needs_it() -> None:
    assert RunSettings.of({"as_of": "1998-03-08"}).as_of == "1998-03-08T00:00:00+00:00"


def test_settings_survive_as_a_mapping() -> None:
    chosen = RunSettings.of({"split": "u1", "epochs": 3})
    assert RunSettings.of(asdict(chosen)) == chosen


def test_hyperparameters_are_text_and_follow_the_objective() -> None:
    rating = RunSettings.of({"epochs": 7}).hyperparameters()
    like = RunSettings.of({"objective": "like"}).hyperparameters()
    assert rating["predictor_type"] == "regressor"
    assert like["predictor_type"] == "binary_classifier"
    assert rating["epochs"] == "7"
    assert like["epochs"] == str(settings.DEFAULTS["adam"]["like"]["ids"]["epochs"])
    assert all(isinstance(value, str) for value in (rating | like).values())


@pytest.mark.parametrize("image", ["built-in", "fmrec"])
def test_every_objective_has_defaults_for_all_features(image: str) -> None:
    made = settings.params({})
    for objective in made["objective"]["enum"]:
        for features in made["features"]["enum"]:
            choice = {"objective": objective, "features": features, "image": image}
            if image == "fmrec" and objective == "ranking" and features not in WITH_HISTORIES:
                continue
            run = RunSettings.of(choice)
            given = run.hyperparameters()
            names = set(settings.DEFAULTS[run.fitted_by][objective][features])
            own = set() if image == "built-in" else {"solver", "_seed"}
            assert set(given) == names | own | {"predictor_type"}
            of_run = {name: given[name] for name in names}
            assert RunSettings.of(choice | of_run).hyperparameters() == given


@pytest.mark.parametrize(
    ("image", "objective", "solver"),
    [
        ("built-in", "rating", "adam"),
        ("built-in", "like", "adam"),
        ("built-in", "ranking", "adam"),
        ("fmrec", "rating", "mcmc"),
        ("fmrec", "like", "mcmc"),
        ("fmrec", "ranking", "catalogue"),
    ],
)
def test_the_solver_follows_image_and_objective(image: str, objective: str, solver: str) -> None:
    choice = {"image": image, "objective": objective, "features": "full"}
    run = RunSettings.of(choice)
    assert run.solver is None
    assert run.fitted_by == solver
    assert RunSettings.of(choice | {"solver": solver}).hyperparameters() == run.hyperparameters()
    assert run.completes_rows == (solver != "adam")
    assert run.histories == (30 if solver == "adam" else 10_000)
    assert RunSettings.of(choice | {"history_length": 5}).histories == 5
    assert ("solver" in run.hyperparameters()) == (image == "fmrec")


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"solver": "mcmc"}, "image 'built-in' knows 'adam' alone"),
        ({"solver": "catalogue", "objective": "ranking"}, "image 'built-in' knows 'adam' alone"),
        ({"solver": "catalogue", "image": "fmrec"}, "does not learn objective 'rating'"),
        (
            {"solver": "mcmc", "image": "fmrec", "objective": "ranking", "features": "full"},
            "does not learn objective 'ranking'",
        ),
        (
            {"solver": "adam", "image": "fmrec", "objective": "ranking", "features": "full"},
            "does not learn objective 'ranking'",
        ),
        ({"image": "fmrec", "epochs": 3}, "parameter epochs: solver 'mcmc' has no such"),
        ({"chains": 3}, "parameter chains: solver 'adam' has no such"),
        ({"image": "fmrec", "objective": "ranking"}, "'ids' has no histories"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(choice: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RunSettings.of(choice)


def test_features_have_their_own_defaults_and_what_is_given_stays() -> None:
    ids, full = (RunSettings.of({"features": each, "epochs": 7}) for each in ("ids", "full"))
    assert ids.hyperparameters()["epochs"] == full.hyperparameters()["epochs"] == "7"
    assert ids.hyperparameters() != full.hyperparameters()


def test_every_setting_is_a_param_whose_default_it_accepts() -> None:
    made = settings.params({})
    assert list(made) == [each.name for each in fields(RunSettings)]
    for schema in made.values():
        rules = {name: schema[name] for name in schema if name not in {"default", "section"}}
        jsonschema.validate(schema["default"], rules)
    RunSettings.of({name: schema["default"] for name, schema in made.items()})


def test_every_setting_is_an_option() -> None:
    options = {
        option
        for action in _parser()._subparsers._group_actions[0].choices["run"]._actions
        for option in action.option_strings
        if isinstance(action, argparse._StoreAction)
    }
    for each in fields(RunSettings):
        assert f"--{each.name.replace('_', '-')}" in options


def test_choices_are_what_the_rooms_implement() -> None:
    made = settings.params({})
    assert set(made["source"]["enum"]) == {*ratings.SOURCES, "landing"}
    assert set(made["base"]["enum"]) == {*ratings.SOURCES, "none"}
    assert set(made["split"]["enum"]) == set(ratings.SPLITS)
    assert tuple(made["unknown_ids"]["enum"]) == POLICIES
    assert tuple(made["order"]["enum"]) == ORDERS
    assert tuple(made["objective"]["enum"]) == OBJECTIVES
    assert tuple(made["features"]["enum"]) == tuple(PRESETS)


def test_the_environment_changes_a_default_and_is_checked() -> None:
    assert settings.params({"FMREC_SOURCE": "sample"})["source"]["default"] == "sample"
    with pytest.raises(ConfigurationError, match=r"variable FMREC_EPOCHS: parameter epochs: 'x'"):
        settings.params({"FMREC_EPOCHS": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1998-03-08", datetime(1998, 3, 8, tzinfo=UTC)),
        ("1998-03-08T01:00:00+01:00", datetime(1998, 3, 8, tzinfo=UTC)),
        ("1998-03-08T00:00:00Z", datetime(1998, 3, 8, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(text: str, expected: datetime) -> None:
    assert settings.parse_instant(text) == expected


def test_a_deployment_is_what_the_environment_says() -> None:
    made = Deployment.of(
        {
            "FMREC_ROLE_ARN": "arn",
            "FMREC_BUCKET": "b",
            "FMREC_PREFIX": "/a/b/",
            "FMREC_POLL_SECONDS": "2",
            "FMREC_DATA_DIR": "/d",
        }
    )
    assert (made.bucket, made.prefix, made.poll_seconds, made.data_dir) == (
        "b",
        "a/b",
        2,
        Path("/d"),
    )
    needed = {"FMREC_BUCKET": "b", "FMREC_ROLE_ARN": "arn"}
    assert Deployment.of(needed).data_dir is None
    with pytest.raises(ConfigurationError, match="FMREC_POLL_SECONDS: '0' is not a whole number"):
        Deployment.of(needed | {"FMREC_POLL_SECONDS": "0"})
    for name in needed:
        rest = {key: value for key, value in needed.items() if key != name}
        with pytest.raises(ConfigurationError, match=f"variable {name} is not set"):
            Deployment.of(rest)
