"""The HTTP front: SageMaker is answered here, everything else by moto."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIEnvironment

import botocore.session
from werkzeug.wrappers import Request, Response

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.api.json_wire import JsonWire
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.endpoints.invocations import Runtime
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.wire.loopback import refusal
from fmrec.local_aws.wire.moto_services import MotoServices, OtherServiceError

LOG = logging.getLogger(__name__)
_TARGET = "SageMaker."
_DEFAULT_REGION = "us-east-1"
# Authorization: AWS4-HMAC-SHA256 Credential=KEY/20261120/us-east-1/sagemaker/aws4_request, …
_SCOPE = re.compile(r"Credential=[^,]*/\d{8}/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request")
_INVOCATION = re.compile(r"/endpoints/(?P<name>[^/]+)/(?P<kind>[a-z-]+)")
_INVOCATIONS = {
    "invocations": "InvokeEndpoint",
    "async-invocations": "InvokeEndpointAsync",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
}
_LARGEST_REQUEST = 8 << 20  # bytes; more than any request of SageMaker's API needs
_FORM = "application/x-www-form-urlencoded"
_IN_MEMORY, _BLOCK = 1 << 20, 1 << 16  # bytes
_READING = ("GET", "HEAD", "OPTIONS")


class Front:
    """The WSGI application of the server. Credentials are not checked, only read for the region."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        s3: DurableS3,
        runtime: Runtime | None = None,
    ) -> None:
        self._operations = operations
        self._s3 = s3
        self._runtime = runtime
        self._wire = JsonWire("sagemaker")
        self._moto = MotoServices()
        self._regions = _regions()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        service = scope["service"] if scope else None
        target = request.headers.get("X-Amz-Target", "")
        if service == "sagemaker" or target.startswith(_TARGET):
            region = scope["region"] if scope else _DEFAULT_REGION
            if region not in self._regions:
                # It would be a folder's name, and there are no logs in it.
                unknown = ApiError("UnrecognizedClientException", f"There is no region {region!r}.")
                return self._refused(unknown)(environ, start_response)
            return self._sagemaker(request, target, region)(environ, start_response)
        if request.path.startswith("/moto-api"):
            # moto's own controls would change its memory behind the back of the state folder.
            return Response("Not part of the local AWS.\n", 404)(environ, start_response)
        if request.method == "PUT" and request.mimetype == _FORM:
            # moto would take the object for a form and store none of it. curl and urllib call
            # whatever they send so.
            environ["CONTENT_TYPE"] = "binary/octet-stream"
        with ExitStack() as held:
            if request.method not in _READING:
                # All of it, before anybody else waits for this request.
                held.enter_context(_received(environ))
                held.enter_context(self._s3.take_turn(f"{service} {request.path}"))
            return self._to_moto(environ, start_response)

    def _sagemaker(self, request: Request, target: str, region: str) -> Response:
        try:
            invocation = _INVOCATION.fullmatch(request.path)
            if invocation and request.method == "POST" and invocation["kind"] in _INVOCATIONS:
                return self._invoke(region, invocation, request)
            if not target.startswith(_TARGET):
                place = f"{request.method} {request.path}"
                raise _not_implemented("SageMaker", place, self._operations)
            body = self._call(target.removeprefix(_TARGET), region, _body(request))
        except ApiError as error:
            return self._refused(error)
        except Exception:
            LOG.exception("%s %s", target, request.path)
            return self._refused(
                ApiError("InternalFailure", "The local AWS failed; see its log.", 500)
            )
        return _json(body, 200, {})

    def _invoke(self, region: str, invocation: re.Match[str], request: Request) -> Response:
        operation = _INVOCATIONS[invocation["kind"]]
        if self._runtime is None or operation != "InvokeEndpoint":
            raise _not_implemented("SageMaker Runtime", operation, self._operations)
        return self._runtime.invoke(region, invocation["name"], request)

    def _refused(self, error: ApiError) -> Response:
        return _json(self._wire.fault(error), error.status, {"x-amzn-ErrorType": error.code})

    def _call(self, name: str, region: str, body: bytes) -> bytes:
        model = self._wire.operation(name)
        if name not in self._operations:
            raise _not_implemented("SageMaker", name, self._operations)
        result = self._operations[name](region, self._wire.parse(model, body))
        return self._wire.serialise(model, result)

    def _to_moto(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Let moto answer; start the response only when what it changed is on disk."""
        started: list[Callable[[], Any]] = []

        def hold(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [lambda: start_response(status, headers, exc_info)]
            return None

        def respond() -> Iterable[bytes]:
            answer: Iterable[bytes] = self._moto(environ, hold)
            return answer

        try:
            answer = self._s3.settled(respond)
        except OtherServiceError as error:
            return refusal(environ, 400, "NotImplemented", str(error))(environ, start_response)
        except OSError as error:
            LOG.exception("S3 could not be written to the state folder")
            body = (
                "<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>InternalError</Code>"
                f"<Message>The local AWS could not write to its state folder: {error.strerror}."
                "</Message></Error>"
            )
            return Response(body, 500, content_type="application/xml")(environ, start_response)
        started[0]()
        return answer


def _regions() -> frozenset[str]:
    session = botocore.session.get_session()
    partitions = ("aws", "aws-cn", "aws-us-gov")
    return frozenset(
        region for each in partitions for region in session.get_available_regions("logs", each)
    )


def _received(environ: WSGIEnvironment) -> IO[bytes]:
    """Return a request's body as a file, which takes its place.

    Raises ConnectionError when the client leaves or breaks off.
    """
    body: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the caller's
    announced = environ.get("CONTENT_LENGTH") or None
    try:
        stream = environ["wsgi.input"]
        left = int(announced) if announced else sys.maxsize
        in_chunks = bool(environ.get("wsgi.input_terminated"))
        while (announced or in_chunks) and left and (block := stream.read(min(_BLOCK, left))):
            left -= body.write(block)
    except OSError as error:
        body.close()
        raise ConnectionError(f"the request broke off: {error}") from None
    if announced and left:
        body.close()
        raise ConnectionError("the client left before its request was whole")
    environ["wsgi.input"] = body
    environ["CONTENT_LENGTH"] = str(body.tell())
    environ.pop("wsgi.input_terminated", None)
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    body.seek(0)
    return body


def _body(request: Request) -> bytes:
    """Return a request's body; refuse one that is too long before it is in memory."""
    length = request.content_length
    body = b""
    if length is None:  # sent in chunks
        body = request.stream.read(_LARGEST_REQUEST + 1)
        length = len(body)
    elif length <= _LARGEST_REQUEST:
        body = request.get_data(cache=False)
    if length > _LARGEST_REQUEST:
        raise ApiError(
            "RequestEntityTooLargeException",
            f"Request must be smaller than {_LARGEST_REQUEST} bytes.",
            413,
        )
    return body


def _json(body: bytes, status: int, headers: dict[str, str]) -> Response:
    headers["x-amzn-RequestId"] = str(uuid.uuid4())
    return Response(body, status, headers, content_type="application/x-amz-json-1.1")


def _not_implemented(
    service: str, operation: str, implemented: Mapping[str, Operation]
) -> ApiError:
    return ApiError(
        "NotImplementedException",
        f"The local AWS does not implement {operation} of {service}. "
        f"Implemented SageMaker operations: {', '.join(implemented)}.",
    )
