"""Kinds of failure. Each message says what is wrong, where, and what to do about it."""

from __future__ import annotations


class FmrecError(Exception):
    """Any failure that a person can act on; its text is written for that person."""


class ConfigurationError(FmrecError):
    """A parameter, environment variable or command-line option is missing or wrong."""


class DownloadError(FmrecError):
    """An archive could not be fetched, or what arrived is not what was promised."""


class DataError(FmrecError):
    """A file or a table holds something that cannot be used as it is."""


class FormatError(DataError):
    """Bytes that are not what their format demands (RecordIO, protobuf, model artifact)."""


class StoreError(FmrecError):
    """An object is missing or was altered."""


class ConflictError(StoreError):
    """An object would be overwritten with different content."""


class JobError(FmrecError):
    """A SageMaker job ended in a state other than Completed."""


class AlgorithmError(JobError):
    """The algorithm refused its parameters or its data."""


class JobStoppedError(JobError):
    """A SageMaker job was stopped: by hand, by a killed task, or at its time limit."""


class RefusedError(FmrecError):
    """AWS refuses a request as it is: a value, a role, a permission, a bucket."""


class BusyError(FmrecError):
    """AWS has no capacity, quota or time for a request at this moment."""


class BudgetError(FmrecError):
    """A run would cost more than is left of the month's budget."""


class EvaluationError(FmrecError):
    """Predictions and events do not belong together."""


# A second attempt would meet the same failure; the others may be a matter of the moment.
PERMANENT = (
    ConfigurationError,
    DataError,
    ConflictError,
    AlgorithmError,
    JobStoppedError,
    RefusedError,
    BudgetError,
    EvaluationError,
)
