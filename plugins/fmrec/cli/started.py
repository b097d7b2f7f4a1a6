"""What `up` has started: how a process is known again, and the file that says so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fmrec.cli import processes

USER = "admin"


@dataclass(frozen=True)
class Started:
    """A process that `up` started, and the session it leads: enough to know both again."""

    name: str
    pid: int
    created: float

    def runs(self) -> bool:
        """Whether this very process runs."""
        return processes.leads(self.pid, self.created)

    def leaves(self) -> bool:
        """Whether it, or another process of its session, still runs."""
        return processes.alive(self.pid, self.created)


@dataclass(frozen=True)
class Stack:
    """What `up` started, as up/stack.json in the state folder has it."""

    ui: str
    # Where tasks report to.
    tasks: str
    aws: str
    password: str
    # The components check each other's tokens with it.
    key: str
    source: str
    started: list[Started]

    @classmethod
    def load(cls, file: Path) -> Stack | None:
        """The stack that was started, or None."""
        if not file.is_file():
            return None
        content = json.loads(file.read_text())
        return cls(**content | {"started": [Started(**each) for each in content["started"]]})

    def save(self, file: Path) -> None:
        """Write it whole: `down` must find every process that was started."""
        partial = file.with_suffix(".part")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(self), indent=2))
        partial.replace(file)

    def dead(self) -> list[Started]:
        """Those that have ended, in the order in which they were started."""
        return [each for each in self.started if not each.runs()]

    def put(self, new: Started) -> None:
        """Add a process, in the place of the one of the same name where there is one."""
        names = [each.name for each in self.started]
        if new.name in names:
            self.started[names.index(new.name)] = new
        else:
            self.started.append(new)
