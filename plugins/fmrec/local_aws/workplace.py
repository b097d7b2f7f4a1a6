"""What the execution of jobs needs of the server, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmrec.local_aws.algorithms import Algorithms
from fmrec.local_aws.machine.containers import ContainerLedger
from fmrec.local_aws.machine.fault_plan import FaultPlan
from fmrec.local_aws.machine.runner import JobRunner
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.state.log_groups import LogGroups
from fmrec.local_aws.state.records import Identity, Kind, Records


@dataclass(frozen=True)
class Workplace:
    """The server's parts, shared by the operations and the jobs.

    `clock` gives Unix seconds, `stop_grace` is how many seconds a container has between SIGTERM
    and SIGKILL, `threads` how many a container's numerical libraries may use.
    """

    account: str
    folder: Path
    records: Records
    s3: DurableS3
    logs: LogGroups
    ledger: ContainerLedger
    runner: JobRunner
    algorithms: Algorithms
    faults: FaultPlan
    clock: Callable[[], float]
    stop_grace: float
    threads: int

    def identity(self, kind: Kind, region: str, name: str) -> Identity:
        """Return the identity of a resource of this account."""
        return Identity(kind, region, name, self.account)

    def now(self) -> float:
        """Return the time as SageMaker reports it: Unix seconds, to the millisecond."""
        return round(self.clock(), 3)

    def job_folder(self, identity: Identity) -> Path:
        """Return the folder in which a job runs."""
        return self.folder / identity.kind / identity.region / identity.name
