"""Small tables with a structure that an algorithm can find, the same for every script and test."""

from __future__ import annotations

import io

import numpy as np
from sagemaker.serializer_utils import write_spmatrix_to_sparse_tensor
from scipy import sparse

USERS, ITEMS = 20, 30
WIDTH = USERS + ITEMS
HYPERPARAMETERS = {
    "num_factors": 4,
    "predictor_type": "binary_classifier",
    "epochs": 20,
    "linear_lr": 0.05,
}


def rows(seed: int, count: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One-hot user and item columns (count x 50), and labels 0.0 or 1.0."""
    draw = np.random.default_rng(seed)
    users, items = draw.integers(0, USERS, count), draw.integers(0, ITEMS, count)
    keys = np.column_stack([users, USERS + items]).ravel()
    ones = np.ones(len(keys), np.float32)
    features = sparse.csr_matrix((ones, keys, np.arange(0, len(keys) + 1, 2)), shape=(count, WIDTH))
    liked = np.sin(users) + np.cos(items) > 0
    return features, liked.astype(np.float32)


def recordio(features: sparse.csr_matrix, labels: np.ndarray | None = None) -> bytes:
    """RecordIO-protobuf as the SDK itself writes it."""
    written = io.BytesIO()
    write_spmatrix_to_sparse_tensor(written, features, labels)
    return written.getvalue()
