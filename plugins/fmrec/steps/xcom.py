"""What steps hand to each other."""

from __future__ import annotations

from typing import Any

from fmrec.events import FeatureSpace
from fmrec.store import Store

Xcom = dict[str, Any]


def feature_space(parts: Xcom, store: Store) -> FeatureSpace:
    """The run's feature space; `parts` is what the events step returned."""
    id_map = parts["id_map"]
    return FeatureSpace.from_bytes(store.get(id_map["key"]), sha256=id_map["sha256"])
