"""Defaults, required values and error texts of the built-in k-NN and K-Means."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from fmrec.errors import ConfigurationError
from fmrec.local_aws.built_in import metrics
from fmrec.local_aws.built_in.hyperparameters import KMEANS_DEFAULTS, kmeans, knn

KNN = {"feature_dim": "4", "k": "3", "predictor_type": "classifier", "sample_size": "100"}
KMEANS = {"feature_dim": "4", "k": "3"}


def test_k_means_defaults_are_the_containers() -> None:
    """default-input.json as a real job of May 2021 printed it."""
    assert dict(KMEANS_DEFAULTS) == {
        "init_method": "random",
        "mini_batch_size": "5000",
        "epochs": "1",
        "extra_center_factor": "auto",
        "local_lloyd_max_iter": "300",
        "local_lloyd_tol": "0.0001",
        "local_lloyd_init_method": "kmeans++",
        "local_lloyd_num_trials": "auto",
        "half_life_time_size": "0",
        "eval_metrics": '["msd"]',
        "force_dense": "true",
        "_disable_wait_to_read": "false",
        "_enable_profiler": "false",
        "_kvstore": "auto",
        "_log_level": "info",
        "_num_gpus": "auto",
        "_num_kv_servers": "1",
        "_num_slices": "1",
        "_tuning_objective_metric": "",
    }


def test_minimal_configurations() -> None:
    hp = knn(KNN)
    assert (hp.feature_dim, hp.k, hp.predictor_type, hp.sample_size) == (4, 3, "classifier", 100)
    assert (hp.index_type, hp.index_metric, hp.mini_batch_size) == ("faiss.Flat", "L2", 5000)
    assert (hp.reduction, hp.reduction_target, hp.ivf_nlists, hp.nprobe) == ("none", 0, 0, 5)
    clusters = kmeans(KMEANS)
    assert (clusters.epochs, clusters.extra_center_factor, clusters.lloyd_trials) == (1, 0, 0)
    assert (clusters.eval_metrics, clusters.half_life_time_size) == (("msd",), 0)
    assert clusters.configuration == {**KMEANS_DEFAULTS, **KMEANS}


def test_every_key_is_heard() -> None:
    hp = knn(
        KNN
        | {"dimension_reduction_type": "fjlt", "dimension_reduction_target": "2"}
        | {"index_type": "faiss.IVFPQ", "faiss_index_pq_m": "2", "faiss_index_ivf_nlists": "7"}
        | {"_faiss_index_nprobe": "9", "mini_batch_size": "10", "epochs": "2"}
    )
    assert (hp.reduction, hp.reduction_target, hp.index_type, hp.pq_m) == (
        *("fjlt", 2, "faiss.IVFPQ", 2),
    )
    assert (hp.ivf_nlists, hp.nprobe, hp.mini_batch_size) == (7, 9, 10)
    clusters = kmeans(
        KMEANS
        | {"epochs": "2", "mini_batch_size": "10", "init_method": "kmeans++"}
        | {"extra_center_factor": "4", "half_life_time_size": "50", "force_dense": "True"}
        | {"local_lloyd_init_method": "random", "local_lloyd_max_iter": "5"}
        | {"local_lloyd_num_trials": "2", "local_lloyd_tol": "1", "eval_metrics": '["msd","ssd"]'}
    )
    assert (clusters.epochs, clusters.mini_batch_size, clusters.init_method) == (2, 10, "kmeans++")
    assert (clusters.extra_center_factor, clusters.half_life_time_size) == (4, 50)
    assert (clusters.lloyd_init_method, clusters.lloyd_max_iter) == ("random", 5)
    assert (clusters.lloyd_trials, clusters.lloyd_tol) == (2, 1.0)
    assert clusters.eval_metrics == ("msd", "ssd")


def test_a_reduction_target_is_raised_to_a_multiple_of_the_sub_vectors() -> None:
    """As the Developer Guide says of faiss_index_pq_m."""
    reduced = {"dimension_reduction_type": "sign", "dimension_reduction_target": "10"}
    hp = knn(
        KNN | {"feature_dim": "40", "index_type": "faiss.IVFPQ", "faiss_index_pq_m": "4"} | reduced
    )
    assert hp.reduction_target == 12


@pytest.mark.parametrize("parse", [knn, kmeans])
def test_a_tuning_job_may_add_its_objective(parse: Callable[..., Any]) -> None:
    given = (KNN if parse is knn else KMEANS) | {"_tuning_objective_metric": "test:msd"}
    assert parse(given).configuration["_tuning_objective_metric"] == "test:msd"


def test_unknown_and_missing_keys_are_refused_in_the_containers_words() -> None:
    with pytest.raises(ConfigurationError) as caught:
        knn(KNN | {"index_metrics": "L2"})
    assert str(caught.value).startswith(
        "Additional properties are not allowed ('index_metrics' was unexpected)"
    )
    assert "Did you mean 'index_metric'?" in str(caught.value)
    with pytest.raises(
        ConfigurationError,
        match=r"No value\(s\) were specified for 'predictor_type', 'sample_size' which are",
    ):
        knn({"feature_dim": "4", "k": "3"})
    with pytest.raises(ConfigurationError, match=r"No value\(s\) were specified for 'k' which"):
        kmeans({"feature_dim": "4"})


BAD_KNN = [
    ("feature_dim", "0", "'0' is not valid under any of the given schemas", "whole number"),
    ("k", "2.5", "'2.5' is not valid under", "k must be a whole number, 1 or more."),
    ("predictor_type", "ranker", "'ranker' is not one of ['classifier', 'regressor']", ""),
    ("sample_size", "-1", "'-1' is not valid under", "sample_size must be"),
    ("index_metric", "l2", "'l2' is not one of ['L2', 'INNER_PRODUCT', 'COSINE']", ""),
    ("index_type", "Flat", "'Flat' is not one of ['faiss.Flat', 'faiss.IVFFlat'", ""),
    ("faiss_index_ivf_nlists", "0", "'0' is not valid under", "1 or more, or auto."),
    ("faiss_index_pq_m", "5", "'5' is not one of ['1', '2', '3', '4', '8', '12'", ""),
    ("dimension_reduction_type", "pca", "'pca' is not one of ['none', 'sign', 'fjlt']", ""),
    ("mini_batch_size", "", "'' is not valid under", ""),
]
BAD_KMEANS = [
    ("k", "zero", "'zero' is not valid under any of the given schemas", "1 or more."),
    ("init_method", "k-means++", "'k-means++' is not one of ['random', 'kmeans++']", ""),
    ("extra_center_factor", "auto10", "'auto10' is not valid under", "1 or more, or auto."),
    ("half_life_time_size", "-1", "'-1' is not valid under", "0 or more."),
    ("local_lloyd_tol", "1.5", "'1.5' is not valid under", "a number, 0 or more, 1 or less."),
    ("local_lloyd_tol", "nan", "'nan' is not valid under", ""),
    ("local_lloyd_num_trials", "0", "'0' is not valid under", ""),
    ("eval_metrics", "msd", "'msd' is not valid under", '["msd"], ["ssd"] or ["msd", "ssd"].'),
    ("eval_metrics", '["mse"]', "is not valid under any of the given schemas", ""),
    ("eval_metrics", "[]", "is not valid under any of the given schemas", ""),
    ("force_dense", "yes", "'yes' is not one of", ""),
]


@pytest.mark.parametrize(
    ("parse", "required", "name", "value", "first", "last"),
    [
        *((knn, KNN, *bad) for bad in BAD_KNN),
        *((kmeans, KMEANS, *bad) for bad in BAD_KMEANS),
    ],
)
def test_a_bad_value_gives_the_containers_text_and_says_what_is_right(
    parse: Callable[..., Any],
    required: dict[str, str],
    name: str,
    value: str,
    first: str,
    last: str,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(required | {name: value})
    text = str(caught.value)
    assert first in text.splitlines()[0]
    assert f"in schema['properties'][{name!r}]" in text
    assert last in text.splitlines()[-1]


TOGETHER = {
    "a target without a type": (
        {"dimension_reduction_target": "2"},
        "'dimension_reduction_target' should only be set when 'dimension_reduction_type' is set",
    ),
    "a type without a target": (
        {"dimension_reduction_type": "sign"},
        "No value(s) were specified for 'dimension_reduction_target'",
    ),
    "a target that reduces nothing": (
        {"dimension_reduction_type": "sign", "dimension_reduction_target": "4"},
        "'dimension_reduction_target' should be less than 'feature_dim'",
    ),
    "a raised target that is too large": (
        {"dimension_reduction_type": "fjlt", "dimension_reduction_target": "3"}
        | {"index_type": "faiss.IVFPQ", "faiss_index_pq_m": "8"},
        "also when raised to a multiple of faiss_index_pq_m, 8",
    ),
    "sub-vectors without IVFPQ": (
        {"faiss_index_pq_m": "2"},
        "'faiss_index_pq_m' should only be set when 'index_type' = 'faiss.IVFPQ'",
    ),
    "IVFPQ without sub-vectors": (
        {"index_type": "faiss.IVFPQ"},
        "No value(s) were specified for 'faiss_index_pq_m'",
    ),
    "IVFPQ with another metric": (
        {"index_type": "faiss.IVFPQ", "faiss_index_pq_m": "2", "index_metric": "COSINE"},
        "index_metric 'COSINE' is not supported with index_type 'faiss.IVFPQ'",
    ),
}


@pytest.mark.parametrize(("given", "message"), TOGETHER.values(), ids=TOGETHER)
def test_values_must_fit_each_other(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        knn(KNN | given)


def test_the_predefined_metrics_are_found_in_the_lines() -> None:
    """The expressions for test:msd and test:ssd are those that AWS's own texts give."""
    line = "[11/24/2026 18:30:58 INFO 1] #quality_metric: host=algo-1, test msd <loss>=62.25"
    found = {name: match[1] for name, regex in metrics.KMEANS if (match := re.search(regex, line))}
    assert found == {"test:msd": "62.25"}
    assert dict(metrics.KMEANS)["test:msd"] == r"#quality_metric: host=\S+, test msd <loss>=(\S+)"
    line = "[11/24/2026 18:30:58 INFO 1] #quality_metric: host=algo-1, test accuracy <score>=0.5"
    found = {name: match[1] for name, regex in metrics.KNN if (match := re.search(regex, line))}
    assert found == {"test:accuracy": "0.5"}
