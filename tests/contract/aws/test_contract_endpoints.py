"""Endpoints and InvokeEndpoint as SageMaker documents them, on the local AWS or on AWS."""

from __future__ import annotations

import json
import threading
import time
import uuid

import contract_rows
import numpy as np
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

JSON, LINES = "application/json", "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
MOST_BYTES = 6_291_456  # of a body, as documented


def refusal(call, **parameters) -> ClientError:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value


def said(error: ClientError) -> tuple[str, str]:
    return error.response["Error"]["Code"], error.response["Error"]["Message"]


@pytest.fixture(scope="module")
def configuration(sagemaker, session_cleaner):
    """Make endpoint configurations of one variant for each model that is named."""

    def make(*models: str, weights=None) -> str:
        name = f"fmrec-{uuid.uuid4().hex[:12]}"
        session_cleaner.call("delete_endpoint_config", EndpointConfigName=name)
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": f"variant-{number}",
                    "ModelName": model,
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                    "InitialVariantWeight": weights[number] if weights else 1,
                }
                for number, model in enumerate(models)
            ],
        )
        return name

    return make


@pytest.fixture(scope="module")
def in_service(sagemaker, wait):
    """Wait until an endpoint is InService and return its description."""

    def until(name: str) -> dict:
        def look() -> dict | None:
            found = sagemaker.describe_endpoint(EndpointName=name)
            assert found["EndpointStatus"] != "Failed", found.get("FailureReason")
            return found if found["EndpointStatus"] == "InService" else None

        return wait(look)

    return until


@pytest.fixture(scope="module")
def endpoint(sagemaker, model_name, configuration, in_service, session_cleaner):
    """An endpoint of one variant, InService."""
    name = f"fmrec-{uuid.uuid4().hex[:12]}"
    session_cleaner.call("delete_endpoint", EndpointName=name)
    made = sagemaker.create_endpoint(
        EndpointName=name, EndpointConfigName=configuration(model_name)
    )
    assert made["EndpointArn"].endswith(f":endpoint/{name}")
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in (
        "Creating",
        "InService",
    )
    in_service(name)
    return name


def predictions(answer) -> np.ndarray:
    assert answer["ContentType"] == JSON
    found = json.loads(answer["Body"].read())["predictions"]
    assert all(set(each) == {"score", "predicted_label"} for each in found)
    return np.array([each["score"] for each in found])


def test_an_endpoint_tells_what_it_serves(sagemaker, endpoint, model_name):
    told = sagemaker.describe_endpoint(EndpointName=endpoint)
    (variant,) = told["ProductionVariants"]
    assert variant["VariantName"] == "variant-0"
    for member in ("CurrentWeight", "DesiredWeight", "CurrentInstanceCount"):
        assert variant[member] == 1
    assert told["CreationTime"] <= told["LastModifiedTime"]
    configuration = sagemaker.describe_endpoint_config(
        EndpointConfigName=told["EndpointConfigName"]
    )
    assert configuration["ProductionVariants"][0]["ModelName"] == model_name
    (listed,) = sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"]
    assert (listed["EndpointName"], listed["EndpointStatus"]) == (endpoint, "InService")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 1})


@pytest.mark.parametrize("form", ["sparse", "dense", "nested", "recordio"])
def test_every_format_of_a_request_gives_the_models_scores(runtime, endpoint, trained, form):
    features, _ = contract_rows.rows(5, 9)
    content_type = JSON
    if form == "sparse":
        body = json.dumps(contract_rows.sparse_json(features))
    elif form == "dense":
        body = json.dumps(contract_rows.dense_json(features))
    elif form == "nested":
        rows = [{"data": {"features": {"values": row.tolist()}}} for row in features.toarray()]
        body = json.dumps({"instances": rows})
    else:
        body, content_type = contract_rows.records(features), RECORDIO
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType=content_type, Accept=JSON
    )
    assert answer["InvokedProductionVariant"] == "variant-0"
    expected = contract_rows.probabilities(trained.archive, features)
    assert predictions(answer) == pytest.approx(expected, abs=1e-5)


def test_every_format_of_an_answer_says_the_same(runtime, endpoint, trained):
    features, _ = contract_rows.rows(6, 5)
    body = json.dumps(contract_rows.sparse_json(features))
    expected = contract_rows.probabilities(trained.archive, features)

    def ask(**accept: str):
        return runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType=JSON, **accept)

    assert predictions(ask()) == pytest.approx(expected, abs=1e-5)
    lines = ask(Accept=LINES)
    assert lines["ContentType"] == LINES
    found = [json.loads(line) for line in lines["Body"].read().splitlines()]
    assert [each["score"] for each in found] == pytest.approx(expected, abs=1e-5)
    binary = ask(Accept=RECORDIO)
    assert binary["ContentType"] == RECORDIO
    labels = contract_rows.labels_of(binary["Body"].read())
    assert [each["score"] for each in labels] == [
        [pytest.approx(value, abs=1e-5)] for value in expected
    ]
    assert [each["predicted_label"] for each in labels] == [
        [float(value >= 0.5)] for value in expected
    ]


def test_the_model_refuses_in_its_own_words(runtime, endpoint):
    short = json.dumps({"instances": [{"features": [1.0, 2.0]}]})
    error = refusal(runtime.invoke_endpoint, EndpointName=endpoint, Body=short, ContentType=JSON)
    code, message = said(error)
    assert code == "ModelError"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error.response["OriginalStatusCode"] == 400
    assert message.startswith("Received client error (400) from ")
    assert error.response["OriginalMessage"] in message
    # FM takes no CSV.
    error = refusal(
        runtime.invoke_endpoint, EndpointName=endpoint, Body="1,2", ContentType="text/csv"
    )
    assert said(error)[0] == "ModelError"
    assert error.response["OriginalStatusCode"] == 415


def test_requests_that_reach_no_model(runtime, endpoint):
    absent = f"{endpoint}-never"
    code, message = said(
        refusal(runtime.invoke_endpoint, EndpointName=absent, Body=b"{}", ContentType=JSON)
    )
    assert code == "ValidationError"
    assert message.startswith(f"Endpoint {absent} of account ")
    assert message.endswith(" not found.")
    error = refusal(
        runtime.invoke_endpoint,
        EndpointName=endpoint,
        Body=b" " * (MOST_BYTES + 1),
        ContentType=JSON,
    )
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    code, _ = said(
        refusal(
            runtime.invoke_endpoint,
            EndpointName=endpoint,
            Body=b"{}",
            ContentType=JSON,
            TargetVariant="no-such-variant",
        )
    )
    assert code == "ValidationError"


def test_the_largest_body_reaches_the_model(runtime, endpoint, trained):
    features, _ = contract_rows.rows(5, 2)
    body = json.dumps(contract_rows.sparse_json(features)).encode()
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body + b" " * (MOST_BYTES - len(body)), ContentType=JSON
    )
    expected = contract_rows.probabilities(trained.archive, features)
    assert predictions(answer) == pytest.approx(expected, abs=1e-5)


def test_the_server_of_the_model_logs(logs, endpoint, wait):
    group = f"/aws/sagemaker/Endpoints/{endpoint}"

    def streams() -> list[str]:
        try:
            found = logs.describe_log_streams(logGroupName=group)["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [item["logStreamName"] for item in found]

    assert all(stream.startswith("variant-0/") for stream in wait(streams))


def test_names_are_taken_once_and_what_is_missing_is_named(
    sagemaker, endpoint, configuration, model_name
):
    told = sagemaker.describe_endpoint(EndpointName=endpoint)
    arn, config = told["EndpointArn"], told["EndpointConfigName"]
    config_arn = sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    error = refusal(sagemaker.create_endpoint, EndpointName=endpoint, EndpointConfigName=config)
    # The provider's operator reads these words and updates the endpoint instead.
    assert said(error) == (
        "ValidationException",
        f'Cannot create already existing endpoint "{arn}".',
    )
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    error = refusal(
        sagemaker.create_endpoint_config, EndpointConfigName=config, ProductionVariants=variants
    )
    assert said(error) == (
        "ValidationException",
        f'Cannot create already existing endpoint configuration "{config_arn}".',
    )
    absent = f"{endpoint}-never"
    error = refusal(sagemaker.describe_endpoint, EndpointName=absent)
    assert said(error) == (
        "ValidationException",
        f'Could not find endpoint "{arn}-never".',
    )
    for call, parameters, noun in (
        (sagemaker.delete_endpoint, {"EndpointName": absent}, "endpoint"),
        (
            sagemaker.create_endpoint,
            {"EndpointName": absent, "EndpointConfigName": absent},
            "endpoint configuration",
        ),
        (
            sagemaker.describe_endpoint_config,
            {"EndpointConfigName": absent},
            "endpoint configuration",
        ),
    ):
        code, message = said(refusal(call, **parameters))
        assert code == "ValidationException"
        assert message.startswith(f'Could not find {noun} "arn:'), message
    code, message = said(
        refusal(
            sagemaker.create_endpoint_config,
            EndpointConfigName=absent,
            ProductionVariants=[{**variants[0], "ModelName": absent}],
        )
    )
    assert (code, message.startswith('Could not find model "arn:')) == ("ValidationException", True)


def test_an_update_leaves_no_gap_and_weights_can_be_moved(
    sagemaker, runtime, endpoint, configuration, model_name, in_service
):
    """Invocations never fail while the endpoint gets a second variant, and then other weights."""
    body = json.dumps(contract_rows.sparse_json(contract_rows.rows(5, 2)[0]))
    failures, done = [], threading.Event()

    def invoke(**more: str) -> str:
        return runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType=JSON, **more)[
            "InvokedProductionVariant"
        ]

    def keep_asking() -> None:
        while not done.is_set():
            try:
                invoke()
            except ClientError as error:
                failures.append(error)
            time.sleep(0.01)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=configuration(model_name, model_name, weights=(0, 1)),
        )
        status = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
        assert status in ("Updating", "InService")
        told = in_service(endpoint)
    finally:
        done.set()
        asking.join()
    assert failures == []
    weights = {each["VariantName"]: each["CurrentWeight"] for each in told["ProductionVariants"]}
    assert weights == {"variant-0": 0, "variant-1": 1}
    assert {invoke() for _ in range(5)} == {"variant-1"}
    assert invoke(TargetVariant="variant-0") == "variant-0"
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[
            {"VariantName": "variant-0", "DesiredWeight": 1},
            {"VariantName": "variant-1", "DesiredWeight": 0},
        ],
    )
    told = in_service(endpoint)
    weights = {each["VariantName"]: each["CurrentWeight"] for each in told["ProductionVariants"]}
    assert weights == {"variant-0": 1, "variant-1": 0}
    assert {invoke() for _ in range(5)} == {"variant-0"}


def test_autoscaling_is_told_of_the_variant(target, endpoint, in_service):
    in_service(endpoint)
    scaling = target.client("application-autoscaling")
    variant = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/variant-0",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**variant, MinCapacity=1, MaxCapacity=2)
    try:
        scaling.put_scaling_policy(
            **variant,
            PolicyName="keep-up",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 70.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                },
            },
        )
        found = scaling.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[variant["ResourceId"]]
        )["ScalableTargets"]
        assert [(each["MinCapacity"], each["MaxCapacity"]) for each in found] == [(1, 2)]
    finally:
        scaling.deregister_scalable_target(**variant)


def test_data_capture(
    target, sagemaker, runtime, s3, cleaner, wait, in_service, model_name, trained, name, prefix
):
    """Requests and answers are written as JSON lines below <destination>/<endpoint>/<variant>/."""
    cleaner.call("delete_endpoint_config", EndpointConfigName=name)
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "only",
                "ModelName": model_name,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{target.bucket}/{prefix}captured",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": [JSON]},
        },
    )
    cleaner.call("delete_endpoint", EndpointName=name)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    in_service(name)
    body = json.dumps(contract_rows.sparse_json(contract_rows.rows(5, 2)[0]))
    answer = runtime.invoke_endpoint(
        EndpointName=name, Body=body, ContentType=JSON, InferenceId="mine"
    )["Body"].read()

    def captured() -> list[dict]:
        found = s3.list_objects_v2(
            Bucket=target.bucket, Prefix=f"{prefix}captured/{name}/only/"
        ).get("Contents", [])
        assert all(item["Key"].endswith(".jsonl") for item in found)
        return [
            json.loads(line)
            for item in found
            for line in s3.get_object(Bucket=target.bucket, Key=item["Key"])["Body"]
            .read()
            .splitlines()
        ]

    (event,) = wait(captured)
    told = event["captureData"]
    assert told["endpointInput"]["data"] == body
    assert told["endpointInput"]["observedContentType"] == JSON
    assert told["endpointInput"]["mode"] == "INPUT"
    assert told["endpointInput"]["encoding"] == "JSON"
    assert told["endpointOutput"]["data"].encode() == answer
    assert event["eventMetadata"]["inferenceId"] == "mine"
    assert event["eventVersion"] == "0"


def test_an_endpoint_that_was_deleted_is_gone(
    sagemaker, runtime, model_name, configuration, in_service, cleaner, wait, name
):
    config = configuration(model_name)
    cleaner.call("delete_endpoint", EndpointName=name)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    in_service(name)
    sagemaker.delete_endpoint(EndpointName=name)

    def gone() -> bool:
        try:
            status = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
        except ClientError as error:
            assert said(error)[0] == "ValidationException"
            return True
        assert status == "Deleting"
        return False

    assert wait(gone)
    code, _ = said(
        refusal(runtime.invoke_endpoint, EndpointName=name, Body=b"{}", ContentType=JSON)
    )
    assert code == "ValidationError"
    assert sagemaker.list_endpoints(NameContains=name)["Endpoints"] == []
    # Its configuration stays until it is deleted itself.
    (kept,) = sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"]
    assert kept["EndpointConfigName"] == config
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"] == []
