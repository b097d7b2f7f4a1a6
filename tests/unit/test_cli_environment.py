"""No variable of a developer's shell leads a laptop run to another AWS or another Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fmrec.cli import environment
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.settings import Deployment

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_ENDPOINT_URL_S3": "https://s3.amazonaws.com",
    "AWS_CONFIG_FILE": "/home/me/.aws/config",
    "AIRFLOW_CONN_CORP": '{"conn_type": "aws", "login": "AKIAREAL"}',
    "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
    "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": "s3://corp/logs",
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "PYTHONPATH": "/junk",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, False),
        ({"AWS_PROFILE": "production", "AWS_ACCESS_KEY_ID": "AKIAREAL"}, False),
        ({"AWS_ENDPOINT_URL": ""}, False),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:5566"}, True),
        ({"AIRFLOW_CONN_AWS_DEFAULT": "aws://"}, True),
    ],
)
def test_credentials_name_no_aws(environ: dict[str, str], named: bool) -> None:
    assert environment.names_an_aws(environ) is named


def test_isolation_forgets_everything_that_could_lead_elsewhere(tmp_path: Path) -> None:
    os.environ.update(HOSTILE)
    environment.isolate()
    assert [name for name in os.environ if name.startswith(("AWS_", "AIRFLOW_"))] == []
    assert Path(os.environ["PYTHONPATH"], "fmrec").is_dir()
    made = (
        dict(os.environ)
        | environment.local_aws("http://127.0.0.1:5566")
        | environment.airflow(tmp_path, tmp_path / "home")
    )
    assert made["AWS_ACCESS_KEY_ID"] == made["AWS_SECRET_ACCESS_KEY"] == "local"
    assert made["AWS_ENDPOINT_URL"] == "http://127.0.0.1:5566"
    assert made["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert made["AIRFLOW__LOGGING__REMOTE_LOGGING"] == "False"
    for name, value in HOSTILE.items():
        assert made.get(name) != value or "proxy" in name.lower(), name


WHERE = """
import os
from fmrec.cli import environment
from fmrec.settings import Deployment
environment.isolate()
os.environ.update(environment.without_proxy(os.environ))
made = os.environ | environment.local_aws("http://127.0.0.1:9")
import boto3.session
real = boto3.session.Session.client
def client(self, *args, **kwargs):
    made = real(self, *args, **kwargs)
    keys = self.get_credentials()
    print(made.meta.endpoint_url, keys.access_key, keys.secret_key)
    raise SystemExit
boto3.session.Session.client = client
environment.make_bucket(made)
"""


def test_the_command_line_s_own_client_goes_to_this_machine_with_keys_of_no_worth() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WHERE],
        env=os.environ | HOSTILE,
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.split() == ["http://127.0.0.1:9", "local", "local"]


def test_a_local_endpoint_needs_no_more_than_its_address() -> None:
    given = {"AWS_ENDPOINT_URL": "http://127.0.0.1:5566", "FMREC_BUCKET": "mine"}
    os.environ["AWS_PROFILE"] = "nonexistent"
    made = environment.named_aws(given)
    assert Deployment.of(made).bucket == "mine"
    assert Deployment.of(made).role_arn.startswith("arn:aws:iam::")
    assert "AWS_PROFILE" not in made


def test_a_remote_aws_must_be_told_its_bucket_and_role() -> None:
    given = {"AWS_ENDPOINT_URL": "https://example.com", "AWS_ACCESS_KEY_ID": "x"}
    assert environment.named_aws(given) == given
    with pytest.raises(ConfigurationError, match="FMREC_BUCKET is not set"):
        Deployment.of(environment.named_aws(given))


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigurationError, match="'localhost:5566' is no address like http://"):
        environment.named_aws({"AWS_ENDPOINT_URL": "localhost:5566"})


def test_a_local_aws_that_does_not_answer_is_named_with_what_to_do() -> None:
    with pytest.raises(FmrecError, match=r"no local AWS answers at http://127.0.0.1:9 .*start"):
        environment.make_bucket(environment.local_aws("http://127.0.0.1:9"))


@pytest.mark.parametrize("name", ["a%2Fb", "a?b", "a#b"])
def test_a_state_folder_that_no_database_address_can_hold(tmp_path: Path, name: str) -> None:
    os.environ["FMREC_STATE_DIR"] = str(tmp_path / name)
    with pytest.raises(ConfigurationError, match="set FMREC_STATE_DIR to another folder"):
        environment.state_folder(tmp_path)
    os.environ["FMREC_STATE_DIR"] = str(tmp_path / "a b")
    assert environment.state_folder(tmp_path).is_dir()


def test_no_bucket_is_made_beyond_this_machine() -> None:
    """Were a client made for this endpoint, the missing keys would raise."""
    environment.make_bucket({"AWS_ENDPOINT_URL": "https://example.com"})


def test_a_proxy_is_kept_from_this_machine_and_keeps_its_exemptions() -> None:
    made = environment.without_proxy({"NO_PROXY": "corp.example"})
    assert made["no_proxy"] == made["NO_PROXY"] == "corp.example,127.0.0.1,localhost"
    assert environment.without_proxy({})["no_proxy"] == "127.0.0.1,localhost"
