"""Delete what is left over: endpoints whose time is up, what nothing uses, the files of old runs.

Nothing goes that is not proven to be this deployment's and to be used by nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from fmrec import endpoints
from fmrec.errors import FmrecError
from fmrec.layout import SERVED, Layout, behind, is_run, moment_of
from fmrec.release import champions
from fmrec.settings import Cleaning, Deployment
from fmrec.steps import published
from fmrec.steps.hosting import OURS, Endpoint, Hosting, Sleep
from fmrec.steps.leftovers import idle
from fmrec.steps.reconcile import reconcile
from fmrec.steps.serve import remove, restore
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

log = logging.getLogger(__name__)

Tell = Callable[[str, Mapping[str, Any]], object]

# How the names of the models begin that runs register for their batch transforms.
_REGISTERED = "fmrec-model-"
_DAY = timedelta(days=1)
# Longer than a run takes that is not waiting for a person.
_IN_PROGRESS = 2 * _DAY
# Longer than it takes to test an endpoint that was just updated.
_TESTED = timedelta(hours=3)
_THREADS = 8
_SHOWN = 20


@dataclass
class _Kind:
    """How many things of a kind go; where they are files, how many files and bytes."""

    count: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Folder:
    """The files of a run: their keys and sizes, and when the latest of them was written."""

    run: str
    files: Mapping[str, int]
    changed: datetime


def clean(
    values: Mapping[str, Any],
    sagemaker: SageMakerClient,
    s3: S3Client,
    deployment: Deployment,
    now: datetime,
    *,
    approval_hours: int,
    tell: Tell,
    sleep: Sleep = time.sleep,
) -> Xcom:
    """Delete what is left over; with Param `dry_run` only say what would be.

    An endpoint that serves what was not proven, with nobody testing it, goes back to what was; and
    jobs that ended with nobody waiting for them come into the ledger.
    `approval_hours` is how long a run may wait for a person (FMREC_APPROVAL_HOURS): it keeps its
    files that long and two days more, however short the retention. `tell` is given a sentence and
    facts of each endpoint that was deleted or went back: people may rely on it.

    What cannot be deleted does not keep the rest from it. Raises ConfigurationError for a Param
    that is wrong and, at the end, FmrecError that lists what was left and why.
    """
    told = Cleaning.of(values)
    waits = timedelta(hours=approval_hours)
    janitor = _Janitor(told, sagemaker, s3, deployment, now, waits, tell, sleep)
    janitor.work()
    log.info("%s:\n%s", "Would go" if told.dry_run else "Gone", _table(janitor.gone))
    problems = janitor.problems
    if problems:
        shown = "".join(f"\n- {each}" for each in problems[:_SHOWN])
        more = f"\n- and {len(problems) - _SHOWN} more (see above)" if problems[_SHOWN:] else ""
        raise FmrecError(
            f"All is done but {len(problems)}, which the next run tries again:{shown}{more}"
        )
    return {
        "dry_run": told.dry_run,
        "gone": {name: asdict(each) for name, each in janitor.gone.items()},
        "recorded": len(janitor.recorded),
    }


def _table(kinds: Mapping[str, _Kind]) -> str:
    lines = [f"{'':<16}{'number':>8}{'files':>12}{'bytes':>18}"]
    for name, kind in kinds.items():
        files = f"{kind.files:>12,}{kind.bytes:>18,}" if name == "runs" else ""
        lines.append(f"{name:<16}{kind.count:>8,}{files}")
    return "\n".join(lines)


class _Janitor:
    """One round; `gone` counts what went, or would, and `problems` say what could not.

    `recorded` are the jobs that the ledger lacked.
    """

    def __init__(
        self,
        told: Cleaning,
        sagemaker: SageMakerClient,
        s3: S3Client,
        deployment: Deployment,
        now: datetime,
        waits: timedelta,
        tell: Tell,
        sleep: Sleep,
    ) -> None:
        kinds = ("endpoints", "configurations", "models", "runs")
        self.gone = {name: _Kind() for name in kinds}
        self.problems: list[str] = []
        self.recorded: list[str] = []
        self._told, self._now, self._region = told, now, deployment.region
        self._kept_for = max(timedelta(days=told.retention_days), waits + _IN_PROGRESS)
        self._sagemaker, self._s3 = sagemaker, s3
        self._layout = Layout(deployment.bucket, deployment.prefix, "")
        self._store = Store(s3, deployment.bucket)
        self._hosting = Hosting(sagemaker, deployment.poll_seconds, sleep)
        self._tell = tell
        self._seen: set[str] = set()

    def work(self) -> None:
        """Go through all kinds, in the order in which they set each other free."""
        self._reconcile()
        removed = self._endpoints()
        with self._trying("configurations, models and runs, for what is in use cannot be told"):
            folders = self._folders()
            busy = self._busy_models()
            found = idle(
                self._hosting,
                self._layout,
                (SERVED, _REGISTERED),
                without=removed,
                before=self._now - _DAY,
                guard=self._trying,
            )
            working = self._working(folders)
            models = [name for name, run in found.models.items() if run not in working]
            self._behind(found.configs, (name for name in models if name not in busy))
            with self._trying("runs, for the champions cannot be told"):
                self._runs(folders, found.named | busy)

    def _reconcile(self) -> None:
        """Write down what jobs cost whose task is gone."""
        self.recorded = reconcile(
            self._sagemaker, self._store, self._layout, self._region, self._now,
            dry_run=self._told.dry_run, guard=self._trying,
        )  # fmt: skip
        for name in self.recorded:
            log.info("ledger: %s ended, and nobody had written down what it cost", name)

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        """Note what is wrong with one thing, and go on with the next."""
        try:
            yield
        except (FmrecError, ClientError, BotoCoreError) as error:
            log.warning("%s: %s", what, error)
            self.problems.append(f"{what}: {error}")

    def _goes(self, kind: str, name: str, why: str) -> bool:
        """Count a thing, once, and say why it goes; whether it is to be deleted indeed."""
        if name in self._seen:
            return False
        self._seen.add(name)
        self.gone[kind].count += 1
        log.info("%s: %s, %s", kind, name, why)
        return not self._told.dry_run

    def _endpoints(self) -> set[str]:
        """Delete this deployment's endpoints whose time is up, with what was made for them."""
        removed: set[str] = set()
        names: list[str] = []
        with self._trying("endpoints"):
            names = [name for name in self._hosting.names() if name.startswith(OURS)]
        for name in names:
            with self._trying(f"endpoint {name}"):
                there = self._hosting.find(name)
                if there is None or not there.belongs_to(self._layout):
                    continue
                if there.moving:
                    log.info("endpoints: %s stays as it is, it is %s", name, there.status)
                    continue
                why = self._why(there)
                if why is None:
                    self._back_to_proven(there)
                    continue
                if self._goes("endpoints", name, why):
                    self._remove(there, why)
                removed.add(name)
                found = idle(self._hosting, self._layout, (behind(name),), without=removed)
                self._behind(found.configs, found.models)
        return removed

    def _why(self, there: Endpoint) -> str | None:
        """Why an endpoint of this deployment goes; None when it stays."""
        expires = there.tags.get(endpoints.EXPIRES, endpoints.NEVER)
        if endpoints.expired(expires, self._now):
            return f"its time was up at {expires}"
        if there.proven is None and there.created < self._now - _DAY:
            return "it was made more than a day ago and never proven"
        return None

    def _remove(self, there: Endpoint, why: str) -> None:
        """Delete an endpoint, write down what it has cost, and tell people."""
        remove(self._hosting, there, self._layout, self._store, self._region, self._now)
        self._say(
            there,
            f"was deleted: {why}. Trigger fmrec_serve for a new one; with FMREC_TTL_HOURS=0 it has "
            "no end",
        )

    def _back_to_proven(self, there: Endpoint) -> None:
        """Put back what was proven, where something else has been in service for hours.

        That is what a run of fmrec_serve leaves that is marked failed or takes too long: none of
        its tasks goes back. Raises JobError when it cannot be brought back.
        """
        proven = there.proven
        if proven is None or proven == there.config or there.changed > self._now - _TESTED:
            return
        log.info("endpoints: %s has %s, never proven: back to %s", there.name, there.config, proven)
        if not self._told.dry_run:
            restore(self._hosting, there, proven)
            self._say(
                there,
                f"serves {proven} again: {there.config} was never proven. Trigger fmrec_serve to "
                "test it",
            )

    def _say(self, there: Endpoint, what: str) -> None:
        facts = {"endpoint": there.name, "lane": there.tags.get(endpoints.LANE)}
        self._tell(f"Endpoint {there.name} {what}.", facts)

    def _behind(self, configs: Iterable[str], models: Iterable[str]) -> None:
        for name in configs:
            with self._trying(f"configuration {name}"):
                if self._goes("configurations", name, "no endpoint uses it"):
                    self._hosting.delete_config(name)
        for name in models:
            with self._trying(f"model {name}"):
                if self._goes("models", name, "no endpoint uses it"):
                    self._hosting.delete_model(name)

    def _folders(self) -> list[_Folder]:
        """What the runs of this deployment have below `runs/`, each run's by itself."""
        root, folders, others = self._layout.runs, [], 0
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._store.bucket, Prefix=root
        )
        listed = (entry for page in pages for entry in page.get("Contents", []))
        for run, entries in groupby(
            listed, lambda entry: entry["Key"].removeprefix(root).partition("/")[0]
        ):
            # By these few bytes a later run measures its landing days, and an object that is
            # called like a run is no file of it.
            kept = {self._layout.of(run).acceptance, root + run}
            files = [entry for entry in entries if entry["Key"] not in kept]
            if not is_run(run):
                others += len(files)
            elif files:
                sizes = {entry["Key"]: entry["Size"] for entry in files}
                changed = max(entry["LastModified"] for entry in files)
                folders.append(_Folder(run, sizes, changed))
        if others:
            log.info("runs: %d objects below %s are of no run, and stay", others, root)
        return folders

    def _busy_models(self) -> set[str]:
        """The models that a transform job is using."""
        pages = self._sagemaker.get_paginator("list_transform_jobs").paginate(
            StatusEquals="InProgress"
        )
        jobs = [
            each["TransformJobName"] for page in pages for each in page["TransformJobSummaries"]
        ]
        describe = self._sagemaker.describe_transform_job
        return {describe(TransformJobName=job)["ModelName"] for job in jobs}

    def _working(self, folders: Iterable[_Folder]) -> set[str]:
        """The runs that may still be at work: not published, and changed of late."""
        done = set(published.names(self._layout, self._store))
        since = self._now - _IN_PROGRESS
        return {each.run for each in folders if each.run not in done and each.changed >= since}

    def _runs(self, folders: Iterable[_Folder], models: Iterable[str]) -> None:
        """Delete the files of old runs that are no champions and of which nothing is served."""
        before = self._now - self._kept_for
        old = [each for each in folders if each.changed < before and moment_of(each.run) < before]
        kept = self._champions() | self._served(models)
        for each in old:
            if each.run in kept:
                log.info("runs: %s stays, a champion or served", each.run)
            elif self._goes("runs", each.run, f"last changed {each.changed:%Y-%m-%d}"):
                self._empty(each)
            else:
                self._count(each.files)

    def _champions(self) -> set[str]:
        """The last champions of each lane. Raises DataError or StoreError for a bad history."""
        kept: set[str] = set()
        for lane in champions.lanes(self._store, self._layout):
            history = champions.history(self._store, self._layout, lane)
            runs = list(dict.fromkeys(entry.run for entry in reversed(history)))
            kept.update(runs[: self._told.keep_champions])
        return kept

    def _served(self, models: Iterable[str]) -> set[str]:
        """The runs whose artifacts models have: AWS fetches them again for each new instance."""
        uris = (uri for model in models for uri in self._hosting.artifacts(model) or [])
        return {run for uri in uris if (run := self._layout.run_of(uri)) is not None}

    def _empty(self, folder: _Folder) -> None:
        failed: dict[str, str] = {}

        def delete(key: str) -> None:
            try:
                self._store.delete(key)
            except (ClientError, BotoCoreError) as error:
                failed[key] = str(error)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(delete, folder.files))
        self._count({key: size for key, size in folder.files.items() if key not in failed})
        for key, error in failed.items():
            self.problems.append(f"s3://{self._store.bucket}/{key}: {error}")

    def _count(self, files: Mapping[str, int]) -> None:
        self.gone["runs"].files += len(files)
        self.gone["runs"].bytes += sum(files.values())
