"""Refusals in the form in which AWS words them."""

from __future__ import annotations

from fmrec.errors import FmrecError


class ApiError(FmrecError):
    """A request is answered with an AWS error: its code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class JobFailedError(FmrecError):
    """A job ends as Failed; the text is its FailureReason."""


def invalid(message: str) -> ApiError:
    """Build the ValidationException that SageMaker answers to most wrong requests."""
    return ApiError("ValidationException", message)


def unsupported(what: str) -> ApiError:
    """Build the refusal of a request that AWS would accept and this server cannot honour."""
    return invalid(f"The local AWS does not implement {what}. Leave it out, or run on AWS.")
