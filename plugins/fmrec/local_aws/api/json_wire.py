"""JSON 1.1 in and out, driven by botocore's own service model: the wire, not the behaviour."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, cast

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from fmrec.local_aws.api.constraints import check
from fmrec.local_aws.api.faults import ApiError

_LONGEST_INTEGER = 19  # digits of 64 bits

Document = dict[str, Any]


class JsonWire:
    """Requests and responses of one service that speaks the AWS JSON protocol.

    Timestamps are floats (Unix seconds, UTC) on the inside and on the wire.
    """

    def __init__(self, service: str) -> None:
        self._model = botocore.session.get_session().get_service_model(service)

    def operation(self, name: str) -> OperationModel:
        """Return the model of an operation; raise UnknownOperationException for a strange name."""
        if name not in self._model.operation_names:
            raise ApiError(
                "UnknownOperationException",
                f"SageMaker has no operation {name!r} (API version {self._model.api_version}).",
            )
        return self._model.operation_model(name)

    def parse(self, operation: OperationModel, body: bytes) -> Document:
        """Return the request's parameters, checked against the model, without null members.

        Raises ApiError: SerializationException for bytes that are not a JSON object,
        ValidationException for parameters that the model does not allow.
        """
        try:
            parameters = json.loads(
                body or b"{}", parse_constant=_no_number, parse_float=_finite, parse_int=_integer
            )
            json.dumps(parameters, ensure_ascii=False).encode()  # raises for half a character
            if not isinstance(parameters, dict):
                raise ApiError("SerializationException", "The request is not a JSON object.")
            shape = operation.input_shape
            check(parameters, cast(StructureShape, shape))
            return cast(Document, _parsed(parameters, cast(Shape, shape)))
        except RecursionError:
            raise ApiError("SerializationException", "The request is nested too deeply.") from None
        except ValueError as error:
            raise ApiError("SerializationException", f"The request is not JSON: {error}") from None

    def serialise(self, operation: OperationModel, result: Document) -> bytes:
        """Return the response body: the members that the model names, and those alone."""
        shape = operation.output_shape
        return json.dumps({} if shape is None else _serialised(result, shape)).encode()

    def fault(self, fault: ApiError) -> bytes:
        """Return the body of an error response."""
        return json.dumps({"__type": fault.code, "message": fault.message}).encode()


def _parsed(value: Any, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: _parsed(member, shape.members[name])
            for name, member in value.items()
            if member is not None
        }
    if isinstance(shape, ListShape):
        return [_parsed(member, shape.member) for member in value]
    if isinstance(shape, MapShape):
        return {key: _parsed(member, shape.value) for key, member in value.items()}
    if shape.type_name == "timestamp":
        return _seconds(value)
    return value


def _serialised(value: Any, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: _serialised(value[name], member)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_serialised(member, shape.member) for member in value]
    if isinstance(shape, MapShape):
        return {key: _serialised(member, shape.value) for key, member in value.items()}
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _seconds(value: float | str) -> float:
    if isinstance(value, int | float):
        return float(value)
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise ApiError("SerializationException", f"{value!r} is not a timestamp.") from None
