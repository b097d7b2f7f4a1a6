from __future__ import annotations

import pytest

from fmrec.local_aws.algorithms import Algorithm
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.endpoints.configs import EndpointConfigs
from fmrec.local_aws.endpoints.plans import (
    MOST_SERVERS,
    plan_of,
    rescaled,
    retaining,
    shown,
    shown_pending,
)
from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.records import Identity, Records

REGION = "us-east-1"
VARIANT = {
    "VariantName": "v",
    "ModelName": "m",
    "InstanceType": "ml.m5.large",
    "InitialInstanceCount": 2,
}


class Place:
    """What plans and configurations need of the server: its records, images and clock."""

    def __init__(self, database: Database) -> None:
        self.records = Records(database)
        self.algorithms = {"toy": Algorithm(serve=("toy",)), "mute": Algorithm(train=("toy",))}

    def identity(self, kind, region, name):
        return Identity(kind, region, name, "123456789012")

    def now(self):
        return 1000.0


@pytest.fixture
def place(tmp_path):
    database = Database(tmp_path / "sagemaker.sqlite3", power_safe=False)
    place = Place(database)
    for name, image in (("m", "toy"), ("mute", "mute")):
        model = {"ModelName": name, "PrimaryContainer": {"Image": image, "Mode": "SingleModel"}}
        assert place.records.insert(place.identity("model", REGION, name), model, 1)
    yield place
    database.close()


@pytest.fixture
def configured(place):
    """Create a configuration and return its document."""

    def create(*variants, **more):
        configs = EndpointConfigs(place)
        request = {"EndpointConfigName": "c", "ProductionVariants": list(variants), **more}
        configs.create(REGION, request)
        return configs.describe(REGION, {"EndpointConfigName": "c"})

    return create


def test_a_plan_holds_all_that_is_needed_to_run_it(place, configured):
    started = {**VARIANT, "ContainerStartupHealthCheckTimeoutInSeconds": 90}
    config = configured(started)
    plan, again = plan_of(place, REGION, config), plan_of(place, REGION, config)
    place.records.delete(place.identity("model", REGION, "m"))
    assert plan.pop("Generation") != again["Generation"]
    assert plan == {
        "EndpointConfigName": "c",
        "Variants": [
            {
                "VariantName": "v",
                "Container": {"Image": "toy"},
                "Weight": 1.0,
                "Count": 2,
                "InstanceType": "ml.m5.large",
                "StartSeconds": 90,
            }
        ],
        "Capture": None,
        "Resolved": 1000.0,
    }
    (summary,) = shown_pending(plan, 5.0)["ProductionVariants"]
    assert (summary["CurrentInstanceCount"], summary["DesiredInstanceCount"]) == (0, 2)
    assert "DataCaptureConfig" not in shown(plan)


def test_models_that_are_missing_or_cannot_serve(place, configured):
    config = configured(VARIANT)
    config["ProductionVariants"][0]["ModelName"] = "none"
    with pytest.raises(ApiError, match=r'Could not find model "arn:.*:model/none"'):
        plan_of(place, REGION, config)
    config["ProductionVariants"][0]["ModelName"] = "mute"
    with pytest.raises(ApiError, match="cannot be used for models"):
        plan_of(place, REGION, config)


def test_an_endpoint_has_a_limited_number_of_servers(place, configured):
    config = configured({**VARIANT, "InitialInstanceCount": MOST_SERVERS + 1})
    with pytest.raises(ApiError, match=f"is {MOST_SERVERS} Instances, with current") as error:
        plan_of(place, REGION, config)
    assert error.value.code == "ResourceLimitExceeded"


def test_weights_and_counts_change_for_those_that_are_named(place, configured):
    plan = plan_of(place, REGION, configured(VARIANT, {**VARIANT, "VariantName": "w"}))
    changed = rescaled(plan, [{"VariantName": "w", "DesiredWeight": 0.5}])
    assert [item["Weight"] for item in changed["Variants"]] == [1.0, 0.5]
    changed = rescaled(changed, [{"VariantName": "v", "DesiredInstanceCount": 3}])
    assert [item["Count"] for item in changed["Variants"]] == [3, 2]
    assert [item["Count"] for item in plan["Variants"]] == [2, 2]
    for changes, message in (
        ([{"VariantName": "x"}], '"x" is/are not present within endpoint configuration "c"'),
        ([{"VariantName": "v"}] * 2, '"v" was non-unique within the request'),
        ([{"VariantName": "v", "DesiredInstanceCount": 0}], "at least one instance"),
    ):
        with pytest.raises(ApiError, match=message):
            rescaled(plan, changes)


@pytest.mark.parametrize(
    ("excluded", "weight", "servers"),
    [
        (set(), 9, 4),
        ({"DesiredWeight"}, 1.0, 4),
        ({"DesiredInstanceCount"}, 9, 2),
        ({"DesiredWeight", "DesiredInstanceCount", "DataCaptureConfig"}, 1.0, 2),
    ],
)
def test_an_update_retains_what_it_is_told(place, configured, excluded, weight, servers):
    plan = plan_of(place, REGION, configured(VARIANT, {**VARIANT, "VariantName": "new"}))
    change = {"VariantName": "v", "DesiredWeight": 9, "DesiredInstanceCount": 4}
    present = rescaled(plan, [change])
    present["Variants"].pop()
    kept, new = retaining(plan, present, excluded)["Variants"]
    assert (kept["Weight"], kept["Count"]) == (weight, servers)
    assert (new["Weight"], new["Count"]) == (1.0, 2)


@pytest.mark.parametrize(
    ("variants", "more", "message"),
    [
        ([VARIANT, VARIANT], {}, "names must be unique"),
        ([{**VARIANT, "ModelName": "none"}], {}, 'Could not find model "arn:.*:model/none"'),
        ([{"VariantName": "v"}], {}, "does not implement inference components"),
        (
            [{"VariantName": "v", "ModelName": "m"}],
            {},
            "null at 'productionVariants.1.member.instanceType' failed",
        ),
        ([{**VARIANT, "AcceleratorType": "ml.eia1.medium"}], {}, "implement AcceleratorType"),
        (
            [{**VARIANT, "RoutingConfig": {"RoutingStrategy": "PREFIX_AWARE"}}],
            {},
            "implement RoutingStrategy PREFIX_AWARE",
        ),
        (
            [{**VARIANT, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}],
            {},
            "both ServerlessConfig and an instance type",
        ),
        (
            [
                {
                    "VariantName": "v",
                    "ModelName": "m",
                    "ServerlessConfig": {"MemorySizeInMB": 1025, "MaxConcurrency": 1},
                }
            ],
            {},
            r"enum value set: \[1024, 2048, 3072, 4096, 5120, 6144\]",
        ),
        ([VARIANT], {"ShadowProductionVariants": [VARIANT]}, "implement ShadowProductionVariants"),
        ([VARIANT], {"AsyncInferenceConfig": {"OutputConfig": {}}}, "AsyncInferenceConfig"),
        (
            [VARIANT],
            {"DataCaptureConfig": {"DestinationS3Uri": "https://bucket/key"}},
            "is not an S3 address",
        ),
    ],
)
def test_configurations_that_are_refused(configured, variants, more, message):
    with pytest.raises(ApiError, match=message) as error:
        configured(*variants, **more)
    assert error.value.code == "ValidationException"
