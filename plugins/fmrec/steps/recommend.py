"""Films for all users that a champion's model knows, as files for other programs."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fmrec import __version__, films, topn
from fmrec.errors import StoreError
from fmrec.events.places import Places
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.settings import Deployment, Recommending
from fmrec.steps.in_production import InProduction, champion_of, lane_in_use
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

MANIFEST_SCHEMA = 1
ROWS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("rank", pa.int32()),
        ("item_id", pa.int64()),
        ("title", pa.string()),
        ("score", pa.float64()),
    ]
)
"""One row for each recommended film, users ascending, of each the best first (rank 1)."""

# As JSON lines some 25 MB, and as Python objects some 80 MB.
PART_ROWS = 1 << 18


def lanes(
    values: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    s3: S3Client,
    deployment: Deployment,
    environ: Mapping[str, str],
) -> list[str]:
    """The lanes whose champions recommend: the one of Param `lane`, else those that `events` name.

    `events` are the `extra` of the asset events that started the run, if any did; without any it is
    the only lane, else that of the default settings. Raises ConfigurationError for a Param that is
    wrong.
    """
    told = Recommending.of(values)
    if told.only is not None:
        films.parse(told.only)
    if told.lane is not None:
        return [told.lane]
    named = dict.fromkeys(str(each["lane"]) for each in events if each.get("lane"))
    if named:
        return list(named)
    layout = Layout(deployment.bucket, deployment.prefix, "")
    return [lane_in_use(Store(s3, deployment.bucket), layout, environ)]


def recommend(lane: str, values: Mapping[str, Any], s3: S3Client, deployment: Deployment) -> Xcom:
    """Write the best unseen films of each user that the champion of `lane` knows, and say where.

    `values` are the Params (`fmrec.settings.Recommending`). The moment of asking is the champion's
    own. What is finished for the same model and Params is left as it is. Raises ConfigurationError
    where the lane has no champion or no film may be recommended, StoreError and DataError where the
    champion's files are gone.
    """
    told = Recommending.of(values)
    store = Store(s3, deployment.bucket)
    layout = Layout(deployment.bucket, deployment.prefix, "")
    entry = champion_of(store, layout, lane)
    folder = _folder(layout, entry, told)
    manifest = _finished(store, folder)
    made = manifest is None
    if manifest is None:
        champion = InProduction.of(entry, layout, store)
        manifest = _make(champion, told, folder, store)
    else:
        log.info("Finished before, so nothing is made again: %s", layout.uri(folder))
    counts = manifest["counts"]
    latest = _point(store, layout, entry, folder, manifest)
    log.info(
        "%s films for %s users, recommended by %s: %s",
        f"{counts['rows']:,}", f"{counts['users']:,}", entry.run, layout.uri(folder),
    )  # fmt: skip
    return {
        "lane": lane,
        "run": entry.run,
        "as_of": entry.as_of.isoformat(),
        "users": counts["users"],
        "rows": counts["rows"],
        "uri": layout.uri(folder),
        "made": made,
        "latest": latest,
    }


def _folder(layout: Layout, entry: champions.Champion, told: Recommending) -> str:
    """Where the lists of this model with these Params lie; ends in a slash."""
    what = json.dumps([entry.artifact, told.top_n, told.only])
    digest = hashlib.sha256(what.encode()).hexdigest()[:8]
    return layout.of(entry.run).recommended(entry.lane, f"top{told.top_n}-{digest}/")


def _finished(store: Store, folder: str) -> Xcom | None:
    """The manifest of a folder in which nothing is missing; None without one that is read here."""
    there = set(store.list(folder))
    key = f"{folder}manifest.json"
    if key not in there:
        return None
    manifest: Xcom = json.loads(store.get(key))
    if manifest.get("schema") != MANIFEST_SCHEMA:
        return None
    return manifest if there >= {file["key"] for file in _files(manifest)} else None


def _files(manifest: Xcom) -> Iterator[Xcom]:
    for files in manifest["files"].values():
        yield from files


def _make(champion: InProduction, told: Recommending, folder: str, store: Store) -> Xcom:
    """Write the parts, then the manifest, which comes back."""
    entry, design = champion.entry, champion.design
    allowed = champion.allowed(told.only)
    seen = _Seen(champion, store)
    key = f"{folder}manifest.json"
    # What an earlier attempt left may differ in the last digits, on another kind of machine.
    store.delete(key)
    files: dict[str, list[Xcom]] = {"parquet": [], "jsonl": []}
    served = 0
    for number, table in enumerate(_parts(champion, seen, told.top_n, allowed)):
        served += int((table["rank"].to_numpy() == 1).sum())
        for kind, content in (("parquet", _parquet(table)), ("jsonl", _lines(table))):
            name = f"{folder}{kind}/part-{number:05d}.{kind}"
            digest = store.put(name, content, replace=True)
            size = {"rows": table.num_rows, "bytes": len(content)}
            files[kind].append({"key": name, "sha256": digest} | size)
        log.info("Part %d: %s rows", number, f"{table.num_rows:,}")
    known = design.space.trained_items.size
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "lane": entry.lane,
        "run": entry.run,
        "as_of": entry.as_of.isoformat(),
        "objective": champion.past.run.settings.objective,
        "artifact": entry.artifact,
        "report": entry.manifest,
        "parameters": {"top_n": told.top_n, "only": told.only},
        "counts": {
            "users": design.space.trained_users.size,
            "users_without_films": design.space.trained_users.size - served,
            "films": known if allowed is None else int(allowed.sum()),
            "films_known": known,
            "ratings_seen": seen.count,
            "rows": sum(file["rows"] for file in files["parquet"]),
        },
        "files": files,
        "fmrec": __version__,
    }
    for left in set(store.list(folder)) - {file["key"] for file in _files(manifest)}:
        store.delete(left)
    store.put(key, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode(), replace=True)
    return manifest


def _parts(
    champion: InProduction, seen: _Seen, n: int, allowed: NDArray[np.bool_] | None
) -> Iterator[pa.Table]:
    """The lists as tables ROWS, of some users at a time."""
    space = champion.design.space
    # Nobody's list is longer than the catalogue.
    n = min(n, space.trained_items.size)
    titles = pa.array(champion.titles(space.trained_items), pa.string())
    items, step = Places(space.trained_items), max(1, PART_ROWS // n)
    for start in range(0, space.trained_users.size, step):
        users = space.trained_users[start : start + step]
        ids, scores = topn.best(
            champion.model,
            champion.design,
            users,
            seen.of(start, start + users.size),
            n,
            at=champion.at,
            allowed=allowed,
        )
        user, place = np.nonzero(ids != topn.NO_ITEM)
        item = ids[user, place]
        columns = [users[user], place + 1, item, titles.take(pa.array(items.of(item)))]
        yield pa.table([*columns, scores[user, place]], schema=ROWS)


class _Seen:
    """Which films of the model each of its users has rated: eight bytes for each rating."""

    def __init__(self, champion: InProduction, store: Store) -> None:
        self._space = champion.design.space
        users, items = Places(self._space.trained_users), Places(self._space.trained_items)
        found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        for key in champion.rated:
            table = store.get_table(key)
            user = users.of(table["user_id"].to_numpy())
            item = items.of(table["item_id"].to_numpy())
            kept = (user >= 0) & (item >= 0)
            found.append((user[kept], item[kept]))
        self._user, self._item = (np.concatenate(each) for each in zip(*found, strict=True))

    @property
    def count(self) -> int:
        """How many there are."""
        return self._user.size

    def of(self, first: int, last: int) -> pd.DataFrame:
        """What the users from place `first` to before `last` have seen: user_id, item_id."""
        kept = (self._user >= first) & (self._user < last)
        return pd.DataFrame(
            {
                "user_id": self._space.trained_users[self._user[kept]],
                "item_id": self._space.trained_items[self._item[kept]],
            }
        )


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _lines(table: pa.Table) -> bytes:
    """The rows as JSON lines."""
    titles = table["title"].combine_chunks().dictionary_encode()
    quoted = [json.dumps(title) for title in titles.dictionary.to_pylist()]
    # A finite float's own text is JSON, and read again it is the same number.
    columns = [table[name].to_pylist() for name in ("user_id", "rank", "item_id", "score")]
    return "".join(
        f'{{"user_id": {user}, "rank": {rank}, "item_id": {item}, "title": {quoted[title]}, '
        f'"score": {score!r}}}\n'
        for user, rank, item, score, title in zip(*columns, titles.indices.to_pylist(), strict=True)
    ).encode()


def _point(
    store: Store, layout: Layout, entry: champions.Champion, folder: str, manifest: Xcom
) -> bool:
    """Let the lane's latest.json lead to these lists, unless it leads to a later champion's."""
    key = layout.latest_recommendations(entry.lane)
    content = {
        "schema": MANIFEST_SCHEMA,
        "lane": entry.lane,
        "sequence": entry.sequence,
        "run": entry.run,
        "as_of": manifest["as_of"],
        "parameters": manifest["parameters"],
        "uri": layout.uri(folder),
        "manifest": f"{folder}manifest.json",
        "users": manifest["counts"]["users"],
        "rows": manifest["counts"]["rows"],
    }
    before = _pointed(store, key)
    if before["sequence"] > entry.sequence:
        log.warning(
            "Champion number %d of its lane has recommended meanwhile, and this is number %d: "
            "latest.json stays as it is", before["sequence"], entry.sequence,
        )  # fmt: skip
        return False
    if content != before:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        store.put(key, text.encode(), replace=True)
    return True


def _pointed(store: Store, key: str) -> Xcom:
    """What a latest.json says; number 0 where there is none that can be read."""
    nothing: Xcom = {"sequence": 0}
    if not store.exists(key):
        return nothing
    try:
        found: Xcom = json.loads(store.get(key))
        return found | {"sequence": int(found["sequence"])}
    except (ValueError, KeyError, TypeError, StoreError) as error:
        log.warning("s3://%s/%s could not be read, and is replaced: %s", store.bucket, key, error)
        return nothing
