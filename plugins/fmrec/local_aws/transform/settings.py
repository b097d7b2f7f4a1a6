"""How a transform job sends its payloads: what the request says, else the container, else AWS."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.transform.payloads import Strategy

DEFAULT_PAYLOAD_MB = 6
_MOST = 100  # megabytes in a payload, and payloads at once
_TIMEOUT_SECONDS = 10
_STRATEGIES = {"SINGLE_RECORD": "SingleRecord", "MULTI_RECORD": "MultiRecord"}


@dataclass(frozen=True)
class Settings:
    """`max_payload_mb` 0 means that an object is streamed whole; `at_once` payloads in flight."""

    strategy: Strategy
    max_payload_mb: int
    at_once: int


def spelt(strategy: str) -> str:
    """Return a BatchStrategy as containers and logs spell it."""
    return next(name for name, value in _STRATEGIES.items() if value == strategy)


def settings(document: Document, declared: Mapping[str, Any], *, streams: bool) -> Settings:
    """Return the settings of a job; `declared` is the container's answer, if it gave one.

    A declared value that makes no sense counts as absent, and so does the wish for objects that
    are streamed whole where the job does not allow it (`streams`).
    """
    strategy = document.get("BatchStrategy") or _STRATEGIES.get(
        str(declared.get("BatchStrategy")), "MultiRecord"
    )
    payload = document.get("MaxPayloadInMB")
    if payload is None:
        least = 0 if streams else 1
        payload = _number(declared, "MaxPayloadInMB", least, DEFAULT_PAYLOAD_MB)
    # 0 asks for the container's own number, as if the member were absent.
    at_once = document.get("MaxConcurrentTransforms") or _number(
        declared, "MaxConcurrentTransforms", 1, 1
    )
    return Settings(cast(Strategy, strategy), int(payload), int(at_once))


def execution_parameters(port: int, document: Document) -> Mapping[str, Any]:
    """Ask a container for the settings that a job leaves out; nothing when it does not say."""
    given = ("BatchStrategy" in document, "MaxPayloadInMB" in document)
    if all(given) and document.get("MaxConcurrentTransforms"):
        return {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/execution-parameters")
        response = connection.getresponse()
        declared = json.loads(response.read()) if response.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return {}
    finally:
        connection.close()
    return declared if isinstance(declared, dict) else {}


def _number(declared: Mapping[str, Any], member: str, least: int, default: int) -> int:
    value = declared.get(member)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST:
        return value
    return default
