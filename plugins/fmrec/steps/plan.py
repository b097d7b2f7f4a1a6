"""Fix the clock and the choices of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fmrec import films
from fmrec.errors import ConfigurationError, ConflictError
from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.settings import Deployment, RunSettings, parse_instant
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def plan(
    run_id: str,
    clock: datetime,
    params: Mapping[str, Any],
    deployment: Deployment,
    s3: S3Client,
) -> Xcom:
    """Fix the run: its moment (Param `as_of`, else `clock`), its choices, its keys.

    Which tuning's hyperparameters it uses is written down once, so that a run that is repeated
    does not change when somebody has tuned in between. Raises ConfigurationError for Params that
    are wrong or contradict each other, and for a bucket that cannot be used.
    """
    settings = RunSettings.of(params)
    if settings.only is not None:
        films.parse(settings.only)  # a mistake must show now and not after an hour of training
    as_of = clock if settings.as_of is None else parse_instant(settings.as_of)
    run = Run.of(run_id, as_of, settings, deployment)
    _check_bucket(s3, deployment)
    log.info("Run %s sees ratings before %s", run.layout.run, run.as_of.isoformat())
    if settings.hyperparameters_from == "tuned":
        run = replace(run, tuned=_tuned(Store(s3, deployment.bucket), run))
    if run.tuned is not None:
        log.info("Hyperparameters that are empty come from tuning job %s", run.tuned["job"])
    return run.to_xcom()


def _check_bucket(s3: S3Client, deployment: Deployment) -> None:
    bucket = deployment.bucket
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        # A HEAD has no body, so the code is no more than the HTTP status.
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        said = {
            404: f"there is no bucket {bucket!r}: create it",
            403: f"bucket {bucket!r} is forbidden: it is somebody else's, or the credentials of "
            "the connection aws_default lack s3:ListBucket; allow them to list, read and write it",
            301: f"bucket {bucket!r} is in another region than {deployment.region!r}: set "
            "AWS_DEFAULT_REGION to the bucket's",
        }.get(status)
        if said is None:
            raise
        raise ConfigurationError(
            f"environment variable FMREC_BUCKET: {said}, or name another bucket"
        ) from None


def _tuned(store: Store, run: Run) -> Xcom | None:
    """The tuning in force when the run was first planned; None when there was none."""
    key = run.layout.tuned
    if not store.exists(key):
        history = tunings.history(store, run.layout, run.kind)
        found = tunings.in_force(history, run.as_of)
        told = None if found is None else {
            "run": found.run,
            "as_of": found.as_of.isoformat(),
            "job": found.job,
            "hyperparameters": dict(found.hyperparameters),
        }  # fmt: skip
        try:
            store.put(key, json.dumps(told, sort_keys=True).encode())
        except ConflictError:
            log.info("Another attempt has fixed the hyperparameters meanwhile")
    fixed: Xcom | None = json.loads(store.get(key))
    return fixed
