"""Keeps moto from remembering every object it ever made."""

from __future__ import annotations

from typing import Any


def forget_instances(*models: Any) -> None:
    """Stop moto's models from listing their instances, deleted ones included, for its dashboard."""
    for model in models:
        model.instances_tracked = _Forgetful()


class _Forgetful(list[Any]):
    """A list that keeps nothing."""

    def append(self, item: Any, /) -> None:
        del item
