"""What becomes of the gate's decision, and of a person's answer where it asked one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.release import release
from steps_world import NOW, World

pytestmark = pytest.mark.slow

APPROVED = {"asked": True, "approved": True, "by": "ada"}


@pytest.fixture
def asking(world: World, tmp_path: Path) -> World:
    """A run whose gate asks a person."""
    world.prepare().train_and_score(tmp_path).evaluate().release()
    world.xcom["report"]["gate"] |= {"decision": "ask", "headline": "Ask a person: no proof"}
    world.s3.delete_object(Bucket="fmrec", Key=key_of(world, 1))
    return world


def key_of(world: World, sequence: int) -> str:
    run = Run.from_xcom(world.xcom["run"])
    return f"{run.layout.champions(run.lane)}{sequence:08d}.json"


def answered(world: World, **approval: Any) -> Any:
    x = world.xcom
    return release(x["run"], x["report"], x["published"], approval, world.s3, NOW)


def history(world: World) -> list[champions.Champion]:
    run = Run.from_xcom(world.xcom["run"])
    return champions.history(world.store, run.layout, run.lane)


def test_who_approves_makes_a_champion_and_is_named(asking: World) -> None:
    told = answered(asking, **APPROVED)
    assert told["promoted"]
    assert told["why"] == "Ask a person: no proof. ada approved"
    entry = history(asking)[-1]
    assert entry.by == "ada"
    assert entry.decision is not None
    assert entry.decision["decision"] == "ask"


def test_a_repeated_release_says_since_when_the_model_is_the_champion(asking: World) -> None:
    first = answered(asking, **APPROVED)
    assert first["since"] == history(asking)[-1].at.isoformat()
    x = asking.xcom
    later = NOW + timedelta(days=1)
    again = release(x["run"], x["report"], x["published"], APPROVED, asking.s3, later)
    assert again == first
    assert len(history(asking)) == 1


def test_an_approval_that_was_marked_by_hand_is_no_answer(asking: World) -> None:
    x = asking.xcom
    with pytest.raises(ConfigurationError, match=r"marked by hand\. Clear it"):
        release(x["run"], x["report"], x["published"], None, asking.s3, NOW)
    assert history(asking) == []


def test_who_approves_without_a_name_is_a_person(asking: World) -> None:
    told = answered(asking, **APPROVED | {"by": None})
    assert told["promoted"]
    assert told["why"] == "Ask a person: no proof. A person approved"
    assert history(asking)[-1].by is None


@pytest.mark.parametrize(
    ("approval", "says"),
    [
        ({"asked": True, "approved": False, "by": "ada"}, "ada rejected it"),
        ({"asked": True, "approved": False, "by": None}, "Nobody answered in time"),
        ({"asked": False}, "no proof"),
    ],
)
def test_without_a_yes_the_champion_stays(
    asking: World, approval: dict[str, Any], says: str
) -> None:
    told = answered(asking, **approval)
    assert not told["promoted"]
    assert told["why"].endswith(says)
    assert history(asking) == []


def test_an_answer_that_comes_too_late_changes_nothing(asking: World) -> None:
    """While the person thought it over, another run became the champion."""
    other = Run.from_xcom(asking.xcom["run"])
    champions.appoint(
        asking.store,
        other.layout,
        other.lane,
        run="19980101T000000Z-99999999",
        as_of=other.as_of,
        manifest="m",
        artifact="a",
        at=NOW,
    )
    told = answered(asking, **APPROVED)
    assert not told["promoted"]
    assert "is in place now" in told["why"]
    assert len(history(asking)) == 1


def test_a_keep_cannot_be_approved(asking: World) -> None:
    asking.xcom["report"]["gate"]["decision"] = "keep"
    assert not answered(asking, **APPROVED)["promoted"]
    assert history(asking) == []
