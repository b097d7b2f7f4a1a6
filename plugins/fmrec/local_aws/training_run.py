"""Runs one training job: download, train, upload; SageMaker's container contract, in a folder."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

from fmrec.local_aws import training_states
from fmrec.local_aws.algorithms import Metric, MetricReader, resolve
from fmrec.local_aws.containers import Container, environment
from fmrec.local_aws.faults import JobFailedError
from fmrec.local_aws.job_run import JobRun
from fmrec.local_aws.job_runner import JobControl
from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.model_archive import pack
from fmrec.local_aws.s3_sources import download, find, join_uri, parse_uri
from fmrec.local_aws.training_states import End

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
HOST = "algo-1"
_POLL_SECONDS = 0.05


class TrainingRun(JobRun[End]):
    """The execution of one training job."""

    def _execute(self, control: JobControl) -> End:
        document = self._update(training_states.prepare)
        self._enter_downloading()
        self._check_output(document)
        self._lay_out(document)
        control.check_closing()
        if control.stop.is_set():
            return "Stopped"
        end = self._train(document, control)
        self._enter("Uploading")
        self._upload(document)
        return end

    def enter_queue(self, document: Document, now: float) -> None:
        """Begin the log of states."""
        training_states.enter(document, "Starting", now)

    def request_stop(self) -> None:
        """Record that the job was asked to stop."""
        self._update(training_states.request_stop)

    def cancel(self) -> None:
        """Record that the job was stopped before it began."""
        self._finish("Stopped")

    def fail(self, reason: str) -> None:
        """Record that the job failed."""
        self._update(partial(training_states.fail, reason=reason))

    def _finish(self, end: End) -> None:
        self._update(partial(training_states.finish, end=end))

    def _enter_downloading(self) -> None:
        def begin(document: Document, now: float) -> None:
            document["TrainingStartTime"] = now
            if document["TrainingJobStatus"] == "InProgress":
                training_states.enter(document, "Downloading", now)

        self._update(begin)

    def _check_output(self, document: Document) -> None:
        address = document["OutputDataConfig"]["S3OutputPath"]
        bucket, _ = parse_uri(address)
        if not self._place.s3.bucket_exists(bucket):
            raise JobFailedError(
                f"ClientError: The bucket of S3OutputPath {address!r} does not exist. "
                "Create it before the job, or correct the path."
            )

    def _lay_out(self, document: Document) -> None:
        """Write the folder that a container finds under /opt/ml."""
        for part in ("input/config", "input/data", "model", "output/data"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        channels = document.get("InputDataConfig", [])
        mode = document["AlgorithmSpecification"]["TrainingInputMode"]
        resources = document["ResourceConfig"]
        configuration = {
            "hyperparameters": document.get("HyperParameters", {}),
            "inputdataconfig": {
                channel["ChannelName"]: _channel_configuration(channel, mode)
                for channel in channels
            },
            "resourceconfig": {
                "current_host": HOST,
                "current_instance_type": resources["InstanceType"],
                "current_group_name": "homogeneousCluster",
                "hosts": [HOST],
                "instance_groups": [
                    {
                        "instance_group_name": "homogeneousCluster",
                        "instance_type": resources["InstanceType"],
                        "hosts": [HOST],
                    }
                ],
                "network_interface_name": "lo",
            },
        }
        for name, content in configuration.items():
            path = self._folder / "input/config" / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
        for channel in channels:
            source = channel["DataSource"]["S3DataSource"]
            objects = find(source, self._place.s3, self._identity.region, document["RoleArn"])
            download(objects, self._folder / "input/data" / channel["ChannelName"])

    def _train(self, document: Document, control: JobControl) -> End:
        specification = document["AlgorithmSpecification"]
        algorithm = resolve(specification["TrainingImage"], self._place.algorithms)
        definitions = specification.get("MetricDefinitions", [])
        reader = MetricReader([Metric(item["Name"], item["Regex"]) for item in definitions])
        stream = f"{self._identity.name}/{HOST}-{int(self._place.clock())}"
        log = self._place.logs.stream(self._identity.region, LOG_GROUP, stream)

        def take(lines: list[str]) -> None:
            seconds = log.write(lines) / 1000
            for line in lines:
                reader.read(line, seconds)

        variables = environment(
            self._folder,
            self._place.threads,
            {
                "TRAINING_JOB_NAME": self._identity.name,
                "TRAINING_JOB_ARN": str(self._identity),
                "AWS_REGION": self._identity.region,
                **document.get("Environment", {}),
            },
        )
        self._enter("Training", unless_stopping=True)
        limit = document["StoppingCondition"]["MaxRuntimeInSeconds"]
        started = time.monotonic()
        container = Container(algorithm.train, variables, self._folder, self._place.ledger, take)
        try:
            end = self._wait(container, control, started + limit)
        finally:
            container.close()
            self._update(partial(_set_metrics, metrics=reader.final()))
        code = container.exit_code()
        if end == "Completed" and code != 0:
            self._enter("Uploading")
            self._upload_output(document)
            raise JobFailedError(self._failure(code))
        return end

    def _wait(self, container: Container, control: JobControl, deadline: float) -> End:
        """Wait for the container, or for a reason to end it, and then end it."""
        end: End = "Completed"
        while container.wait(_POLL_SECONDS) is None:
            control.check_closing()
            if control.stop.is_set():
                end = "Stopped"
                break
            if time.monotonic() > deadline:
                end = "MaxRuntimeExceeded"
                self._update(training_states.request_stop)
                break
        if end == "Completed":
            return "Stopped" if control.stop.is_set() else end
        container.ask_to_end()
        kill_at = time.monotonic() + self._place.stop_grace
        while container.wait(_POLL_SECONDS) is None and time.monotonic() < kill_at:
            control.check_closing()
        return end

    def _failure(self, code: int | None) -> str:
        """Return the reason that the container left in output/failure, else its exit code."""
        path = self._folder / "output/failure"
        if path.is_file():
            written = path.read_text(encoding="utf-8", errors="replace").strip()
            if written:
                known = written.startswith(("AlgorithmError", "ClientError"))
                return written if known else f"AlgorithmError: {written}"
        return f"AlgorithmError: the training command ended with exit code {code}"

    def _upload(self, document: Document) -> None:
        archive = self._folder / "model.tar.gz"
        pack(self._folder / "model", archive)
        address = self._put(document, archive)
        self._upload_output(document)

        def name_artifact(document: Document, now: float) -> None:
            del now
            document["ModelArtifacts"] = {"S3ModelArtifacts": address}

        self._update(name_artifact)

    def _upload_output(self, document: Document) -> None:
        folder = self._folder / "output/data"
        if folder.is_dir() and any(folder.iterdir()):
            archive = self._folder / "output.tar.gz"
            pack(folder, archive)
            self._put(document, archive)

    def _put(self, document: Document, file: Path) -> str:
        folder = join_uri(document["OutputDataConfig"]["S3OutputPath"], self._identity.name)
        address = join_uri(folder, f"output/{file.name}")
        bucket, key = parse_uri(address)
        try:
            self._place.s3.put(bucket, key, file, self._place.now())
        except FileNotFoundError as error:
            raise JobFailedError(f"ClientError: Artifact upload failed: {error}") from None
        return address

    def _enter(self, state: str, *, unless_stopping: bool = False) -> None:
        def change(document: Document, now: float) -> None:
            if not (unless_stopping and document["TrainingJobStatus"] == "Stopping"):
                training_states.enter(document, state, now)

        self._update(change)


def _channel_configuration(channel: Document, mode: str) -> dict[str, str]:
    configuration = {
        "TrainingInputMode": channel.get("InputMode", mode),
        "S3DistributionType": channel["DataSource"]["S3DataSource"]["S3DataDistributionType"],
        "RecordWrapperType": channel["RecordWrapperType"],
    }
    if "ContentType" in channel:
        configuration["ContentType"] = channel["ContentType"]
    return configuration


def _set_metrics(document: Document, now: float, metrics: list[Document]) -> None:
    document["LastModifiedTime"] = now
    if metrics:
        document["FinalMetricDataList"] = metrics
