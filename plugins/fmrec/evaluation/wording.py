"""What the figures of a report are called, and in which order they are shown."""

from __future__ import annotations

from collections.abc import Mapping

METRICS: Mapping[str, tuple[str, str]] = {
    "rmse": ("RMSE", "less"),
    "mae": ("MAE", "less"),
    "ndcg@10": ("NDCG@10", "more"),
    "precision@10": ("precision@10", "more"),
    "recall@10": ("recall@10", "more"),
    "map@10": ("MAP@10", "more"),
    "cross_entropy": ("cross-entropy", "less"),
    "accuracy": ("accuracy", "more"),
    "f1": ("F1", "more"),
    "auc": ("AUC", "more"),
}
"""Title of each metric, and whether less or more of it is better."""

BASELINES = {
    "user_item_bias": "user + item bias",
    "popularity": "popularity",
    "global_mean": "global mean",
}

COUNTS = {
    "train": "training events",
    "validation": "validation events",
    "negatives": "sampled negatives",
    "events": "test events",
    "predictions": "predictions",
    "ranked_users": "users with a list to judge",
    "test": "test events of the split",
    "set_aside": "set aside (unknown id)",
    "unknown_user": "with an unknown user",
    "unknown_item": "with an unknown item",
    "unknown_both": "with both unknown",
    "refused": "rows refused (quarantine)",
    "superseded": "superseded by later ratings",
    "withdrawn": "withdrawn by their users",
    "erased": "erased with their users",
    "filtered": "left out by the k-core",
}


def main_first(metrics: Mapping[str, object]) -> list[str]:
    """The names of the metrics there are, in the order of showing."""
    return [name for name in METRICS if name in metrics]
