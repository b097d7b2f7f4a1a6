"""Where the pipeline lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmrec.settings.variables import NEEDED, from_environ, variable


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where the pipeline lives; every field is an environment variable."""

    bucket: str = variable("FMREC_BUCKET", NEEDED, "S3 bucket of everything fmrec writes.")
    prefix: str = variable("FMREC_PREFIX", "fmrec", "Key prefix inside the bucket.")
    role_arn: str = variable(
        "FMREC_ROLE_ARN",
        NEEDED,
        "IAM role that SageMaker jobs assume.",
    )
    region: str = variable("AWS_DEFAULT_REGION", "us-east-1", "AWS region.")
    data_dir: Path | None = variable(
        "FMREC_DATA_DIR",
        None,
        "Folder where archives (ml-100k.zip, ml-32m.zip …) are looked for first.",
    )
    cache_dir: Path = variable(
        "FMREC_CACHE_DIR",
        Path("~/.cache/fmrec"),
        "Folder for downloaded and generated archives.",
    )
    image_uri: str | None = variable(
        "FMREC_IMAGE_URI", None, "Image of fmrec's own algorithm, for Param image `fmrec`."
    )
    poll_seconds: int = variable(
        "FMREC_POLL_SECONDS", 30, "Seconds between two looks at a running SageMaker job."
    )
    monthly_budget: float | None = variable(
        "FMREC_MONTHLY_BUDGET",
        None,
        "USD that jobs may cost in a calendar month (UTC). A run that would go beyond it fails "
        "before its first job. Empty: no limit.",
    )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Deployment:
        """The deployment that the environment describes. Raises ConfigurationError."""
        return cls(**from_environ(cls, environ))
