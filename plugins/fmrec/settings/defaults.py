"""The hyperparameters of a run that names none, by objective."""

from __future__ import annotations

# Chosen on inner splits of training files only, by tools/choose_hyperparameters.py.
RATING_DEFAULTS: dict[str, float | int] = {
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
LIKE_DEFAULTS: dict[str, float | int] = {
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
RANKING_DEFAULTS: dict[str, float | int] = {
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
