"""Faults on purpose: what `faults.json` in the state folder tells the local AWS to do wrong.

The file may be written while the server runs; `/_fmrec/faults` reads, replaces and removes it over
HTTP. docs/faults.md describes it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from fmrec.errors import ConfigurationError
from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.machine.phases import Phase
from fmrec.local_aws.state.records import Identity, Kind

LOG = logging.getLogger(__name__)
_LONGEST = 1e6  # seconds
REQUEST_FAULTS = ("throttle", "server-error", "deny", "slow")
JOB_FAULTS = ("capacity", "crash", "interrupt")
CRASHED = "InternalServerError: We encountered an internal error. Please try again."
CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)


@dataclass(frozen=True)
class Rule:
    """One fault: what goes wrong, with what, how often.

    `fault` is one of REQUEST_FAULTS or JOB_FAULTS. A request is matched by `service` (the name that
    clients sign with) and `operation`, a job by `kind`, `name` and `phase`; `name` and `operation`
    are patterns with ``*``. Only spot jobs are interrupted. A match counts with `probability`, at
    most `times` times. `seconds` is how long a slow answer takes, how long training runs before
    its crash or interruption, or how long a spot job waits for capacity.
    """

    fault: str
    service: str = "sagemaker"
    operation: str = "*"
    kind: str = "*"
    name: str = "*"
    phase: str = "Training"
    probability: float = 1.0
    times: int | None = None
    seconds: float = 0.0

    def meets_request(self, service: str, operation: str) -> bool:
        """Return whether the rule is about such a request."""
        about = self.fault in REQUEST_FAULTS and self.service == service
        return about and fnmatchcase(operation, self.operation)

    def meets_job(self, identity: Identity, phase: Phase, *, spot: bool) -> bool:
        """Return whether the rule is about such a job in such a phase."""
        if self.fault == "interrupt" and not spot:
            return False
        # Capacity is missing before anything else can happen.
        due = "Starting" if self.fault == "capacity" else self.phase
        about = self.fault in JOB_FAULTS and due == phase
        return about and self.kind in ("*", identity.kind) and fnmatchcase(identity.name, self.name)


@dataclass
class _Plan:
    seed: int = 0
    rules: tuple[Rule, ...] = ()
    met: Counter[tuple[int, str]] = field(default_factory=Counter)
    used: Counter[int] = field(default_factory=Counter)


class FaultPlan:
    """The rules of a file, read again whenever it changes; a changed file starts counting anew.

    The draw of a rule for a job follows from the file's `seed`, the job's name and how often the
    rule met this job before; for a request likewise from its operation. So the same jobs meet the
    same faults again, in whatever order they run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._plan = _Plan()

    def for_request(self, service: str, operation: str) -> Rule | None:
        """Return the fault that a request meets, if any."""
        return self._draw(
            f"{service}/{operation}", lambda rule: rule.meets_request(service, operation)
        )

    def for_job(self, identity: Identity, phase: Phase, *, spot: bool = False) -> Rule | None:
        """Return the fault that a job meets on entering a phase, if any."""
        return self._draw(str(identity), lambda rule: rule.meets_job(identity, phase, spot=spot))

    def reach(self, identity: Identity, phase: Phase) -> None:
        """Fail a job that meets a fault on entering a phase. Raises JobFailedError."""
        rule = self.for_job(identity, phase)
        if rule is not None:
            raise JobFailedError(CAPACITY if rule.fault == "capacity" else CRASHED)

    def replace(self, text: bytes) -> None:
        """Make a text the plan; an empty one ends all faults. Raises ConfigurationError."""
        parse(text)
        filled = self.path.with_suffix(".incoming")
        filled.write_bytes(text)
        filled.replace(self.path)

    def text(self) -> bytes:
        """Return the plan as it was given; an empty one when there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b'{"faults": []}'

    def remove(self) -> None:
        """End all faults."""
        self.path.unlink(missing_ok=True)

    def _draw(self, subject: str, meets: Callable[[Rule], bool]) -> Rule | None:
        with self._lock:
            self._refresh()
            plan = self._plan
            for number, rule in enumerate(plan.rules):
                if not meets(rule) or plan.used[number] == rule.times:
                    continue
                plan.met[number, subject] += 1
                key = f"{plan.seed}/{number}/{subject}/{plan.met[number, subject]}"
                if random.Random(key).random() < rule.probability:  # noqa: S311
                    plan.used[number] += 1
                    return rule
        return None

    def _refresh(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._plan = None, _Plan()
            return
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._plan = _Plan(*parse(self.path.read_bytes()))
        except ConfigurationError:
            LOG.exception("no fault happens on purpose until the plan is mended")
            self._plan = _Plan()


def parse(text: bytes) -> tuple[int, tuple[Rule, ...]]:
    """Return the seed and the rules of a plan; raise ConfigurationError naming what is wrong."""
    if not text.strip():
        return 0, ()
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"faults.json is not JSON: {error}") from None
    if not isinstance(given, dict) or not set(given) <= {"seed", "faults"}:
        raise ConfigurationError('faults.json must be an object with "seed" and "faults".')
    seed, rules = given.get("seed", 0), given.get("faults", [])
    if not isinstance(seed, int) or not isinstance(rules, list):
        raise ConfigurationError('"seed" must be an integer and "faults" a list.')
    return seed, tuple(_rule(number, rule) for number, rule in enumerate(rules, start=1))


def _rule(number: int, given: object) -> Rule:
    where = f"fault {number} of faults.json"
    known = {item.name: str(item.type) for item in fields(Rule)}
    if not isinstance(given, Mapping) or "fault" not in given:
        raise ConfigurationError(f'{where} must be an object with a member "fault".')
    for name, value in given.items():
        if name not in known:
            raise ConfigurationError(f"{where}: unknown {name!r}; known: {', '.join(known)}.")
        if not _fits(value, known[name]):
            raise ConfigurationError(f"{where}: {name} is {value!r}; expected {known[name]}.")
    rule = Rule(**given)
    choices = {
        "fault": (rule.fault, (*REQUEST_FAULTS, *JOB_FAULTS)),
        "kind": (rule.kind, ("*", *get_args(Kind))),
        "phase": (rule.phase, get_args(Phase)),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ConfigurationError(f"{where}: {name} is {value!r}; one of {', '.join(allowed)}.")
    if "phase" in given and rule.fault != "crash":
        raise ConfigurationError(f"{where}: phase is for crash; {rule.fault} has its own time.")
    no_times = rule.times is not None and rule.times < 1
    if not 0 <= rule.probability <= 1 or not 0 <= rule.seconds < _LONGEST or no_times:
        raise ConfigurationError(
            f"{where}: probability lies from 0 to 1, seconds is 0 or more, times 1 or more."
        )
    return rule


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return False
    types: dict[str, tuple[type, ...]] = {"str": (str,), "float": (int, float)}
    return isinstance(value, types.get(kind, (int,)))
