"""The sample: the same bytes everywhere, the shape of MovieLens 100K, something to learn.

The checksum was taken on Python 3.11 with numpy 2.4, and found again on 3.12 and 3.13 with
numpy 2.5, with and without vector instructions. When it changes on purpose, VERSION goes up.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmrec.ratings import SPLITS, RatingsData, load
from fmrec.ratings.sample import FOLDER, write_archive

SHA256 = "8be7f09e6a506b7115e74ce5cdd4f2e5f7515c86fdfa60a7dff1c571bb3d612c"
FOLDS = [split for split in SPLITS if split != "time"]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_archive(folder)
    return folder


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> RatingsData:
    return load("sample", split="time", data_dir=None, cache_dir=cache_dir)


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
    first = load("sample", split="time", data_dir=None, cache_dir=tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    written = path.stat().st_mtime_ns
    again = load("sample", split="time", data_dir=None, cache_dir=tmp_path / "new")
    assert path.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(first.ratings, again.ratings)


def test_nobody_can_take_it_for_real(data: RatingsData, cache_dir: Path) -> None:
    assert data.origin.generated
    assert data.origin.seed == 1
    assert data.origin.url is None
    assert data.origin.sentence.startswith("sample: generated ratings, not real ones")
    assert data.origin.sha256 == SHA256
    assert b"Generated ratings, not real ones" in members(cache_dir)["README"]


def test_it_has_the_files_of_movielens(cache_dir: Path) -> None:
    files = members(cache_dir)
    folds = {f"{split}.{part}" for split in FOLDS for part in ("base", "test")}
    tables = {"u.data", "u.genre", "u.info", "u.item", "u.occupation", "u.user"}
    assert set(files) == {"README"} | tables | folds
    assert files["u.info"] == b"943 users\n1682 items\n100000 ratings\n"
    assert not files["u.item"].isascii()  # as the real one: titles need latin-1
    occupations = set(files["u.occupation"].decode().split())
    assert {line.split("|")[3] for line in files["u.user"].decode().splitlines()} <= occupations


def test_it_has_the_shape_of_movielens(data: RatingsData) -> None:
    ratings = data.ratings
    assert ratings.shape == (100_000, 5)
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


def test_every_film_is_out_before_it_is_rated_and_has_its_own_title(data: RatingsData) -> None:
    items = data.items
    assert items["release_date"].max() < pd.Timestamp("1997-09-20")
    assert items["release_date"].isna().sum() == 2
    assert items["title"].str.replace(r" \(\d{4}\)$", "", regex=True).is_unique
    assert items["title"].str.fullmatch(r".+ \(19[0-9]{2}\)").all()
    dated = items[items["release_date"].notna()]
    years = dated["title"].str.extract(r"\((\d{4})\)$")[0].astype(int)
    assert (years == dated["release_date"].dt.year).all()
    assert items["genres"].map(len).min() == 1
    assert len(set(items["genres"].explode())) == 19


def test_no_title_is_that_of_a_movielens_film(data: RatingsData, data_dir: Path) -> None:
    real = load("ml-100k", split="time", data_dir=data_dir, cache_dir=data_dir).items["title"]
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


def test_people_come_in_waves_and_many_come_back(data: RatingsData) -> None:
    ratings = data.ratings
    weekly = ((ratings["timestamp"] - ratings["timestamp"].min()) // (7 * 86_400)).value_counts()
    assert len(weekly) >= 30
    assert weekly.max() > 2 * weekly.median()
    lasting = ratings.groupby("user_id")["timestamp"].agg(np.ptp) / 86_400
    assert 0.25 < (lasting > 7).mean() < 0.6
    assert 0.4 < len(ratings.drop_duplicates(["user_id", "timestamp"])) / 100_000 < 0.6


def test_a_factor_model_learns_what_the_biases_cannot(cache_dir: Path) -> None:
    """On MovieLens 100K's u1 the same two models give .9550 and .9309, the constant 1.1537."""
    fold = load("sample", split="u1", data_dir=None, cache_dir=cache_dir).ratings
    base, test = fold[fold["fold"] == "base"], fold[fold["fold"] == "test"]
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
