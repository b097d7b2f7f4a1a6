"""Runs one batch transform job: serve the model, feed it the input objects, write the outputs."""

from __future__ import annotations

import gzip
import time
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import BinaryIO, Literal, cast

from fmrec.errors import DataError
from fmrec.local_aws.algorithms import resolve
from fmrec.local_aws.faults import JobFailedError
from fmrec.local_aws.inference import InvocationError, Invoker, ServingContainer
from fmrec.local_aws.job_run import FINAL, LONGEST_REASON, JobRun
from fmrec.local_aws.job_runner import JobControl
from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.log_groups import LogWriter
from fmrec.local_aws.model_archive import unpack
from fmrec.local_aws.payloads import Strategy, assembled, payloads
from fmrec.local_aws.s3_sources import SourceObject, find, join_uri, parse_uri
from fmrec.local_aws.workplace import Workplace

LOG_GROUP = "/aws/sagemaker/TransformJobs"
MEGABYTE = 1 << 20
_POLL_SECONDS = 0.05

End = Literal["Completed", "Stopped"]


class _StoppedError(Exception):
    """The job was asked to stop."""


class TransformRun(JobRun[End]):
    """The execution of one batch transform job."""

    def _execute(self, control: JobControl) -> End:
        document = self._update(
            lambda document, now: document.update(TransformStartTime=now, LastModifiedTime=now)
        )
        model = self._place.records.find(
            self._place.identity("model", self._identity.region, document["ModelName"])
        )
        if model is None:
            raise JobFailedError(
                f"ClientError: Model {document['ModelName']!r} was deleted meanwhile"
            )
        source = document["TransformInput"]["DataSource"]["S3DataSource"]
        role = model.get("ExecutionRoleArn", "")
        inputs = find(source, self._place.s3, self._identity.region, role)
        bucket, _ = parse_uri(document["TransformOutput"]["S3OutputPath"])
        if not self._place.s3.bucket_exists(bucket):
            raise JobFailedError(
                f"ClientError: The bucket of S3OutputPath, {bucket!r}, does not exist"
            )
        self._folder.mkdir(parents=True)
        self._unpack_model(model["PrimaryContainer"])
        with ExitStack() as cleaning:
            container = self._serve(document, model["PrimaryContainer"])
            cleaning.callback(container.close)
            if not container.wait_until_healthy(control):
                return "Stopped"
            try:
                self._transform_all(document, model, inputs, container, control)
            except _StoppedError:
                return "Stopped"
        return "Completed"

    def request_stop(self) -> None:
        """Record that the job was asked to stop."""
        self._move("Stopping")

    def cancel(self) -> None:
        """Record that the job was stopped before it began."""
        self._move("Stopped")

    def fail(self, reason: str) -> None:
        """Record that the job failed."""
        self._move("Failed", FailureReason=reason[:LONGEST_REASON])

    def _finish(self, end: End) -> None:
        self._move(end)

    def _unpack_model(self, container: Document) -> None:
        address = container.get("ModelDataUrl")
        if address is None:
            (self._folder / "model").mkdir()
            return
        artifact = self._place.s3.find(*parse_uri(address))
        if artifact is None:
            raise JobFailedError(f"ClientError: Could not find model data at {address}.")
        unpack(artifact.path, self._folder / "model")

    def _stream(self, suffix: str) -> LogWriter:
        name = f"{self._identity.name}/algo-1-{int(self._place.clock())}{suffix}"
        return self._place.logs.stream(self._identity.region, LOG_GROUP, name)

    def _serve(self, document: Document, model: Document) -> ServingContainer:
        log = self._stream("")

        def take(lines: list[str]) -> None:
            log.write(lines)

        return ServingContainer(
            resolve(model["Image"], self._place.algorithms).serve,
            self._folder,
            self._place.threads,
            {
                "SAGEMAKER_BATCH": "true",
                "SAGEMAKER_BATCH_STRATEGY": strategy(document),
                "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(max_payload(document)),
                "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(concurrency(document)),
                "AWS_REGION": self._identity.region,
                **model.get("Environment", {}),
                **document.get("Environment", {}),
            },
            self._place.ledger,
            take,
        )

    def _transform_all(
        self,
        document: Document,
        model: Document,
        inputs: list[SourceObject],
        container: ServingContainer,
        control: JobControl,
    ) -> None:
        """Transform every object; one that fails leaves no output and does not hinder the others.

        Raises JobFailedError at the end when any failed.
        """
        log = _DataLog(self._stream("/data-log"), self._place)
        log.write(
            f"MaxConcurrentTransforms={concurrency(document)}, "
            f"MaxPayloadInMB={max_payload(document)}, "
            f"BatchStrategy={'MULTI' if strategy(document) == 'MultiRecord' else 'SINGLE'}_RECORD"
        )
        algorithm = resolve(model["PrimaryContainer"]["Image"], self._place.algorithms)
        client = document.get("ModelClientConfig", {})
        invoke = Invoker(
            container.port,
            document["TransformInput"].get("ContentType"),
            document["TransformOutput"].get("Accept", algorithm.batch_accept),
            timeout=client.get("InvocationsTimeoutInSeconds", 600),
            retries=client.get("InvocationsMaxRetries", 0),
        )
        blame = set()
        for item in inputs:
            name = f"{item.stored.bucket}/{item.stored.key}"
            try:
                self._transform(document, item, invoke, container, control)
            except InvocationError as error:
                blame.add("Client" if error.status and error.status < 500 else "Algorithm")
                for line in _explained(error):
                    log.write(f"{name}: {line}")
                container.check_running()
            except (DataError, EOFError, OSError, zlib.error) as error:
                blame.add("Client")
                log.write(f"{name}: {error}")
        if blame:
            culprit = "Algorithm" if "Algorithm" in blame else "Client"
            raise JobFailedError(f"{culprit}Error: See job logs for more information")

    def _transform(
        self,
        document: Document,
        item: SourceObject,
        invoke: Invoker,
        container: ServingContainer,
        control: JobControl,
    ) -> None:
        """Write one object's output whole, or not at all."""
        given, wanted = document["TransformInput"], document["TransformOutput"]
        written = self._folder / "output"
        with ExitStack() as opened:
            stream: BinaryIO = opened.enter_context(item.stored.path.open("rb"))
            if given["CompressionType"] == "Gzip":
                stream = cast(BinaryIO, opened.enter_context(gzip.open(stream)))
            cut = payloads(
                stream,
                name=f"s3://{item.stored.bucket}/{item.stored.key}",
                split_type=given["SplitType"],
                strategy=strategy(document),
                limit=max_payload(document) * MEGABYTE,
            )
            output = opened.enter_context(written.open("wb"))
            for response in _in_order(cut, invoke, concurrency(document), container, control):
                output.write(assembled(response, wanted["AssembleWith"]))
        address = join_uri(wanted["S3OutputPath"], f"{item.relative}.out")
        try:
            self._place.s3.put(*parse_uri(address), written, self._place.now())
        except FileNotFoundError as error:
            raise JobFailedError(f"ClientError: {error}") from None

    def _move(self, status: str, **members: str) -> None:
        def change(document: Document, now: float) -> None:
            if document["TransformJobStatus"] in FINAL:
                return
            document.update({"TransformJobStatus": status, "LastModifiedTime": now, **members})
            if status in FINAL:
                document["TransformEndTime"] = now

        self._update(change)


class _DataLog:
    """The log in which SageMaker tells what happened to each input object."""

    def __init__(self, log: LogWriter, place: Workplace) -> None:
        self._log = log
        self._place = place

    def write(self, text: str) -> None:
        """Append a line in SageMaker's form."""
        moment = datetime.fromtimestamp(self._place.now(), UTC)
        stamp = moment.isoformat(timespec="milliseconds").removesuffix("+00:00")
        self._log.write([f"{stamp}:[sagemaker logs]: {text}"])


def strategy(document: Document) -> Strategy:
    """Return the BatchStrategy of a job."""
    return cast(Strategy, document.get("BatchStrategy", "MultiRecord"))


def max_payload(document: Document) -> int:
    """Return the MaxPayloadInMB of a job; SageMaker's default is 6."""
    return int(document.get("MaxPayloadInMB", 6))


def concurrency(document: Document) -> int:
    """Return the MaxConcurrentTransforms of a job; 0 and its absence mean 1."""
    return int(document.get("MaxConcurrentTransforms", 0)) or 1


def _in_order(
    cut: Iterator[bytes],
    invoke: Invoker,
    at_once: int,
    container: ServingContainer,
    control: JobControl,
) -> Iterator[bytes]:
    """Yield the answers in the order of the payloads, at most `at_once` of which are under way."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for payload in cut:
                waiting.append(pool.submit(invoke, payload))
                if len(waiting) == at_once:
                    yield _result(waiting.popleft(), container, control)
            while waiting:
                yield _result(waiting.popleft(), container, control)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result(future: Future[bytes], container: ServingContainer, control: JobControl) -> bytes:
    """Wait for an answer; when the job is to end, end the container, which ends the waiting."""
    while not future.done():
        if control.stop.is_set() or control.closing.is_set():
            container.close()
            control.check_closing()
            raise _StoppedError
        time.sleep(_POLL_SECONDS)
    return future.result()


def _explained(error: InvocationError) -> list[str]:
    if error.status is None:
        return [str(error)]
    if error.status >= 500:
        return [f"Bad HTTP status received from algorithm: {error.status}", *_message(error)]
    return [f"ClientError: {error.status}", *_message(error)]


def _message(error: InvocationError) -> list[str]:
    return ["", "Message:", *str(error)[:10_000].splitlines()]
