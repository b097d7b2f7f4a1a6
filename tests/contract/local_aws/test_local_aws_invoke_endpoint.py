from __future__ import annotations

import base64
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from endpoint_hosting import ACCOUNT, Hosting, captured, refusal, variant, wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosting(server):
    return Hosting(server)


def test_variants_share_the_requests_by_weight(hosting):
    red, blue = (hosting.model(SAY=word) for word in ("red", "blue"))
    endpoint = hosting.deploy(
        hosting.config(
            variant(red, "red", InitialVariantWeight=3),
            variant(blue, "blue", InitialVariantWeight=1),
        )
    )
    told = Counter(hosting.said(endpoint) for _ in range(400))
    # Four standard deviations of a binomial draw with 3/4: a failure in 16,000 runs.
    assert abs(told["red"] - 300) < 35
    assert {hosting.said(endpoint, TargetVariant="blue") for _ in range(10)} == {"blue"}
    code, message = refusal(
        hosting.runtime.invoke_endpoint, EndpointName=endpoint, Body=b"", TargetVariant="green"
    )
    assert code == "ValidationError"
    assert "green" in message
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[
            {"VariantName": "red", "DesiredWeight": 0, "DesiredInstanceCount": 1},
            {"VariantName": "blue", "DesiredWeight": 5, "DesiredInstanceCount": 2},
        ],
    )
    described = hosting.settled(endpoint)
    shown = {item["VariantName"]: item for item in described["ProductionVariants"]}
    assert shown["red"]["CurrentWeight"] == 0
    assert (shown["blue"]["CurrentWeight"], shown["blue"]["CurrentInstanceCount"]) == (5, 2)
    assert {hosting.said(endpoint) for _ in range(30)} == {"blue"}
    assert hosting.said(endpoint, TargetVariant="red") == "red"
    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(lambda _: hosting.ask(endpoint), range(40)))
    assert len(answers) == 2  # both servers of blue

    # An update may keep what was changed since.
    config = hosting.config(variant(red, "red"), variant(blue, "blue"))
    hosting.sagemaker.update_endpoint(
        EndpointName=endpoint,
        EndpointConfigName=config,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    described = hosting.settled(endpoint)
    shown = {item["VariantName"]: item for item in described["ProductionVariants"]}
    assert (shown["blue"]["CurrentWeight"], shown["blue"]["CurrentInstanceCount"]) == (5, 1)
    hosting.delete(endpoint)


def test_errors_of_the_model(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model())))
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    for body, culprit, status in ((b"4", "client", 400), (b"5", "server", 500)):
        with pytest.raises(hosting.runtime.exceptions.ModelError) as error:
            hosting.ask(endpoint, body)
        told = error.value.response
        assert told["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert (told["OriginalStatusCode"], told["OriginalMessage"]) == (status, "refused\n")
        assert told["LogStreamArn"] == f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}"
        assert told["Error"]["Message"] == (
            f'Received {culprit} error ({status}) from primary with message "refused\n". See '
            "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"
            f"#logEventViewer:group={group} in account {ACCOUNT} for more information."
        )
    with pytest.raises(hosting.runtime.exceptions.ModelError) as error:
        hosting.ask(endpoint, b"x")  # the process ends
    assert error.value.response["OriginalStatusCode"] == 0
    assert "the model process exited" in error.value.response["OriginalMessage"]
    assert hosting.ask(endpoint, b"abc") == "3\n"

    logs = hosting.server.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert re.fullmatch(r"AllTraffic/i-[0-9a-f]{17}", stream["logStreamName"])
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])
    assert [event["message"] for event in events["events"]] == ["serving ['weights']"] * 2
    hosting.delete(endpoint)


def test_bodies_and_headers(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(TELL_HEADERS="1"))))
    told = json.loads(
        hosting.ask(endpoint, b"abc", ContentType="text/csv", Accept="application/jsonlines")
    )
    assert told["Content-Type"] == "text/csv"
    assert told["Accept"] == "application/jsonlines"
    answer = hosting.runtime.invoke_endpoint(
        EndpointName=endpoint, Body=b"abc", CustomAttributes="trace=1"
    )
    assert answer["CustomAttributes"] == "TRACE=1"
    assert answer["Body"].read()
    largest = 6_291_456
    assert json.loads(hosting.ask(endpoint, bytes(largest)))["bytes"] == largest
    code, message = refusal(
        hosting.runtime.invoke_endpoint, EndpointName=endpoint, Body=bytes(largest + 1)
    )
    assert (code, message) == ("413", f"HTTP content length exceeded {largest} bytes.")
    # The connection of the refused request is in order.
    assert json.loads(hosting.ask(endpoint, b""))["bytes"] == 0
    for member in ("TargetModel", "InferenceComponentName", "SessionId"):
        code, message = refusal(
            hosting.runtime.invoke_endpoint, EndpointName=endpoint, Body=b"", **{member: "x"}
        )
        assert code == "ValidationError"
        assert f"does not implement {member}" in message
    code, message = refusal(
        hosting.runtime.invoke_endpoint_async, EndpointName=endpoint, InputLocation="s3://b/k"
    )
    assert (code, "InvokeEndpointAsync" in message) == ("NotImplementedException", True)
    code, message = refusal(
        hosting.runtime.invoke_endpoint_with_response_stream, EndpointName=endpoint, Body=b""
    )
    assert code == "NotImplementedException"
    assert "InvokeEndpointWithResponseStream" in message
    hosting.delete(endpoint)


def test_eight_threads_get_the_answers_to_what_they_asked(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(), servers=2)))
    sizes = [7 * number % 997 + 1 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda size: hosting.ask(endpoint, b"a" * size), sizes))
    assert answers == [f"{size}\n" for size in sizes]
    hosting.delete(endpoint)


def test_data_capture(hosting):
    config = hosting.config(
        variant(hosting.model(CONTENT_TYPE="application/json; charset=utf-8")),
        DataCaptureConfig={
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{hosting.bucket}/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        },
    )
    endpoint = hosting.deploy(config)
    assert hosting.settled(endpoint)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosting.bucket}/capture/",
        "KmsKeyId": "",
    }
    hosting.ask(endpoint, b"1,2", ContentType="text/csv", InferenceId="first")
    hosting.ask(endpoint, b"\x00\xff", ContentType="application/x-recordio-protobuf")
    with pytest.raises(ClientError):
        hosting.ask(endpoint, b"4", ContentType="text/csv")
    prefix = f"capture/{endpoint}/AllTraffic/"
    (first_key, first), (_, second) = wait_for(
        lambda: (found := captured(hosting, prefix))[1:] and found
    )
    assert re.fullmatch(
        prefix + r"\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", first_key
    )
    event = first["eventMetadata"]
    assert event.pop("eventId") != second["eventMetadata"]["eventId"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("inferenceTime"))
    assert first == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "application/json; charset=utf-8",
                "mode": "OUTPUT",
                "data": "3\n",
                "encoding": "JSON",
            },
        },
        "eventMetadata": {"inferenceId": "first"},
        "eventVersion": "0",
    }
    assert second["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(second["captureData"]["endpointInput"]["data"]) == b"\x00\xff"
    hosting.delete(endpoint)
