"""Requests that go wrong on purpose, and the address at which a client plans faults."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from fmrec.errors import ConfigurationError
from fmrec.local_aws.machine.fault_plan import FaultPlan, Rule

PATH = "/_fmrec/faults"
_SERVICE = re.compile(r"Credential=[^,]*/\d{8}/[^/,]+/(?P<service>[^/,]+)/aws4_request")
_INVOCATION = re.compile(r"/endpoints/[^/]+/invocations")
_LONGEST_PLAN = 1 << 20
# By fault: the error that services of JSON answer, and S3's.
_ANSWERS = {
    "throttle": (("ThrottlingException", 400), ("SlowDown", 503), "Rate exceeded"),
    "server-error": (("InternalFailure", 500), ("InternalError", 500), "A fault on purpose"),
    "deny": (
        ("AccessDeniedException", 400),
        ("AccessDenied", 403),
        "User: arn:aws:iam::123456789012:user/local is not authorized to perform: {}",
    ),
}


class Mishaps:
    """A WSGI application in front of another, which some requests reach late or not at all."""

    def __init__(self, application: WSGIApplication, plan: FaultPlan) -> None:
        self._application = application
        self._plan = plan

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer for the plan, let a request go wrong, or pass it on."""
        if environ["PATH_INFO"] == PATH:
            return self._control(Request(environ))(environ, start_response)
        service, operation = _aim(environ)
        rule = self._plan.for_request(service, operation)
        if rule is None:
            return self._application(environ, start_response)
        if rule.fault == "slow":
            time.sleep(rule.seconds)
            return self._application(environ, start_response)
        return _wrong(rule, service, operation)(environ, start_response)

    def _control(self, request: Request) -> Response:
        if request.method == "PUT":
            if (request.content_length or 0) > _LONGEST_PLAN:
                return _told(413, {"message": "The plan is longer than 1 MiB."})
            try:
                self._plan.replace(request.get_data())
            except ConfigurationError as error:
                return _told(400, {"message": str(error)})
        elif request.method == "DELETE":
            self._plan.remove()
        elif request.method != "GET":
            return _told(405, {"message": "GET, PUT or DELETE the plan of faults."})
        return Response(self._plan.text(), 200, content_type="application/json")


def _aim(environ: WSGIEnvironment) -> tuple[str, str]:
    """Return the service that a request is signed for, s3 when it is not, and its operation."""
    signed = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if _INVOCATION.fullmatch(environ["PATH_INFO"]):
        return "sagemaker", "InvokeEndpoint"
    service = signed["service"] if signed else "s3"
    return service, target.rpartition(".")[2] or environ["REQUEST_METHOD"]


def _wrong(rule: Rule, service: str, operation: str) -> Response:
    of_json, of_s3, message = _ANSWERS[rule.fault]
    message = message.format(f"{service}:{operation}")
    if service == "s3":
        code, status = of_s3
        body = (
            "<?xml version='1.0' encoding='UTF-8'?>\n"
            f"<Error><Code>{code}</Code><Message>{html.escape(message)}</Message></Error>"
        )
        return Response(body, status, content_type="application/xml")
    code, status = of_json
    response = _told(status, {"__type": code, "message": message})
    response.headers["x-amzn-ErrorType"] = code
    return response


def _told(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, content_type="application/x-amz-json-1.1")
