"""Who is answered: programs of this machine. Not web pages, though a browser here shows them."""

from __future__ import annotations

import html
import ipaddress
import json
import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.wrappers import Response

_AUTHORITY = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]*)?")
_ORIGIN = re.compile(r"https?://(?P<authority>[^/]+)")


def is_loopback(host: str) -> bool:
    """Return whether a host, without port or brackets, is localhost or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """A WSGI application that answers 403 to what a foreign web page makes a browser send.

    A browser names the page in the Origin header of every request that could change something. It
    leaves Origin out when the page itself came from this address, which a page can arrange for its
    own name by DNS (rebinding); then the Host header names it. With `any_host`, for a server that
    other machines reach under names of their own, Host is not looked at.
    """

    def __init__(self, application: WSGIApplication, *, any_host: bool) -> None:
        self._application = application
        self._any_host = any_host

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or refuse it."""
        objection = self._objection(environ)
        if objection is None:
            return self._application(environ, start_response)
        return refusal(environ, 403, "AccessDenied", objection)(environ, start_response)

    def _objection(self, environ: WSGIEnvironment) -> str | None:
        if environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site"):
            # What a page embeds (an image, a frame) is fetched without an Origin.
            return "The local AWS answers nothing that a web page of another address asks for."
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not _is_local_origin(origin):
            return (
                f"The local AWS answers no web page of another machine, and the request's Origin "
                f"is {origin!r}."
            )
        host = environ.get("HTTP_HOST", "")
        if not self._any_host and not _is_local_authority(host, subdomains=True):
            return (
                f"The local AWS answers under the names of this machine alone, and the request's "
                f"Host is {host!r}. Use 127.0.0.1 or localhost, or start it with --allow-remote."
            )
        return None


def _is_local_origin(origin: str) -> bool:
    match = _ORIGIN.fullmatch(origin.lower())
    return match is not None and _is_local_authority(match["authority"], subdomains=False)


def _is_local_authority(authority: str, *, subdomains: bool) -> bool:
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None:
        return False
    host = match["v6"] or match["name"]
    # Buckets may be named in front of the host: bucket.localhost.
    return is_loopback(host) or (subdomains and host.endswith(".localhost"))


def refusal(environ: WSGIEnvironment, status: int, code: str, message: str) -> Response:
    """Build an AWS error, in JSON for the services that speak it; their codes end in Exception."""
    if "HTTP_X_AMZ_TARGET" in environ:
        code = f"{code}Exception"
        body = json.dumps({"__type": code, "message": message})
        return Response(body, status, {"x-amzn-ErrorType": code}, mimetype="application/json")
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?>\n<ErrorResponse><Error><Code>{code}</Code>"
        f"<Message>{html.escape(message)}</Message></Error></ErrorResponse>"
    )
    return Response(body, status, content_type="application/xml")
