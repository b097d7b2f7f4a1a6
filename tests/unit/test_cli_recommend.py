"""`python -m fmrec recommend`: what a user rated, and what the champion puts first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crowned import LATER, crowned, opened
from fmrec.cli import recommend, zone
from fmrec.cli.main import main
from fmrec.errors import ConfigurationError, DataError
from fmrec.release.champions import Champion
from fmrec.steps import recommend as step
from steps_world import World

pytestmark = pytest.mark.slow

LANE = "rating-sample-time"


@pytest.fixture
def entry(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Champion:
    monkeypatch.setattr(zone, "open_store", lambda: (world.store, world.deployment))
    return crowned(world, tmp_path)


def shown(
    user: int, lane: str | None = None, top: int = 5, only: str | None = None, width: int = 120
) -> tuple[str, Any]:
    console = Console(file=io.StringIO(), width=width)
    rows = recommend.show(user, lane, top, only, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()), rows


def test_the_films_are_those_of_the_dag_s_lists(world: World, entry: Champion) -> None:
    told = step.recommend(LANE, {"top_n": 5}, world.s3, world.deployment)
    key = told["uri"].removeprefix("s3://fmrec/") + "parquet/part-00000.parquet"
    every = world.store.get_table(key).to_pylist()
    user = int(opened(world, entry).design.space.trained_users[3])
    text, rows = shown(user)
    assert rows == [
        {name: value for name, value in row.items() if name != "user_id"}
        for row in every
        if row["user_id"] == user
    ]
    assert f"User {user}, and {entry.run}, the champion of {LANE}" in text
    for row in rows:
        (line,) = [line for line in text.splitlines() if line.endswith(f" {row['title']}")]
        assert line.split()[:2] == [str(row["rank"]), f"{row['score']:.3f}"]


def test_the_films_that_were_rated_last_come_first(world: World, entry: Champion) -> None:
    champion = opened(world, entry)
    user = int(champion.design.space.trained_users[3])
    parts = [world.table(name) for name in ("train", "validation", "test")]
    own = [row for part in parts for row in part.to_dict("records") if row["user_id"] == user]
    newest = max(row["timestamp"] for row in own)
    text, _ = shown(user)
    assert f"Rated last, of {len(own)} films in all" in text
    rated, _, rest = text.partition("Recommended")
    lines = [line for line in rated.splitlines() if line][2:]
    assert len(lines) == min(10, len(own)) + 1
    latest = [row for row in own if row["timestamp"] == newest]
    first = min(latest, key=lambda row: row["item_id"])
    items = world.store.get_table(world.xcom["tables"]["keys"]["items"]).to_pylist()
    titles = {each["item_id"]: each["title"] for each in items}
    assert lines[1].split()[0] == f"{first['rating']:g}"
    assert lines[1].endswith(titles[first["item_id"]])
    assert "film" in rest


def test_columns_stand_below_each_other(entry: Champion, world: World) -> None:
    user = int(opened(world, entry).design.space.trained_users[0])
    text, _ = shown(user, top=12)
    block = text.partition("Recommended\n")[2].strip("\n").splitlines()
    starts = {line.index(line.split()[1]) + len(line.split()[1]) for line in block}
    assert len(starts) == 1
    assert len(block) == 13


def test_a_filter_and_a_short_list_are_told(entry: Champion, world: World) -> None:
    known = opened(world, entry)
    user = int(known.design.space.trained_users[0])
    seen = known.rated_by(user)["item_id"].tolist()
    left = [film for film in known.design.space.trained_items.tolist() if film not in seen][:2]
    text, rows = shown(user, only=f"item={left[0]},{left[1]},{seen[0]}")
    assert {row["item_id"] for row in rows} == set(left)
    assert f"Recommended, of those that meet item={left[0]}" in text
    assert "No other film is left: 2 of the 5 asked for." in text


def test_a_user_that_is_not_known_is_told_how_many_are(entry: Champion, world: World) -> None:
    known = opened(world, entry).design.space.trained_users
    said = (
        f"user 999999 is not known to the champion {entry.run}, which learnt {known.size} users "
        f"from {known[0]} to {known[-1]}: choose one"
    )
    with pytest.raises(DataError, match=said):
        shown(999_999)


def test_the_lane_is_named_or_the_only_one(world: World, entry: Champion, tmp_path: Path) -> None:
    user = int(opened(world, entry).design.space.trained_users[0])
    other = crowned(world, tmp_path, "b", objective="like", as_of=LATER)
    assert other.run in shown(user, other.lane)[0]
    with pytest.raises(ConfigurationError, match=f"'x' has no champion; .*: {other.lane}, {LANE}"):
        shown(user, "x")
    # Of several it is that of the default settings, which has none.
    with pytest.raises(ConfigurationError, match="lane 'rating-ml-100k-time' has no champion"):
        shown(user)


def test_the_command_line(
    capsys: pytest.CaptureFixture[str], world: World, entry: Champion
) -> None:
    user = str(opened(world, entry).design.space.trained_users[0])
    assert main(["recommend", user, "--top", "3", "--lane", LANE]) == 0
    out = capsys.readouterr().out
    assert "Recommended" in out
    assert "reading the ratings" not in out
    assert main(["recommend", "-7"]) == 1
    assert "fmrec: user -7 is not known" in capsys.readouterr().err
    assert main(["recommend", user, "--only", "year>2500"]) == 1
    assert "allows none of the" in capsys.readouterr().err
    assert main(["recommend", user, "--only", "colour=red"]) == 1
    assert "parameter only: at character 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["recommend", "ann"])
    assert "invalid int value: 'ann'" in capsys.readouterr().err
