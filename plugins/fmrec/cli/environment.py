"""The local profile, in one place: the variables that point Airflow and boto3 at this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fmrec.errors import ConfigurationError, FmrecError
from fmrec.settings import Deployment

REGION = "us-east-1"
LOOPBACK = ("127.0.0.1", "localhost")
_BUCKET = "fmrec"
_IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/fmrec-fm:local"
_ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
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
    folder = Path(os.environ.get("FMREC_STATE_DIR") or root / "var").absolute()
    if set("%?#") & set(str(folder)):
        raise ConfigurationError(
            f"the state folder {folder} has a %, ? or # in its path, which has a meaning in the "
            "address of a database; set FMREC_STATE_DIR to another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {folder} cannot be made ({error}); set FMREC_STATE_DIR to another"
        ) from None
    return folder


def names_an_aws(environ: Mapping[str, str]) -> bool:
    """Whether the environment says which AWS to use; else a private local one is started.

    Credentials alone say nothing: a laptop often has some, and a demonstration must not
    spend money with them.
    """
    return any(environ.get(name) for name in _NAMED_BY)


def isolate() -> None:
    """Forget, in this process and all it starts, whatever could lead to another AWS or Airflow.

    Connections, remote logging, an executor, a profile, modules of the same names: a developer's
    shell may hold any of them.
    """
    for name in list(os.environ):
        if name.startswith(("AWS_", "AIRFLOW_", "PYTHON")):
            del os.environ[name]
    os.environ["PYTHONPATH"] = str(checkout() / "plugins")
    os.environ.update(without_proxy(os.environ))


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
        "FMREC_BUCKET": _BUCKET,
        "FMREC_ROLE_ARN": _ROLE,
        "FMREC_IMAGE_URI": _IMAGE,
        "FMREC_POLL_SECONDS": "1",
        # Nothing here is short of capacity, so nothing is gained by waiting.
        "FMREC_RETRY_SECONDS": os.environ.get("FMREC_RETRY_SECONDS") or "5",
    }


def named_aws(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the AWS that `environ` names.

    An endpoint on this machine is a local AWS: it needs no more than its address, and nothing
    that could lead elsewhere stays. Raises ConfigurationError for an address that is none.
    """
    endpoint = environ.get("AWS_ENDPOINT_URL", "")
    if endpoint and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise ConfigurationError(
            f"AWS_ENDPOINT_URL: {endpoint!r} is no address like http://127.0.0.1:5566"
        )
    if urlsplit(endpoint).hostname not in LOOPBACK:
        return dict(environ)
    given = {name: environ[name] for name in local_aws(endpoint) if environ.get(name)}
    isolate()
    return os.environ | local_aws(endpoint) | given


def make_bucket(environ: Mapping[str, str]) -> None:
    """Make the bucket of a local AWS, unless it is there. Raises FmrecError when none answers.

    The client takes nothing from this process's own environment: endpoint and keys are `environ`'s.
    """
    endpoint = environ["AWS_ENDPOINT_URL"]
    if urlsplit(endpoint).hostname not in LOOPBACK:
        return
    client = boto3.Session(
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_DEFAULT_REGION"],
    ).client("s3", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 2}))
    bucket = Deployment.of(environ).bucket
    try:
        if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise FmrecError(
            f"no local AWS answers at {endpoint} ({error}); start one with "
            "`python -m fmrec.local_aws`, or unset AWS_ENDPOINT_URL"
        ) from None


def airflow(root: Path, home: Path) -> dict[str, str]:
    """Variables of an Airflow that lives in `home` and runs the DAGs of the checkout `root`."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database(home)}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "fmrec.cli.sqlite_writers.CONNECT_ARGS",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Workers are forked in advance; the default of 32 would hold 300 MB for nothing.
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Fast triggers race with the LocalExecutor (apache/airflow#72716).
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "False",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        # A changed DAG file is read at once. Others are read anew because what they import may have
        # changed, at a second of work each.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
        # On two busy cores an answer takes its time.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "15",
        # A killed worker is noticed after half a minute instead of five minutes (tasks tell every 5
        # seconds that they live), and so are the tasks of a killed scheduler.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__LOGGING__REMOTE_LOGGING": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "FMREC_CACHE_DIR": os.environ.get("FMREC_CACHE_DIR") or str(state_folder(root) / "cache"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(root / "plugins"),
        "PYTHONUNBUFFERED": "1",
        **without_proxy(os.environ),
    }


def without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep calls to this machine away from a proxy, whatever else they exempt."""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = ",".join([*filter(None, [exempt]), *LOOPBACK])
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def database(home: Path) -> Path:
    """The SQLite file of the Airflow that lives in `home`."""
    return home / "airflow.db"
