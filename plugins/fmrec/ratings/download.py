"""Fetch a published file: resumed where it broke off, verified, there whole or not at all."""

from __future__ import annotations

import fcntl
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from fmrec.errors import DownloadError
from fmrec.ratings.archive import digest

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes there will be, after each piece."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_CERTIFICATE_HAS_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL


def download(
    url: str,
    target: Path,
    *,
    size: int | None,
    md5: str | None,
    progress: Progress | None = None,
    attempts: int = 4,
    timeout: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Put the file at `url` to `target`, which must be `size` bytes with checksum `md5`.

    Either is None where it is not known: then the size is what the server says, and the content
    is taken as the server sends it.

    What has arrived stays in `<target>.part` and is continued (HTTP Range with If-Range, so a
    file that changed on the server starts anew), by the next of `attempts` or by a later call.
    `target` appears by a rename after its content was verified. A second process that asks for
    the same target waits for the first and takes what that one fetched. `timeout` is seconds
    without a byte; `pause` waits between attempts.

    Raises DownloadError that says what happened and what to do.
    """
    transfer = _Transfer(url, target, size, md5, progress)
    headers = {"Accept-Encoding": "identity", "User-Agent": "fmrec"}
    # A host that does not answer at all is given up sooner than one that is slow.
    patience = httpx.Timeout(timeout, connect=min(timeout, 8.0))
    with _client(patience, headers) as client:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target):
                if not target.is_file():
                    _try(client, transfer, attempts, pause)
        except OSError as error:
            raise DownloadError(
                f"{target} cannot be written ({error}). Make room, or set FMREC_CACHE_DIR to a "
                "folder that can be written."
            ) from error


def _client(patience: httpx.Timeout, headers: dict[str, str]) -> httpx.Client:
    try:
        return httpx.Client(timeout=patience, follow_redirects=True, headers=headers)
    except ImportError as error:
        raise DownloadError(
            f"a proxy is set that cannot be used here ({error}). Unset ALL_PROXY, or put the "
            "file where it is looked for."
        ) from None


class _PassingError(DownloadError):
    """A failure that another attempt may not meet."""


@dataclass(frozen=True)
class _Transfer:
    """One file on its way, and the words for what goes wrong with it."""

    url: str
    target: Path
    size: int | None
    md5: str | None
    progress: Progress | None

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def validator(self) -> Path:
        """Holds what the server called this version of the file: an ETag or a date."""
        return self.target.with_name(f"{self.target.name}.part.version")

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)

    def failed(self, what: str) -> str:
        return (
            f"{self.url}: {what}. Get the file by other means and put it as {self.target.name} "
            "into the folder that FMREC_DATA_DIR names, or use the source `sample`, which needs "
            "no network."
        )


def _try(
    client: httpx.Client, transfer: _Transfer, attempts: int, pause: Callable[[float], None]
) -> None:
    for attempt in range(1, attempts + 1):
        try:
            resumed = _receive(client, transfer)
            _accept(transfer, resumed)
        except (httpx.RequestError, _PassingError) as error:
            refused = _certificate_fault(error)
            if refused is not None:
                raise DownloadError(transfer.failed(_about(refused))) from error
            if attempt == attempts:
                raise DownloadError(
                    transfer.failed(f"failed {attempts} times, at last: {_words(error)}")
                ) from error
            pause(2.0 ** (attempt - 2))
        else:
            return


def _receive(client: httpx.Client, transfer: _Transfer) -> bool:
    """Bring the part to its full size; whether it began with bytes from an earlier request."""
    have = transfer.part.stat().st_size if transfer.part.is_file() else 0
    version = transfer.validator.read_text() if transfer.validator.is_file() else ""
    if have == transfer.size:
        return True
    if not version or (transfer.size is not None and have > transfer.size):
        transfer.discard()
        have = 0
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
    with client.stream("GET", transfer.url, headers=headers) as response:
        resumed, size = _judge(response, transfer, have)
        if not resumed:
            have = 0
            transfer.discard()
            transfer.validator.write_text(_version(response))
        with transfer.part.open("ab") as stream:
            for piece in response.iter_raw():
                have += len(piece)
                if have > size:
                    break
                stream.write(piece)
                if transfer.progress is not None:
                    transfer.progress(have, size)
    if have > size:
        transfer.discard()
        raise DownloadError(
            transfer.failed(f"the server sends more than the {size:,} bytes of the file")
        )
    if have < size:
        raise _PassingError(f"only {have:,} of {size:,} bytes arrived")
    return resumed


def _judge(response: httpx.Response, transfer: _Transfer, have: int) -> tuple[bool, int]:
    """Whether the answer continues the part (206) or is the whole file (200); else raises.

    Beside it the size of the whole file.
    """
    scheme, final = httpx.URL(transfer.url).scheme, response.url
    if scheme == "https" and final.scheme != "https":
        raise DownloadError(transfer.failed(f"the server leads to {final}, which is not https"))
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        offered = str(response.headers.get("Content-Range", ""))
        total = offered.rpartition("/")[2]
        size = int(total) if transfer.size is None and total.isdecimal() else transfer.size
        if have and size is not None and offered == f"bytes {have}-{size - 1}/{size}":
            return True, size
        transfer.discard()
        raise _PassingError("the server continues at another place than it was asked for")
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        transfer.discard()
        raise _PassingError("the server has no such range")
    if response.status_code in _PASSING:
        raise _PassingError(f"the server answers {_status(response)}")
    if response.status_code != httpx.codes.OK:
        raise DownloadError(transfer.failed(f"the server answers {_status(response)}"))
    length = str(response.headers.get("Content-Length", ""))
    if transfer.size is None:
        if not length.isdecimal():
            raise DownloadError(transfer.failed("the server does not say how long the file is"))
        return False, int(length)
    if length not in ("", str(transfer.size)):
        raise DownloadError(
            transfer.failed(
                f"the server offers {length} bytes where the published file has {transfer.size}"
            )
        )
    return False, transfer.size


def _accept(transfer: _Transfer, resumed: bool) -> None:
    found = digest(transfer.part).md5
    if transfer.md5 in (None, found):
        transfer.part.replace(transfer.target)
        transfer.validator.unlink(missing_ok=True)
        return
    transfer.discard()
    what = f"what arrived is not the published file: md5 is {found}, expected {transfer.md5}"
    if resumed:  # the pieces may have been of two versions
        raise _PassingError(what)
    raise DownloadError(transfer.failed(what))


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time. The lock file stays: removing it would open a gap for a third."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version(response: httpx.Response) -> str:
    """What names this version of the file in If-Range; a weak ETag must not (RFC 9110, 13.1.5)."""
    etag = str(response.headers.get("ETag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return str(response.headers.get("Last-Modified", ""))


def _certificate_fault(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _about(refused: ssl.SSLCertVerificationError) -> str:
    what = (
        "the server's TLS certificate has expired"
        if refused.verify_code == _CERTIFICATE_HAS_EXPIRED
        else f"the server's TLS certificate cannot be trusted ({refused.verify_message})"
    )
    return f"{what}; it is not fetched without verification. Wait until the server has a new one"


def _words(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"the host cannot be reached ({error})"
    if isinstance(error, httpx.TimeoutException):
        return f"the server did not answer in time ({type(error).__name__})"
    return str(error) or type(error).__name__


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()
