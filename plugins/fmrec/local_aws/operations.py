"""The SageMaker operations that are implemented: one table, name to behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.models import Models
from fmrec.local_aws.tags import Tags
from fmrec.local_aws.training_jobs import TrainingJobs
from fmrec.local_aws.transform_jobs import TransformJobs
from fmrec.local_aws.workplace import Workplace

# Takes the region and the parameters, returns the response.
Operation = Callable[[str, Document], Document]


def table(place: Workplace) -> Mapping[str, Operation]:
    """Return the operations by the names that SageMaker gives them."""
    training, transforms = TrainingJobs(place), TransformJobs(place)
    models, tags = Models(place), Tags(place.records)
    return {
        "CreateTrainingJob": training.create,
        "DescribeTrainingJob": training.describe,
        "ListTrainingJobs": training.list,
        "StopTrainingJob": training.stop,
        "CreateModel": models.create,
        "DescribeModel": models.describe,
        "ListModels": models.list,
        "DeleteModel": models.delete,
        "CreateTransformJob": transforms.create,
        "DescribeTransformJob": transforms.describe,
        "ListTransformJobs": transforms.list,
        "StopTransformJob": transforms.stop,
        "AddTags": tags.add,
        "ListTags": tags.list,
        "DeleteTags": tags.delete,
    }


def fail_interrupted(place: Workplace) -> None:
    """Mark every job that a former server left in flight as Failed."""
    TrainingJobs(place).fail_interrupted()
    TransformJobs(place).fail_interrupted()
