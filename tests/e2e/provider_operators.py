"""The Amazon provider's operators, one after the other; the argument `deferred` defers each wait.

Runs in a process of its own, for Airflow reads its configuration when it is imported. Takes the
configurations on standard input and prints what the operators returned.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any

from airflow.exceptions import TaskDeferred
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerDeleteModelOperator,
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerProcessingOperator,
    SageMakerRegisterModelVersionOperator,
    SageMakerTrainingOperator,
    SageMakerTransformOperator,
    SageMakerTuningOperator,
)

GIVEN = json.load(sys.stdin)
DEFERRED = sys.argv[1:] == ["deferred"]
CONTEXT: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value, **_: None)}


def run(operator: Any) -> Any:
    """Execute an operator; where it defers, wait as the triggerer would, and let it go on."""
    try:
        return operator.execute(CONTEXT)
    except TaskDeferred as deferral:
        event = asyncio.run(first_event(deferral.trigger))
        return getattr(operator, deferral.method_name)(CONTEXT, event.payload)


async def first_event(trigger: Any) -> Any:
    """Return what a trigger fires."""
    return await anext(trigger.run())


def waits(task: str) -> dict[str, Any]:
    """Return the arguments of an operator that waits for the end of its job."""
    return {"task_id": task, "check_interval": 1, "deferrable": DEFERRED}


def main() -> None:
    """Train, tune, register, process, transform, deploy twice and delete."""
    quiet = {"print_log": False}
    trained = run(SageMakerTrainingOperator(config=GIVEN["training"], **quiet, **waits("train")))
    artifact = trained["Training"]["ModelArtifacts"]["S3ModelArtifacts"]
    tuned = run(SageMakerTuningOperator(config=GIVEN["tuning"], **waits("tune")))
    versions = [
        run(
            SageMakerRegisterModelVersionOperator(
                task_id="register",
                image_uri=GIVEN["image"],
                model_url=artifact,
                package_group_name="films",
                package_desc="Likes, daily",
            )
        )
        for _ in range(2)
    ]
    processed = run(
        SageMakerProcessingOperator(config=GIVEN["processing"], **quiet, **waits("process"))
    )
    model = {
        "ModelName": "likes",
        "ExecutionRoleArn": "fmrec-local",
        "PrimaryContainer": {"Image": GIVEN["image"], "ModelDataUrl": artifact},
    }
    run(SageMakerModelOperator(task_id="model", config=model))
    run(SageMakerTransformOperator(config=GIVEN["transform"], **waits("transform")))
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "likes",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    statuses = []
    for name in ("likes-1", "likes-2"):
        config = {"EndpointConfigName": name, "ProductionVariants": [variant]}
        run(SageMakerEndpointConfigOperator(task_id="config", config=config))
        # The second time the operator is to find the endpoint there, and update it.
        endpoint = {"EndpointName": "likes", "EndpointConfigName": name}
        done = run(SageMakerEndpointOperator(config=endpoint, **waits("endpoint")))
        statuses.append(
            (done["Endpoint"]["EndpointConfigName"], done["Endpoint"]["EndpointStatus"])
        )
    run(SageMakerDeleteModelOperator(task_id="delete", config={"ModelName": "likes"}))
    answer = {
        "artifact": artifact,
        "tuned": tuned["Tuning"]["TrainingJobStatusCounters"],
        "versions": versions,
        "processed": processed["Processing"]["ProcessingJobStatus"],
        "statuses": statuses,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
