"""Endpoints of champions: proven before they count, and nothing left behind, whatever happens."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fmrec import ledger
from fmrec.errors import (
    AlgorithmError,
    BusyError,
    ConfigurationError,
    EvaluationError,
    JobError,
    RefusedError,
    StoreError,
)
from fmrec.layout import Layout, Run
from fmrec.release import champions
from fmrec.steps import serve, smoke
from serving_world import (
    LANE,
    NOW,
    Killed,
    Serving,
    emptied,
    later,
    refusal,
    scored,
)

NAME = Layout("fmrec", "fmrec", "").endpoint(LANE)
PING = "The primary container for production variant AllTraffic did not pass the ping health check. Please check CloudWatch logs for this endpoint."  # fmt: skip  # noqa: E501
CAPACITY = "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error."  # fmt: skip  # noqa: E501


@pytest.fixture
def world(s3: Any) -> Serving:
    return Serving(emptied(s3))


def artifact_of(run: Run) -> str:
    job = run.layout.job("train", 1)
    return run.layout.uri(f"{run.layout.models}/{job}/output/model.tar.gz")


def only(values: Any) -> Any:
    [value] = values
    return value


def test_a_champion_comes_into_service(world: Serving) -> None:
    run = world.crown("first")
    proven = world.serve(ttl_hours=5, endpoint_instance_type="ml.m5.xlarge", endpoint_instances=2)
    model, config = only(world.sagemaker.models), only(world.sagemaker.configs)
    assert proven["endpoint"] == NAME == only(world.sagemaker.endpoints)
    assert {"run": run.layout.run, "lane": LANE, "config": config}.items() <= proven.items()
    assert proven["rows"] == 20
    assert proven["hourly_price"] == pytest.approx(2 * 0.23)
    assert proven["expires"] == "2026-03-08T17:00:00+00:00"
    assert json.loads(json.dumps(proven)) == proven
    made = world.sagemaker.models[model]["request"]
    assert made["PrimaryContainer"] == {
        "Image": "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1",
        "ModelDataUrl": artifact_of(run),
    }
    assert made["ExecutionRoleArn"] == "arn:aws:iam::1:role/r"
    assert world.sagemaker.configs[config]["request"]["ProductionVariants"] == [
        {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": 2,
        }
    ]
    assert world.tags(NAME) == {
        "project": "fmrec",
        "fmrec:deployment": "fmrec/fmrec",
        "fmrec:lane": LANE,
        "fmrec:run": run.layout.run,
        "fmrec:proven-config": config,
        "fmrec:expires": "2026-03-08T17:00:00+00:00",
    }


def test_a_repeated_run_finds_what_is_there_and_gives_it_more_time(world: Serving) -> None:
    world.crown("first")
    world.serve()
    before = world.sagemaker.state()
    world.now = later(hours=3)
    again = world.serve()
    assert again["done"] == "left as it is"
    state = world.sagemaker.state()
    tags = state["endpoints"][NAME][2]
    assert tags.pop("fmrec:expires") == "2026-03-09T15:00:00+00:00"
    assert before["endpoints"][NAME][2].pop("fmrec:expires") == "2026-03-09T12:00:00+00:00"
    assert state == before


def test_the_next_champion_takes_over_and_the_old_one_is_cleared_away(world: Serving) -> None:
    world.crown("first")
    world.serve()
    old = world.sagemaker.state()
    run = world.crown("the second")
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    # Nothing of the old one goes before the new one is proven.
    assert set(old["configs"]) < set(world.sagemaker.configs)
    assert world.tags(NAME)["fmrec:proven-config"] == only(old["configs"])
    assert world.prove(chosen, deployed)["done"] == "updated"
    settled = world.settle(chosen)
    assert settled["removed"] == [*old["configs"], *old["models"]]
    assert settled["said"] == f"Endpoint {NAME} serves {run.layout.run} as before"
    assert only(world.sagemaker.configs) == deployed["config"]
    assert only(world.sagemaker.models) not in old["models"]
    assert "DeleteEndpoint" not in world.sagemaker.calls


def test_other_instances_are_an_update_too(world: Serving) -> None:
    world.crown("first")
    world.serve()
    model = only(world.sagemaker.models)
    assert world.serve(endpoint_instances=3)["done"] == "updated"
    variant = only(world.sagemaker.configs.values())["request"]["ProductionVariants"][0]
    assert (variant["InitialInstanceCount"], variant["ModelName"]) == (3, model)
    assert only(world.sagemaker.models) == model


def doctored(world: Serving, run: Run) -> None:
    world.store.put(artifact_of(run).removeprefix("s3://fmrec/"), b"2.25", replace=True)


def test_other_scores_bring_the_old_model_back(world: Serving) -> None:
    first = world.crown("first")
    world.serve()
    before = world.sagemaker.state()
    second = world.crown("the second")
    doctored(world, second)
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    with pytest.raises(EvaluationError) as caught:
        world.prove(chosen, deployed)
    said = str(caught.value)
    assert "20 of 20 test events differ by more than 1e-05; most of all" in said
    assert said.endswith(f"Endpoint {NAME} serves {first.layout.run} again")
    # A retried task does not mistake the old model for the new one.
    with pytest.raises(EvaluationError, match="an earlier test has failed"):
        world.prove(chosen, deployed)
    assert world.settle(chosen)["said"].endswith(f"serves {first.layout.run} as before")
    world.now = NOW
    assert world.sagemaker.state() == before


def test_other_scores_of_the_first_model_delete_the_endpoint(world: Serving) -> None:
    doctored(world, world.crown("first"))
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    with pytest.raises(EvaluationError, match="was deleted: there is nothing proven to go back to"):
        world.prove(chosen, deployed)
    world.settle(chosen)
    assert world.sagemaker.state() == {"models": [], "configs": [], "endpoints": {}}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (refusal("InvokeEndpoint", "ModelError", "Received server error (500)"), r"does not answer .* Received server error \(500\)"),  # noqa: E501
        (refusal("InvokeEndpoint", "AccessDeniedException", "not authorized"), "AWS forbids .* allow the credentials .* sagemaker:InvokeEndpoint"),  # noqa: E501
    ],
)  # fmt: skip
def test_no_answer_brings_the_old_model_back(world: Serving, error: Any, text: str) -> None:
    world.crown("first")
    world.serve()
    world.crown("the second")
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    world.sagemaker.refuse["InvokeEndpoint"] = error
    with pytest.raises(EvaluationError, match=f"{text}.*serves .* again"):
        world.prove(chosen, deployed)


def test_an_answer_to_fewer_events_is_none(world: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    world.crown("first")
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    monkeypatch.setattr("serving_world.scored", lambda *given: scored(*given).partition(b"\n")[2])
    with pytest.raises(EvaluationError, match="gave 19 scores for 20 test events"):
        world.prove(chosen, deployed)


def test_what_was_proven_stays_when_a_later_test_fails(world: Serving) -> None:
    world.crown("first")
    world.serve()
    before = world.sagemaker.state()
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    world.sagemaker.refuse["InvokeEndpoint"] = refusal("InvokeEndpoint", "ModelError", "timeout")
    with pytest.raises(EvaluationError, match="It was proven before, and is left as it is"):
        world.prove(chosen, deployed)
    world.settle(chosen)
    assert world.sagemaker.state() == before


@pytest.mark.parametrize(
    ("reason", "kind"),
    [(PING, AlgorithmError), (CAPACITY, BusyError), ("Request to service failed.", JobError)],
)
def test_an_endpoint_that_cannot_be_made_says_why_and_leaves_nothing(
    world: Serving, reason: str, kind: type[Exception]
) -> None:
    world.crown("first")
    [chosen] = world.choose()
    world.sagemaker.fails[chosen["artifact"]] = reason
    with pytest.raises(JobError if kind is not BusyError else kind) as caught:
        world.deploy(chosen)
    assert type(caught.value) is kind
    assert reason in str(caught.value)
    assert f"/aws/sagemaker/Endpoints/{NAME}" in str(caught.value)
    assert world.sagemaker.endpoints == {}
    world.settle(chosen)
    assert world.sagemaker.state() == {"models": [], "configs": [], "endpoints": {}}
    assert not world.costs()
    # With capacity the next attempt does.
    del world.sagemaker.fails[chosen["artifact"]]
    world.serve()
    assert NAME in world.sagemaker.endpoints


def test_an_update_that_fails_leaves_the_old_model_in_service(world: Serving) -> None:
    first = world.crown("first")
    world.serve()
    before = world.sagemaker.state()
    world.crown("the second")
    [chosen] = world.choose()
    world.sagemaker.fails[chosen["artifact"]] = PING
    with pytest.raises(
        AlgorithmError, match=f"could not be updated: {PING}.*serves {first.layout.run} as before"
    ):
        world.deploy(chosen)
    world.settle(chosen)
    assert world.sagemaker.state() == before


def test_an_endpoint_that_has_failed_is_made_anew(world: Serving) -> None:
    world.crown("first")
    [chosen] = world.choose()
    world.sagemaker.fails[chosen["artifact"]] = CAPACITY
    world.sagemaker.dies_at = 0, False

    def die(operation: str) -> None:
        # In the middle of making it, after which it fails with nobody looking.
        if operation == "DescribeEndpoint" and NAME in world.sagemaker.endpoints:
            raise Killed

    world.sagemaker.hook = die
    with pytest.raises(Killed):
        world.deploy(chosen)
    world.sagemaker.hook = lambda operation: None
    for _ in range(2):
        world.sagemaker.describe_endpoint(NAME)
    assert world.sagemaker.endpoints[NAME]["status"] == "Failed"
    world.sagemaker.fails.clear()
    world.serve()
    assert world.sagemaker.endpoints[NAME]["status"] == "InService"


@pytest.mark.parametrize(
    ("operation", "code", "message", "kind", "text"),
    [
        ("CreateModel", "AccessDeniedException", "User is not authorized", RefusedError, "sagemaker:CreateModel"),  # noqa: E501
        ("CreateModel", "ValidationException", "Could not assume role arn:aws:iam::1:role/r.", RefusedError, "FMREC_ROLE_ARN"),  # noqa: E501
        ("CreateModel", "ValidationException", "Could not find model data at s3://x.", RefusedError, "Could not find model data"),  # noqa: E501
        ("CreateEndpointConfig", "ValidationException", "1 validation error detected: Value 'ml.foo.large' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [ml.t2.medium]", RefusedError, r"parameter endpoint_instance_type: .*'ml.foo.large'"),  # noqa: E501
        ("CreateEndpoint", "ResourceLimitExceeded", "The limit is 0 Instances.", BusyError, "The limit is 0 Instances. Tear an endpoint down"),  # noqa: E501
        ("CreateEndpoint", "ValidationException", 'Cannot update in-progress endpoint "arn".', BusyError, "AWS is at work on it"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_aws_refuses_is_said(
    world: Serving, operation: str, code: str, message: str, kind: type[Exception], text: str
) -> None:
    def client_error(name: str) -> Any:
        return refusal(name, code, message)

    world.crown("first")
    world.sagemaker.refuse[operation] = client_error(operation)
    with pytest.raises(kind, match=text):
        world.serve()


def test_a_request_that_was_carried_out_and_not_answered_is_no_refusal(world: Serving) -> None:
    """Botocore sends it again, and AWS says that the endpoint is there."""
    world.crown("first")
    create = world.sagemaker.create_endpoint

    def twice(**request: Any) -> None:
        create(**request)
        create(**request)

    world.sagemaker.create_endpoint = twice  # type: ignore[method-assign]
    assert world.serve()["done"] == "made"
    assert world.sagemaker.endpoints[NAME]["status"] == "InService"


def test_the_lanes_that_are_served(world: Serving) -> None:
    for lane in ("like-sample-time", "ranking-sample-time"):
        world.crown("x", lane)
    events = [{"lane": "like-sample-time", "run": "r"}, {"lane": "ranking-sample-time"}, {}]
    chosen = world.choose(events, lane=None)
    assert [each["lane"] for each in chosen] == ["like-sample-time", "ranking-sample-time"]
    assert len({each["endpoint"] for each in chosen}) == 2
    assert [each["lane"] for each in world.choose(events, lane="like-sample-time")] == [
        "like-sample-time"
    ]
    with pytest.raises(
        ConfigurationError,
        match=r"'rating-sample-time' has no champion.*like-sample-time, ranking-sample-time",
    ):
        world.choose()
    with pytest.raises(ConfigurationError, match="parameter action: 'stop' is not allowed"):
        world.choose(action="stop")
    [gone] = world.choose(action="teardown")
    assert gone["endpoint"] == NAME


def test_the_only_lane_is_meant_where_none_is_named(world: Serving) -> None:
    world.crown("first")
    assert only(world.choose(lane=None))["lane"] == LANE


def test_names_are_short_stable_and_of_one_lane_alone(world: Serving) -> None:
    layout = world.layout
    lanes = [LANE, f"{LANE}-2", "é" * 80, "x" * 80, "x" * 81, "a_b", "a-b", "a--b"]
    names = [layout.endpoint(lane) for lane in lanes]
    names += [Layout("fmrec", other, "").endpoint(LANE) for other in ("fmrec2", "fmre", "")]
    names += [Layout("other", "fmrec", "").endpoint(LANE)]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 63
        assert name.replace("-", "").isalnum()
        assert name.isascii()
        assert "--" not in name
    run = world.run("x").layout
    assert len(run.served(LANE, "a")) <= 63
    assert run.served(LANE, "a") == run.served(LANE, "a") != run.served(LANE, "b")


def test_a_champion_that_nothing_vouches_for_is_not_served(world: Serving) -> None:
    run = world.crown("first")
    [chosen] = world.choose()
    world.store.delete(f"{run.layout.predictions('score')}part-00000.pbr.out")
    with pytest.raises(StoreError, match=r"part-00000.pbr.out does not exist"):
        world.deploy(chosen)
    with pytest.raises(EvaluationError, match="was trained again since it was promoted"):
        world.deploy(chosen | {"artifact": "s3://fmrec/another"})
    assert world.sagemaker.calls == []


def test_a_champion_that_was_trained_again_is_served_once_a_person_appoints_it(
    world: Serving,
) -> None:
    run = world.crown("first")
    champions.appoint(
        world.store, world.layout, LANE, run=run.layout.run, as_of=run.as_of, manifest="m",
        artifact="s3://fmrec/its-model-of-before", at=NOW,
    )  # fmt: skip
    with pytest.raises(EvaluationError, match="appoint this one again"):
        world.serve()
    world.crown("first")
    assert world.serve()["run"] == run.layout.run


def test_teardown_leaves_nothing_and_writes_down_what_it_has_cost(world: Serving) -> None:
    run = world.crown("first")
    world.serve(endpoint_instances=2)
    world.now = later(hours=10)
    [chosen] = world.choose(action="teardown")
    settled = world.settle(chosen)
    assert (settled["status"], len(settled["removed"])) == ("absent", 2)
    assert world.sagemaker.state() == {"models": [], "configs": [], "endpoints": {}}
    spent = ledger.spent(world.store, world.layout, "2026-03")
    assert spent["runs"] == {run.layout.run: pytest.approx(10 * 2 * 0.115)}
    # Once more: nothing there is no error.
    assert world.settle(chosen)["said"] == f"There is no endpoint {NAME}"
    assert ledger.spent(world.store, world.layout, "2026-03") == spent


def test_the_hours_of_an_endpoint_count_in_the_months_that_they_were_in(world: Serving) -> None:
    run = world.crown("first")
    world.serve()
    world.now = datetime(2026, 5, 2, 6, tzinfo=UTC)
    [chosen] = world.choose(action="teardown")
    world.settle(chosen)
    hours = {"2026-02": 0, "2026-03": 23.5 * 24, "2026-04": 30 * 24, "2026-05": 30, "2026-06": 0}
    found = {month: ledger.spent(world.store, world.layout, month) for month in hours}
    assert {month: each["total"] for month, each in found.items()} == {
        month: pytest.approx(0.115 * hour) for month, hour in hours.items()
    }
    assert set(found["2026-04"]["runs"]) == {run.layout.run}
    [key] = world.store.list(world.layout.costs("2026-04"))
    entry = json.loads(world.store.get(key))
    assert (entry["since"], entry["at"]) == (
        "2026-04-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00",
    )  # fmt: skip


def test_an_endpoint_that_is_not_deleted_has_no_cost_yet(world: Serving) -> None:
    world.crown("first")
    world.serve()
    [chosen] = world.choose(action="teardown")
    world.now = later(hours=2)
    said = refusal("DeleteEndpoint", "AccessDeniedException", "no")
    world.sagemaker.refuse["DeleteEndpoint"] = said
    with pytest.raises(RefusedError, match="sagemaker:DeleteEndpoint"):
        world.settle(chosen)
    assert not world.costs()
    world.sagemaker.refuse.clear()
    world.now = later(hours=5)
    world.settle(chosen)
    spent = ledger.spent(world.store, world.layout, "2026-03")
    assert (spent["jobs"], spent["total"]) == (1, pytest.approx(5 * 0.115))


def test_whoever_dies_while_an_endpoint_goes_has_written_down_its_cost(world: Serving) -> None:
    world.crown("first")
    world.serve()
    [chosen] = world.choose(action="teardown")
    world.now = later(hours=2)

    def die(operation: str) -> None:
        if world.sagemaker.endpoints[NAME]["status"] == "Deleting":
            raise Killed

    world.sagemaker.hook = die
    with pytest.raises(Killed):
        world.settle(chosen)
    world.sagemaker.hook = lambda operation: None
    world.settle(chosen)
    assert ledger.spent(world.store, world.layout, "2026-03")["total"] == pytest.approx(0.23)


def test_an_endpoint_of_somebody_else_is_not_touched(world: Serving) -> None:
    world.crown("first")
    world.serve()
    for tags in ({"fmrec:deployment": "fmrec/fmrec2"}, {}, {"fmrec:deployment": "fmrec/fmrec"}):
        arn = world.sagemaker.endpoints[NAME]["arn"]
        world.sagemaker.tags[arn] = dict(tags)  # the last one lacks the lane that names it
        before = world.sagemaker.state()
        world.crown("the second")
        for action in ("deploy", "teardown"):
            [chosen] = world.choose(action=action)
            with pytest.raises(ConfigurationError, match="is not of this deployment"):
                (world.deploy if action == "deploy" else world.settle)(chosen)
        assert world.sagemaker.state() == before


def test_what_others_use_of_the_old_model_stays(world: Serving) -> None:
    """Somebody has made an endpoint from our configuration, or a configuration of our model."""
    world.crown("first")
    world.serve()
    first = world.sagemaker.state()
    theirs = {"EndpointName": "mine", "EndpointConfigName": only(first["configs"])}
    world.sagemaker.create_endpoint(**theirs)
    world.crown("the second")
    world.serve()
    assert set(first["configs"]) <= set(world.sagemaker.configs)
    assert set(first["models"]) <= set(world.sagemaker.models)
    del world.sagemaker.endpoints["mine"]
    variants = [{"ModelName": only(first["models"])}]
    world.sagemaker.create_endpoint_config(EndpointConfigName="mine", ProductionVariants=variants)
    world.serve()
    assert not set(first["configs"]) & set(world.sagemaker.configs)
    assert set(first["models"]) <= set(world.sagemaker.models)
    del world.sagemaker.configs["mine"]
    world.serve()
    assert not set(first["models"]) & set(world.sagemaker.models)


def test_without_its_configuration_an_endpoint_keeps_its_models(world: Serving) -> None:
    """Nobody can say which of them it serves."""
    world.crown("first")
    world.serve()
    world.sagemaker.configs.clear()
    [chosen] = world.choose()
    world.settle(chosen)
    assert len(world.sagemaker.models) == 1


def finish(world: Serving) -> Any:
    """What Airflow does with tasks that die: again from the one that died, in the end settle."""
    [chosen] = world.choose()
    deployed: Any = None
    error: BaseException | None = None
    for _ in range(3):
        try:
            deployed = deployed or world.deploy(chosen)
            world.prove(chosen, deployed)
        except Killed:
            world.sagemaker.dies_at = None
            continue
        except EvaluationError as failed:
            error = failed
        break
    for _ in range(2):
        try:
            world.settle(chosen)
        except Killed:
            world.sagemaker.dies_at = None
            continue
        break
    return error


@pytest.mark.parametrize("good", [True, False], ids=["proven", "rolled-back"])
@pytest.mark.parametrize("carried_out", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("there", [True, False], ids=["update", "create"])
def test_a_death_at_any_call_changes_nothing_in_the_end(
    world: Serving, monkeypatch: pytest.MonkeyPatch, *, good: bool, carried_out: bool, there: bool
) -> None:
    """The worker is killed before or after each request in turn, and the tasks are repeated."""
    if there:
        world.crown("first")
        world.serve()
    second = world.crown("the second")
    if not good:
        doctored(world, second)
    start = (
        dict(world.sagemaker.models), dict(world.sagemaker.configs),
        {name: dict(each) for name, each in world.sagemaker.endpoints.items()},
        {arn: dict(each) for arn, each in world.sagemaker.tags.items()},
    )  # fmt: skip
    hosted = world.sagemaker

    def begin(dies_at: tuple[int, bool] | None) -> None:
        hosted.models, hosted.configs = dict(start[0]), dict(start[1])
        hosted.endpoints = {name: dict(each) for name, each in start[2].items()}
        hosted.tags = {arn: dict(each) for arn, each in start[3].items()}
        hosted.calls, hosted.dies_at = [], dies_at

    [chosen] = world.choose()
    past = serve._past(chosen, world.layout.of(chosen["run"]), world.s3)
    asked = smoke.sample(past, 20)
    monkeypatch.setattr(world, "choose", lambda: [chosen])  # S3 is not what is looked at here
    monkeypatch.setattr(serve, "_past", lambda *_: past)
    monkeypatch.setattr(smoke, "sample", lambda *_: asked)
    begin(None)
    failed = finish(world)
    assert (failed is None) is good
    undisturbed, calls = hosted.state(), len(hosted.calls)
    assert calls > 15
    assert (
        len(undisturbed["endpoints"]) == len(undisturbed["models"]) == (1 if good or there else 0)
    )
    for number in range(1, calls + 1):
        begin((number, carried_out))
        failed = finish(world)
        assert hosted.dies_at is None, f"call {number} was never made"
        assert (failed is None) is good, number
        assert hosted.state() == undisturbed, f"killed at call {number}"


def test_an_unproven_model_of_a_run_that_died_is_not_gone_back_to(world: Serving) -> None:
    first = world.crown("first")
    world.serve()
    world.crown("the second")
    [chosen] = world.choose()
    world.deploy(chosen)  # and all of that run is gone, settle too
    doctored(world, world.crown("the very third"))
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    with pytest.raises(EvaluationError, match=f"serves {first.layout.run} again"):
        world.prove(chosen, deployed)
    world.settle(chosen)
    assert len(world.sagemaker.configs) == len(world.sagemaker.models) == 1


def test_settle_goes_back_when_nobody_else_did(world: Serving) -> None:
    first = world.crown("first")
    world.serve()
    world.crown("the second")
    [chosen] = world.choose()
    world.deploy(chosen)
    assert world.settle(chosen)["said"] == f"Endpoint {NAME} serves {first.layout.run} again"


def test_no_way_back_is_said(world: Serving) -> None:
    world.crown("first")
    world.serve()
    world.crown("the second")
    [chosen] = world.choose()
    deployed = world.deploy(chosen)
    old = world.sagemaker.artifact_of(world.tags(NAME)["fmrec:proven-config"])
    world.sagemaker.fails[old] = CAPACITY
    with pytest.raises(JobError, match=r"could not go back to .*, which is proven") as caught:
        world.settle(chosen)
    assert f"it is InService with {deployed['config']} ({CAPACITY})" in str(caught.value)


def test_while_aws_is_at_work_it_is_asked_every_poll_seconds(
    world: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    world.crown("first")
    with caplog.at_level(logging.INFO):
        world.serve()
    assert world.waited == world.deployment.poll_seconds
    assert f"Endpoint {NAME}: Creating" in caplog.messages
    assert f"Endpoint {NAME}: InService" in caplog.messages
    assert any(
        "USD 0.115 an hour, and stays until 2026-03-09T12:00:00" in m for m in caplog.messages
    )


def test_an_endpoint_that_is_gone_between_two_requests_is_gone(world: Serving) -> None:
    world.crown("first")
    world.serve()
    [chosen] = world.choose(action="teardown")

    def vanish(operation: str) -> None:
        if operation == "ListTags":
            world.sagemaker.tags.clear()
            world.sagemaker.endpoints.clear()
            world.sagemaker.hook = lambda operation: None

    world.sagemaker.hook = vanish
    assert world.settle(chosen)["status"] == "absent"
    world.serve()
    world.sagemaker.refuse["ListTags"] = refusal("ListTags", "AccessDeniedException", "no")
    with pytest.raises(ClientError, match="no"):
        world.serve()


def test_without_an_end_it_stays(world: Serving) -> None:
    world.crown("first")
    assert world.serve(ttl_hours=0)["expires"] == "never"


def test_a_price_that_is_not_known_is_none(world: Serving) -> None:
    world.crown("first")
    assert world.serve(endpoint_instance_type="ml.z9.large")["hourly_price"] is None


def test_the_sample_is_spread_and_sent_in_requests_of_bounded_size(
    world: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.crown("first", rows=1000, files=3)
    [chosen] = world.choose(smoke_rows=1500)
    past = serve._past(chosen, world.layout.of(chosen["run"]), world.s3)
    for rows in (1, 7, 999, 1000, 1500, 3000, 5000):
        asked = smoke.sample(past, rows)
        assert len(asked.frames) == asked.scores.size == min(rows, 3000)
        assert len(set(asked.frames)) == len(asked.frames)
    keys = [each["key"] for each in past.manifest["recordio"]["test"]]
    assert b"".join(smoke.sample(past, 3000).frames) == b"".join(map(world.store.get, keys))
    monkeypatch.setattr(smoke, "BATCH_BYTES", 10_000)
    proven = world.prove(chosen, world.deploy(chosen))
    sent = [call for call in world.sagemaker.calls if call == "InvokeEndpoint"]
    assert proven["requests"] == len(sent) > 10
    assert proven["rows"] == 1500


def test_a_score_off_by_one_unit_of_float32_is_the_same_and_by_more_is_not(
    world: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.crown("first", rows=4, files=1)
    [chosen] = world.choose()
    deployed = world.deploy(chosen)

    def times(factor: float) -> Any:
        return lambda rows, model: scored(rows, str(float(model) * factor).encode())

    monkeypatch.setattr("serving_world.scored", times(1 + 2**-22))
    proven = world.prove(chosen, deployed)
    assert 0 < proven["largest_difference"] < 1e-4
    monkeypatch.setattr("serving_world.scored", times(1.0001))
    with pytest.raises(EvaluationError, match="gives other scores"):
        world.prove(chosen, deployed)


def test_the_tag_of_a_deployment_is_its_own(world: Serving) -> None:
    from fmrec.endpoints import owner

    names = ["a", "a/b", "a b", "a!b", "a=21b", "ä", "a-b", "a/", "=C3=A4"]
    values = {owner(Layout("bucket", name, "")) for name in names}
    assert len(values) == len(names)
    for value in values:
        assert all(c.isascii() and (c.isalnum() or c in "_.:/=+@- ") for c in value)


def test_the_life_of_an_endpoint_counts_from_its_deployment(world: Serving) -> None:
    from fmrec.endpoints import expired, expiry

    assert expired(expiry(1, NOW), NOW + timedelta(hours=1))
    assert not expired(expiry(1, NOW), NOW + timedelta(minutes=59))
    assert not expired(expiry(0, NOW), NOW + timedelta(days=10_000))
