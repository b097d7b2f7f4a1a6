"""What the figures of a report are called, and in which order they are shown."""

from __future__ import annotations

from collections.abc import Mapping

SCORES: Mapping[str, tuple[str, str]] = {
    "rmse": ("RMSE", "less"),
    "mae": ("MAE", "less"),
    "cross_entropy": ("cross-entropy", "less"),
    "accuracy": ("accuracy", "more"),
    "f1": ("F1", "more"),
    "calibration_error": ("calibration error", "less"),
    "auc": ("AUC", "more"),
}
"""Of each metric of scores its title, and whether less or more of it is better."""

LISTS: Mapping[str, tuple[str, str]] = {
    "ndcg@10": ("NDCG@10", "more"),
    "precision@10": ("precision@10", "more"),
    "recall@10": ("recall@10", "more"),
    "map@10": ("MAP@10", "more"),
    "mrr@10": ("MRR@10", "more"),
    "hit_rate@10": ("hit rate@10", "more"),
    "coverage@10": ("coverage@10", "more"),
    "gini@10": ("Gini@10", "less"),
    "novelty@10": ("novelty@10", "more"),
    "popularity@10": ("popularity@10", "less"),
}
"""The same of each metric of lists."""

METRICS = {**SCORES, **LISTS}
BASELINES = {
    "champion": "champion",
    "user_item_bias": "user + item bias",
    "popularity": "popularity",
    "global_mean": "global mean",
}

PEERS = {"ease": "EASE", "implicit_als": "implicit ALS", "item_knn": "item-kNN"}

COUNTS = {
    "train": "training events",
    "validation": "validation events",
    "negatives": "sampled negatives",
    "events": "test events",
    "predictions": "predictions",
    "ranked_users": "users with a list to judge",
    "users_without_likes": "users with no relevant film",
    "users_without_history": "users unknown to training",
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
