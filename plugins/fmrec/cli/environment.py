"""The local profile, in one place: the variables that point Airflow and boto3 at this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from fmrec.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"

# Whoever sets one of these has said which AWS a run shall use.
_NAMED_BY = ("AWS_ENDPOINT_URL", "AIRFLOW_CONN_AWS_DEFAULT")


def checkout() -> Path:
    """The folder that holds dags/ and plugins/. Raises ConfigurationError when it is not there."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "dags" / "fmrec_retrain.py").is_file():
        raise ConfigurationError(
            f"no dags/ beside {root / 'plugins'}: run this command from a checkout of fmrec"
        )
    return root


def state_folder(root: Path) -> Path:
    """Where a laptop keeps databases, logs and reports: FMREC_STATE_DIR, else var/ of `root`."""
    return Path(os.environ.get("FMREC_STATE_DIR") or root / "var").absolute()


def names_an_aws(environ: Mapping[str, str]) -> bool:
    """Whether the environment says which AWS to use; else a private local one is started.

    Credentials alone say nothing: a laptop often has some, and a demonstration must not
    spend money with them.
    """
    return any(environ.get(name) for name in _NAMED_BY)


def local_aws(endpoint: str) -> dict[str, str]:
    """Variables that send every AWS call to `endpoint`: both settings, and keys of no worth."""
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"endpoint_url": endpoint, "region_name": REGION},
    }
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "FMREC_POLL_SECONDS": "1",
    }


def s3_client(environ: Mapping[str, str]) -> S3Client:
    """An S3 client for the AWS that `environ` names, as Airflow would make it.

    Raises ConfigurationError when the connection is not in its JSON form.
    """
    text = environ.get("AIRFLOW_CONN_AWS_DEFAULT", "{}")
    try:
        connection = json.loads(text)
    except ValueError:
        raise ConfigurationError(
            "AIRFLOW_CONN_AWS_DEFAULT must be JSON here, such as "
            '{"conn_type": "aws", "extra": {"region_name": "us-east-1"}}'
        ) from None
    extra = connection.get("extra", {})
    session = boto3.Session(
        aws_access_key_id=connection.get("login"),
        aws_secret_access_key=connection.get("password"),
        region_name=extra.get("region_name", environ.get("AWS_DEFAULT_REGION", REGION)),
    )
    return session.client(
        "s3", endpoint_url=extra.get("endpoint_url") or environ.get("AWS_ENDPOINT_URL")
    )


def without_aws(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment less whatever could lead a client to another AWS or another account."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("AWS_") and name not in _NAMED_BY
    }


def airflow(root: Path, home: Path) -> dict[str, str]:
    """Variables of an Airflow that lives in `home` and runs the DAGs of the checkout `root`."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database(home)}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Workers are forked in advance; the default of 32 would hold 300 MB for nothing.
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Fast triggers race with the LocalExecutor (apache/airflow#72716).
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "False",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "FMREC_CACHE_DIR": os.environ.get("FMREC_CACHE_DIR") or str(state_folder(root) / "cache"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(root / "plugins"),
        "PYTHONUNBUFFERED": "1",
    }


def database(home: Path) -> Path:
    """The SQLite file of the Airflow that lives in `home`."""
    return home / "airflow.db"
