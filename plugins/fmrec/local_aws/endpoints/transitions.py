"""How an endpoint comes from one state to the next, in a thread of its own.

Each of these functions finds what it has to do in the endpoint's document, so that the next start
of the local AWS takes up what a former one did not bring to its end.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.endpoints.deployment import Deployment, DeploymentError
from fmrec.local_aws.endpoints.fleet import Fleet
from fmrec.local_aws.endpoints.plans import shown
from fmrec.local_aws.endpoints.server import SERVICE_FAILED
from fmrec.local_aws.jobs.run import LONGEST_REASON
from fmrec.local_aws.machine.runner import JobControl, ServerClosingError
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
# Members of an endpoint's document that no response shows: the plan in service, the plan on its way
# there, and the LastDeploymentConfig that comes with it, null for none.
DEPLOYED = "_Deployed"
PENDING = "_Pending"
PENDING_CONFIG = "_PendingConfig"
IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time."
)


class Transitions:
    """Deploys, rescales and deletes endpoints; brings them back when the local AWS starts."""

    def __init__(self, place: Workplace, fleet: Fleet) -> None:
        self._place = place
        self._fleet = fleet

    def begin(self, identity: Identity, record: Callable[[], None]) -> None:
        """Call `record`, which writes to the document what is to happen, and then do it."""
        name = f"{identity} {uuid.uuid4()}"
        self._place.runner.submit(name, partial(self._run, identity), record, supervises=True)

    def restore(self, identity: Identity) -> None:
        """Bring back what an endpoint had in service, and go on with what was under way.

        Requests wait until the servers are ready.
        """
        document = self._place.records.find(identity) or {}
        status, plan = document["EndpointStatus"], document.get(DEPLOYED)
        self._sweep(identity, plan)
        if plan is not None and status != "Deleting":
            try:
                deployment = self._deployment(identity, plan)
            except DeploymentError as error:
                LOG.error("%s cannot be brought back: %s", identity, error)
                if status == "InService":
                    self._settle(identity, "Failed", plan, str(error))
            else:
                self._fleet.put(identity, deployment)
                deployment.start()
        if status in IN_PROGRESS:
            LOG.warning("%s is taken up again after a restart: %s", identity, status)
            self.begin(identity, lambda: None)

    def _run(self, identity: Identity, control: JobControl) -> None:
        document = self._place.records.find(identity) or {}
        try:
            if document["EndpointStatus"] == "Deleting":
                self._delete(identity)
            elif document["EndpointStatus"] == "RollingBack":
                self._fall_back(identity, document["FailureReason"])
            elif document[PENDING]["Generation"] == document.get(DEPLOYED, {}).get("Generation"):
                self._rescale(identity, document[PENDING], control)
            else:
                self._deploy(identity, document[PENDING], control)
        except ServerClosingError:
            raise
        except DeploymentError as error:
            self._fall_back(identity, str(error))
        except Exception:
            LOG.exception("%s failed within the local AWS", identity)
            self._fall_back(identity, SERVICE_FAILED)

    def _deploy(self, identity: Identity, plan: Document, control: JobControl) -> None:
        """Start all servers of a plan; when all are healthy, let them take over."""
        self._meet_fault(identity)
        folder = self._folder(identity, plan)
        shutil.rmtree(folder, ignore_errors=True)
        deployment = self._deployment(identity, plan)
        try:
            deployment.keep_archives()
            deployment.start()
            deployment.wait_until_ready(control)
        except BaseException as error:
            if isinstance(error, DeploymentError):
                self._roll_back(identity, str(error))
            deployment.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        former = self._fleet.put(identity, deployment)
        self._settle(identity, "InService", plan)
        if former is not None:
            former.retire(control)

    def _rescale(self, identity: Identity, plan: Document, control: JobControl) -> None:
        """Give the deployment in service the counts and weights of a plan."""
        self._meet_fault(identity)
        deployment = self._fleet.find(identity.region, identity.name)
        if deployment is None:
            raise DeploymentError(SERVICE_FAILED)
        deployment.rescale(
            {variant["VariantName"]: variant["Count"] for variant in plan["Variants"]},
            {variant["VariantName"]: variant["Weight"] for variant in plan["Variants"]},
            control,
        )
        self._settle(identity, "InService", plan)

    def _delete(self, identity: Identity) -> None:
        deployment = self._fleet.remove(identity)
        if deployment is not None:
            deployment.close()
        shutil.rmtree(self._place.job_folder(identity), ignore_errors=True)
        self._place.records.delete(identity)

    def _fall_back(self, identity: Identity, reason: str) -> None:
        """Go on with what is in service, if anything is."""
        document = self._place.records.find(identity) or {}
        serving = self._fleet.find(identity.region, identity.name) is not None
        status = "InService" if serving else "Failed"
        self._settle(identity, status, document.get(DEPLOYED), reason)

    def _roll_back(self, identity: Identity, reason: str) -> None:
        def change(document: Document, now: float) -> None:
            if document["EndpointStatus"] == "Updating":
                document.update(
                    EndpointStatus="RollingBack", FailureReason=reason, LastModifiedTime=now
                )

        self._update(identity, change)

    def _settle(
        self, identity: Identity, status: str, plan: Document | None, reason: str | None = None
    ) -> None:
        """Record the end of a transition, and the plan that is in service now."""

        def change(document: Document, now: float) -> None:
            for member in (PENDING, "PendingDeploymentSummary", "FailureReason"):
                document.pop(member, None)
            arrived = PENDING_CONFIG in document
            deployment_config = document.pop(PENDING_CONFIG, None)
            if plan is not None:
                document.pop("DataCaptureConfig", None)
                document.update(shown(plan), **{DEPLOYED: plan})
            if reason is not None:
                document["FailureReason"] = reason[:LONGEST_REASON]
            elif arrived:
                document["LastDeploymentConfig"] = deployment_config
            document.update(EndpointStatus=status, LastModifiedTime=now)

        self._update(identity, change)

    def _meet_fault(self, identity: Identity) -> None:
        """Raise DeploymentError when a fault on purpose waits for this endpoint."""
        rule = self._place.faults.for_job(identity, "Starting")
        if rule is not None:
            raise DeploymentError(_CAPACITY if rule.fault == "capacity" else SERVICE_FAILED)

    def _sweep(self, identity: Identity, plan: Document | None) -> None:
        """Remove what former deployments, of which a killed server was in the middle, left."""
        kept = None if plan is None else self._folder(identity, plan)
        for folder in self._place.job_folder(identity).glob("*"):
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _deployment(self, identity: Identity, plan: Document) -> Deployment:
        return Deployment(self._place, identity, self._folder(identity, plan), plan)

    def _folder(self, identity: Identity, plan: Document) -> Path:
        return self._place.job_folder(identity) / str(plan["Generation"])

    def _update(self, identity: Identity, change: Callable[[Document, float], None]) -> None:
        now = self._place.now()
        self._place.records.update(identity, lambda document: change(document, now), now)
