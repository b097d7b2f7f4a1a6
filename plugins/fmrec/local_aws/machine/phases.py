"""The phases of a job's execution, in their order, by which faults on purpose are timed."""

from __future__ import annotations

from typing import Literal

Phase = Literal["Starting", "Downloading", "Training", "Transforming", "Processing", "Uploading"]
