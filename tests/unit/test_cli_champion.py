"""`python -m fmrec champion`: who is in production, and a person's word."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from rich.console import Console

from fmrec.cli import champion, zone
from fmrec.errors import ConfigurationError, StoreError
from fmrec.layout import Layout, Run
from fmrec.release import champions
from fmrec.settings import Deployment, RunSettings
from fmrec.steps.published import Published
from fmrec.store import Store

LANE = "rating-sample-time"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="fmrec")
        made = Store(s3, "fmrec")
        deployment = Deployment(bucket="fmrec", role_arn="arn")
        monkeypatch.setattr(zone, "open_store", lambda: (made, deployment))
        yield made


def published(store: Store, day: int) -> str:
    """A published run; its key."""
    told = RunSettings.of({"source": "sample"})
    deployment = Deployment(bucket="fmrec", role_arn="arn")
    run = Run.of(f"r{day}", datetime(1998, 3, day, tzinfo=UTC), told, deployment)
    value: dict[str, Any] = run.to_xcom()
    manifest = {
        "schema": 1, "run_id": run.run_id, "as_of": value["as_of"], "parameters": value["settings"],
        "tables": {}, "events": {}, "id_map": {},
        "jobs": {"training": {"artifact": f"s3://fmrec/{run.layout.run}/model.tar.gz"}},
    }  # fmt: skip
    store.put(run.layout.published_report("manifest.json"), json.dumps(manifest).encode())
    return run.layout.run


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests."""
    monkeypatch.setattr(champion.getpass, "getuser", lambda: "ann")


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The runs whose model is gone."""
    gone: set[str] = set()

    def model(past: Published) -> None:
        if past.run.layout.run in gone:
            raise StoreError("s3://fmrec/model.tar.gz does not exist")

    monkeypatch.setattr(Published, "model", model)
    return gone


def shown(lane: str | None = None, appointed: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=100)
    champion.show(lane, appointed, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def kinds(store: Store) -> list[tuple[str, str]]:
    found = champions.history(store, Layout("fmrec", "fmrec", ""), LANE)
    return [(each.kind, each.run) for each in found]


def test_a_person_appoints_and_goes_back(store: Store) -> None:
    early, late = published(store, 1), published(store, 8)
    assert f"{late} is the champion of {LANE}\n" in shown(appointed=late)
    assert f"in place of {late}" in shown(appointed=early)
    shown(appointed=late)
    assert kinds(store) == [("promotion", late), ("promotion", early), ("rollback", late)]
    text = shown()
    assert max(map(len, text.splitlines())) <= 100, text
    assert text.count("ann (promotion)") == 2
    assert text.count("ann (rollback)") == 1
    assert f"Lane {LANE}" in text


def test_it_is_told_who_decided_and_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, given = Layout("fmrec", "fmrec", ""), {"manifest": "m", "artifact": "a", "at": AT}
    gate = {"decision": {"decision": "promote"}, "compared_with": None}
    champions.promote(store, layout, LANE, run="x", as_of=AT, **given, **gate)
    asked = {"decision": {"decision": "ask"}, "compared_with": "x", "approved_by": "bob [it]"}
    champions.promote(store, layout, LANE, run="y", as_of=AT, **given, **asked)
    why = "it showed one film to everybody, and nobody had asked for that"
    champions.appoint(store, layout, LANE, run="x", as_of=AT, by="eve", reason=why, **given)

    def nobody() -> str:
        raise OSError("no name")

    monkeypatch.setattr(champion.getpass, "getuser", nobody)
    shown(appointed=published(store, 1))
    text = " ".join(shown().split())
    assert "the gate" in text
    assert "bob [it] (asked by the gate)" in text
    assert "eve (rollback):" in text
    assert "everybody" in text
    assert "a person (promotion)" in text


def test_appointing_the_champion_changes_nothing(store: Store) -> None:
    run = published(store, 1)
    shown(appointed=run)
    shown(appointed=run)
    assert kinds(store) == [("promotion", run)]


def test_the_champion_is_appointed_again_with_the_model_that_it_has_now(store: Store) -> None:
    run = published(store, 1)
    layout = Layout("fmrec", "fmrec", "")
    champions.appoint(
        store, layout, LANE, run=run, as_of=AT, manifest="m", artifact="s3://fmrec/old", at=AT
    )
    assert shown(appointed=run).startswith(f"{run} is the champion of {LANE}\n")
    entry = champions.history(store, layout, LANE)[-1]
    assert (entry.sequence, entry.artifact) == (2, f"s3://fmrec/{run}/model.tar.gz")


def test_two_who_appoint_at_once_do_not_overwrite_each_other(store: Store) -> None:
    """The second finds its number taken and says so; nothing is lost."""
    run, other = published(store, 1), published(store, 2)
    layout = Layout("fmrec", "fmrec", "")
    read = champions.history

    def meanwhile(*given: Any) -> Any:
        found = read(*given)
        if not found:
            champions.history = read
            champions.appoint(
                store, layout, LANE, run=other, as_of=AT, manifest="m", artifact="a", at=AT
            )
        return found

    champions.history = meanwhile
    try:
        with pytest.raises(champions.ConflictError):
            champions.appoint(
                store, layout, LANE, run=run, as_of=AT, manifest="m", artifact="a", at=AT
            )
    finally:
        champions.history = read
    assert kinds(store) == [("promotion", other)]


def test_a_run_whose_model_is_gone_is_not_appointed(store: Store, models: set[str]) -> None:
    run = published(store, 1)
    models.add(run)
    with pytest.raises(ConfigurationError, match=f"run '{run}' has no model .* does not exist"):
        shown(appointed=run)
    assert kinds(store) == []


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="no champion in s3://fmrec/fmrec/champions/"):
        shown()
    with pytest.raises(ConfigurationError, match=r"run 'x' is not published .* history"):
        shown(appointed="x")
    run = published(store, 1)
    with pytest.raises(ConfigurationError, match=f"is of lane {LANE}, not of 'y'"):
        shown("y", run)
    shown(appointed=run)
    with pytest.raises(ConfigurationError, match=f"lane 'y' has no champion; .*{LANE}"):
        shown("y")
