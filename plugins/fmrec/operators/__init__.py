"""The package's only Airflow import: operators, tasks and house rules that the DAGs are made of."""

from fmrec.operators.approval import ApprovalOperator
from fmrec.operators.clients import aws_client, clock
from fmrec.operators.model import ModelOperator
from fmrec.operators.training import TrainingOperator
from fmrec.operators.transform import TransformOperator
from fmrec.operators.tuning import TuningOperator

__all__ = [
    "ApprovalOperator",
    "ModelOperator",
    "TrainingOperator",
    "TransformOperator",
    "TuningOperator",
    "aws_client",
    "clock",
]
