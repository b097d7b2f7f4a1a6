from __future__ import annotations

from typing import cast

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from fmrec.local_aws.api import constraints
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.api.json_wire import JsonWire
from fmrec.local_aws.operations import Resources
from fmrec.local_aws.workplace import Workplace

MODEL = botocore.session.get_session().get_service_model("sagemaker")


def implemented() -> list[str]:
    """Return the names in the table; its operations would need a whole server, their names not."""
    return list(Resources(cast(Workplace, None)).table())


def shapes_below(shape: Shape | None, seen: set[str]) -> list[Shape]:
    if shape is None or shape.name in seen:
        return []
    seen.add(shape.name)
    below: list[Shape] = []
    if isinstance(shape, StructureShape):
        below = list(shape.members.values())
    elif isinstance(shape, ListShape):
        below = [shape.member]
    elif isinstance(shape, MapShape):
        below = [shape.key, shape.value]
    return [shape, *(found for each in below for found in shapes_below(each, seen))]


def test_every_pattern_of_every_implemented_operation_can_be_checked():
    names = implemented()
    assert len(names) >= 15
    seen: set[str] = set()
    checked = 0
    for name in names:
        for shape in shapes_below(MODEL.operation_model(name).input_shape, seen):
            if "pattern" in shape.metadata:
                constraints._compiled(shape.metadata["pattern"])
                checked += 1
    assert checked > 40


@pytest.mark.parametrize("value", ["plain", "schöne Grüße", "日本 1", "a_b.c:d/e=f+g-h@i", ""])
def test_unicode_categories_of_javas_patterns(value):
    wire = JsonWire("sagemaker")
    operation = wire.operation("AddTags")
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model/m"
    constraints.check(
        {"ResourceArn": arn, "Tags": [{"Key": "k", "Value": value}]}, operation.input_shape
    )
    with pytest.raises(ApiError, match="regular expression"):
        constraints.check(
            {"ResourceArn": arn, "Tags": [{"Key": "k", "Value": f"{value}#"}]},
            operation.input_shape,
        )


def test_a_pattern_must_match_the_whole_value():
    shape = MODEL.operation_model("DescribeModel").input_shape
    constraints.check({"ModelName": "good-name"}, shape)
    for wrong in ("good-name\n", "good name", "-x", "x-", ""):
        with pytest.raises(ApiError, match="'modelName'"):
            constraints.check({"ModelName": wrong}, shape)


def test_a_boolean_is_no_number():
    shape = MODEL.operation_model("ListModels").input_shape
    constraints.check({"MaxResults": 5}, shape)
    with pytest.raises(ApiError, match="must be of type integer"):
        constraints.check({"MaxResults": True}, shape)
    with pytest.raises(ApiError, match="less than or equal to 100"):
        constraints.check({"MaxResults": 101}, shape)


def test_null_members_count_as_absent():
    wire = JsonWire("sagemaker")
    operation = wire.operation("ListModels")
    assert wire.parse(operation, b'{"NameContains": null, "MaxResults": 3}') == {"MaxResults": 3}


def test_timestamps_come_in_either_form_and_go_as_numbers():
    wire = JsonWire("sagemaker")
    operation = wire.operation("ListModels")
    for sent in (b"1700000000", b'"2023-11-14T22:13:20Z"'):
        parsed = wire.parse(operation, b'{"CreationTimeAfter": %s}' % sent)
        assert parsed == {"CreationTimeAfter": 1700000000.0}
    with pytest.raises(ApiError, match="not a timestamp"):
        wire.parse(operation, b'{"CreationTimeAfter": "yesterday"}')
    described = wire.operation("DescribeModel")
    body = wire.serialise(described, {"CreationTime": 1.5, "Secret": 1, "ModelName": None})
    assert body == b'{"CreationTime": 1.5}'
