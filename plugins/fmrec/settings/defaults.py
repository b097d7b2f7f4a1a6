"""The hyperparameters of a run that names none, by objective and features."""

from __future__ import annotations

# Chosen on inner splits of training files only, by tools/choose_hyperparameters.py.
_RATING_IDS: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 59,
    "mini_batch_size": 200,
    "bias_lr": 0.0037,
    "linear_lr": 0.0016,
    "factors_lr": 0.0013,
    "bias_wd": 0.0,
    "linear_wd": 0.000088,
    "factors_wd": 0.00079,
    "factors_init_sigma": 0.13,
}
_LIKE_IDS: dict[str, float | int] = {
    "num_factors": 8,
    "epochs": 22,
    "mini_batch_size": 500,
    "bias_lr": 0.031,
    "linear_lr": 0.0051,
    "factors_lr": 0.00072,
    "bias_wd": 0.0,
    "linear_wd": 0.00001,
    "factors_wd": 0.000052,
    "factors_init_sigma": 0.0054,
}
_RANKING: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 24,
    "mini_batch_size": 200,
    "bias_lr": 0.018,
    "linear_lr": 0.0036,
    "factors_lr": 0.0011,
    "bias_wd": 0.0,
    "linear_wd": 0.000012,
    "factors_wd": 0.000099,
    "factors_init_sigma": 0.12,
}

_RATING_HISTORY: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 23,
    "mini_batch_size": 2000,
    "bias_lr": 0.0012,
    "linear_lr": 0.013,
    "factors_lr": 0.00075,
    "bias_wd": 0.0,
    "linear_wd": 0.00029,
    "factors_wd": 0.00033,
    "factors_init_sigma": 0.027,
}
_RATING_FULL: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 5,
    "mini_batch_size": 1000,
    "bias_lr": 0.0015,
    "linear_lr": 0.0041,
    "factors_lr": 0.0023,
    "bias_wd": 0.0,
    "linear_wd": 0.000042,
    "factors_wd": 0.0013,
    "factors_init_sigma": 0.013,
}
_LIKE_HISTORY: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 10,
    "mini_batch_size": 1000,
    "bias_lr": 0.015,
    "linear_lr": 0.017,
    "factors_lr": 0.0016,
    "bias_wd": 0.0,
    "linear_wd": 0.00011,
    "factors_wd": 0.00036,
    "factors_init_sigma": 0.019,
}
_LIKE_FULL: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 7,
    "mini_batch_size": 1000,
    "bias_lr": 0.0015,
    "linear_lr": 0.0041,
    "factors_lr": 0.0023,
    "bias_wd": 0.0,
    "linear_wd": 0.000042,
    "factors_wd": 0.0013,
    "factors_init_sigma": 0.013,
}

_PRESETS = ("ids", "side", "history", "profile", "full", "everything")
_ADAM: dict[str, dict[str, dict[str, float | int]]] = {
    "rating": {
        "ids": _RATING_IDS,
        "side": {
            "num_factors": 8,
            "epochs": 40,
            "mini_batch_size": 2000,
            "bias_lr": 0.0013,
            "linear_lr": 0.0014,
            "factors_lr": 0.0015,
            "bias_wd": 0.0,
            "linear_wd": 0.00011,
            "factors_wd": 0.00037,
            "factors_init_sigma": 0.0015,
        },
        "history": _RATING_HISTORY,
        "profile": _RATING_HISTORY,
        "full": _RATING_FULL,
        "everything": _RATING_FULL,
    },
    "like": {
        "ids": _LIKE_IDS,
        "side": {
            "num_factors": 32,
            "epochs": 14,
            "mini_batch_size": 2000,
            "bias_lr": 0.0012,
            "linear_lr": 0.013,
            "factors_lr": 0.00075,
            "bias_wd": 0.0,
            "linear_wd": 0.00029,
            "factors_wd": 0.00033,
            "factors_init_sigma": 0.027,
        },
        "history": _LIKE_HISTORY,
        "profile": _LIKE_HISTORY,
        "full": _LIKE_FULL,
        "everything": _LIKE_FULL,
    },
    "ranking": dict.fromkeys(_PRESETS, _RANKING),
}
# Chosen by tools/bayesian_hyperparameters.py.
_MCMC: dict[str, float | int] = {
    "num_factors": 10,
    "iterations": 150,
    "burn_in": 10,
    "chains": 8,
    "samples": 64,
}
# Chosen by tools/ranking_catalogue.py. What of the ALS part is not here stands in the algorithm.
_CATALOGUE: dict[str, float | int] = {
    "num_factors": 128,
    "epochs": 35,
    "mini_batch_size": 48,
    "linear_lr": 0.002,
    "factors_lr": 0.002,
    "linear_wd": 0.0,
    "factors_wd": 0.0045,
    "factors_init_sigma": 0.03,
    "dropout": 0.5,
    "als_factors": 64,
}
DEFAULTS = {
    "adam": _ADAM,
    "mcmc": dict.fromkeys(("rating", "like"), dict.fromkeys(_PRESETS, _MCMC)),
    "catalogue": {"ranking": dict.fromkeys(_PRESETS, _CATALOGUE)},
}
"""For each solver, each objective that it learns, and each preset of features."""

HYPERPARAMETERS = frozenset(
    name
    for by_objective in DEFAULTS.values()
    for by_features in by_objective.values()
    for chosen in by_features.values()
    for name in chosen
)
"""Those that a run can set, of any solver."""
