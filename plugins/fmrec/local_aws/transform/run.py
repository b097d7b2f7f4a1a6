"""Runs one batch transform job: serve the model, feed it the input objects, write the outputs."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from fmrec.local_aws.algorithms import resolve
from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.model_archive import unpack
from fmrec.local_aws.jobs.run import PlainRun
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.s3.sources import SourceObject, find, parse_uri
from fmrec.local_aws.state.log_groups import LogWriter
from fmrec.local_aws.transform.capture import capture, stamp
from fmrec.local_aws.transform.data_processing import data_processing
from fmrec.local_aws.transform.host import Share, StoppedError, TransformHost

LOG_GROUP = "/aws/sagemaker/TransformJobs"

End = Literal["Completed", "Stopped"]


class TransformRun(PlainRun[End]):
    """The execution of one batch transform job."""

    prefix = "TransformJob"
    ended = "TransformEndTime"

    def _execute(self, control: JobControl) -> End:
        document = self._update(
            lambda document, now: document.update(TransformStartTime=now, LastModifiedTime=now)
        )
        self._reach("Downloading")
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
        self._check_bucket("S3OutputPath", document["TransformOutput"]["S3OutputPath"])
        if "DataCaptureConfig" in document:
            destination = document["DataCaptureConfig"]["DestinationS3Uri"]
            self._check_bucket("DestinationS3Uri", destination)
        with ExitStack() as cleaning:
            # A host without an object to transform would have nothing to do.
            count = min(document["TransformResources"]["InstanceCount"], len(inputs))
            hosts = []
            for number in range(1, count + 1):
                host = self._host(number, document, model["PrimaryContainer"])
                cleaning.callback(host.close)
                hosts.append(host)
            if not all(host.wait_until_healthy(control) for host in hosts):
                return "Stopped"
            self._reach("Transforming")
            try:
                self._transform_all(document, inputs, hosts, control)
            except StoppedError:
                return "Stopped"
        if "DataCaptureConfig" in document:
            capture(document, inputs, self._place, self._folder / "manifest.json")
        return "Completed"

    def _finish(self, end: End) -> None:
        self._move(end)

    def _check_bucket(self, member: str, address: str) -> None:
        bucket, _ = parse_uri(address)
        if not self._place.s3.bucket_exists(bucket):
            raise JobFailedError(f"ClientError: The bucket of {member}, {bucket!r}, does not exist")

    def _host(self, number: int, document: Document, model: Document) -> TransformHost:
        folder = self._folder / f"algo-{number}"
        folder.mkdir(parents=True)
        self._unpack_model(model, folder / "model")
        return TransformHost(
            self._place,
            document,
            resolve(model["Image"], self._place.algorithms),
            folder,
            {
                "AWS_REGION": self._identity.region,
                **model.get("Environment", {}),
                **document.get("Environment", {}),
            },
            (self._log(number, ""), self._log(number, "/data-log")),
        )

    def _unpack_model(self, container: Document, folder: Path) -> None:
        address = container.get("ModelDataUrl")
        if address is None:
            folder.mkdir()
            return
        artifact = self._place.s3.find(*parse_uri(address))
        if artifact is None:
            raise JobFailedError(f"ClientError: Could not find model data at {address}.")
        unpack(artifact.path, folder)

    def _log(self, number: int, suffix: str) -> LogWriter:
        name = f"{self._identity.name}/algo-{number}-{int(self._place.clock())}{suffix}"
        return self._place.logs.stream(self._identity.region, LOG_GROUP, name)

    def _transform_all(
        self,
        document: Document,
        inputs: list[SourceObject],
        hosts: list[TransformHost],
        control: JobControl,
    ) -> None:
        """Transform every object; one that fails leaves no output and does not hinder the others.

        Raises JobFailedError at the end when any failed, StoppedError when the job is to stop.
        """
        share = Share(deque(inputs), control, lambda: self._reach("Uploading"))
        processing = data_processing(document, stamp(document["TransformStartTime"]))
        with ThreadPoolExecutor(len(hosts)) as pool:
            working = [pool.submit(host.work, share, processing) for host in hosts]
        _raise_first(working)
        if share.blame:
            culprit = "Algorithm" if "Algorithm" in share.blame else "Client"
            raise JobFailedError(f"{culprit}Error: See job logs for more information")


def _raise_first(working: list[Future[None]]) -> None:
    """Raise what ended a host, before the mere consequences of it on the others."""
    raised = [future.exception() for future in working]
    causes = [error for error in raised if error is not None]
    for error in sorted(causes, key=lambda error: isinstance(error, StoppedError)):
        raise error
