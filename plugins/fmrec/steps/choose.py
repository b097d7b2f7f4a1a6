"""Decide how a run goes on, before anything is paid for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from fmrec.settings import Deployment
from fmrec.steps.xcom import Xcom

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Decision = Literal["train", "tune", "rehearse", "skip"]


def choose(
    run: Xcom,
    *,
    tables: Xcom,
    parts: Xcom,
    channels: Xcom,
    s3: S3Client,
    deployment: Deployment,
    scheduled: bool,
    now: datetime,
) -> Decision:
    """Say what the run does next."""
    return "train"
