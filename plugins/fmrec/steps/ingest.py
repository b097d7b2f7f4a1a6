"""Read the ratings of the source, checked, into tables that all runs share."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fmrec import __version__, films, ratings
from fmrec.errors import DataError
from fmrec.layout import Run
from fmrec.ratings import FOLD_SPLITS, Chunk, acceptance, erasure, landing
from fmrec.ratings.event_rows import SCALE as LANDED
from fmrec.settings import Deployment
from fmrec.steps import source_tables
from fmrec.steps.source_tables import Index
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class _Progress:
    """Logs a download each time another tenth of it has arrived."""

    def __init__(self) -> None:
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // max(total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            log.info("Downloaded %.1f of %.1f MB", done / 1e6, total / 1e6)


def ingest(run: Xcom, s3: S3Client, deployment: Deployment) -> Xcom:
    """Read what the run's sources hold and no run has read yet; list what this run rests on."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    erased = erasure.load(store, deployment.prefix)
    indexes, origins = [], []
    if this.settings.archive is not None:
        index, origin = _archive(this, store, deployment, erased)
        indexes.append(index)
        origins.append(origin)
    notes: list[str] = []
    if this.settings.source == "landing":
        days = [_day(this, store, each, erased) for each in _landed(this, store, deployment)]
        indexes += days
        notes = _judged(this, store, days) + _unread(this, store, deployment, days)
        origins.append(_origin_of(days))
    store.put(this.layout.sources, json.dumps({"indexes": indexes}, sort_keys=True).encode())
    keys = {}
    for kind in ("users", "items"):
        keys[kind] = this.layout.described(kind)
        store.put_table(keys[kind], source_tables.described(store, indexes, kind))
    if this.settings.only is not None:
        # A genre that no film has must show before anything is paid for.
        films.allowed(this.settings.only, store.get_table(keys["items"]), np.empty(0, np.int64))
    refused = source_tables.refused_by_check(indexes)
    origin = _joined(origins)
    rows = sum(index["rows"] for index in indexes)
    for note in notes:
        log.warning("%s", note)
    log.info("%s: %s ratings, %s rows refused", origin["sentence"], f"{rows:,}",
             f"{sum(refused.values()):,}")  # fmt: skip
    return {
        "keys": keys | {"sources": this.layout.sources},
        "origin": origin,
        "ratings": rows,
        "refused_by_check": refused,
        "erased": sum(index["erased"] for index in indexes),
        "erasure": erased.identity,
        "notes": notes,
    }


def _archive(
    run: Run, store: Store, deployment: Deployment, erased: erasure.Erasure
) -> tuple[Index, Xcom]:
    """What the archive holds, and whence: where it lies differs between workers."""
    settings = run.settings
    assert settings.archive is not None  # noqa: S101 - asked for by the caller
    gone = _Gone(erased)
    with ratings.open_archive(
        settings.archive,
        data_dir=deployment.data_dir,
        cache_dir=deployment.cache_dir,
        progress=_Progress(),
    ) as archive:
        origin = archive.origin
        files = settings.split if settings.split in FOLD_SPLITS else "all"
        index = source_tables.written(
            store,
            run.layout,
            _name(f"{origin.source}-{origin.sha256[:16]}-{files}", erased),
            lambda: (
                gone.of_chunks(archive.ratings(settings.split)),
                gone.of_table(archive.users()),
                archive.items(),
            ),
            lambda: {"erased": gone.ratings},
        )
    refused = sum(index["refused_by_check"].values())
    share = refused / max(refused + index["rows"], 1)
    if share > settings.max_refused:
        first = store.get_table(index["quarantine"]).slice(0, 1).to_pylist()[0]
        raise DataError(
            f"{origin.location}: {refused:,} of {refused + index['rows']:,} rows were refused "
            f"({share:.1%}, the limit is {settings.max_refused:.1%}), the first in "
            f"{first['file']}, row {first['row']}: {first['reason']}. All of them are in "
            f"{run.layout.uri(index['quarantine'])}. Put the right archive in its place, or raise "
            "max_refused."
        )
    return index, asdict(origin)


def _landed(run: Run, store: Store, deployment: Deployment) -> list[landing.LandingDay]:
    days = landing.days(store, deployment.prefix, run.as_of)
    if not days and run.settings.archive is None:
        raise DataError(
            f"no landing day is over at {run.as_of.isoformat()} below "
            f"{run.layout.uri(landing.zone(deployment.prefix))}: land files as "
            "dt=YYYY-MM-DD/ratings.csv (docs/landing.md), set base to an archive, or set as_of to "
            "a later moment."
        )
    return days


def _day(run: Run, store: Store, day: landing.LandingDay, erased: erasure.Erasure) -> Index:
    gone = _Gone(erased)
    profile: Xcom = {}

    def read() -> tuple[Iterable[Chunk], pa.Table, pa.Table]:
        content = landing.read(store, day)
        profile.update(acceptance.profile(day.day, content))
        chunk = Chunk(content.ratings, content.quarantine)
        return gone.of_chunks([chunk]), gone.of_table(content.users), content.items

    def facts() -> Index:
        generated = any(each.key.endswith("replay-sample.csv") for each in day.objects)
        return {
            "day": day.day.isoformat(),
            "identity": day.identity,
            "profile": profile,
            "erased": gone.ratings,
            "generated": generated,
        }

    name = _name(f"landing-{day.day}-{day.identity[:16]}", erased)
    return source_tables.written(store, run.layout, name, read, facts)


def _judged(run: Run, store: Store, days: list[Index]) -> list[str]:
    """Warnings about the days that the last accepted run had not seen; keeps what it leaves."""
    last = _last_accepted(run, store)
    before: Xcom = last["days"] if last else {}
    measure: Xcom | None = last["profile"] if last else None
    new = [day["profile"] for day in days if before.get(day["day"]) != day["identity"]]
    settings = run.settings
    notes = acceptance.judge(
        new,
        measure,
        max_refused=settings.max_refused,
        max_day_ratio=settings.max_day_ratio,
        max_drift=settings.max_drift,
    )
    here = {day["day"]: day["identity"] for day in days}
    kept = {"days": here, "profile": acceptance.accept(new, measure) if new else measure}
    # Another run may have been accepted since this one was first tried.
    store.put(run.layout.acceptance, json.dumps(kept, sort_keys=True).encode(), replace=True)
    missing = set(before) - set(here)
    notes += [
        f"Landing day {day} is gone: the last accepted run had it." for day in sorted(missing)
    ]
    return notes


def _last_accepted(run: Run, store: Store) -> Xcom | None:
    """What the latest run before this one that was published with the same sources left."""
    root = run.layout.published
    names = {
        key.removeprefix(root).partition("/")[0]
        for key in store.list(root)
        if key.endswith("/manifest.json")
    }
    moment = run.layout.run.partition("-")[0]
    for name in sorted((each for each in names if each.partition("-")[0] < moment), reverse=True):
        manifest = json.loads(store.get(run.layout.of(name).published_report("manifest.json")))
        given = manifest["parameters"]
        same = all(given.get(each) == getattr(run.settings, each) for each in ("source", "base"))
        key = run.layout.of(name).acceptance
        if same and store.exists(key):
            found: Xcom = json.loads(store.get(key))
            return found
    return None


def _unread(run: Run, store: Store, deployment: Deployment, days: list[Index]) -> list[str]:
    """What lies in the landing zone and is no rating of a day, and whether the zone fell silent."""
    said = [
        f"{stray['file']} is not read: {stray['reason']}."
        for stray in landing.strays(store, deployment.prefix).to_pylist()
    ]
    said += [
        f"Landing day {day['day']}: {strays} objects that are no files of ratings are not read; "
        f"{run.layout.uri(day['quarantine'])} names them."
        for day in days
        if (strays := day["profile"]["counts"]["strays"])
    ]
    if days:
        last = date.fromisoformat(days[-1]["day"])
        silent = (run.as_of - timedelta(days=1)).date() - last
        if silent.days > 0:
            said.append(
                f"Nothing has landed since {last}: {silent.days} day(s) before as_of have no file."
            )
    return said


def _name(content: str, erased: erasure.Erasure) -> str:
    """The package's version: another version may read the same content differently."""
    without = f"-without-{erased.identity[:8]}" if erased.users.size else ""
    return f"{content}-{__version__}{without}"


class _Gone:
    """Leaves out erased users, and counts their ratings."""

    def __init__(self, erased: erasure.Erasure) -> None:
        self._erased = erased
        self.ratings = 0

    def of_chunks(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            kept, count = erasure.apply(chunk.ratings, self._erased)
            self.ratings += count
            yield Chunk(kept, chunk.quarantine)

    def of_table(self, users: pa.Table) -> pa.Table:
        return erasure.apply(users, self._erased)[0]


def _origin_of(days: list[Index]) -> Xcom:
    rows = sum(day["rows"] for day in days)
    sentence = "landing: no day yet"
    if days:
        first, last = (date.fromisoformat(days[at]["day"]) for at in (0, -1))
        sentence = f"landing: {rows:,} ratings of {len(days):,} days from {first} to {last}"
    generated = any(day["generated"] for day in days)
    if generated:
        sentence += ", replayed from generated ratings, not real ones"
    return {
        "source": "landing",
        "sentence": sentence,
        "scale": asdict(LANDED),
        "generated": generated,
        "seed": None,
    }


def _joined(origins: list[Xcom]) -> Xcom:
    """One origin for all: an archive and what landed on it."""
    if len(origins) == 1:
        return origins[0]
    archive, landed = origins
    return landed | {
        "sentence": f"{landed['sentence']}; below it {archive['sentence']}",
        "scale": {
            "low": min(each["scale"]["low"] for each in origins),
            "high": max(each["scale"]["high"] for each in origins),
            "step": min(each["scale"]["step"] for each in origins),
        },
        "generated": archive["generated"] or landed["generated"],
        "seed": archive["seed"],
        "archive": archive,
    }
