"""The provider's SageMaker hook, with more patience than botocore has by itself."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from botocore.config import Config

# About a minute of throttling or of a service that answers 500.
_RETRIES: Any = {"mode": "standard", "total_max_attempts": 8}


class JobHook(SageMakerHook):
    """Asks again when it is throttled; what the connection's config_kwargs say stays in force."""

    @property
    def config(self) -> Config:
        """What its clients are made with."""
        return Config(retries=_RETRIES).merge(super().config)
