"""SageMaker Runtime: InvokeEndpoint, from the HTTP request to the answer of a model server."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping

from werkzeug.wrappers import Request, Response

from fmrec.errors import FmrecError
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.endpoints.capture import Exchange
from fmrec.local_aws.endpoints.connections import Answer, BrokenOffError, UnreachableError
from fmrec.local_aws.endpoints.deployment import (
    NotReadyError,
    RetiredError,
    UnknownVariantError,
)
from fmrec.local_aws.endpoints.fleet import Fleet
from fmrec.local_aws.endpoints.server import LOG_GROUP, ModelServer

LARGEST_BODY = 6_291_456  # bytes
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_LONGEST_ATTRIBUTES = 1024
# Headers that ask for what nothing here does, and what it is called.
_REFUSED = {
    "X-Amzn-SageMaker-Target-Model": "TargetModel (multi-model endpoints)",
    "X-Amzn-SageMaker-Target-Container-Hostname": "TargetContainerHostname",
    "X-Amzn-SageMaker-Enable-Explanations": "EnableExplanations",
    "X-Amzn-SageMaker-Inference-Component": "InferenceComponentName",
    "X-Amzn-SageMaker-Session-Id": "SessionId",
    "X-Amzn-SageMaker-Prefix-Aware-Id": "PrefixAwareId",
}
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the "
    "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
_EXITED = "An error occurred while handling request as the model process exited."


class ModelError(FmrecError):
    """The model gave no answer, or one that is not of the 200s; `status` is 0 for none."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Runtime:
    """Answers InvokeEndpoint.

    `answer_seconds` is how long a model may take, `start_seconds` how long a request waits for a
    server to become ready; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        account: str,
        clock: Callable[[], float],
        *,
        answer_seconds: float = 60,
        start_seconds: float = 30,
    ) -> None:
        self._fleet = fleet
        self._account = account
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._start_seconds = start_seconds

    def invoke(self, region: str, endpoint: str, request: Request) -> Response:
        """Send a request to a model server and return its answer, or the error of AWS."""
        try:
            body = _body(request)
            _check(request)
            variant, answer = self._ask(region, endpoint, request, body)
        except ApiError as error:
            return _error(error.status, error.code, {"Message": error.message})
        except ModelError as error:
            return self._model_error(region, endpoint, error)
        headers = {
            "x-Amzn-Invoked-Production-Variant": variant,
            "x-amzn-RequestId": str(uuid.uuid4()),
        }
        attributes = answer.headers.get(_ATTRIBUTES)
        if attributes is not None:
            headers[_ATTRIBUTES] = attributes
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        return Response(answer.body, 200, headers, content_type=content_type)

    def _ask(self, region: str, endpoint: str, request: Request, body: bytes) -> tuple[str, Answer]:
        """Return the answer and the variant that gave it.

        Raises ModelError, and ApiError when there is no server to ask.
        """
        begun = self._clock()
        deadline = time.monotonic() + self._start_seconds
        target = request.headers.get("X-Amzn-SageMaker-Target-Variant")
        while True:
            deployment = self._fleet.find(region, endpoint)
            if deployment is None:
                raise _refusal(f"Endpoint {endpoint} of account {self._account} not found.")
            try:
                variant, server = deployment.acquire(target, deadline)
            except RetiredError:
                continue  # the endpoint has been updated just now
            except UnknownVariantError:
                raise _refusal(
                    f"Variant {target} of endpoint {endpoint} of account {self._account} not found."
                ) from None
            except NotReadyError:
                raise ApiError(
                    "ServiceUnavailable",
                    f"No model server of endpoint {endpoint} is healthy. Try your call again.",
                    503,
                ) from None
            try:
                answer = self._post(server, request, body)
            except UnreachableError:
                continue  # it has read nothing: another one may answer
            finally:
                deployment.release(server)
            if deployment.capture is not None:
                exchange = _exchange(variant, request, body, answer, begun)
                self._fleet.captures.take(deployment.identity, deployment.capture, exchange)
            return variant, answer

    def _post(self, server: ModelServer, request: Request, body: bytes) -> Answer:
        names = ("Content-Type", "Accept", _ATTRIBUTES)
        headers = {name: value for name in names if (value := request.headers.get(name))}
        try:
            answer = server.connections.post(body, headers, self._answer_seconds)
        except TimeoutError:
            raise ModelError(0, _TIMED_OUT) from None
        except BrokenOffError:
            server.stand_down()
            raise ModelError(0, _EXITED) from None
        except UnreachableError:
            server.stand_down()
            raise
        if not 200 <= answer.status < 300:
            raise ModelError(answer.status, answer.body.decode("utf-8", "replace"))
        return answer

    def _model_error(self, region: str, endpoint: str, error: ModelError) -> Response:
        culprit = "client" if 400 <= error.status < 500 else "server"
        group = f"{LOG_GROUP}/{endpoint}"
        message = (
            f"Received {culprit} error ({error.status}) from primary with message "
            f'"{error}". See https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}'
            f"#logEventViewer:group={group} in account {self._account} for more information."
        )
        body = {
            "LogStreamArn": f"arn:aws:logs:{region}:{self._account}:log-group:{group}",
            "Message": message,
            "OriginalMessage": str(error),
            "OriginalStatusCode": error.status,
        }
        return _error(424, "ModelError", body)


def _body(request: Request) -> bytes:
    """Return the request's body; raise ApiError for one that is too large, before reading it."""
    length = request.content_length
    if length is None:
        body = request.stream.read(LARGEST_BODY + 1)
        length = len(body)
    elif length <= LARGEST_BODY:
        body = request.get_data(cache=False)
    if length > LARGEST_BODY:
        # The load balancer of AWS answers this, so the error has no code but its status.
        raise ApiError("413", f"HTTP content length exceeded {LARGEST_BODY} bytes.", 413)
    return body


def _check(request: Request) -> None:
    """Raise ApiError for headers that are not valid or ask for what is not implemented."""
    for header, what in _REFUSED.items():
        if header in request.headers:
            raise _refusal(
                f"The local AWS does not implement {what} of InvokeEndpoint. Leave it out, or run "
                "on AWS."
            )
    if len(request.headers.get(_ATTRIBUTES, "")) > _LONGEST_ATTRIBUTES:
        raise _refusal(
            "1 validation error detected: Value at 'customAttributes' failed to satisfy "
            f"constraint: Member must have length less than or equal to {_LONGEST_ATTRIBUTES}"
        )


def _exchange(
    variant: str, request: Request, body: bytes, answer: Answer, begun: float
) -> Exchange:
    return Exchange(
        variant=variant,
        request=body,
        request_type=request.headers.get("Content-Type", ""),
        answer=answer.body,
        answer_type=answer.headers.get("Content-Type", ""),
        custom_attributes=request.headers.get(_ATTRIBUTES),
        inference_id=request.headers.get("X-Amzn-SageMaker-Inference-Id"),
        seconds=begun,
    )


def _refusal(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def _error(status: int, code: str, body: Mapping[str, object]) -> Response:
    """Build an error of REST-JSON; one without a code of its own is known by its status."""
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    if code != str(status):
        headers["x-amzn-ErrorType"] = code
    return Response(json.dumps(body), status, headers, content_type="application/json")
