"""The downloader against a real HTTP server on 127.0.0.1 that misbehaves as told."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fmrec.errors import DownloadError
from fmrec.ratings import open_archive
from fmrec.ratings.download import download
from fmrec.ratings.published import ARCHIVES, Published

CONTENT = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(10_000))
SUM = hashlib.md5(CONTENT).hexdigest()  # noqa: S324

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives each request the next of the server's answers; the last one again and again."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: stderr belongs to the test run."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/ml-100k.zip"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up (a refused certificate) is part of the test."""


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(*answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def whole(content: bytes = CONTENT, cut: int | None = None, etag: str | None = '"v1"') -> Answer:
    """The file as RFC 9110 has it, with ranges when it has an ETag; breaks off after `cut`."""

    def answer(handler: Handler) -> None:
        begin = 0
        wanted = handler.headers.get("Range")
        if etag and wanted and handler.headers.get("If-Range") == etag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.end_headers()
        handler.wfile.write(content[begin:] if cut is None else content[begin : begin + cut])

    return answer


def status(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


def fetch(server: Server, target: Path, **changes: object) -> list[float]:
    """Download with the true size and sum unless told; returns the pauses it asked for."""
    pauses: list[float] = []
    arguments = {"size": len(CONTENT), "md5": SUM, "pause": pauses.append, "timeout": 5.0}
    download(server.url, target, **(arguments | changes))  # type: ignore[arg-type]
    return pauses


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "ml-100k.zip"


def left(target: Path) -> set[str]:
    """Files in the folder but the lock."""
    return {path.name for path in target.parent.iterdir()} - {f".{target.name}.lock"}


def test_a_whole_file_arrives_once_and_is_told_of(target: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving(whole()) as server:
        pauses = fetch(server, target, progress=lambda done, size: told.append((done, size)))
        fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert left(target) == {"ml-100k.zip"}
    assert len(server.asked) == 1
    assert "Range" not in server.asked[0]
    assert pauses == []
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_continued_where_it_broke(target: Path) -> None:
    with serving(whole(cut=100_000), whole(cut=50_000), whole()) as server:
        pauses = fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.asked] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert server.asked[1]["If-Range"] == '"v1"'
    assert pauses == [0.5, 1.0]


def test_a_later_call_continues_what_an_earlier_one_left(target: Path) -> None:
    with (
        serving(whole(cut=100_000)) as server,
        pytest.raises(DownloadError, match="failed 1 times"),
    ):
        fetch(server, target, attempts=1)
    assert not target.exists()
    with serving(whole()) as server:
        fetch(server, target)
    assert server.asked[0]["Range"] == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_starts_anew(target: Path) -> None:
    old = CONTENT[::-1]
    with serving(whole(old, cut=100_000, etag='"v0"'), whole()) as server:
        fetch(server, target)
    assert server.asked[1]["If-Range"] == '"v0"'
    assert target.read_bytes() == CONTENT


def test_pieces_of_two_versions_are_fetched_again_from_the_start(target: Path) -> None:
    """A server whose ETag lies: only the checksum notices."""
    with serving(whole(CONTENT[::-1], cut=100_000), whole()) as server:
        fetch(server, target)
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=100000-", None]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_the_whole_again(target: Path) -> None:
    with serving(whole(cut=100_000, etag=None), whole(etag=None)) as server:
        fetch(server, target)
    assert "Range" not in server.asked[1]
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_is_understood(target: Path) -> None:
    def deaf(handler: Handler) -> None:
        del handler.headers["Range"]
        whole()(handler)

    with serving(whole(cut=100_000), deaf) as server:
        fetch(server, target)
    assert server.asked[1]["Range"] == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_a_continuation_from_another_place_is_not_believed(target: Path) -> None:
    def astray(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT[7:])

    with serving(whole(cut=100_000), astray, status(416), whole()) as server:
        fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(target: Path) -> None:
    with (
        serving(whole(CONTENT[::-1])) as server,
        pytest.raises(DownloadError, match=r"not the published file: md5 is .*FMREC_DATA_DIR"),
    ):
        fetch(server, target)
    assert left(target) == set()
    assert len(server.asked) == 1


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"])
def test_a_wrong_size_is_seen_before_anything_is_fetched(target: Path, content: bytes) -> None:
    with (
        serving(whole(content)) as server,
        pytest.raises(DownloadError, match=f"offers {len(content)} bytes where the published"),
    ):
        fetch(server, target)
    assert left(target) == set()


def test_a_server_that_sends_more_than_the_file_is_stopped(target: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT + b"x")

    with (
        serving(endless) as server,
        pytest.raises(DownloadError, match="sends more than the 320,000"),
    ):
        fetch(server, target)
    assert left(target) == set()


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_final(target: Path, code: int) -> None:
    with serving(status(code)) as server, pytest.raises(DownloadError, match=f"answers {code} "):
        fetch(server, target)
    assert len(server.asked) == 1
    assert left(target) == set()


def test_a_passing_failure_is_tried_again(target: Path) -> None:
    with serving(status(503), status(500), whole()) as server:
        assert fetch(server, target) == [0.5, 1.0]
    assert target.read_bytes() == CONTENT


def test_a_lasting_failure_ends_with_what_to_do(target: Path) -> None:
    with serving(status(500)) as server, pytest.raises(DownloadError) as caught:
        fetch(server, target)
    assert len(server.asked) == 4
    text = str(caught.value)
    assert text.startswith(f"{server.url}: failed 4 times, at last: the server answers 500 ")
    assert "FMREC_DATA_DIR" in text
    assert "`sample`" in text


def test_a_host_that_does_not_answer_is_said_to_be_unreachable(target: Path) -> None:
    with serving(whole()) as server:
        pass  # its port is closed now
    with pytest.raises(DownloadError, match="the host cannot be reached"):
        fetch(server, target)


def test_a_server_that_falls_silent_runs_into_the_timeout(target: Path) -> None:
    done = threading.Event()

    def silent(handler: Handler) -> None:
        whole(cut=100_000)(handler)
        handler.wfile.flush()
        done.wait(30)

    with serving(silent, whole()) as server:
        fetch(server, target, timeout=0.5)
        done.set()
    assert server.asked[1]["Range"] == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_a_redirect_is_followed(target: Path) -> None:
    def elsewhere(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/other/place.zip")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(elsewhere, whole()) as server:
        fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving(whole()) as server, pytest.raises(DownloadError, match="FMREC_CACHE_DIR"):
        fetch(server, tmp_path / "file" / "ml-100k.zip")


def certificate(folder: Path, ends: datetime) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1 that is its own authority."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ends - timedelta(days=90))
        .not_valid_after(ends)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return context, path


def test_an_expired_certificate_is_called_so_and_not_passed_over(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, path = certificate(tmp_path, datetime.now(UTC) - timedelta(days=1))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with (
        serving(whole(), tls=context) as server,
        pytest.raises(
            DownloadError, match="TLS certificate has expired; it is not fetched without"
        ),
    ):
        fetch(server, target)
    assert server.asked == []
    assert left(target) == set()


def test_a_certificate_of_nobody_known_is_refused(target: Path, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path, datetime.now(UTC) + timedelta(days=1))
    with (
        serving(whole(), tls=context) as server,
        pytest.raises(DownloadError, match=r"TLS certificate cannot be trusted \(self-signed"),
    ):
        fetch(server, target)
    assert server.asked == []


def test_https_is_not_left_for_http(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, path = certificate(tmp_path, datetime.now(UTC) + timedelta(days=1))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with serving(whole()) as plain:

        def down(handler: Handler) -> None:
            handler.send_response(302)
            handler.send_header("Location", plain.url)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with serving(whole(), tls=context) as server:
            fetch(server, target)
        assert target.read_bytes() == CONTENT
        target.unlink()
        with (
            serving(down, tls=context) as server,
            pytest.raises(DownloadError, match="which is not https"),
        ):
            fetch(server, target)
    assert not target.exists()


def _fetch_in_process(url: str, target: Path) -> None:
    download(url, target, size=len(CONTENT), md5=SUM)


@pytest.mark.e2e
def test_two_processes_fetch_it_once(target: Path) -> None:
    started = threading.Event()

    def slow(handler: Handler) -> None:
        started.wait(1.0)
        whole()(handler)

    spawn = multiprocessing.get_context("spawn")
    with serving(slow) as server:
        both = [
            spawn.Process(target=_fetch_in_process, args=(server.url, target)) for _ in range(2)
        ]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert left(target) == {"ml-100k.zip"}


def test_an_unknown_size_is_what_the_server_says(target: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving(whole(cut=100_000), whole()) as server:
        fetch(server, target, size=None, progress=lambda done, size: told.append((done, size)))
    assert target.read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=100000-"
    assert {size for _, size in told} == {len(CONTENT)}


def test_an_unknown_size_leaves_the_checksum_to_judge(target: Path) -> None:
    with (
        serving(whole(CONTENT[:-1])) as server,
        pytest.raises(DownloadError, match="not the published file: md5 is"),
    ):
        fetch(server, target, size=None)
    assert left(target) == set()


def test_without_a_checksum_the_file_is_taken_whole_or_not_at_all(target: Path) -> None:
    with (
        serving(whole(cut=100_000)) as server,
        pytest.raises(DownloadError, match="failed 1 times"),
    ):
        fetch(server, target, size=None, md5=None, attempts=1)
    assert not target.exists()
    with serving(whole()) as server:
        fetch(server, target, size=None, md5=None)
    assert target.read_bytes() == CONTENT


def test_a_continuation_of_unknown_size_from_another_place_is_not_believed(target: Path) -> None:
    def astray(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT[7:])

    with serving(whole(cut=100_000), astray, whole()) as server:
        fetch(server, target, size=None, md5=None)
    assert target.read_bytes() == CONTENT


def test_a_length_that_nobody_knows_is_refused(target: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    with (
        serving(endless) as server,
        pytest.raises(DownloadError, match="does not say how long the file is"),
    ):
        fetch(server, target, size=None)
    assert left(target) == set()


@pytest.mark.data
def test_an_archive_that_is_not_here_is_downloaded_once(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive at hand is a re-zip, so its own sums stand in for the published ones."""
    content = (data_dir / "ml-100k.zip").read_bytes()
    told: list[int] = []
    with serving(whole(content)) as server:
        published = dataclasses.replace(
            ARCHIVES["ml-100k"],
            bytes=len(content),
            md5=hashlib.md5(content).hexdigest(),  # noqa: S324
        )
        monkeypatch.setattr(Published, "url", server.url)
        monkeypatch.setitem(ARCHIVES, "ml-100k", published)
        for _ in range(2):
            with open_archive(
                "ml-100k",
                data_dir=None,
                cache_dir=tmp_path,
                progress=lambda done, _: told.append(done),
            ) as archive:
                rows = sum(chunk.ratings.num_rows for chunk in archive.ratings("u1"))
                assert archive.origin.location == str(tmp_path / "ml-100k.zip")
                assert archive.origin.url == server.url
    assert len(server.asked) == 1
    assert told[-1] == len(content)
    assert rows == 100_000
