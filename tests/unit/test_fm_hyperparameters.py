"""Defaults and error texts of the built-in container."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmrec.errors import ConfigurationError
from fmrec.fm.hyperparameters import _OWN, DEFAULTS, parse

REQUIRED = {"feature_dim": "10", "num_factors": "4", "predictor_type": "regressor"}


def test_defaults_are_the_containers() -> None:
    """default-conf.json as a real job of April 2023 printed it."""
    assert dict(DEFAULTS) == {
        "epochs": "1",
        "mini_batch_size": "1000",
        "use_bias": "true",
        "use_linear": "true",
        "bias_lr": "0.1",
        "linear_lr": "0.001",
        "factors_lr": "0.0001",
        "bias_wd": "0.01",
        "linear_wd": "0.001",
        "factors_wd": "0.00001",
        "bias_init_method": "normal",
        "bias_init_sigma": "0.01",
        "linear_init_method": "normal",
        "linear_init_sigma": "0.01",
        "factors_init_method": "normal",
        "factors_init_sigma": "0.001",
        "batch_metrics_publish_interval": "500",
        "_data_format": "record",
        "_kvstore": "auto",
        "_learning_rate": "1.0",
        "_log_level": "info",
        "_num_gpus": "auto",
        "_num_kv_servers": "auto",
        "_optimizer": "adam",
        "_tuning_objective_metric": "",
        "_use_full_symbolic": "true",
        "_wd": "1.0",
    }


def test_a_minimal_configuration() -> None:
    hp = parse(REQUIRED)
    assert (hp.feature_dim, hp.num_factors, hp.predictor_type) == (10, 4, "regressor")
    assert (hp.epochs, hp.mini_batch_size, hp.rescale_grad) == (1, 1000, 0.001)
    assert (hp.bias.learning_rate, hp.linear.learning_rate) == (0.1, 0.001)
    assert (hp.factors.learning_rate, hp.factors.weight_decay) == (1e-4, 1e-5)
    assert (hp.eps, hp.clip_gradient) == (1e-8, None)
    assert dict(hp.configuration) == DEFAULTS | REQUIRED


def test_every_key_is_heard() -> None:
    hp = parse(
        REQUIRED
        | {"epochs": "3", "mini_batch_size": "50", "rescale_grad": "0.5", "clip_gradient": "2"}
        | {"eps": "1e-6", "_learning_rate": "0.5", "_wd": "2", "_seed": "0", "use_bias": "false"}
        | {"bias_init_method": "constant", "bias_init_value": "-1.5"}
        | {"factors_init_method": "uniform", "factors_init_scale": ".2"}
        | {"batch_metrics_publish_interval": "7"}
    )
    assert (hp.epochs, hp.mini_batch_size, hp.rescale_grad, hp.clip_gradient) == (3, 50, 0.5, 2)
    assert (hp.eps, hp.seed, hp.bias.used, hp.linear.used) == (1e-6, 0, False, True)
    assert (hp.bias.init_method, hp.bias.init_argument) == ("constant", -1.5)
    assert (hp.factors.init_method, hp.factors.init_argument) == ("uniform", 0.2)
    assert (hp.bias.learning_rate, hp.bias.weight_decay) == (0.05, 0.02)
    assert hp.batch_metrics_publish_interval == 7


def test_an_unknown_key_gives_the_containers_text() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(REQUIRED | {"mini_batch_siz": "10"})
    assert str(caught.value).startswith(
        "Additional properties are not allowed ('mini_batch_siz' was unexpected)"
    )
    assert "Did you mean 'mini_batch_size'?" in str(caught.value)


def test_several_unknown_keys_are_all_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\('aaaa', 'zzzz' were unexpected\).*Known are"):
        parse(REQUIRED | {"zzzz": "1", "aaaa": "1"})


def test_missing_keys_are_named() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"No value\(s\) were specified for 'feature_dim', 'num_factors' which are required",
    ):
        parse({"predictor_type": "regressor"})


@pytest.mark.parametrize(
    ("name", "value", "first_line", "last_line"),
    [
        (
            "feature_dim",
            "abc",
            "'abc' is not valid under any of the given schemas",
            "feature_dim must be a whole number, 1 or more.",
        ),
        ("feature_dim", "0", "'0' is not valid under", "a whole number, 1 or more."),
        ("num_factors", "6.0", "'6.0' is not valid under", "a whole number, 1 or more."),
        ("epochs", "-1", "'-1' is not valid under", "a whole number, 1 or more."),
        ("_seed", "x", "'x' is not valid under", "a whole number, 0 or more."),
        ("bias_lr", "-0.1", "'-0.1' is not valid under", "bias_lr must be a number, 0 or more."),
        ("bias_lr", "nan", "'nan' is not valid under", "a number, 0 or more."),
        ("bias_lr", "1e999", "'1e999' is not valid under", "a number, 0 or more."),
        ("factors_wd", "", "'' is not valid under", "a number, 0 or more."),
        ("clip_gradient", "0", "'0' is not valid under", "a number above 0."),
        ("bias_init_value", "one", "'one' is not valid under", "must be a number."),
        (
            "predictor_type",
            "ranker",
            "'ranker' is not one of ['binary_classifier', 'regressor']",
            "predictor_type must be binary_classifier or regressor.",
        ),
        ("use_bias", "True", "'True' is not one of ['true', 'false']", "true or false."),
        ("_optimizer", "sgd", "'sgd' is not one of ['adam']", "must be adam."),
    ],
)
def test_a_bad_value_gives_the_containers_text_and_says_what_is_right(
    name: str, value: str, first_line: str, last_line: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(REQUIRED | {name: value})
    text = str(caught.value)
    assert text.startswith(first_line)
    assert f"in schema['properties'][{name!r}]" in text
    assert f"On instance[{name!r}]:\n    {value!r}" in text
    assert text.endswith(last_line)


def test_a_start_method_needs_its_number() -> None:
    with pytest.raises(ConfigurationError, match="needs factors_init_scale"):
        parse(REQUIRED | {"factors_init_method": "uniform"})


def test_the_docs_name_every_own_hyperparameter_with_its_default() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "algorithm.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    for solver, name, _, default in _OWN:
        (row,) = [row for row in rows if f"`{name}`" in row.split("|")[1]]
        names, owner, defaults = row.split("|")[1:4]
        assert owner.strip() == f"`{solver}`"
        place = names.split(",").index(next(n for n in names.split(",") if f"`{name}`" in n))
        assert defaults.split(",")[place].strip() == default
