"""Compares what S3 received with the digests that the request declares, which moto does not."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from flask import has_request_context, request
from moto.s3.exceptions import S3ClientError

_BLOCK = 1 << 20
_MD5 = "Content-MD5"
_CHECKSUM = "x-amz-checksum-"


class _Crc32:
    """CRC-32 with the methods of a hash."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


# CRC32C and CRC64NVME would need a package of their own; they are taken on trust.
_ALGORITHMS: dict[str, Callable[[], Any]] = {
    "crc32": _Crc32,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


def check_digests(content: Any) -> None:
    """Raise the S3 error for new content whose digest is not the declared one.

    `content` is a key or a part as moto holds it. What a job stores, or a copy within S3, declares
    nothing.
    """
    if not has_request_context() or request.method != "PUT":
        return
    headers = request.headers
    if "x-amz-copy-source" in headers:
        return
    if declared := headers.get(_MD5):
        _check_md5(declared, content)
    # A checksum that follows the body, moto has picked up.
    trailer = headers.get("x-amz-trailer", "").lower().strip()
    for name, algorithm in _ALGORITHMS.items():
        header = f"{_CHECKSUM}{name}"
        value = headers.get(header) or (content.checksum_value if trailer == header else None)
        if value and _decoded(value) != _digest(content, algorithm()):
            raise S3ClientError(
                "BadDigest",
                f"The {name.upper()} you specified did not match the calculated checksum.",
            )


def _check_md5(declared: str, content: Any) -> None:
    wanted = _decoded(declared)
    if wanted is None or len(wanted) != 16:
        raise S3ClientError("InvalidDigest", "The Content-MD5 you specified was invalid.")
    if request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return  # the digest of a body that moto has unwrapped meanwhile
    if wanted != _digest(content, hashlib.md5(usedforsecurity=False)):
        raise S3ClientError(
            "BadDigest", "The Content-MD5 you specified did not match what we received."
        )


def _decoded(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _digest(content: Any, digest: Any) -> bytes:
    buffer = content._value_buffer
    buffer.seek(0)
    while block := buffer.read(_BLOCK):
        digest.update(block)
    found: bytes = digest.digest()
    return found
