from __future__ import annotations

import json
import os
import signal

import pytest
from endpoint_hosting import (
    ACCOUNT,
    ARN,
    UNHEALTHY,
    Hosting,
    Traffic,
    refusal,
    running,
    variant,
    wait_for,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosting(server):
    return Hosting(server)


def test_the_life_of_an_endpoint(hosting):
    first = hosting.config(variant(hosting.model(SAY="one")))
    second = hosting.config(variant(hosting.model(SAY="two", LATE="0.5")))
    endpoint = hosting.create(first, Tags=[{"Key": "stage", "Value": "test"}])
    hosting.sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=endpoint, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    described = hosting.settled(endpoint)
    assert described["EndpointArn"] == f"{ARN}:endpoint/{endpoint}"
    assert described["EndpointConfigName"] == first
    assert "FailureReason" not in described
    assert "PendingDeploymentSummary" not in described
    (shown,) = described["ProductionVariants"]
    (image,) = shown.pop("DeployedImages")
    assert image["SpecifiedImage"] == "toy"
    assert shown == {
        "VariantName": "AllTraffic",
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 1,
    }
    tags = hosting.sagemaker.list_tags(ResourceArn=described["EndpointArn"])["Tags"]
    assert tags == [{"Key": "stage", "Value": "test"}]
    answer = hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"a")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    word, pid = answer["Body"].read().decode().split()
    assert (word, {int(pid)}) == ("one", hosting.pids(endpoint))

    with Traffic(hosting, endpoint, threads=3) as traffic:
        wait_for(lambda: traffic.told["one"])
        hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=second)
        described = hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
        assert described["EndpointStatus"] == "Updating"
        assert described["EndpointConfigName"] == first
        assert described["PendingDeploymentSummary"]["EndpointConfigName"] == second
        described = hosting.settled(endpoint)
        wait_for(lambda: traffic.told["two"])
    assert traffic.errors == []
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", second)
    assert described["LastModifiedTime"] > described["CreationTime"]
    wait_for(lambda: len(hosting.pids(endpoint)) == 1)
    assert int(pid) not in hosting.pids(endpoint)
    assert hosting.said(endpoint) == "two"

    pids = hosting.pids(endpoint)
    hosting.delete(endpoint)
    assert not any(running(pid) for pid in pids)
    message = f"Endpoint {endpoint} of account {ACCOUNT} not found."
    invoke = hosting.runtime.invoke_endpoint
    assert refusal(invoke, EndpointName=endpoint, Body=b"") == ("ValidationError", message)
    # Its configuration and model are there, and its name is free.
    hosting.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=second)
    assert hosting.settled(endpoint)["EndpointStatus"] == "InService"
    hosting.delete(endpoint)


def test_what_is_deployed_needs_neither_model_nor_configuration_nor_artifact(hosting):
    hosting.put_archive("once.tar.gz")
    model = hosting.model("once.tar.gz", SAY="here")
    config = hosting.config(variant(model))
    endpoint = hosting.deploy(config)
    hosting.sagemaker.delete_model(ModelName=model)
    hosting.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    hosting.s3.delete_object(Bucket=hosting.bucket, Key="once.tar.gz")
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    (shown,) = hosting.settled(endpoint)["ProductionVariants"]
    assert shown["CurrentInstanceCount"] == 2
    assert len(hosting.pids(endpoint)) == 2
    assert hosting.said(endpoint) == "here"
    hosting.delete(endpoint)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"EXIT_CODE": "1"}, UNHEALTHY),
        ({}, "Failed to extract model data archive from URL"),
        (None, "Failed to download model data from URL"),
    ],
)
def test_a_container_that_does_not_serve(hosting, environment, reason):
    hosting.s3.put_object(Bucket=hosting.bucket, Key="bad.tar.gz", Body=b"not an archive")
    key = "model.tar.gz" if environment else "bad.tar.gz"
    config = hosting.config(variant(hosting.model(key, **environment or {})))
    if environment is None:
        hosting.s3.delete_object(Bucket=hosting.bucket, Key=key)
    endpoint = hosting.create(config)
    described = hosting.settled(endpoint)
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"].startswith(reason)
    assert hosting.pids(endpoint) == set()
    invoke, update = hosting.runtime.invoke_endpoint, hosting.sagemaker.update_endpoint
    assert refusal(invoke, EndpointName=endpoint, Body=b"")[0] == "ValidationError"
    code, _ = refusal(update, EndpointName=endpoint, EndpointConfigName=config)
    assert code == "ValidationException"
    hosting.delete(endpoint)


def test_an_update_that_fails_leaves_everything_as_it_was(hosting):
    good = hosting.config(variant(hosting.model(SAY="good")))
    bad = hosting.config(variant(hosting.model(EXIT_CODE="1")))
    endpoint = hosting.deploy(good)
    (pid,) = hosting.pids(endpoint)
    with Traffic(hosting, endpoint, threads=2) as traffic:
        hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=bad)
        described = hosting.settled(endpoint)
    assert (traffic.errors, set(traffic.told)) == ([], {"good"})
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", good)
    assert described["FailureReason"] == UNHEALTHY
    assert hosting.pids(endpoint) == {pid}
    # An update that succeeds clears the reason.
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=good)
    assert "FailureReason" not in hosting.settled(endpoint)
    hosting.delete(endpoint)


def test_deployment_configs_are_kept(hosting):
    config = hosting.config(variant(hosting.model()))
    at_once = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
        }
    }
    rolling = {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": 60,
        }
    }
    endpoint = hosting.deploy(config, DeploymentConfig=at_once)
    assert hosting.settled(endpoint)["LastDeploymentConfig"] == at_once
    for asked, kept in (
        ({"DeploymentConfig": rolling}, rolling),
        ({"RetainDeploymentConfig": True}, rolling),
        ({}, None),
    ):
        hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **asked)
        assert hosting.settled(endpoint).get("LastDeploymentConfig") == kept
    hosting.delete(endpoint)


def test_refusals_in_the_words_of_aws(hosting):
    sagemaker, model = hosting.sagemaker, hosting.model()
    config = hosting.config(variant(model))
    request = {"EndpointConfigName": config, "ProductionVariants": [variant(model)]}
    taken = (
        f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/{config}".'
    )
    assert refusal(sagemaker.create_endpoint_config, **request) == ("ValidationException", taken)
    missing = f'Could not find endpoint configuration "{ARN}:endpoint-config/none".'
    for call in (sagemaker.describe_endpoint_config, sagemaker.delete_endpoint_config):
        assert refusal(call, EndpointConfigName="none") == ("ValidationException", missing)
    names = {"EndpointName": "none", "EndpointConfigName": "none"}
    assert refusal(sagemaker.create_endpoint, **names) == ("ValidationException", missing)

    missing = f'Could not find endpoint "{ARN}:endpoint/none".'
    for call in (sagemaker.describe_endpoint, sagemaker.delete_endpoint):
        assert refusal(call, EndpointName="none") == ("ValidationException", missing)
    names["EndpointConfigName"] = config
    assert refusal(sagemaker.update_endpoint, **names) == ("ValidationException", missing)

    endpoint = hosting.create(hosting.config(variant(hosting.model(PING="500"))))
    names = {"EndpointName": endpoint, "EndpointConfigName": config}
    taken = f'Cannot create already existing endpoint "{ARN}:endpoint/{endpoint}".'
    assert refusal(sagemaker.create_endpoint, **names) == ("ValidationException", taken)
    # It answers no ping and is Creating for a while.
    busy = f'Cannot update in-progress endpoint "{ARN}:endpoint/{endpoint}".'
    assert refusal(sagemaker.update_endpoint, **names) == ("ValidationException", busy)
    assert refusal(sagemaker.delete_endpoint, EndpointName=endpoint)[1] == busy
    listed = sagemaker.list_endpoints(StatusEquals="Creating", NameContains=endpoint)
    assert [item["EndpointName"] for item in listed["Endpoints"]] == [endpoint]
    (pid,) = wait_for(lambda: hosting.pids(endpoint))
    os.kill(pid, signal.SIGKILL)
    assert hosting.settled(endpoint)["FailureReason"] == UNHEALTHY
    hosting.delete(endpoint)


def test_a_serverless_variant(hosting):
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    given = {"VariantName": "v", "ModelName": hosting.model(SAY="less")}
    endpoint = hosting.deploy(hosting.config({**given, "ServerlessConfig": serverless}))
    (shown,) = hosting.settled(endpoint)["ProductionVariants"]
    assert shown["CurrentServerlessConfig"] == serverless
    assert "CurrentInstanceCount" not in shown
    assert hosting.said(endpoint) == "less"
    hosting.delete(endpoint)


def test_autoscaling_calls_are_accepted(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(SAY="still"))))
    scaling = hosting.server.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
    scaling.put_scaling_policy(
        **target,
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
        },
    )
    (found,) = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[target["ResourceId"]]
    )["ScalableTargets"]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 3)
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["PolicyName"] == "p"
    scaling.delete_scaling_policy(**target, PolicyName="p")
    scaling.deregister_scalable_target(**target)
    (shown,) = hosting.settled(endpoint)["ProductionVariants"]
    assert shown["CurrentInstanceCount"] == 1
    assert hosting.said(endpoint) == "still"
    hosting.delete(endpoint)


def test_capacity_that_is_missing_on_purpose(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(SAY="here"))))
    plan = {"faults": [{"fault": "capacity", "kind": "endpoint", "name": endpoint, "times": 1}]}
    faults = hosting.server.state / "faults.json"
    faults.write_text(json.dumps(plan))
    change = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    rescale = hosting.sagemaker.update_endpoint_weights_and_capacities
    rescale(EndpointName=endpoint, DesiredWeightsAndCapacities=change)
    described = hosting.settled(endpoint)
    faults.unlink()
    assert described["FailureReason"].startswith(
        "Unable to provision requested ML compute capacity"
    )
    (shown,) = described["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 1)
    assert hosting.said(endpoint) == "here"
    rescale(EndpointName=endpoint, DesiredWeightsAndCapacities=change)
    (shown,) = hosting.settled(endpoint)["ProductionVariants"]
    assert shown["CurrentInstanceCount"] == 2
    hosting.delete(endpoint)
