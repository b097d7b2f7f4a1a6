"""The sample: the same bytes everywhere, the shape of MovieLens 100K, something to learn.

The checksum was taken on Python 3.11 with numpy 2.4, and found again on 3.12 and 3.13 with
numpy 2.5, with and without vector instructions. When it changes on purpose, VERSION goes up.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fmrec.ratings import FOLD_SPLITS, Origin, open_archive
from fmrec.ratings.sample import FOLDER, SHA256, write_archive


@dataclass(frozen=True)
class Data:
    """All that the archive holds, as frames."""

    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    origin: Origin


def load(source: str, split: str, cache_dir: Path, data_dir: Path | None = None) -> Data:
    with open_archive(source, data_dir=data_dir, cache_dir=cache_dir) as archive:
        chunks = list(archive.ratings(split))
        assert sum(chunk.quarantine.num_rows for chunk in chunks) == 0
        return Data(
            pa.concat_tables(chunk.ratings for chunk in chunks).to_pandas(),
            archive.users().to_pandas(),
            archive.items().to_pandas(),
            archive.origin,
        )


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_archive(folder)
    return folder


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> Data:
    return load("sample", "time", cache_dir)


def members(cache_dir: Path) -> dict[str, bytes]:
    (path,) = cache_dir.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix(f"{FOLDER}/"): archive.read(name) for name in archive.namelist()}


def test_the_bytes_are_the_same_everywhere(cache_dir: Path) -> None:
    (path,) = cache_dir.glob("*.zip")
    assert path.name == "sample-v1-seed1.zip"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def test_another_seed_is_another_archive_beside_the_first(tmp_path: Path) -> None:
    one, two = write_archive(tmp_path, 1), write_archive(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([one.name, two.name])
    assert one.read_bytes() != two.read_bytes()


def test_it_is_generated_once_and_then_read(tmp_path: Path) -> None:
    first = load("sample", "time", tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    written = path.stat().st_mtime_ns
    again = load("sample", "time", tmp_path / "new")
    assert path.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(first.ratings, again.ratings)


def test_nobody_can_take_it_for_real(data: Data, cache_dir: Path) -> None:
    assert data.origin.generated
    assert data.origin.verified
    assert data.origin.seed == 1
    assert data.origin.url is None
    assert data.origin.sentence.startswith("sample: generated ratings, not real ones")
    assert data.origin.sha256 == SHA256
    assert b"Generated ratings, not real ones" in members(cache_dir)["README"]


def test_it_has_the_files_of_movielens(cache_dir: Path) -> None:
    files = members(cache_dir)
    folds = {f"{split}.{part}" for split in FOLD_SPLITS for part in ("base", "test")}
    tables = {"u.data", "u.genre", "u.info", "u.item", "u.occupation", "u.user"}
    assert set(files) == {"README"} | tables | folds
    assert files["u.info"] == b"943 users\n1682 items\n100000 ratings\n"
    assert not files["u.item"].isascii()  # as the real one: titles need latin-1
    occupations = set(files["u.occupation"].decode().split())
    assert {line.split("|")[3] for line in files["u.user"].decode().splitlines()} <= occupations


def test_it_has_the_shape_of_movielens(data: Data) -> None:
    ratings = data.ratings
    assert ratings.shape == (100_000, 6)
    assert sorted(set(ratings["user_id"])) == list(range(1, 944)) == data.users["user_id"].tolist()
    assert sorted(set(ratings["item_id"])) == list(range(1, 1683)) == data.items["item_id"].tolist()
    days = pd.to_datetime(ratings["timestamp"], unit="s")
    assert days.min() >= pd.Timestamp("1997-09-20")
    assert days.max() < pd.Timestamp("1998-04-23")
    per_user = ratings.groupby("user_id").size()
    per_item = ratings.groupby("item_id").size()
    # MovieLens 100K: 20, 65, 737; 27, 583; mean 3.53, means of users spread by .445.
    assert per_user.min() == 20
    assert 55 <= per_user.median() <= 75
    assert 450 <= per_user.max() <= 737
    assert 20 <= per_item.median() <= 35
    assert 450 <= per_item.max() <= 700
    assert abs(ratings["rating"].mean() - 3.53) < 0.05
    assert abs(ratings.groupby("user_id")["rating"].mean().std() - 0.445) < 0.03
    shares = ratings["rating"].value_counts(normalize=True)
    for stars, share in {1.0: 0.061, 2.0: 0.114, 3.0: 0.271, 4.0: 0.342, 5.0: 0.212}.items():
        assert abs(shares[stars] - share) < 0.03


def test_every_film_is_out_before_it_is_rated_and_has_its_own_title(data: Data) -> None:
    items = data.items
    assert items["release_year"].max() <= 1997
    assert items["title"].str.replace(r" \(\d{4}\)$", "", regex=True).is_unique
    assert items["title"].str.fullmatch(r".+ \(19[0-9]{2}\)").all()
    years = items["title"].str.extract(r"\((\d{4})\)$")[0].astype(int)
    assert (years == items["release_year"]).all()
    assert items["genres"].map(len).min() == 1
    assert len(set(items["genres"].explode())) == 19


def test_no_title_is_that_of_a_movielens_film(data: Data, data_dir: Path) -> None:
    real = load("ml-100k", "time", data_dir, data_dir).items["title"]
    names = {re.sub(r" \(.*", "", title).lower() for title in real}
    names |= {re.sub(r"^(.*), (the|a|an)$", r"\2 \1", name) for name in names}
    assert not names & {title[:-7].lower() for title in data.items["title"]}


def test_the_fold_files_are_what_the_published_scripts_make_of_u_data(cache_dir: Path) -> None:
    """mku.sh and allbut.pl of ml-100k.zip, followed line by line."""
    files = {name: text.decode("latin-1").splitlines() for name, text in members(cache_dir).items()}
    rows = files["u.data"]

    def in_order(lines: list[str]) -> list[str]:
        return sorted(lines, key=lambda line: tuple(map(int, line.split("\t")[:2])))

    for i in range(1, 6):
        assert files[f"u{i}.test"] == in_order(rows[: i * 20_000][-20_000:])
        before, after = rows[: (i - 1) * 20_000], rows[len(rows) - (5 - i) * 20_000 :]
        assert files[f"u{i}.base"] == in_order(before + (after if i < 5 else []))
    for split, start, stop in (("ua", 1, 10), ("ub", 11, 20)):
        seen: Counter[str] = Counter()
        test, base = [], []
        for line in rows:
            user = line.split("\t")[0]
            seen[user] += 1
            (test if start <= seen[user] <= stop else base).append(line)
        assert files[f"{split}.test"] == in_order(test)
        assert files[f"{split}.base"] == in_order(base)


def test_people_come_in_waves_and_many_come_back(data: Data) -> None:
    ratings = data.ratings
    weekly = ((ratings["timestamp"] - ratings["timestamp"].min()) // (7 * 86_400)).value_counts()
    assert len(weekly) >= 30
    assert weekly.max() > 2 * weekly.median()
    lasting = ratings.groupby("user_id")["timestamp"].agg(np.ptp) / 86_400
    assert 0.25 < (lasting > 7).mean() < 0.6
    assert 0.4 < len(ratings.drop_duplicates(["user_id", "timestamp"])) / 100_000 < 0.6


def test_a_factor_model_learns_what_the_biases_cannot(cache_dir: Path) -> None:
    """On MovieLens 100K's u1 the same two models give .9550 and .9309, the constant 1.1537."""
    fold = load("sample", "u1", cache_dir).ratings
    base, test = fold[fold["fold"] == 1], fold[fold["fold"] == 2]
    constant, biases, factors = errors_of_three_models(base, test)
    assert abs(constant - 1.1537) < 0.03
    assert abs(biases - 0.9550) < 0.01
    assert abs(factors - 0.9309) < 0.015
    assert factors < biases - 0.02


def errors_of_three_models(base: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float, float]:
    """RMSE of the mean, of damped biases, and of 8 factors fitted to their residuals by ALS."""
    user, item = base["user_id"].to_numpy() - 1, base["item_id"].to_numpy() - 1
    stars = base["rating"].to_numpy(dtype=np.float64)
    at = test["user_id"].to_numpy() - 1, test["item_id"].to_numpy() - 1
    truth = test["rating"].to_numpy(dtype=np.float64)
    mean, of_user, of_item = stars.mean(), np.zeros(943), np.zeros(1682)
    for _ in range(10):
        of_item = np.bincount(item, stars - mean - of_user[user], 1682)
        of_item /= 5 + np.bincount(item, minlength=1682)
        of_user = np.bincount(user, stars - mean - of_item[item], 943)
        of_user /= 5 + np.bincount(user, minlength=943)
    residual = np.zeros((943, 1682))
    residual[user, item] = stars - mean - of_user[user] - of_item[item]
    rated = np.zeros((943, 1682))
    rated[user, item] = 1
    items = np.random.default_rng(0).normal(0, 0.1, (1682, 8))
    for _ in range(8):
        users = solved(residual, rated, items)
        items = solved(residual.T, rated.T, users)

    def rmse(predicted: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.clip(predicted, 1, 5) - truth) ** 2)))

    biases = mean + of_user[at[0]] + of_item[at[1]]
    meeting = (users[at[0]] * items[at[1]]).sum(axis=1)
    return rmse(np.full(len(truth), mean)), rmse(biases), rmse(biases + meeting)


def solved(residual: np.ndarray, rated: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Ridge regression of each row's residuals on the other side's factors, penalty 12."""
    products = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
    left = (rated @ products).reshape(-1, 8, 8) + 12 * np.eye(8)
    return np.linalg.solve(left, (residual @ other)[:, :, None])[:, :, 0]
