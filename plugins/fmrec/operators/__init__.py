"""The package's only Airflow import: operators, tasks and house rules that the DAGs are made of."""

from fmrec.operators.approval import ApprovalOperator
from fmrec.operators.clients import aws_client, clock
from fmrec.operators.job import ModelOperator, TrainingOperator, TransformOperator, TuningOperator

__all__ = [
    "ApprovalOperator",
    "ModelOperator",
    "TrainingOperator",
    "TransformOperator",
    "TuningOperator",
    "aws_client",
    "clock",
]
