"""k-NN and K-Means by the classes of the SageMaker SDK 2.x: fit, deploy, predict.

Usage: neighbours.py BUCKET RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import sagemaker
from sagemaker import KNN, KMeans
from sagemaker.deserializers import JSONDeserializer
from sagemaker.serializers import CSVSerializer

ROLE, INSTANCE, QUICK = "fmrec-local", "ml.m5.large", 0.5
CENTRES = np.array([[0, 0], [9, 0], [0, 9]], np.float32)


def points(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around three centres, and the number of the centre of each."""
    near = np.arange(count) % len(CENTRES)
    spread = np.random.default_rng(seed).normal(0, 0.7, (count, 2))
    return (CENTRES[near] + spread).astype(np.float32), near.astype(np.float32)


def label(record: object, name: str) -> float:
    """A number that an answer's record has under a name."""
    return record.label[name].float32_tensor.values[0]


def main(bucket: str, result: Path) -> None:
    """Train both, ask both, and write down what they said."""
    session = sagemaker.Session(default_bucket=bucket)
    session.default_bucket()
    train, test = points(1, 150), points(2, 12)

    knn = KNN(
        ROLE,
        1,
        INSTANCE,
        k=3,
        sample_size=150,
        predictor_type="classifier",
        sagemaker_session=session,
    )
    knn.fit([knn.record_set(*train), knn.record_set(*test, channel="test")], logs=False)
    predictor = knn.deploy(1, INSTANCE, wait=False)
    session.wait_for_endpoint(predictor.endpoint_name, poll=QUICK)
    records = predictor.predict(test[0])
    predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    by_csv = predictor.predict(test[0])
    predictor.delete_model()
    predictor.delete_endpoint()

    kmeans = KMeans(ROLE, 1, INSTANCE, k=3, sagemaker_session=session, eval_metrics=["msd"])
    kmeans.fit(
        [kmeans.record_set(train[0]), kmeans.record_set(test[0], channel="test")], logs=False
    )
    predictor = kmeans.deploy(1, INSTANCE, wait=False)
    session.wait_for_endpoint(predictor.endpoint_name, poll=QUICK)
    clusters = predictor.predict(test[0])
    predictor.delete_model()
    predictor.delete_endpoint()

    found = {
        "knn_job": knn.latest_training_job.name,
        "knn_labels": [label(record, "predicted_label") for record in records],
        "knn_by_csv": [each["predicted_label"] for each in by_csv["predictions"]],
        "kmeans_job": kmeans.latest_training_job.name,
        "clusters": [label(record, "closest_cluster") for record in clusters],
        "distances": [label(record, "distance_to_cluster") for record in clusters],
        "expected": test[1].tolist(),
    }
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
