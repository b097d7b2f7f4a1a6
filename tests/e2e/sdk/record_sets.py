"""The SageMaker SDK 2.x's own class for Factorization Machines: numpy in, records out.

Every wait is the SDK's own, half a minute between two looks at an endpoint.
Usage: record_sets.py BUCKET RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import clicks
import sagemaker
from sagemaker import FactorizationMachines

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"


def main(bucket: str, result: Path) -> None:
    """Fit on record sets, deploy, predict, and write down what came of it."""
    session = sagemaker.Session(default_bucket=bucket)
    session.default_bucket()
    machine = FactorizationMachines(
        ROLE, 1, "ml.m5.large", sagemaker_session=session, **clicks.HYPERPARAMETERS
    )
    rows = {"train": clicks.rows(1, 600), "test": clicks.rows(2, 80)}
    sets = [
        machine.record_set(features.toarray(), labels, channel=channel)
        for channel, (features, labels) in rows.items()
    ]
    machine.fit(sets, mini_batch_size=100, logs=False)
    predictor = machine.deploy(1, "ml.m5.large")
    records = predictor.predict(rows["test"][0].toarray())
    predictor.delete_model()
    predictor.delete_endpoint()

    def told(name: str) -> list[float]:
        return [record.label[name].float32_tensor.values[0] for record in records]

    found = {
        "job": machine.latest_training_job.name,
        "model_data": machine.model_data,
        "scores": told("score"),
        "labels": told("predicted_label"),
        "rows": rows["test"][0].toarray().tolist(),
    }
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
