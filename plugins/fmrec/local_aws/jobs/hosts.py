"""The instances of a job, each a folder that stands for its /opt/ml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fmrec.local_aws.api.faults import unsupported
from fmrec.local_aws.api.json_wire import Document

_MOST_HOSTS = 16  # they share one machine
_ML_PATH = re.compile(r"(?<![\w./-])/opt/ml(?![\w.-])")


@dataclass(frozen=True)
class Host:
    """One instance of a job: its name in logs, the address it is reached by, its /opt/ml."""

    name: str
    address: str
    folder: Path

    def here(self, text: str) -> str:
        """Return a text of the request in which /opt/ml is this host's folder."""
        return _ML_PATH.sub(lambda _: str(self.folder), text)


def host_count(resources: Document) -> int:
    """Return the InstanceCount of a request, 1 unless given; raise an ApiError for too many."""
    count: int = resources.get("InstanceCount", 1)
    if count > _MOST_HOSTS:
        raise unsupported(f"InstanceCount {count}: a job has at most {_MOST_HOSTS} hosts here")
    return count


def hosts_of(count: int, folder: Path) -> list[Host]:
    """Return the hosts of a job whose folder this is.

    A host alone is called algo-1, as on AWS. Several must find each other, and no name server knows
    algo-2 here: their addresses are loopback addresses.
    """
    names = [f"algo-{number}" for number in range(1, count + 1)]
    addresses = names if count == 1 else [f"127.0.0.{number}" for number in range(1, count + 1)]
    return [
        Host(name, address, folder / name) for name, address in zip(names, addresses, strict=True)
    ]
