"""A dry run writes every request that would be sent, and sends none."""

from __future__ import annotations

import json
import logging
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.steps.rehearse import rehearse
from manifests import published
from steps_world import World

pytestmark = pytest.mark.slow

TRAIN = ["CreateTrainingJob", "CreateModel", "CreateTransformJob"]
TUNE = ["CreateHyperParameterTuningJob", "CreateModel", "CreateTransformJob"]
SEARCH = ["CreateTrainingJob", "CreateHyperParameterTuningJob"]


def rehearsed(world: World, *, releases: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """What it returns, and what it has written by name."""
    x = world.xcom
    told = rehearse(x["run"], x["channels"], world.s3, world.deployment, releases=releases)
    folder = f"fmrec/runs/{x['run']['layout']['run']}/dry-run/"
    written = {
        key.removeprefix(folder).removesuffix(".json"): json.loads(world.store.get(key))
        for key in world.store.list(folder)
    }
    assert sorted(told["files"]) == sorted(f"s3://fmrec/{folder}{name}.json" for name in written)
    return told, written


@pytest.mark.parametrize(
    ("params", "releases", "operations"),
    [
        ({}, True, TRAIN),
        ({"mode": "tune"}, True, TUNE),
        ({"mode": "tune"}, False, SEARCH),
        ({"spot": True, "transform_instance_type": "ml.m5.xlarge"}, True, TRAIN),
    ],
)
def test_all_requests_are_written_as_aws_would_take_them(
    world: World, params: dict[str, Any], releases: bool, operations: list[str]
) -> None:
    world.prepare(dry_run=True, **params)
    told, written = rehearsed(world, releases=releases)
    assert sorted(written) == sorted([*operations, "estimate", "actions"])
    model = botocore.session.get_session().get_service_model("sagemaker")
    for operation in operations:
        shape = model.operation_model(operation).input_shape
        # What a role's name looks like is not a matter of this test.
        request = json.loads(json.dumps(written[operation]).replace('"arn"', f'"{ROLE}"'))
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
    names = [name.rpartition("/")[2] for name in told["files"]]
    asked = [f"{operation}.json" for operation in operations]
    assert names == [*asked, "estimate.json", "actions.json"]
    assert told["estimate"] == pytest.approx(written["estimate"]["expected"])
    assert told["at_most"] == pytest.approx(written["estimate"]["at_most"])
    assert told["currency"] == "USD"
    assert told["run"] == world.xcom["run"]["layout"]["run"]
    assert list(told["links"]) == names


ROLE = "arn:aws:iam::111122223333:role/jobs"


def test_the_rights_that_it_takes_are_told(world: World) -> None:
    _, written = rehearsed(world.prepare(dry_run=True, mode="tune"), releases=False)
    assert written["actions"]["iam"] == {"iam:PassRole": "arn"}
    assert written["actions"]["sagemaker"] == [
        "sagemaker:AddTags",
        "sagemaker:CreateHyperParameterTuningJob",
        "sagemaker:CreateTrainingJob",
        "sagemaker:DescribeHyperParameterTuningJob",
        "sagemaker:DescribeTrainingJob",
        "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
        "sagemaker:StopHyperParameterTuningJob",
        "sagemaker:StopTrainingJob",
    ]


def test_names_and_places_follow_from_each_other(world: World) -> None:
    _, written = rehearsed(world.prepare(dry_run=True))
    layout = Run.from_xcom(world.xcom["run"]).layout
    trained = written["CreateTrainingJob"]["TrainingJobName"]
    assert trained == layout.job("train", 1)
    model = written["CreateModel"]
    assert model["PrimaryContainer"]["ModelDataUrl"] == (
        f"{layout.uri(layout.models)}/{trained}/output/model.tar.gz"
    )
    assert written["CreateTransformJob"]["ModelName"] == model["ModelName"]


def test_of_a_search_the_best_job_is_not_known_but_how_it_is_called(world: World) -> None:
    _, written = rehearsed(world.prepare(dry_run=True, mode="tune"))
    name = written["CreateHyperParameterTuningJob"]["HyperParameterTuningJobName"]
    artifact = written["CreateModel"]["PrimaryContainer"]["ModelDataUrl"]
    assert f"/models/{name}-001-" in artifact


def test_the_log_has_a_table(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.prepare(dry_run=True, mode="tune")
    published(world, "before")
    with caplog.at_level(logging.INFO):
        told, _ = rehearsed(world)
    lines = caplog.text.splitlines()
    [tuning] = [line for line in lines if line.startswith("tuning")]
    assert tuning.split()[1] == "12"
    assert "the longest of the last 1 such runs" in tuning
    [total] = [line for line in lines if line.startswith("in all")]
    assert total.split()[2:4] == [f"{told['estimate']:,.4f}", f"{told['at_most']:,.4f}"]


def test_what_has_no_price_is_said_to_be_unknown(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.prepare(dry_run=True, instance_type="ml.q9.large", transform_instance_type="ml.m5.large")
    with caplog.at_level(logging.INFO):
        told, written = rehearsed(world)
    assert told["estimate"] is told["at_most"] is written["estimate"]["expected"] is None
    assert "unknown" in caplog.text
    assert "The price of ml.q9.large in us-east-1 is not known here" in caplog.text


def test_it_may_be_repeated_when_more_is_known(world: World) -> None:
    world.prepare(dry_run=True)
    first, _ = rehearsed(world)
    published(world, "before")
    second, written = rehearsed(world)
    assert second["estimate"] != first["estimate"]
    assert second["estimate"] == written["estimate"]["expected"]


def test_what_could_not_be_sent_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match="FMREC_IMAGE_URI"):
        rehearsed(world.prepare(dry_run=True, image="fmrec"))
