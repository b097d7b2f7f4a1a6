"""One host of a transform job: it serves the model and sends it the objects that are its share."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from fmrec.errors import DataError
from fmrec.local_aws.algorithms import Algorithm
from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.machine.inference import InvocationError, Invoker, ServingContainer
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.s3.sources import SourceObject, join_uri, parse_uri
from fmrec.local_aws.state.log_groups import LogWriter
from fmrec.local_aws.transform.data_processing import DataProcessing
from fmrec.local_aws.transform.payloads import assembled, payloads
from fmrec.local_aws.transform.settings import Settings, execution_parameters, settings, spelt
from fmrec.local_aws.workplace import Workplace

_MEGABYTE = 1 << 20
_POLL_SECONDS = 0.05
_Answer = Callable[[bytes], bytes]


class StoppedError(Exception):
    """The job was asked to stop, or failed as a whole on another host."""


@dataclass
class Share:
    """The objects of a job, which its hosts take one by one, and whose fault it was if one failed.

    `enter_upload` is called before the first output is stored; what it raises ends the job.
    """

    left: deque[SourceObject]
    control: JobControl
    enter_upload: Callable[[], None]
    blame: set[str] = field(default_factory=set)
    broken: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _uploading: bool = False

    def take(self) -> SourceObject | None:
        """Return the next object, None when there is none."""
        with self._turn:
            return self.left.popleft() if self.left else None

    def before_upload(self) -> None:
        """Enter the phase of uploading, once."""
        with self._turn:
            if not self._uploading:
                self._uploading = True
                self.enter_upload()

    def is_over(self) -> bool:
        """Return whether the rest is not to be done."""
        control = self.control
        return control.stop.is_set() or control.closing.is_set() or self.broken.is_set()


class TransformHost:
    """A serving container in a folder of its own, and the data log of its objects."""

    def __init__(
        self,
        place: Workplace,
        document: Document,
        algorithm: Algorithm,
        folder: Path,
        variables: Mapping[str, str],
        logs: tuple[LogWriter, LogWriter],
    ) -> None:
        self._place = place
        self._document = document
        self._algorithm = algorithm
        self._output = folder / "output"
        log, self._log = logs

        def take(lines: list[str]) -> None:
            log.write(lines)

        self._container = ServingContainer(
            algorithm.serve,
            folder,
            place.threads,
            {**algorithm.environment, "SAGEMAKER_BATCH": "true", **asked(document), **variables},
            place.ledger,
            take,
        )

    def wait_until_healthy(self, control: JobControl) -> bool:
        """Wait for the container; return False when the job is stopped meanwhile.

        Raises JobFailedError when the container ends.
        """
        return self._container.wait_until_healthy(control)

    def close(self) -> None:
        """End the container."""
        self._container.close()

    def work(self, share: Share, processing: DataProcessing | None) -> None:
        """Transform objects until none is left; one that fails leaves no output.

        Raises JobFailedError when the whole job fails, StoppedError when it is over.
        """
        try:
            self._work(share, processing)
        except BaseException:
            share.broken.set()
            raise

    def _work(self, share: Share, processing: DataProcessing | None) -> None:
        streams = self._document["TransformInput"]["SplitType"] == "None" and processing is None
        declared = execution_parameters(self._container.port, self._document)
        chosen = settings(self._document, declared, streams=streams)
        self._tell(
            f"MaxConcurrentTransforms={chosen.at_once}, MaxPayloadInMB={chosen.max_payload_mb}, "
            f"BatchStrategy={spelt(chosen.strategy)}"
        )
        invoke = self._invoker()
        answer = _answering(invoke, processing, self._document["TransformOutput"]["AssembleWith"])
        while (item := share.take()) is not None:
            name = f"{item.stored.bucket}/{item.stored.key}"
            try:
                self._transform(item, answer, chosen, share)
            except InvocationError as error:
                share.blame.add("Client" if error.status and error.status < 500 else "Algorithm")
                for line in _explained(error):
                    self._tell(f"{name}: {line}")
                # Its connections break a moment before it has ended.
                self._container.check_running(0.5 if error.status is None else 0.0)
            except (DataError, EOFError, OSError, zlib.error) as error:
                share.blame.add("Client")
                self._tell(f"{name}: {error}")

    def _invoker(self) -> Invoker:
        given, wanted = self._document["TransformInput"], self._document["TransformOutput"]
        client = self._document.get("ModelClientConfig", {})
        return Invoker(
            self._container.port,
            given.get("ContentType"),
            wanted.get("Accept", self._algorithm.batch_accept),
            timeout=client.get("InvocationsTimeoutInSeconds", 600),
            retries=client.get("InvocationsMaxRetries", 3),
        )

    def _transform(
        self, item: SourceObject, answer: _Answer, chosen: Settings, share: Share
    ) -> None:
        """Write one object's output whole, or not at all."""
        given = self._document["TransformInput"]
        gzipped = given["CompressionType"] == "Gzip"
        with ExitStack() as opened:
            if chosen.max_payload_mb == 0:
                # The invoker reads it in chunks, from its beginning at each attempt.
                cut = iter([cast(bytes, _Chunks(item.stored.path, gzipped))])
            else:
                cut = payloads(
                    opened.enter_context(_opened(item.stored.path, gzipped)),
                    name=f"s3://{item.stored.bucket}/{item.stored.key}",
                    split_type=given["SplitType"],
                    strategy=chosen.strategy,
                    limit=chosen.max_payload_mb * _MEGABYTE,
                )
            output = opened.enter_context(self._output.open("wb"))
            for part in self._in_order(cut, answer, chosen.at_once, share):
                output.write(part)
        share.before_upload()
        folder = self._document["TransformOutput"]["S3OutputPath"]
        address = join_uri(folder, f"{item.relative}.out")
        try:
            self._place.s3.put(*parse_uri(address), self._output, self._place.now())
        except FileNotFoundError as error:
            raise JobFailedError(f"ClientError: {error}") from None

    def _in_order(
        self, cut: Iterator[bytes], answer: _Answer, at_once: int, share: Share
    ) -> Iterator[bytes]:
        """Yield the answers in the order of the payloads, `at_once` of which are under way.

        As many again are read ahead, so that one slow answer leaves the others busy.
        """
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(at_once) as pool:
            try:
                for payload in cut:
                    waiting.append(pool.submit(answer, payload))
                    if len(waiting) == (2 * at_once if at_once > 1 else 1):
                        yield self._result(waiting.popleft(), share)
                while waiting:
                    yield self._result(waiting.popleft(), share)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _result(self, future: Future[bytes], share: Share) -> bytes:
        """Wait for an answer; when the job is over, end the container, which ends the waiting."""
        while not share.is_over():
            if wait([future], _POLL_SECONDS).done:
                return future.result()
        self._container.close()
        share.control.check_closing()
        raise StoppedError

    def _tell(self, text: str) -> None:
        moment = datetime.fromtimestamp(self._place.now(), UTC)
        stamp = moment.isoformat(timespec="milliseconds").removesuffix("+00:00")
        self._log.write([f"{stamp}:[sagemaker logs]: {text}"])


def asked(document: Document) -> dict[str, str]:
    """Return the variables that tell a container what the request, and it alone, says."""
    variables = {}
    if "BatchStrategy" in document:
        variables["SAGEMAKER_BATCH_STRATEGY"] = spelt(document["BatchStrategy"])
    if "MaxPayloadInMB" in document:
        variables["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(document["MaxPayloadInMB"])
    if document.get("MaxConcurrentTransforms"):
        at_once = str(document["MaxConcurrentTransforms"])
        variables["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = at_once
    return variables


class _Chunks:
    """The content of an object in chunks, from its beginning whenever it is iterated over."""

    def __init__(self, path: Path, gzipped: bool) -> None:
        self._path = path
        self._gzipped = gzipped

    def __iter__(self) -> Iterator[bytes]:
        with _opened(self._path, self._gzipped) as stream:
            while block := stream.read(_MEGABYTE):
                yield block


def _opened(path: Path, gzipped: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if gzipped else path.open("rb")


def _answering(invoke: Invoker, processing: DataProcessing | None, assemble: str) -> _Answer:
    def answer(payload: bytes) -> bytes:
        part = invoke(payload) if processing is None else processing.run(payload, invoke)
        return assembled(part, "Line" if assemble == "Line" else "None")

    return answer


def _explained(error: InvocationError) -> list[str]:
    if error.status is None:
        return [str(error)]
    if error.status >= 500:
        return [f"Bad HTTP status received from algorithm: {error.status}", *_message(error)]
    return [f"ClientError: {error.status}", *_message(error)]


def _message(error: InvocationError) -> list[str]:
    return ["", "Message:", *str(error)[:10_000].splitlines()]
