"""Back to an earlier champion: which one, by one click, and what is refused."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crowned import LATER, crowned, history
from fmrec.errors import ConfigurationError, ConflictError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.release.champions import Champion
from fmrec.steps.rollback import choose, rollback
from steps_world import NOW, World

pytestmark = pytest.mark.slow

LANE = "rating-sample-time"
LAYOUT = Layout("fmrec", "fmrec", "")


# Of the Airflow run; each test's choices are of runs of their own, unless they name one.
numbers = itertools.count()


def chosen(world: World, environ: Any = None, dag_run: str = "new", **params: Any) -> Any:
    return choose(params, world.s3, world.deployment, environ or {}, dag_run=dag_run)


def gone_back(
    world: World, choice: Any, by: str | None = "ann", dag_run: str | None = None, **params: Any
) -> Any:
    now, dag_run = NOW + timedelta(hours=1), dag_run or f"run {next(numbers)}"
    return rollback(choice, params, world.s3, world.deployment, by=by, dag_run=dag_run, now=now)


def runs(world: World) -> list[str]:
    return [each.run for each in history(world, LANE)]


def appoint(world: World, entry: Champion) -> Champion:
    """A person puts a run in place by another way."""
    return champions.appoint(
        world.store, LAYOUT, entry.lane, run=entry.run, as_of=entry.as_of,
        manifest=entry.manifest, artifact=entry.artifact, at=NOW,
    )  # fmt: skip


@pytest.fixture
def three(world: World, tmp_path: Path) -> list[Champion]:
    """The champions of a lane, the last of them in place."""
    later = {"b": "1997-10-01", "c": "1997-10-02"}
    first = crowned(world, tmp_path)
    return [first, *(crowned(world, tmp_path, name, as_of=day) for name, day in later.items())]


def test_one_click_goes_back_to_the_champion_before(world: World, three: list[Champion]) -> None:
    _, b, c = three
    told = gone_back(world, chosen(world), reason="c loses users")
    assert told == {
        "lane": LANE, "run": b.run, "as_of": "1997-10-01T00:00:00+00:00", "sequence": 4,
        "instead": c.run, "in_place": True, "since": (NOW + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    *before, entry = history(world, LANE)
    assert before == three
    assert (entry.kind, entry.run, entry.replaces) == ("rollback", b.run, c.run)
    assert (entry.by, entry.reason, entry.decision) == ("ann", "c loses users", None)
    assert (entry.manifest, entry.artifact, entry.as_of) == (b.manifest, b.artifact, b.as_of)
    assert entry.at == NOW + timedelta(hours=1)


def test_each_click_goes_back_one_further_and_the_first_champion_is_the_end(
    world: World, three: list[Champion]
) -> None:
    a, b, c = (each.run for each in three)
    gone_back(world, chosen(world))
    gone_back(world, chosen(world))
    assert runs(world) == [a, b, c, b, a]
    with pytest.raises(ConfigurationError, match=f"no champion before {a}. Nothing was changed"):
        chosen(world)
    # Forward again by name, and from there back once more.
    gone_back(world, chosen(world, run=c))
    gone_back(world, chosen(world))
    assert runs(world) == [a, b, c, b, a, c, b]


def test_a_run_is_named(world: World, three: list[Champion]) -> None:
    assert gone_back(world, chosen(world, run=three[0].run))["run"] == three[0].run
    assert runs(world)[-1] == three[0].run


def test_a_task_that_is_repeated_goes_back_no_further(world: World, three: list[Champion]) -> None:
    choice = chosen(world)
    first = gone_back(world, choice, dag_run="x")
    assert gone_back(world, choice, by="bob", dag_run="x") == first
    assert len(runs(world)) == 4


def test_a_run_that_is_cleared_goes_back_no_further(world: World, three: list[Champion]) -> None:
    choice = chosen(world, dag_run="x")
    first = gone_back(world, choice, dag_run="x")
    assert chosen(world, dag_run="x") == choice
    assert gone_back(world, chosen(world, dag_run="x"), dag_run="x") == first
    assert len(runs(world)) == 4
    assert history(world, LANE)[-1].dag_run == "x"


def test_a_damaged_history_of_one_lane_does_not_block_another(
    world: World, three: list[Champion]
) -> None:
    world.store.put("fmrec/champions/like-sample-time/00000001.json", b"{}")
    choice = chosen(world, lane=LANE)
    assert gone_back(world, choice, lane=LANE)["in_place"]


def test_a_run_that_is_cleared_when_another_champion_came_since_changes_nothing(
    world: World, three: list[Champion], tmp_path: Path
) -> None:
    first = gone_back(world, chosen(world, dag_run="x"), dag_run="x")
    crowned(world, tmp_path, "d", as_of="1997-10-03")
    # By now there is another lane, too, so that none is the only one.
    crowned(world, tmp_path, "x", objective="like")
    before = history(world, LANE)
    again = gone_back(world, chosen(world, dag_run="x"), dag_run="x")
    assert again == first | {"in_place": False}
    assert history(world, LANE) == before


def test_a_champion_that_came_meanwhile_is_not_taken_back(
    world: World, three: list[Champion], tmp_path: Path
) -> None:
    choice = chosen(world)
    new = crowned(world, tmp_path, "d", as_of="1997-10-03")
    with pytest.raises(ConflictError, match="another has become it meanwhile"):
        gone_back(world, choice)
    assert runs(world)[-1] == new.run


def test_without_an_earlier_champion_nothing_is_changed(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'rating-ml-100k-time' has no champion.*: none"):
        chosen(world)
    entry = crowned(world, tmp_path)
    with pytest.raises(ConfigurationError, match=f"no champion before {entry.run}"):
        chosen(world)
    assert history(world, LANE) == [entry]


@pytest.mark.parametrize("gone", ["model.tar.gz", "id-map.json", "manifest.json"])
def test_a_champion_whose_files_are_gone_is_refused(
    world: World, three: list[Champion], gone: str
) -> None:
    (key,) = [
        key for key in world.store.list("") if three[1].run in key and key.endswith(f"/{gone}")
    ]
    world.store.delete(key)
    said = rf"{three[1].run} cannot be in production any more, so {three[2].run} stays .*Param run"
    with pytest.raises(ConfigurationError, match=f"(?s){said}.*{gone}.* does not exist"):
        chosen(world)
    assert history(world, LANE) == three
    assert gone_back(world, chosen(world, run=three[0].run))["run"] == three[0].run


def test_a_run_that_never_was_champion_is_refused(world: World, three: list[Champion]) -> None:
    with pytest.raises(ConfigurationError, match=r"'x' has never been the champion of any lane"):
        chosen(world, run="x")
    with pytest.raises(ConfigurationError, match=rf"never .* of {LANE}; .*: {three[1].run}, "):
        chosen(world, run="x", lane=LANE)
    with pytest.raises(ConfigurationError, match=r"is the champion of .* name another"):
        chosen(world, run=three[2].run)
    with pytest.raises(ConfigurationError, match=f"lane 'y' has no champion .*: {LANE}"):
        chosen(world, lane="y")
    assert history(world, LANE) == three


def test_the_lane_is_that_of_the_run_else_the_only_one_else_that_of_the_settings(
    world: World, three: list[Champion], tmp_path: Path
) -> None:
    assert chosen(world)["lane"] == LANE
    one = crowned(world, tmp_path, "x", objective="like")
    crowned(world, tmp_path, "y", objective="like", as_of=LATER)
    assert chosen(world, run=one.run)["lane"] == one.lane == "like-sample-time"
    assert chosen(world, {"FMREC_SOURCE": "sample"})["lane"] == LANE
    assert chosen(world, lane=one.lane)["run"] == one.run
    with pytest.raises(ConfigurationError, match=f"have one: {one.lane}, {LANE}"):
        chosen(world)


def test_who_has_no_name_and_gives_no_reason_is_noted_as_such(
    world: World, three: list[Champion]
) -> None:
    gone_back(world, chosen(world), by=None, reason="")
    entry = history(world, LANE)[-1]
    assert (entry.by, entry.reason) == (None, None)


def test_a_run_that_a_person_put_in_place_is_gone_back_from_too(
    world: World, three: list[Champion], tmp_path: Path
) -> None:
    appoint(world, three[0])
    new = crowned(world, tmp_path, "d", as_of="1997-10-03")
    assert chosen(world)["run"] == three[0].run
    assert runs(world)[-1] == new.run
