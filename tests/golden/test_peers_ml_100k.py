"""The peers on the real files: a weak one would flatter the model beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fmrec.evaluation import peers, ranking
from fmrec.ratings import open_archive

pytestmark = pytest.mark.data

# What docs/benchmarks/peers.md has, less about one in a hundred.
FLOORS = {"item_knn": 0.44, "implicit_als": 0.47, "ease": 0.48}


@pytest.fixture(scope="module")
def u1(data_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    with open_archive("ml-100k", data_dir=data_dir, cache_dir=data_dir) as archive:
        ratings = pd.concat(chunk.ratings.to_pandas() for chunk in archive.ratings("u1"))
    return ratings[ratings["fold"] == 1], ratings[ratings["fold"] == 2]


@pytest.mark.parametrize("name", peers.NAMES)
def test_a_peer_is_as_strong_on_u1_as_it_is_known_to_be(
    name: str, u1: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    train, test = u1
    users = ranking.judged_users(train, test)
    lists = peers.lists(name, train, users, train, ranking.DEPTH, 1)
    seen = train[["user_id", "item_id"]]
    ranking.check_lists(name, users, lists, seen, train, test)
    found = ranking.per_user(ranking.hits(users, lists, test))["ndcg@10"].mean()
    assert found >= FLOORS[name]
