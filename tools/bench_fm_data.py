"""Rows for the benchmarks of the algorithm: MovieLens 100K and synthetic ones, for each side."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from fmrec import recordio
from fmrec.events.design import Design
from fmrec.events.encoders import FEATURES
from fmrec.events.prepare import Choices, prepare
from fmrec.events.space import FeatureSpace
from fmrec.fm import features as channel
from fmrec.fm.features import Feature, Features
from fmrec.ratings import open_archive

CLOCK = 2**31
WHOLE_HISTORIES = 100_000
LISTS = {"rated": "item", "rated_by": "user"}
FILE_ROWS = 1_000_000


@dataclass(frozen=True, eq=False)
class Part:
    """Rows (n, d) that hold of a user and an item no more than their own columns, and labels."""

    X: sparse.csr_matrix
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Data:
    """What both sides of a comparison train on and are tested on."""

    train: Part
    test: Part | None
    features: Features

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.features.dimension


def movielens(split: str, *, preset: str, seed: int = 1) -> Data:
    """Return a split of MovieLens 100K as the pipeline makes it, with the training rows shuffled.

    Preset "ids" has a column for each user and film; "profile" has besides, as records of users
    and films, what the tables say of them and their whole histories.
    """
    folder = Path(os.environ["FMREC_DATA_DIR"])
    with open_archive("ml-100k", data_dir=folder, cache_dir=folder) as archive:
        ratings = pa.concat_tables(chunk.ratings for chunk in archive.ratings(split))
        users, items = archive.users(), archive.items()
    choices = Choices(
        as_of=CLOCK,
        split=split,
        validation_fraction=0.0,
        test_fraction=0.1,
        leave_last=1,
        user_least=1,
        item_least=1,
        order="shuffled",
        seed=seed,
        history_length=WHOLE_HISTORIES if preset == "profile" else 0,
        negatives=0,
        negative_exponent=0.0,
        shard_rows=ratings.num_rows,
    )
    with tempfile.TemporaryDirectory() as work:
        prepared = prepare([ratings], choices, Path(work, "work"))
        train, test = (
            pa.concat_tables(shard() for shard in prepared.shards(part)).to_pandas()
            for part in ("train", "test")
        )
    space = FeatureSpace.from_facts(prepared.facts, users, items, preset=preset)
    design = Design(
        space,
        prepared.facts,
        users,
        items,
        history_length=WHOLE_HISTORIES,
        graded=False,
        leave_own_out=False,
    )
    side = np.array([feature.side for feature in FEATURES])[space.feature]
    kept = np.flatnonzero(side != "event")
    present, code = np.unique(space.feature[kept], return_inverse=True)
    used = [FEATURES[place] for place in present]
    own = np.isin(code, [n for n, each in enumerate(used) if each.name in channel.OWNED])
    records = {}
    if preset == "profile":
        records = {
            "user": design.user_side(space.trained_users, CLOCK)[:, kept],
            "item": design.item_side(space.trained_items)[:, kept],
        }
    names = np.array(space.names(), object)[kept]
    columns = Features(
        tuple(Feature(each.name, each.side, LISTS.get(each.name)) for each in used),
        code.astype(np.int16),
        tuple(names),
        records,
    )
    rows = (
        Part(_only(design.encode(frame)[:, kept], own), frame["rating"].to_numpy(np.float32))
        for frame in (train, test)
    )
    return Data(*rows, columns)


def _only(X: sparse.csr_matrix, columns: np.ndarray) -> sparse.csr_matrix:
    X.data[~columns[X.indices]] = 0
    X.eliminate_zeros()
    return X


def synthetic(
    rows: int, *, nnz: int = 2, users: int = 6_000, items: int = 4_000, seed: int = 1
) -> Data:
    """Return rows with one random column of each of ``nnz`` families; all values are 1.

    The first family are the users, the others share the columns of items evenly.
    """
    rng = np.random.default_rng(seed)
    bounds = np.append(0, users + items * np.arange(nnz) // (nnz - 1))
    keys = np.empty((rows, nnz), np.int32)
    for family, (first, last) in enumerate(itertools.pairwise(bounds)):
        keys[:, family] = rng.integers(first, last, rows, np.int32)
    X = sparse.csr_matrix(
        (
            np.ones(keys.size, np.float32),
            keys.ravel(),
            np.arange(0, keys.size + 1, nnz, dtype=np.int32),
        ),
        shape=(rows, users + items),
    )
    y = rng.integers(1, 6, rows).astype(np.float32)
    code = np.repeat(np.arange(nnz), np.diff(bounds)).astype(np.int16)
    names = ("user", "item", *(f"other{number}" for number in range(nnz - 2)))
    sides = ("user", "item", *("event" for _ in range(nnz - 2)))
    columns = Features(
        tuple(Feature(*each) for each in zip(names, sides, strict=True)),
        code,
        tuple(f"{names[family]}:{number}" for number, family in enumerate(code)),
        {},
    )
    return Data(Part(X, y), None, columns)


def head(part: Part, rows: int) -> Part:
    """Return the first rows."""
    return Part(part.X[:rows], part.y[:rows])


def write_job(
    root: Path, data: Data, hyperparameters: Mapping[str, object], *, columns: bool
) -> int:
    """Prepare a folder for ``python -m fmrec.fm train``; return the bytes of its train channel.

    ``columns`` says whether the job gets the channel ``features``.
    """
    config = root / "input" / "config"
    config.mkdir(parents=True)
    texts = {name: str(value) for name, value in hyperparameters.items()}
    texts["feature_dim"] = str(data.width)
    (config / "hyperparameters.json").write_text(json.dumps(texts), encoding="utf-8")
    written = _write_channel(root, "train", data.train)
    if data.test is not None:
        _write_channel(root, "test", data.test)
    if columns:
        folder = root / "input" / "data" / "features"
        folder.mkdir(parents=True)
        (folder / channel.COLUMNS).write_bytes(channel.dump(data.features))
        for side, records in data.features.records.items():
            (folder / f"{side}.pbr").write_bytes(recordio.encode(records, None))
    return written


def _write_channel(root: Path, name: str, part: Part) -> int:
    folder = root / "input" / "data" / name
    folder.mkdir(parents=True)
    total = 0
    for number, first in enumerate(range(0, part.X.shape[0], FILE_ROWS)):
        block = slice(first, first + FILE_ROWS)
        with (folder / f"part-{number:05d}.pbr").open("wb") as stream:
            total += recordio.write(stream, part.X[block], part.y[block])
    return total


def write_libfm(folder: Path, data: Data) -> None:
    """Write train.txt and test.txt as libFM reads them, and groups.txt: a group for a feature."""
    folder.mkdir(parents=True)
    used = 0
    for name, part in (("train", data.train), ("test", data.test)):
        assert part is not None  # noqa: S101 - libFM cannot do without
        X = part.X
        used = max(used, int(X.indices.max()) + 1)
        entries = [f" {key}:1" for key in X.indices.tolist()]
        bounds = X.indptr.tolist()
        (folder / f"{name}.txt").write_text(
            "".join(
                f"{label:g}{''.join(entries[bounds[row] : bounds[row + 1]])}\n"
                for row, label in enumerate(part.y.tolist())
            ),
            encoding="ascii",
        )
    groups = np.unique(data.features.feature[:used], return_inverse=True)[1]
    (folder / "groups.txt").write_text("\n".join(map(str, groups)) + "\n", encoding="ascii")


def write_myfm(path: Path, data: Data) -> None:
    """Write what tools/bench_myfm.py reads: rows, or the records of users and films as blocks."""
    assert data.test is not None  # noqa: S101 - predictions are part of what is measured
    arrays: dict[str, Any] = {"y": data.train.y, "y_test": data.test.y}
    if not data.features.records:
        for name, part in (("train", data.train), ("test", data.test)):
            arrays |= _parts(name, part.X)
        arrays["groups"] = data.features.feature
        np.savez(path, **arrays)
        return
    groups = []
    for side in channel.OWNED:
        records = data.features.records[side]
        columns = np.flatnonzero(data.features.sides == channel.SIDES.index(side))
        # One block row more, which is empty: for rows whose user or film training has not seen.
        block = sparse.vstack([records[:, columns], sparse.csr_matrix((1, len(columns)))])
        arrays |= _parts(side, block.tocsr())
        groups.append(data.features.feature[columns])
        place = np.full(data.width, -1)
        place[data.features.owners(side)] = np.arange(records.shape[0])
        for name, part in (("train", data.train), ("test", data.test)):
            found = place[part.X.indices]
            owner = np.full(part.X.shape[0], records.shape[0])
            row = np.repeat(np.arange(part.X.shape[0]), np.diff(part.X.indptr))
            owner[row[found >= 0]] = found[found >= 0]
            arrays[f"{side}_{name}"] = owner
    arrays["groups"] = np.concatenate(groups)
    np.savez(path, **arrays)


def _parts(name: str, X: sparse.csr_matrix) -> dict[str, Any]:
    parts = {"indptr": X.indptr, "indices": X.indices, "data": X.data.astype(np.float64)}
    return {f"{name}_{part}": array for part, array in parts.items()} | {
        f"{name}_shape": np.array(X.shape)
    }
