"""Factorization Machines by the SageMaker SDK 2.x: fit, deploy, predict, transform, register.

Usage: factorization_machines.py BUCKET RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import clicks
import sagemaker
from sagemaker import image_uris
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

ROLE = "fmrec-local"  # a name: the SDK asks IAM for the ARN
INSTANCE = "ml.m5.large"
QUICK = 0.5  # seconds between two looks, where the SDK lets the caller say


def main(bucket: str, result: Path) -> None:
    """Do what a notebook does, and write down what came of it."""
    session = sagemaker.Session(default_bucket=bucket)
    session.default_bucket()  # makes it
    s3 = boto3.client("s3")
    train, test = clicks.rows(1, 600), clicks.rows(2, 80)
    s3.put_object(Bucket=bucket, Key="train/rows", Body=clicks.recordio(*train))
    s3.put_object(Bucket=bucket, Key="test/rows", Body=clicks.recordio(*test))
    s3.put_object(Bucket=bucket, Key="score/a", Body=clicks.recordio(test[0]))
    s3.put_object(Bucket=bucket, Key="score/b", Body=clicks.recordio(test[0][::-1]))

    estimator = Estimator(
        image_uris.retrieve("factorization-machines", session.boto_region_name),
        ROLE,
        1,
        INSTANCE,
        output_path=f"s3://{bucket}/models",
        sagemaker_session=session,
        hyperparameters={
            **clicks.HYPERPARAMETERS,
            "feature_dim": clicks.WIDTH,
            "mini_batch_size": 100,
        },
        tags=[{"Key": "made-by", "Value": "sdk"}],
    )
    estimator.fit(
        {channel: TrainingInput(f"s3://{bucket}/{channel}/") for channel in ("train", "test")},
        logs="All",
    )
    job = estimator.latest_training_job.name
    found = {
        "job": job,
        "model_data": estimator.model_data,
        "attached": Estimator.attach(job, session).model_data,
        "curve": curve(job, session),
        "rows": test[0].toarray().tolist(),
        "scores": transformed(estimator, session, bucket),
        "registered": registered(estimator, session),
    }
    found.update(predicted(estimator, session, test))
    result.write_text(json.dumps(found))


def curve(job: str, session: sagemaker.Session) -> list[dict]:
    """The training curve as a frame, as rows."""
    analytics = TrainingJobAnalytics(
        job,
        ["train:binary_classification_cross_entropy:epoch", "test:binary_classification_accuracy"],
        sagemaker_session=session,
    )
    return json.loads(analytics.dataframe().to_json(orient="records"))


def transformed(estimator: Estimator, session: sagemaker.Session, bucket: str) -> dict:
    """The scores of both objects below score/, by batch transform."""
    transformer = estimator.transformer(
        1, INSTANCE, max_payload=1, output_path=f"s3://{bucket}/scores"
    )
    transformer.transform(
        f"s3://{bucket}/score/",
        content_type="application/x-recordio-protobuf",
        split_type="RecordIO",
        wait=False,
    )
    session.wait_for_transform_job(transformer.latest_transform_job.name, poll=QUICK)
    transformer.delete_model()
    scores = {}
    for name in ("a", "b"):
        text = session.read_s3_file(bucket, f"scores/{name}.out")
        scores[name] = [json.loads(line)["score"] for line in text.splitlines()]
    return scores


def predicted(estimator: Estimator, session: sagemaker.Session, test: tuple) -> dict:
    """The scores of the test rows by an endpoint, asked in two forms."""
    predictor = estimator.deploy(
        1,
        INSTANCE,
        serializer=JSONSerializer(),
        deserializer=JSONDeserializer(),
        wait=False,
    )
    session.wait_for_endpoint(predictor.endpoint_name, poll=QUICK)
    dense = predictor.predict(
        {"instances": [{"features": row} for row in test[0].toarray().tolist()]}
    )
    sparse = predictor.predict(
        {
            "instances": [
                {
                    "data": {
                        "features": {
                            "keys": row.indices.tolist(),
                            "shape": [clicks.WIDTH],
                            "values": row.data.tolist(),
                        }
                    }
                }
                for row in test[0]
            ]
        }
    )
    predictor.delete_model()
    predictor.delete_endpoint()
    listed = session.sagemaker_client.list_endpoints(NameContains=predictor.endpoint_name)
    left = [each for each in listed["Endpoints"] if each["EndpointStatus"] != "Deleting"]
    return {
        "dense": [each["score"] for each in dense["predictions"]],
        "sparse": [each["score"] for each in sparse["predictions"]],
        "endpoints_left": len(left),
    }


def registered(estimator: Estimator, session: sagemaker.Session) -> dict:
    """The model as version 1 of a group that the SDK makes, approved, and deployed from there."""
    package = estimator.register(
        content_types=["application/x-recordio-protobuf"],
        response_types=["application/jsonlines"],
        inference_instances=[INSTANCE],
        transform_instances=[INSTANCE],
        model_package_group_name="clicks",
        approval_status="PendingManualApproval",
        description="made by the SDK",
    )
    package.update_approval_status("Approved")
    told = session.sagemaker_client.describe_model_package(
        ModelPackageName=package.model_package_arn
    )
    package.deploy(1, INSTANCE, endpoint_name="clicks-approved", wait=False)
    session.wait_for_endpoint("clicks-approved", poll=QUICK)
    predictor = Predictor(
        "clicks-approved", session, serializer=JSONSerializer(), deserializer=JSONDeserializer()
    )
    answer = predictor.predict({"instances": [{"features": [1.0] * clicks.WIDTH}]})
    predictor.delete_endpoint()
    return {
        "arn": package.model_package_arn,
        "status": told["ModelApprovalStatus"],
        "description": told["ModelPackageDescription"],
        "answers": len(answer["predictions"]),
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
