"""What goes and what stays: nothing of anybody else's, nothing in use, nothing of a champion."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.s3.models import s3_backends

from fmrec import ledger
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.layout import Layout, Run
from fmrec.release import champions
from fmrec.steps import janitor
from serving_world import (
    BUCKET,
    LANE,
    NOW,
    Hosted,
    Serving,
    emptied,
    later,
    refusal,
)

OLD = datetime(1997, 6, 1, tzinfo=UTC)
# What people were told by the last `clean`s of a test.
TOLD: list[tuple[str, Any]] = []
NAME = Layout("fmrec", "fmrec", "").endpoint(LANE)


@pytest.fixture
def world(s3: Any) -> Serving:
    TOLD.clear()
    return Serving(emptied(s3))


def written(world: Serving, when: datetime, *prefixes: str) -> None:
    """Say when objects were written; all of them when no prefix is named."""
    for key, stored in s3_backends["123456789012"]["aws"].buckets[BUCKET].keys.items():
        if key.startswith(prefixes or ""):
            stored.last_modified = when.replace(tzinfo=None)


def clean(world: Serving, now: datetime = NOW, hours: int = 20, **params: Any) -> Any:
    result = janitor.clean(
        params, world.sagemaker, world.s3, world.deployment, now,
        approval_hours=hours, tell=lambda *notice: TOLD.append(notice), sleep=world.wait,
    )  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    return result["gone"]


def counts(gone: Any) -> dict[str, int]:
    return {name: each["count"] for name, each in gone.items() if each["count"]}


def keys(world: Serving) -> set[str]:
    return set(world.store.list(""))


# Endpoints.


def test_an_endpoint_goes_when_its_time_is_up_with_all_that_was_made_for_it(
    world: Serving,
) -> None:
    run = world.crown("first")
    world.serve(ttl_hours=3)
    before = world.sagemaker.state()
    assert counts(clean(world, later(hours=2, minutes=59))) == {}
    assert world.sagemaker.state() == before
    assert counts(clean(world, later(hours=3))) == {
        "endpoints": 1,
        "configurations": 1,
        "models": 1,
    }
    assert world.sagemaker.state() == {"models": [], "configs": [], "endpoints": {}}
    spent = ledger.spent(world.store, world.layout, "2026-03")
    assert spent["runs"] == {run.layout.run: pytest.approx(3 * 0.115)}
    assert counts(clean(world, later(hours=4))) == {}
    [(text, facts)] = TOLD
    assert text.startswith(f"Endpoint {NAME} was deleted: its time was up at 2026-03-08T15:00:00")
    assert "FMREC_TTL_HOURS=0" in text
    assert facts == {"endpoint": NAME, "lane": LANE}


def test_an_endpoint_that_aws_does_not_delete_is_not_said_to_be_deleted(world: Serving) -> None:
    world.crown("first")
    world.serve(ttl_hours=1)
    no = refusal("DeleteEndpoint", "AccessDeniedException", "no")
    world.sagemaker.refuse["DeleteEndpoint"] = no
    with pytest.raises(FmrecError, match="sagemaker:DeleteEndpoint"):
        clean(world, later(hours=2))
    assert TOLD == []


def untested(world: Serving) -> tuple[str, str]:
    """A run of fmrec_serve that was marked failed before its test: what is proven, what serves."""
    world.crown("first")
    world.serve(ttl_hours=0)
    world.crown("the second")
    [chosen] = world.choose(ttl_hours=0)
    world.deploy(chosen)
    found = world.sagemaker.endpoints[NAME]
    return world.tags(NAME)["fmrec:proven-config"], found["config"]


def test_what_serves_untested_for_hours_goes_back_to_what_was_proven(world: Serving) -> None:
    proven, other = untested(world)
    assert counts(clean(world, later(hours=2, minutes=59))) == {}
    assert world.sagemaker.endpoints[NAME]["config"] == other
    before = world.sagemaker.state()
    clean(world, later(hours=3), dry_run=True)
    assert world.sagemaker.state() == before
    assert TOLD == []
    assert counts(clean(world, later(hours=3))) == {}
    found = world.sagemaker.endpoints[NAME]
    assert (found["status"], found["config"]) == ("InService", proven)
    [(text, facts)] = TOLD
    assert f"serves {proven} again: {other} was never proven" in text
    assert facts["endpoint"] == NAME
    clean(world, later(hours=9))
    assert len(TOLD) == 1
    # What was left of it goes like anything that nothing uses.
    assert counts(clean(world, later(days=2))) == {"configurations": 1, "models": 1}


def test_what_is_being_updated_is_not_put_back(world: Serving) -> None:
    _, other = untested(world)
    world.sagemaker.endpoints[NAME] |= {"status": "SystemUpdating"}
    world.sagemaker.calls.clear()
    clean(world, later(hours=5))
    assert "UpdateEndpoint" not in world.sagemaker.calls
    assert world.sagemaker.endpoints[NAME]["config"] == other


def test_what_cannot_be_put_back_is_told(world: Serving) -> None:
    proven, _ = untested(world)
    del world.sagemaker.configs[proven]
    with pytest.raises(FmrecError, match=rf"done but 1, .*\n- endpoint {NAME}: .*{proven}"):
        clean(world, later(hours=5))
    assert TOLD == []


def test_an_endpoint_without_an_end_stays(world: Serving) -> None:
    world.crown("first")
    world.serve(ttl_hours=0)
    assert counts(clean(world, later(days=4000), retention_days=36_500)) == {}
    assert NAME in world.sagemaker.endpoints


def test_an_endpoint_that_was_never_proven_goes_after_a_day(world: Serving) -> None:
    world.crown("first")
    [chosen] = world.choose(ttl_hours=0)
    world.deploy(chosen)
    assert counts(clean(world, later(hours=24))) == {}
    assert counts(clean(world, later(hours=25))) == {
        "endpoints": 1, "configurations": 1, "models": 1,
    }  # fmt: skip


def test_an_endpoint_that_aws_is_working_at_waits(world: Serving) -> None:
    world.crown("first")
    world.serve(ttl_hours=1)
    world.sagemaker.endpoints[NAME] |= {"status": "SystemUpdating"}
    assert counts(clean(world, later(hours=2))) == {}
    assert NAME in world.sagemaker.endpoints


def test_an_end_that_is_no_moment_is_told_and_the_endpoint_stays(world: Serving) -> None:
    world.crown("first")
    world.serve()
    for value in ("soon", "2026-01-01"):  # the second has no time zone
        world.tags(NAME)["fmrec:expires"] = value
        with pytest.raises(
            FmrecError, match=rf"All is done but 1, .*\n.*{NAME}: .*'{value}', and no mom"
        ):
            clean(world, later(days=400))
        assert NAME in world.sagemaker.endpoints


def test_endpoints_of_others_stay_whatever_their_tags_say(world: Serving) -> None:
    """Names like ours, tags like ours, lanes like ours; of no deployment, of others, of people."""
    hosted = world.sagemaker
    world.crown("first")
    world.serve(ttl_hours=1)
    mine = world.tags(NAME)
    others = {
        "fmrec-by-hand": {},
        "fmrec-no-deployment": {"fmrec:expires": "2020-01-01T00:00:00+00:00", "project": "fmrec"},
        # Somebody has copied all tags of our endpoint.
        "fmrec-copied": dict(mine),
        "copied": dict(mine),
        Layout("fmrec", "fmrec", "").endpoint(LANE + "-2"): dict(mine),
    }
    for prefix in ("fmrec2", "fmre", "fmrec/runs", "fmrec/team-b", ""):
        layout = Layout("fmrec", prefix, "")
        tag = f"fmrec/{prefix}"
        others[layout.endpoint(LANE)] = mine | {"fmrec:deployment": tag}
        # Our tags on their endpoint are no reason to delete it either.
        others[layout.endpoint(LANE + "x")] = mine | {"fmrec:lane": LANE + "x"}
    for name, tags in others.items():
        hosted._make("endpoint", hosted.endpoints, name, {})
        hosted.endpoints[name] |= {"status": "InService", "config": "theirs"}
        hosted.tags[hosted.endpoints[name]["arn"]] = dict(tags)
    before = hosted.state()["endpoints"]
    assert counts(clean(world, later(days=20)))["endpoints"] == 1
    del before[NAME]
    assert hosted.state()["endpoints"] == before


# Configurations and models.


def model(world: Serving, name: str, url: str, age: timedelta = timedelta(days=5)) -> str:
    request = {"ModelName": name, "PrimaryContainer": {"Image": "i", "ModelDataUrl": url}}
    world.sagemaker._make("model", world.sagemaker.models, name, request)
    world.sagemaker.models[name]["created"] = NOW - age
    return name


def config(
    world: Serving, name: str, *models: str, age: timedelta = timedelta(days=5), **tags: str
) -> str:
    request = {
        "EndpointConfigName": name,
        "ProductionVariants": [{"ModelName": each} for each in models],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    world.sagemaker._make("endpoint configuration", world.sagemaker.configs, name, request)
    world.sagemaker.configs[name]["created"] = NOW - age
    return name


def url_of(run: Run, prefix: str = "fmrec", bucket: str = "fmrec") -> str:
    return f"s3://{bucket}/{prefix}/runs/{run.layout.run}/models/j/output/model.tar.gz"


def test_a_model_that_nothing_uses_goes_after_a_day(world: Serving) -> None:
    run = world.run("r")
    world.publish(run)
    registered = model(world, run.layout.job("model", 2), url_of(run))
    served = model(world, run.layout.served(LANE, "x"), url_of(run))
    left = config(world, run.layout.served(LANE, "y"), served)
    young = model(world, run.layout.job("model", 3), url_of(run), timedelta(hours=23))
    assert counts(clean(world)) == {"configurations": 1, "models": 2}
    assert set(world.sagemaker.models) == {young}
    assert not {registered, served, left} & {*world.sagemaker.models, *world.sagemaker.configs}


def test_models_of_others_stay(world: Serving) -> None:
    """Ours are those whose data lie among the files of the very run that their name speaks of."""
    run, other = world.run("r"), world.run("other")
    mine = run.layout.job("model", 1)
    served = run.layout.served(LANE, "x")
    kept = [
        model(world, mine, url_of(run, "fmrec2")),
        model(world, mine + "1", url_of(run, "fmre")),
        model(world, mine + "2", url_of(run, "fmrec/team-b")),
        model(world, mine + "3", url_of(run, bucket="fmrec2")),
        model(world, mine + "4", url_of(other)),
        model(world, mine + "5", f"s3://fmrec/fmrec/runs/{run.layout.run}"),
        model(world, mine + "6", f"s3://fmrec/fmrec/runs/{run.layout.run}x/model.tar.gz"),
        model(world, mine + "7", f"s3://fmrec/fmrec/reports/{run.layout.run}/model.tar.gz"),
        model(world, mine + "8", "https://fmrec.s3.amazonaws.com/fmrec/runs/x"),
        model(world, "fmrec-model-mine", url_of(run)),
        model(world, "my-" + mine, url_of(run)),
        model(world, "ranker", url_of(run)),
        model(world, served, url_of(other)),
        model(world, "fmrec-serve-mine", url_of(run)),
        model(world, f"fmrec-train-{run.layout.run}-1", url_of(run)),
    ]
    world.sagemaker.models[kept[0] + "9"] = {
        "arn": "arn:9", "created": OLD, "request": {"ModelName": kept[0] + "9"},
    }  # fmt: skip  # a model without data
    several = model(world, mine + "10", url_of(run))
    containers = [{"ModelDataUrl": url_of(each)} for each in (run, other)]
    world.sagemaker.models[several]["request"] = {"Containers": containers}
    before = world.sagemaker.state()
    assert counts(clean(world)) == {}
    assert world.sagemaker.state() == before


def test_configurations_of_others_stay(world: Serving) -> None:
    run = world.run("r")
    ours = model(world, run.layout.served(LANE, "ours"), url_of(run), timedelta(hours=1))
    theirs = model(world, "theirs", url_of(run))
    foreign = model(world, run.layout.job("model", 1), url_of(run, "fmrec2"))
    served = run.layout.served
    config(world, "mine", ours)
    config(world, served(LANE, "1"), theirs)
    config(world, served(LANE, "2"), ours, theirs)
    config(world, served(LANE, "3"), ours, foreign)
    config(world, served(LANE, "4"))
    config(world, served(LANE, "5"), "gone")
    config(world, served(LANE, "6"), "gone", **{"fmrec:deployment": "fmrec/fmrec2"})
    config(world, served(LANE, "7"), "gone", theirs, **{"fmrec:deployment": "fmrec/fmrec"})
    left = config(world, served(LANE, "8"), "gone", **{"fmrec:deployment": "fmrec/fmrec"})
    before = world.sagemaker.state()
    assert counts(clean(world)) == {"configurations": 1}
    before["configs"].remove(left)
    assert world.sagemaker.state() == before


def test_what_is_used_stays_whoever_uses_it(world: Serving) -> None:
    run, hosted = world.run("r"), world.sagemaker
    world.publish(run)
    names = [model(world, run.layout.job("model", n), url_of(run)) for n in range(6)]
    served = model(world, run.layout.served(LANE, "m"), url_of(run))
    in_service = config(world, "somebody", names[0])
    ours = [config(world, run.layout.served(LANE, str(n)), served) for n in range(3)]
    hosted._make("endpoint", hosted.endpoints, "untagged", {})
    hosted.endpoints["untagged"] |= {"status": "InService", "config": in_service}
    hosted._make("endpoint", hosted.endpoints, "updating", {})
    hosted.endpoints["updating"] |= {"status": "Updating", "config": ours[0], "to": ours[1]}
    config(world, "for-tomorrow", names[1])  # from which an endpoint is made in the morning
    hosted.transforms["job"] = names[2]
    assert counts(clean(world)) == {"configurations": 1, "models": 3}
    assert set(hosted.models) == {*names[:3], served}
    assert set(hosted.configs) == {in_service, *ours[:2], "for-tomorrow"}


def test_what_there_is_to_go_back_to_stays(world: Serving) -> None:
    world.crown("first")
    world.serve(ttl_hours=0)
    world.sagemaker.now = later(days=10)
    world.crown("the second")
    [chosen] = world.choose(ttl_hours=0)
    world.deploy(chosen)
    before = world.sagemaker.state()
    assert counts(clean(world, later(days=10, hours=1))) == {}
    assert world.sagemaker.state() == before
    assert "again" in world.settle(chosen)["said"]


def test_the_models_of_a_run_at_work_stay(world: Serving) -> None:
    """It is not published yet, and something of it was written of late."""
    run = world.run("r")
    world.store.put(f"{run.layout.models}/x", b"")
    written(world, NOW - timedelta(hours=47))
    name = model(world, run.layout.job("model", 1), url_of(run))
    assert counts(clean(world)) == {}
    assert counts(clean(world, later(hours=2))) == {"models": 1}
    assert name not in world.sagemaker.models


# Runs.


def old_run(world: Serving, name: str, day: datetime = OLD) -> Run:
    run = world.run(name, day)
    world.publish(run)
    return run


def files_of(world: Serving, run: Run) -> set[str]:
    return {key for key in keys(world) if key.startswith(f"fmrec/runs/{run.layout.run}/")}


def test_the_files_of_a_run_go_when_both_its_day_and_its_last_change_are_long_ago(
    world: Serving,
) -> None:
    long_ago, lately = NOW - timedelta(days=31), NOW - timedelta(days=29)
    gone = old_run(world, "gone")
    changed = old_run(world, "one file was written again")
    recent = old_run(world, "of a late day", lately)
    written(world, long_ago)
    [touched, *_] = files_of(world, changed)
    written(world, lately, touched)
    before = keys(world)
    own = files_of(world, gone)
    size = sum(len(world.store.get(key)) for key in own)
    found = clean(world)
    assert found["runs"] == {"count": 1, "files": len(own), "bytes": size}
    assert keys(world) == before - own
    assert files_of(world, changed)
    assert files_of(world, recent)
    assert counts(clean(world)) == {}
    assert counts(clean(world, retention_days=28)) == {"runs": 2}


def test_a_run_that_may_wait_for_a_person_keeps_its_files(world: Serving) -> None:
    """It is a week for somebody on holiday, and two days for the tasks before and after."""
    run = old_run(world, "waits")
    written(world, NOW - timedelta(days=9) + timedelta(minutes=1))
    assert counts(clean(world, hours=7 * 24, retention_days=2)) == {}
    assert files_of(world, run)
    assert counts(clean(world, later(minutes=2), hours=7 * 24, retention_days=2)) == {"runs": 1}


def test_champions_keep_their_files(world: Serving) -> None:
    runs = [world.crown(f"champion {n:02d}") for n in range(12)]
    other = world.crown("of another lane", LANE + "-2")
    never = old_run(world, "never a champion")
    # Going back and forth between two does not use up the places.
    for run in [runs[11], runs[10]] * 4:
        champions.appoint(
            world.store, world.layout, LANE, run=run.layout.run, as_of=run.as_of,
            manifest="m", artifact="s3://a/b", at=NOW,
        )  # fmt: skip
    written(world, OLD)
    assert clean(world, keep_champions=5)["runs"]["count"] == 8
    left = {run.run_id for run in [*runs, other, never] if files_of(world, run)}
    assert left == {*(f"champion {n:02d}" for n in range(7, 12)), "of another lane"}
    assert clean(world, keep_champions=1)["runs"]["count"] == 4
    assert files_of(world, runs[10])
    assert files_of(world, other)
    # Of the history itself and of the reports nothing is gone.
    assert len(champions.history(world.store, world.layout, LANE)) == 20
    assert all(world.store.exists(r.layout.published_report("manifest.json")) for r in runs)


def test_a_run_that_is_served_keeps_its_files(world: Serving) -> None:
    """AWS fetches the artifact again when it replaces an instance."""
    first = world.crown("first")
    world.serve(ttl_hours=0)
    [artifact] = [url for model in world.sagemaker.models.values()
                  for url in [model["request"]["PrimaryContainer"]["ModelDataUrl"]]]  # fmt: skip
    assert first.layout.run in artifact
    by_hand = old_run(world, "by hand")
    config(world, "mine", model(world, "mine", url_of(by_hand)))
    prepared = old_run(world, "prepared")
    world.sagemaker.transforms["t"] = model(world, "theirs", url_of(prepared))
    plain = old_run(world, "plain")
    for number in range(3):
        world.crown(f"later {number}")
    written(world, OLD)
    assert clean(world, keep_champions=1)["runs"]["count"] == 3
    kept = [run.run_id for run in (first, by_hand, prepared, plain) if files_of(world, run)]
    assert kept == ["first", "by hand", "prepared"]


def test_a_run_that_may_be_served_keeps_its_files(world: Serving) -> None:
    """Somebody has deleted the configuration, and the endpoint serves on."""
    world.crown("first")
    world.serve(ttl_hours=0)
    world.sagemaker.configs.clear()
    for number in range(3):
        world.crown(f"later {number}")
    written(world, OLD)
    assert counts(clean(world, later(days=2), keep_champions=1)) == {"runs": 2}
    assert files_of(world, world.run("first"))
    assert len(world.sagemaker.models) == 1


def test_what_is_no_file_of_an_old_run_stays(world: Serving) -> None:
    run = old_run(world, "gone")
    name = run.layout.run
    kept = [
        f"fmrec/runs/{name}",  # an object that is called like the folder
        run.layout.acceptance,
        f"fmrec/runs/{name}x/part",
        f"fmrec/runs/x{name}/part",
        "fmrec/runs/99999999T999999Z-0123abcd/part",
        "fmrec/runs/notes.txt",
        f"fmrec2/runs/{name}/part",
        f"fmre/runs/{name}/part",
        f"fmrec/team-b/runs/{name}/part",
        f"fmrec/runs/runs/{name}/part",
        f"runs/{name}/part",
        f"{name}/part",
        run.layout.published_report("report.html"),
        run.layout.recommended(LANE, "x/part"),
        run.layout.source_ratings("s", 0),
        f"fmrec/landing/{name}/part",
        f"fmrec/costs/2026-03/{name}.json",
    ]
    for key in kept:
        world.store.put(key, b"precious")
    written(world, OLD)
    clean(world)
    assert set(kept) <= keys(world)
    assert files_of(world, run) == {run.layout.acceptance}
    assert counts(clean(world)) == {}


def test_without_a_readable_history_no_run_goes(world: Serving) -> None:
    world.crown("champion")
    run = old_run(world, "gone")
    left = model(world, run.layout.job("model", 1), url_of(run))
    world.store.put(f"{world.layout.champions(LANE)}00000002.json", b"{}")
    written(world, OLD)
    with pytest.raises(
        FmrecError, match=r"runs, for the champions cannot be told: .*00000002.json"
    ):
        clean(world)
    assert files_of(world, run)
    assert left not in world.sagemaker.models


# The whole.


def test_a_job_whose_task_is_gone_comes_into_the_ledger(
    world: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    run = world.run("marked failed")
    name = run.layout.job("train", 1)
    world.sagemaker.jobs[name] = {
        "TrainingJobName": name, "TrainingJobStatus": "Stopped", "LastModifiedTime": NOW,
        "OutputDataConfig": {"S3OutputPath": run.layout.uri(run.layout.models)},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "TrainingStartTime": NOW, "TrainingEndTime": NOW, "BillableTimeInSeconds": 7200,
    }  # fmt: skip
    clean(world, later(hours=1), dry_run=True)
    assert ledger.spent(world.store, world.layout, "2026-03")["jobs"] == 0
    with caplog.at_level(logging.INFO):
        clean(world, later(hours=1))
    assert f"ledger: {name} ended, and nobody had written down what it cost" in caplog.messages
    spent = ledger.spent(world.store, world.layout, "2026-03")
    assert spent["runs"] == {run.layout.run: pytest.approx(0.23)}


def full(world: Serving) -> None:
    world.crown("first")
    world.serve(ttl_hours=1)
    run = old_run(world, "old")
    model(world, run.layout.job("model", 1), url_of(run))
    written(world, OLD)


def test_a_dry_run_says_the_same_and_deletes_nothing(
    world: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    full(world)
    before = keys(world), world.sagemaker.state()
    with caplog.at_level(logging.INFO):
        would = clean(world, later(hours=30), dry_run=True, keep_champions=1)
    assert (keys(world), world.sagemaker.state()) == before
    assert counts(would) == {"endpoints": 1, "configurations": 1, "models": 2, "runs": 1}
    assert "Would go:" in caplog.text
    assert clean(world, later(hours=30)) == would


def test_the_counts_are_an_aligned_table(world: Serving, caplog: pytest.LogCaptureFixture) -> None:
    full(world)
    with caplog.at_level(logging.INFO):
        found = clean(world, later(hours=30))
    [table] = [message for message in caplog.messages if message.startswith("Gone:")]
    lines = table.splitlines()[1:]
    assert [line.split()[0] for line in lines[1:]] == list(found)
    assert lines[-1].split()[1:] == ["1", "5", f"{found['runs']['bytes']:,}"]
    assert len(lines[-1]) == len(lines[0])
    assert {line[:24].rindex(line.split()[1][-1]) for line in lines[1:]} == {23}


@pytest.mark.parametrize("operation", ["DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"])
def test_what_cannot_be_deleted_keeps_nothing_else_and_is_told(
    world: Serving, operation: str
) -> None:
    full(world)
    world.sagemaker.refuse[operation] = refusal(operation, "AccessDeniedException", "no")
    with pytest.raises(
        FmrecError, match=f"allow the credentials .* sagemaker:{operation}"
    ) as caught:
        clean(world, later(hours=30))
    assert str(caught.value).count("\n- ") == (2 if operation == "DeleteModel" else 1)
    assert "/runs/" not in "".join(key for key in keys(world) if "old" in key)
    assert not files_of(world, world.run("old", OLD))
    world.sagemaker.refuse.clear()
    clean(world, later(hours=30))
    assert world.sagemaker.state() == {"models": [], "configs": [], "endpoints": {}}


def test_one_file_that_stays_is_told_and_the_rest_goes(
    world: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = old_run(world, "old")
    written(world, OLD)
    stubborn = sorted(files_of(world, run))[1]
    delete = type(world.store).delete

    def refuse(store: Any, key: str) -> None:
        if key == stubborn:
            raise refusal("DeleteObject", "AccessDenied", "locked")
        delete(store, key)

    monkeypatch.setattr(type(world.store), "delete", refuse)
    with pytest.raises(FmrecError, match=f"done but 1, .*\n- s3://fmrec/{stubborn}: .*locked"):
        clean(world)
    assert files_of(world, run) == {stubborn}


@pytest.mark.parametrize(
    "operation",
    ["ListEndpoints", "DescribeEndpoint", "ListEndpointConfigs", "DescribeEndpointConfig",
     "ListTransformJobs", "ListModels"],
)  # fmt: skip
def test_what_cannot_be_looked_at_is_taken_for_used(world: Serving, operation: str) -> None:
    full(world)
    config(world, "mine", model(world, "mine", "s3://elsewhere/model.tar.gz"))
    world.sagemaker.refuse[operation] = refusal(operation, "AccessDeniedException", "no")
    models, before = set(world.sagemaker.models), keys(world)
    with pytest.raises(FmrecError, match=r"what is in use cannot be told: .*no"):
        clean(world)
    assert set(world.sagemaker.models) == models
    assert before <= keys(world)


def test_many_problems_are_cut_short(world: Serving) -> None:
    for number in range(25):
        run = world.run(str(number))
        model(world, run.layout.job("model", 1), url_of(run))
    world.sagemaker.refuse["DeleteModel"] = refusal("DeleteModel", "AccessDeniedException", "no")
    with pytest.raises(FmrecError) as caught:
        clean(world)
    assert str(caught.value).startswith("All is done but 25, which")
    assert str(caught.value).endswith("- and 5 more (see above)")


def test_a_wrong_param_is_said_before_anything_is_looked_at(world: Serving) -> None:
    for params in ({"retention_days": 1}, {"keep_champions": 0}, {"days": 3}):
        with pytest.raises(ConfigurationError, match="parameter"):
            clean(world, **params)
    assert world.sagemaker.calls == []


def test_two_deployments_side_by_side_clean_up_after_themselves_alone(world: Serving) -> None:
    """One's prefix begins like the other's; both are in one bucket and one account."""
    hosted: Hosted = world.sagemaker
    worlds = [world, *(Serving(world.s3, prefix, hosted) for prefix in ("fmrec2", "fmrec/sub"))]
    for each in worlds:
        each.crown("first")
        each.serve(ttl_hours=1)
        each.publish(each.run("old", OLD))
    written(world, OLD)
    assert len(hosted.endpoints) == len(hosted.configs) == len(hosted.models) == 3
    for each in worlds:
        before, there = keys(world), hosted.state()
        assert counts(clean(each, later(hours=30))) == {
            "endpoints": 1, "configurations": 1, "models": 1, "runs": 1,
        }  # fmt: skip
        prefix = f"{each.deployment.prefix}/runs/"
        assert all(key.startswith(prefix) for key in before - keys(world))
        assert set(there["endpoints"]) - set(hosted.endpoints) == {each.layout.endpoint(LANE)}
