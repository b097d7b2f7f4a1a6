"""The resource classes of the SageMaker SDK 3.x: train, transform, tune, serve, list, stop, delete.

Runs in the project's own environment, which has that SDK below Python 3.12.
Usage: resources_v3.py BUCKET RESULT.json; the bucket holds train/rows and test/rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    HyperParameterTuningJob,
    Model,
    ModelPackageGroup,
    TrainingJob,
    TransformJob,
)
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    Channel,
    ContainerDefinition,
    ContinuousParameterRange,
    DataSource,
    HyperParameterAlgorithmSpecification,
    HyperParameterTrainingJobDefinition,
    HyperParameterTuningJobConfig,
    HyperParameterTuningJobObjective,
    OutputDataConfig,
    ParameterRanges,
    ProductionVariant,
    ResourceConfig,
    ResourceLimits,
    S3DataSource,
    StoppingCondition,
    TransformDataSource,
    TransformInput,
    TransformOutput,
    TransformResources,
    TransformS3DataSource,
)

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1"
RECORDIO = "application/x-recordio-protobuf"
HYPERPARAMETERS = {
    "feature_dim": "50",
    "num_factors": "4",
    "predictor_type": "binary_classifier",
    "epochs": "5",
    "mini_batch_size": "100",
}


def channels(bucket: str) -> list[Channel]:
    """Return the channels train and test."""
    return [
        Channel(
            channel_name=name,
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/{name}/"
                )
            ),
        )
        for name in ("train", "test")
    ]


def train(name: str, bucket: str, **hyperparameters: str) -> TrainingJob:
    """Create a training job."""
    return TrainingJob.create(
        training_job_name=name,
        role_arn=ROLE,
        algorithm_specification=AlgorithmSpecification(
            training_image=IMAGE, training_input_mode="File"
        ),
        hyper_parameters={**HYPERPARAMETERS, **hyperparameters},
        input_data_config=channels(bucket),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/models"),
        resource_config=ResourceConfig(
            instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
    )


def tune(bucket: str) -> HyperParameterTuningJob:
    """Create a tuning job of two."""
    return HyperParameterTuningJob.create(
        hyper_parameter_tuning_job_name="v3-tuned",
        hyper_parameter_tuning_job_config=HyperParameterTuningJobConfig(
            strategy="Random",
            hyper_parameter_tuning_job_objective=HyperParameterTuningJobObjective(
                type="Maximize", metric_name="test:binary_classification_accuracy"
            ),
            resource_limits=ResourceLimits(
                max_number_of_training_jobs=2, max_parallel_training_jobs=1
            ),
            parameter_ranges=ParameterRanges(
                continuous_parameter_ranges=[
                    ContinuousParameterRange(name="linear_lr", min_value="0.01", max_value="0.1")
                ]
            ),
        ),
        training_job_definition=HyperParameterTrainingJobDefinition(
            static_hyper_parameters=HYPERPARAMETERS,
            algorithm_specification=HyperParameterAlgorithmSpecification(
                training_image=IMAGE, training_input_mode="File"
            ),
            role_arn=ROLE,
            input_data_config=channels(bucket),
            output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/models"),
            resource_config=ResourceConfig(
                instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5
            ),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
        ),
    )


def main(bucket: str, result: Path) -> None:
    """Go through the life of every resource and write down what the classes saw."""
    job = train("v3-trained", bucket)
    job.wait(poll=1, timeout=300)
    again = TrainingJob.get("v3-trained")
    found = {
        "training": job.training_job_status,
        "metrics": {each.metric_name: each.value for each in again.final_metric_data_list},
        "artifact": again.model_artifacts.s3_model_artifacts,
    }
    long = train("v3-stopped", bucket, epochs="10000000")
    long.stop()
    long.wait(poll=1, timeout=300)
    found["stopped"] = long.training_job_status
    found["listed"] = [each.training_job_name for each in TrainingJob.get_all(name_contains="v3-")]
    long.delete()
    found["kept"] = [each.training_job_name for each in TrainingJob.get_all(name_contains="v3-")]

    model = Model.create(
        model_name="v3",
        execution_role_arn=ROLE,
        primary_container=ContainerDefinition(
            image=IMAGE, model_data_url=again.model_artifacts.s3_model_artifacts
        ),
    )
    transform = TransformJob.create(
        transform_job_name="v3",
        model_name="v3",
        transform_input=TransformInput(
            data_source=TransformDataSource(
                s3_data_source=TransformS3DataSource(
                    s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/test/"
                )
            ),
            content_type=RECORDIO,
            split_type="RecordIO",
        ),
        transform_output=TransformOutput(s3_output_path=f"s3://{bucket}/v3"),
        transform_resources=TransformResources(instance_type="ml.m5.large", instance_count=1),
    )
    transform.wait(poll=1, timeout=300)
    found["transform"] = transform.transform_job_status

    search = tune(bucket)
    search.wait(poll=1, timeout=300)
    found["tuning"] = search.hyper_parameter_tuning_job_status
    found["best"] = search.best_training_job.training_job_name
    children = search.get_all_training_jobs()
    found["children"] = [each.training_job_name for each in children]

    config = EndpointConfig.create(
        endpoint_config_name="v3",
        production_variants=[
            ProductionVariant(
                variant_name="only",
                model_name="v3",
                instance_type="ml.m5.large",
                initial_instance_count=1,
            )
        ],
    )
    endpoint = Endpoint.create(endpoint_name="v3", endpoint_config_name="v3")
    endpoint.wait_for_status("InService", poll=1, timeout=300)
    answer = endpoint.invoke(
        body=json.dumps({"instances": [{"features": [1.0] * 50}]}),
        content_type="application/json",
    )
    found["answer"] = json.loads(answer.body.read())
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=300)
    config.delete()
    model.delete()
    found["endpoints_left"] = len(list(Endpoint.get_all(name_contains="v3")))
    found["models_left"] = len(list(Model.get_all(name_contains="v3")))

    group = ModelPackageGroup.create(model_package_group_name="v3")
    found["group"] = ModelPackageGroup.get("v3").model_package_group_status
    group.delete()
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
