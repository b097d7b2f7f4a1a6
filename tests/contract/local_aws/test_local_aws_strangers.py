"""What a web page of somebody else can make a browser on this machine send."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example:5566",
    "http://127.0.0.1@evil.example",
    "http://evil.example/127.0.0.1",
    "http://bucket.localhost",
    "http://10.0.0.1",
    "file://localhost",
    "http://127.0.0.1, https://evil.example",
]
LOCAL_ORIGINS = [
    "http://127.0.0.1",
    "http://127.0.0.1:8080",
    "https://localhost:8443",
    "http://LOCALHOST",
    "http://[::1]:8080",
]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:5566",
    "localhost.evil.example",
    "evillocalhost",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "s3.amazonaws.com",
    "0.0.0.0",  # noqa: S104
    "192.168.0.1:5566",
    "",
]
LOCAL_HOSTS = [
    "127.0.0.1",
    "localhost:5566",
    "LocalHost",
    "[::1]:5566",
    "127.0.0.2",
    "bucket.localhost:5566",
]


def send(server, method: str, path: str, headers: dict[str, str], body: bytes = b""):
    """Send exactly these headers; return the status, the answer's headers and its text."""
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": address.netloc, **headers}.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def buckets(server) -> list[str]:
    return [bucket["Name"] for bucket in server.client("s3").list_buckets()["Buckets"]]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_page_changes_nothing(server, origin):
    name = "made-by-a-page"
    status, _, text = send(server, "PUT", f"/{name}", {"Origin": origin})
    assert (status, name in buckets(server)) == (403, False)
    assert "<Code>AccessDenied</Code>" in text
    assert "Origin" in text


def test_a_preflight_of_a_foreign_page_allows_nothing(server):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    status, headers, _ = send(server, "OPTIONS", "/bucket", asked)
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control")]


def test_a_foreign_page_starts_no_job(server, bucket, name, training_request):
    request = json.dumps(training_request(name, bucket)).encode()
    target = {"X-Amz-Target": "SageMaker.CreateTrainingJob"}
    foreign = {**target, "Origin": "https://evil.example"}
    status, headers, text = send(server, "POST", "/", foreign, request)
    assert (status, headers["x-amzn-ErrorType"]) == (403, "AccessDeniedException")
    assert json.loads(text)["__type"] == "AccessDeniedException"
    with pytest.raises(ClientError, match="not found"):
        server.client("sagemaker").describe_training_job(TrainingJobName=name)


@pytest.mark.parametrize("origin", LOCAL_ORIGINS)
def test_a_page_of_this_machine_is_answered(server, bucket, origin):
    assert send(server, "PUT", f"/{bucket}/key", {"Origin": origin}, b"x")[0] == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_name_that_leads_here_is_refused(server, s3, bucket, host):
    """DNS rebinding: the browser takes the page and this server for one site."""
    s3.put_object(Bucket=bucket, Key="key", Body=b"secret")
    status, _, text = send(server, "GET", f"/{bucket}/key", {"Host": host})
    assert status == 403
    assert "--allow-remote" in text
    assert "secret" not in text
    assert send(server, "HEAD", f"/{bucket}/key", {"Host": host})[::2] == (403, "")


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_every_name_of_this_machine_is_answered(server, host):
    assert send(server, "GET", "/", {"Host": host})[0] != 403


@pytest.mark.parametrize(
    "request_lines",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_a_host_that_is_missing_or_doubtful_is_refused(server, request_lines):
    address = urllib.parse.urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request_lines)
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"403"


def test_markup_in_a_header_is_not_given_back(server):
    text = send(server, "GET", "/", {"Origin": "<script>alert(1)</script>"})[2]
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("s3", "list_buckets", "AccessDenied"),
        ("iam", "list_roles", "AccessDenied"),
        ("sts", "get_caller_identity", "AccessDenied"),
        ("logs", "describe_log_groups", "AccessDeniedException"),
        ("sagemaker", "list_models", "AccessDeniedException"),
    ],
)
def test_clients_understand_the_refusal(server, service, operation, code):
    client = server.client(service)
    client.meta.events.register(
        "before-sign", lambda request, **_: request.headers.add_header("Host", "evil.example")
    )
    with pytest.raises(ClientError) as error:
        getattr(client, operation)()
    assert error.value.response["Error"]["Code"] == code
    assert "'evil.example'" in error.value.response["Error"]["Message"]


def test_a_signed_address_opens_in_the_browser(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="report.html", Body=b"<p>report", ContentType="text/html")
    address = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "report.html"}
    )
    with urllib.request.urlopen(address) as response:
        assert (response.read(), response.headers["Content-Type"]) == (b"<p>report", "text/html")


def test_a_remote_server_has_any_address_but_still_serves_no_foreign_page(tmp_path, start):
    with start(tmp_path, "--allow-remote") as server:
        assert send(server, "GET", "/", {"Host": "10.1.2.3:5566"})[0] == 200
        foreign = {"Host": "10.1.2.3:5566", "Origin": "https://evil.example"}
        assert send(server, "PUT", "/bucket", foreign)[0] == 403
        assert buckets(server) == []
