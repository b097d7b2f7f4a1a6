"""Where the pipeline lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from fmrec.errors import ConfigurationError

# Where no default would be right: the bucket of that name may be a stranger's.
NEEDED = "(must be set)"


def _variable(name: str, default: Any, description: str) -> Any:
    return field(default=default, metadata={"env": name, "description": description})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where the pipeline lives; every field is an environment variable."""

    bucket: str = _variable("FMREC_BUCKET", NEEDED, "S3 bucket of everything fmrec writes.")
    prefix: str = _variable("FMREC_PREFIX", "fmrec", "Key prefix inside the bucket.")
    role_arn: str = _variable(
        "FMREC_ROLE_ARN",
        NEEDED,
        "IAM role that SageMaker jobs assume.",
    )
    region: str = _variable("AWS_DEFAULT_REGION", "us-east-1", "AWS region.")
    data_dir: Path | None = _variable(
        "FMREC_DATA_DIR",
        None,
        "Folder where archives (ml-100k.zip, ml-32m.zip …) are looked for first.",
    )
    cache_dir: Path = _variable(
        "FMREC_CACHE_DIR",
        Path("~/.cache/fmrec"),
        "Folder for downloaded and generated archives.",
    )
    image_uri: str | None = _variable(
        "FMREC_IMAGE_URI", None, "Image of fmrec's own algorithm, for Param image `fmrec`."
    )
    poll_seconds: int = _variable(
        "FMREC_POLL_SECONDS", 30, "Seconds between two looks at a running SageMaker job."
    )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Deployment:
        """The deployment that the environment describes. Raises ConfigurationError."""
        hints = get_type_hints(cls)
        given: dict[str, Any] = {}
        for each in fields(cls):
            name = each.metadata["env"]
            text = environ.get(name)
            if not text:
                if each.default == NEEDED:
                    raise ConfigurationError(
                        f"environment variable {name} is not set: {each.metadata['description']}"
                    )
                if isinstance(each.default, Path):
                    given[each.name] = _expanded(name, each.default)
                continue
            if hints[each.name] is int:
                if not text.isdecimal() or int(text) < 1:
                    raise ConfigurationError(
                        f"environment variable {name}: {text!r} is not a whole number of at least 1"
                    )
                given[each.name] = int(text)
            elif hints[each.name] in (str, str | None):
                given[each.name] = text.strip("/") if each.name == "prefix" else text
            else:
                given[each.name] = _expanded(name, Path(text))
        return cls(**given)


def _expanded(name: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"environment variable {name}: {path} needs a home folder, and there is none; "
            "set it to another folder"
        ) from None
