"""A tuning job by the SageMaker SDK 2.x: six jobs, two at a time, the best one, the frame of all.

Usage: tuning.py BUCKET RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import clicks
import sagemaker
from sagemaker import image_uris
from sagemaker.analytics import HyperparameterTuningJobAnalytics
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter

METRIC = "test:binary_classification_cross_entropy"


def main(bucket: str, result: Path) -> None:
    """Search, and write down what was found."""
    session = sagemaker.Session(default_bucket=bucket)
    session.default_bucket()
    s3 = boto3.client("s3")
    for channel, seed in (("train", 1), ("test", 2)):
        body = clicks.recordio(*clicks.rows(seed, 300))
        s3.put_object(Bucket=bucket, Key=f"{channel}/rows", Body=body)
    estimator = Estimator(
        image_uris.retrieve("factorization-machines", session.boto_region_name),
        "fmrec-local",
        1,
        "ml.m5.large",
        output_path=f"s3://{bucket}/models",
        sagemaker_session=session,
        hyperparameters={
            "feature_dim": clicks.WIDTH,
            "num_factors": 4,
            "predictor_type": "binary_classifier",
            "mini_batch_size": 100,
        },
    )
    tuner = HyperparameterTuner(
        estimator,
        METRIC,
        {
            "linear_lr": ContinuousParameter(0.001, 0.2, scaling_type="Logarithmic"),
            "epochs": IntegerParameter(2, 20),
        },
        objective_type="Minimize",
        max_jobs=6,
        max_parallel_jobs=2,
        base_tuning_job_name="clicks",
        random_seed=3,
    )
    tuner.fit(
        {channel: TrainingInput(f"s3://{bucket}/{channel}/") for channel in ("train", "test")}
    )
    frame = HyperparameterTuningJobAnalytics(
        tuner.latest_tuning_job.name, sagemaker_session=session
    ).dataframe()
    best = tuner.best_estimator()
    found = {
        "job": tuner.latest_tuning_job.name,
        "best_job": tuner.best_training_job(),
        "best_hyperparameters": best.hyperparameters(),
        "best_model": best.model_data,
        "frame": json.loads(frame.to_json(orient="records")),
        "ranges": tuner.analytics().tuning_ranges,
        "status": tuner.describe()["HyperParameterTuningJobStatus"],
    }
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
