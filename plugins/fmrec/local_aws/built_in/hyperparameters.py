"""The hyperparameters of the built-in k-NN and K-Means.

Names, defaults and error texts are those of the built-in containers: SageMaker Developer Guide,
"k-NN Hyperparameters" and "K-Means Hyperparameters", and the default configurations that their logs
print, which also list the undocumented ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from fmrec.errors import ConfigurationError
from fmrec.fm.hyperparameter_kinds import (
    ANY,
    Kind,
    check_known,
    check_required,
    check_values,
    integer,
    number,
    one_of,
)

PredictorType = Literal["classifier", "regressor"]
IndexType = Literal["faiss.Flat", "faiss.IVFFlat", "faiss.IVFPQ"]
IndexMetric = Literal["L2", "INNER_PRODUCT", "COSINE"]
Reduction = Literal["none", "sign", "fjlt"]
InitMethod = Literal["random", "kmeans++"]

_Table = tuple[tuple[str, Kind, str | None], ...]
_COUNT, _AUTO = integer(1), integer(1, or_word="auto")
_START = one_of("random", "kmeans++")
_PQ_M = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)


def _metric_list(text: str) -> bool:
    try:
        names = json.loads(text)
    except ValueError:
        return False
    return names in (["msd"], ["ssd"], ["msd", "ssd"], ["ssd", "msd"])


_METRIC_LIST = Kind(
    _metric_list,
    "{'enum': ['[\"msd\"]', '[\"ssd\"]', '[\"msd\",\"ssd\"]']}",
    '["msd"], ["ssd"] or ["msd", "ssd"]',
)

# Name, kind, default as the container's configuration spells it (None: not in it).
_KNN: _Table = (
    ("index_metric", one_of("L2", "INNER_PRODUCT", "COSINE"), "L2"),
    ("index_type", one_of("faiss.Flat", "faiss.IVFFlat", "faiss.IVFPQ"), "faiss.Flat"),
    ("faiss_index_ivf_nlists", _AUTO, "auto"),
    ("dimension_reduction_type", one_of("none", "sign", "fjlt"), "none"),
    ("mini_batch_size", _COUNT, "5000"),
    ("epochs", _COUNT, "1"),
    ("_faiss_index_nprobe", _COUNT, "5"),
    ("_enable_profiler", ANY, "false"),
    ("_kvstore", ANY, "dist_async"),
    ("_log_level", ANY, "info"),
    ("_num_gpus", ANY, "auto"),
    ("_num_kv_servers", ANY, "1"),
    ("_tuning_objective_metric", ANY, ""),
    ("feature_dim", _COUNT, None),
    ("k", _COUNT, None),
    ("predictor_type", one_of("classifier", "regressor"), None),
    ("sample_size", _COUNT, None),
    ("dimension_reduction_target", _COUNT, None),
    ("faiss_index_pq_m", one_of(*map(str, _PQ_M)), None),
)
_KMEANS: _Table = (
    ("init_method", _START, "random"),
    ("mini_batch_size", _COUNT, "5000"),
    ("epochs", _COUNT, "1"),
    ("extra_center_factor", _AUTO, "auto"),
    ("local_lloyd_max_iter", _COUNT, "300"),
    ("local_lloyd_tol", number(most=1), "0.0001"),
    ("local_lloyd_init_method", _START, "kmeans++"),
    ("local_lloyd_num_trials", _AUTO, "auto"),
    ("half_life_time_size", integer(0), "0"),
    ("eval_metrics", _METRIC_LIST, '["msd"]'),
    # The SageMaker Python SDK 2.x sends True.
    ("force_dense", one_of("true", "false", "True", "False"), "true"),
    ("_disable_wait_to_read", ANY, "false"),
    ("_enable_profiler", ANY, "false"),
    ("_kvstore", ANY, "auto"),
    ("_log_level", ANY, "info"),
    ("_num_gpus", ANY, "auto"),
    ("_num_kv_servers", ANY, "1"),
    ("_num_slices", ANY, "1"),
    ("_tuning_objective_metric", ANY, ""),
    ("feature_dim", _COUNT, None),
    ("k", _COUNT, None),
)
KNN_DEFAULTS: Mapping[str, str] = {name: value for name, _, value in _KNN if value is not None}
KMEANS_DEFAULTS: Mapping[str, str] = {
    name: value for name, _, value in _KMEANS if value is not None
}
WITHOUT_EFFECT = (
    *("_disable_wait_to_read", "_enable_profiler", "_kvstore", "_log_level", "_num_gpus"),
    *("_num_kv_servers", "_num_slices", "force_dense"),
)
"""What is accepted, as the built-ins do, and has nothing to steer here."""


@dataclass(frozen=True)
class Knn:
    """A validated configuration of k-NN; ``configuration`` is the same as strings.

    ``reduction_target`` and ``pq_m`` are 0 where there is none, ``ivf_nlists`` for ``auto``.
    """

    configuration: Mapping[str, str]
    feature_dim: int
    k: int
    predictor_type: PredictorType
    sample_size: int
    reduction: Reduction
    reduction_target: int
    index_type: IndexType
    index_metric: IndexMetric
    ivf_nlists: int
    nprobe: int
    pq_m: int
    mini_batch_size: int


@dataclass(frozen=True)
class KMeans:
    """A validated configuration of K-Means; ``configuration`` is the same as strings.

    ``extra_center_factor`` and ``lloyd_trials`` are 0 for ``auto``.
    """

    configuration: Mapping[str, str]
    feature_dim: int
    k: int
    epochs: int
    mini_batch_size: int
    init_method: InitMethod
    extra_center_factor: int
    half_life_time_size: int
    lloyd_init_method: InitMethod
    lloyd_max_iter: int
    lloyd_trials: int
    lloyd_tol: float
    eval_metrics: tuple[str, ...]


def knn(provided: Mapping[str, object]) -> Knn:
    """Return k-NN's defaults overlaid with ``provided``, checked and typed.

    Raises ConfigurationError with the text of the built-in container.
    """
    required = ("feature_dim", "k", "predictor_type", "sample_size")
    conf = _checked(provided, _KNN, KNN_DEFAULTS, required)
    index_type = cast(IndexType, conf["index_type"])
    pq_m = _product_quantizer(conf)
    return Knn(
        configuration=conf,
        feature_dim=int(conf["feature_dim"]),
        k=int(conf["k"]),
        predictor_type=cast(PredictorType, conf["predictor_type"]),
        sample_size=int(conf["sample_size"]),
        reduction=cast(Reduction, conf["dimension_reduction_type"]),
        reduction_target=_reduction_target(conf, pq_m),
        index_type=index_type,
        index_metric=cast(IndexMetric, conf["index_metric"]),
        ivf_nlists=_number_or_auto(conf["faiss_index_ivf_nlists"]),
        nprobe=int(conf["_faiss_index_nprobe"]),
        pq_m=pq_m,
        mini_batch_size=int(conf["mini_batch_size"]),
    )


def kmeans(provided: Mapping[str, object]) -> KMeans:
    """Return K-Means' defaults overlaid with ``provided``, checked and typed.

    Raises ConfigurationError with the text of the built-in container.
    """
    conf = _checked(provided, _KMEANS, KMEANS_DEFAULTS, ("feature_dim", "k"))
    return KMeans(
        configuration=conf,
        feature_dim=int(conf["feature_dim"]),
        k=int(conf["k"]),
        epochs=int(conf["epochs"]),
        mini_batch_size=int(conf["mini_batch_size"]),
        init_method=cast(InitMethod, conf["init_method"]),
        extra_center_factor=_number_or_auto(conf["extra_center_factor"]),
        half_life_time_size=int(conf["half_life_time_size"]),
        lloyd_init_method=cast(InitMethod, conf["local_lloyd_init_method"]),
        lloyd_max_iter=int(conf["local_lloyd_max_iter"]),
        lloyd_trials=_number_or_auto(conf["local_lloyd_num_trials"]),
        lloyd_tol=float(conf["local_lloyd_tol"]),
        eval_metrics=tuple(json.loads(conf["eval_metrics"])),
    )


def _checked(
    provided: Mapping[str, object],
    table: _Table,
    defaults: Mapping[str, str],
    required: tuple[str, ...],
) -> dict[str, str]:
    kinds = {name: kind for name, kind, _ in table}
    texts = {name: str(value) for name, value in provided.items()}
    check_known(texts, kinds)
    check_required(texts, required)
    check_values(texts, kinds)
    return {**defaults, **texts}


def _number_or_auto(text: str) -> int:
    return 0 if text == "auto" else int(text)


def _product_quantizer(conf: Mapping[str, str]) -> int:
    """Return faiss_index_pq_m, 0 for an index without one."""
    if conf["index_type"] != "faiss.IVFPQ":
        if "faiss_index_pq_m" in conf:
            raise ConfigurationError(
                "Hyperparameter 'faiss_index_pq_m' should only be set when 'index_type' = "
                "'faiss.IVFPQ'."
            )
        return 0
    check_required(conf, ("faiss_index_pq_m",))
    if conf["index_metric"] != "L2":
        raise ConfigurationError(
            f"index_metric {conf['index_metric']!r} is not supported with index_type "
            "'faiss.IVFPQ': use 'L2', or another index_type"
        )
    return int(conf["faiss_index_pq_m"])


def _reduction_target(conf: Mapping[str, str], pq_m: int) -> int:
    """Return the width after reduction, 0 without one; as on AWS a multiple of ``pq_m``."""
    if conf["dimension_reduction_type"] == "none":
        if "dimension_reduction_target" in conf:
            raise ConfigurationError(
                "Hyperparameter 'dimension_reduction_target' should only be set when "
                "'dimension_reduction_type' is set."
            )
        return 0
    check_required(conf, ("dimension_reduction_target",))
    target = int(conf["dimension_reduction_target"])
    multiple = math.ceil(target / pq_m) * pq_m if pq_m else target
    if max(target + 1, multiple) > int(conf["feature_dim"]):
        raised = f", also when raised to a multiple of faiss_index_pq_m, {multiple}"
        raise ConfigurationError(
            "Hyperparameter 'dimension_reduction_target' should be less than 'feature_dim'"
            f"{raised if pq_m else ''}."
        )
    return multiple
