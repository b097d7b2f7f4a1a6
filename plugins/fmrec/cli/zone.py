"""The bucket that commands on the landing zone and on published runs work on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import boto3

from fmrec.cli import environment, stack
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.settings import Deployment
from fmrec.store import Store


def open_store() -> tuple[Store, Deployment]:
    """The store that the environment names, else the one of the local AWS that `up` started.

    Raises FmrecError when there is neither, or none answers.
    """
    environ = _environ()
    deployment = Deployment.of(environ)
    if environ.get("AWS_ENDPOINT_URL"):
        environment.make_bucket(environ)
    return Store(_client("s3", environ), deployment.bucket), deployment


def client(service: str) -> Any:
    """A client of another service of the same AWS."""
    return _client(service, _environ())


def _client(service: str, environ: Mapping[str, str]) -> Any:
    session: Any = boto3.Session(
        aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environ.get("AWS_SESSION_TOKEN"),
        region_name=Deployment.of(environ).region,
    )
    return session.client(service, endpoint_url=environ.get("AWS_ENDPOINT_URL"))


def _environ() -> dict[str, str]:
    if environment.names_an_aws(os.environ):
        return environment.named_aws(os.environ | _connection(os.environ))
    address = stack.local_aws_address()
    if address is None:
        raise FmrecError(
            "there is no AWS to work on: start the local one with `make up`, or name one with "
            "AWS_ENDPOINT_URL"
        )
    environment.isolate()
    cache = environment.state_folder(environment.checkout()) / "cache"
    return {"FMREC_CACHE_DIR": str(cache)} | os.environ | environment.local_aws(address)


def _connection(environ: Mapping[str, str]) -> dict[str, str]:
    """What Airflow's connection says of the AWS, where the environment itself says nothing."""
    text = environ.get("AIRFLOW_CONN_AWS_DEFAULT")
    if environ.get("AWS_ENDPOINT_URL") or not text:
        return {}
    try:
        connection: dict[str, Any] = json.loads(text)
        extra = connection.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
    except (ValueError, AttributeError):
        raise ConfigurationError(
            "AIRFLOW_CONN_AWS_DEFAULT is not JSON, the only form that this command reads: write it "
            "so, or name the AWS with AWS_ENDPOINT_URL"
        ) from None
    named = {
        "AWS_ENDPOINT_URL": extra.get("endpoint_url"),
        "AWS_DEFAULT_REGION": extra.get("region_name"),
        "AWS_ACCESS_KEY_ID": connection.get("login"),
        "AWS_SECRET_ACCESS_KEY": connection.get("password"),
    }
    return {name: str(value) for name, value in named.items() if value}
