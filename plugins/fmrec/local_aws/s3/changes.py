"""What a request changes in S3, noted while moto answers it, to be written to disk afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Changed:
    """What a request touched, in order.

    Buckets by name, keys as (bucket, key), uploads as (bucket, upload id), their parts as (bucket,
    upload id, part number).
    """

    buckets: dict[str, None] = field(default_factory=dict)
    keys: dict[tuple[str, str], None] = field(default_factory=dict)
    uploads: dict[tuple[str, str], None] = field(default_factory=dict)
    parts: dict[tuple[str, str, int], None] = field(default_factory=dict)


class Changes:
    """Collects what the request of each thread touches; outside of a request it ignores it."""

    def __init__(self) -> None:
        self._request = threading.local()

    @contextmanager
    def collected(self) -> Iterator[Changed]:
        """Collect what this thread touches within the block."""
        changed = self._request.changed = Changed()
        try:
            yield changed
        finally:
            del self._request.changed

    def bucket(self, name: str) -> None:
        """Note that a bucket was created, deleted or set differently."""
        if changed := self._current():
            changed.buckets[name] = None

    def key(self, bucket: str, key: str) -> None:
        """Note that the versions of a key, or what is remembered of them, changed."""
        if changed := self._current():
            changed.keys[bucket, key] = None

    def upload(self, bucket: str, name: str) -> None:
        """Note that an upload in parts began or ended."""
        if changed := self._current():
            changed.uploads[bucket, name] = None

    def part(self, bucket: str, upload: str, number: int) -> None:
        """Note that a part of an upload was stored."""
        if changed := self._current():
            changed.parts[bucket, upload, number] = None

    def _current(self) -> Changed | None:
        return getattr(self._request, "changed", None)
