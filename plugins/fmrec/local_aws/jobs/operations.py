"""What the SageMaker operations on jobs of every kind have in common."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from fmrec.local_aws.api.faults import ApiError, invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.jobs.run import BEGUN, FINAL, LIVE, JobRun
from fmrec.local_aws.state.records import Identity, Kind, Listing
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
RESTARTED = "InternalServerError: the local AWS was restarted while the job was running"


class Jobs(ABC):
    """Create, describe, list, stop and delete jobs of one kind; take them up after a restart.

    `prefix` is what SageMaker puts before Name, Arn, Status and Summaries; `missing_text` is its
    answer for a job that does not exist, with ``{name}``; `supervises` is true of jobs that start
    others.
    """

    kind: ClassVar[Kind]
    prefix: ClassVar[str]
    missing_text: ClassVar[str]
    default_order: ClassVar[Literal["Ascending", "Descending"]] = "Descending"
    supervises: ClassVar[bool] = False

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            f"Create{self.prefix}": self.create,
            f"Describe{self.prefix}": self.describe,
            f"List{self.prefix}s": self.list,
            f"Stop{self.prefix}": self.stop,
        }

    @abstractmethod
    def completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""

    @abstractmethod
    def run(self, identity: Identity) -> JobRun[Any]:
        """Return the execution of a job."""

    def create(self, region: str, request: Document) -> Document:
        """Record a job and queue its execution."""
        self.admit(region, self.completed(region, request))
        return {f"{self.prefix}Arn": str(self.identity(region, request))}

    def admit(self, region: str, document: Document) -> Identity:
        """Record a job with its tags and queue it; raise ResourceInUse for a taken name."""
        identity = self.identity(region, document)
        now = self._place.now()
        document = {
            **document,
            f"{self.prefix}Arn": str(identity),
            f"{self.prefix}Status": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        tags = document.pop("Tags", [])
        run = self.run(identity)
        run.enter_queue(document, now)

        def record() -> None:
            if not self._place.records.insert(identity, document, now):
                noun = self.kind.replace("-", " ")
                raise ApiError(
                    "ResourceInUse",
                    f"{noun.capitalize()} names must be unique within an AWS account and region, "
                    f"and a {noun} with this name already exists ({identity})",
                )
            self._place.records.add_tags(str(identity), tags)

        self._place.runner.submit(str(identity), run, record, supervises=self.supervises)
        return identity

    def describe(self, region: str, request: Document) -> Document:
        """Return a job's document."""
        document = self._place.records.find(self.identity(region, request))
        if document is None:
            raise invalid(self.missing_text.format(name=request[f"{self.prefix}Name"]))
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        listing = Listing(request, self.default_order)
        page, token = self._place.records.page(self.kind, region, listing)
        return {f"{self.prefix}Summaries": page, "NextToken": token}

    def stop(self, region: str, request: Document) -> Document:
        """Ask a job to stop; one that never began is Stopped at once."""
        identity = self.identity(region, request)
        status = self.describe(region, request)[f"{self.prefix}Status"]
        if status in FINAL:
            noun = self.kind.replace("-", " ")
            raise invalid(f"The request was rejected because the {noun} is in status {status}.")
        run = self.run(identity)
        run.request_stop()
        if self._place.runner.stop(str(identity)):
            run.cancel()
        return {}

    def delete(self, region: str, request: Document) -> Document:
        """Forget a job that has ended; what it wrote to S3 stays."""
        identity = self.identity(region, request)
        document = self._place.records.find(identity)
        if document is None:
            text = self.missing_text.format(name=request[f"{self.prefix}Name"])
            raise ApiError("ResourceNotFound", text)
        status = document[f"{self.prefix}Status"]
        if status not in FINAL:
            raise ApiError(
                "ResourceInUse",
                f"The job {request[f'{self.prefix}Name']} is in status {status}. Only a job that "
                "has ended can be deleted; stop it first.",
            )
        self._place.records.delete(identity)
        return {}

    def recover(self) -> None:
        """Queue again what never began; finish what can be; mark the rest as Failed."""
        self._sweep()
        for identity in self._place.records.with_status(self.kind, LIVE, self._place.account):
            document = self._place.records.find(identity) or {}
            run = self.run(identity)
            begun = BEGUN in document
            if not begun and document[f"{self.prefix}Status"] == "Stopping":
                run.cancel()
            elif not begun or run.resumable(document):
                LOG.warning("%s is taken up again after a restart", identity)
                self._place.runner.submit(
                    str(identity), run, lambda: None, supervises=self.supervises
                )
            else:
                run.fail(RESTARTED)
                shutil.rmtree(self._place.job_folder(identity), ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the folders of jobs that have ended, or are gone."""
        live = {
            self._place.job_folder(identity)
            for identity in self._place.records.with_status(self.kind, LIVE, self._place.account)
        }
        for folder in (self._place.folder / self.kind).glob("*/*"):
            if folder not in live:
                shutil.rmtree(folder, ignore_errors=True)

    def identity(self, region: str, request: Document) -> Identity:
        """Return the identity of the job that a request names."""
        return self._place.identity(self.kind, region, request[f"{self.prefix}Name"])
