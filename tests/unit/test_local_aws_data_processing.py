from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import DataError
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.transform.data_processing import data_processing
from fmrec.local_aws.transform.paths import parse

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"


def request(
    content_type: str | None = LINES,
    accept: str | None = None,
    split: str = "Line",
    assemble: str = "Line",
    **processing: str,
) -> dict:
    given = {"SplitType": split, **({"ContentType": content_type} if content_type else {})}
    wanted = {"AssembleWith": assemble, **({"Accept": accept} if accept else {})}
    return {"TransformInput": given, "TransformOutput": wanted, "DataProcessing": processing}


def run(payload: bytes, answer, **settings) -> bytes:
    """Return the output for a payload; `answer` is the model, bytes to bytes."""
    processing = data_processing(request(**settings))
    assert processing is not None
    return processing.run(payload, answer)


RECORD = {"id": 7, "in": {"a": [10, 20, 30, 40], "b": "x"}, "rows": [{"v": 1}, {"v": 2}]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.id", 7),
        ("$['id']", 7),
        ("$.in.a", [10, 20, 30, 40]),
        ("$.in.a[0]", 10),
        ("$.in.a[-1]", 40),
        ("$.in.a[0,2]", [10, 30]),
        ("$.in.a[ 0 , -1 ]", [10, 40]),
        ("$.in.a[1:]", [20, 30, 40]),
        ("$.in.a[:2]", [10, 20]),
        ("$.in.a[1:3]", [20, 30]),
        ("$.in.a[:-1]", [10, 20, 30]),
        ("$.in.a[2:99]", [30, 40]),
        ("$.in.a[*]", [10, 20, 30, 40]),
        ("$.in.*", [[10, 20, 30, 40], "x"]),
        ("$.rows[*].v", [1, 2]),
        ("$['id','rows']", {"id": 7, "rows": [{"v": 1}, {"v": 2}]}),
        ("$.in.['a','b']", RECORD["in"]),
        ("$['in']['b']", "x"),
        ("$", RECORD),
        ("", RECORD),
    ],
)
def test_what_a_path_selects(path, expected):
    assert parse("OutputFilter", path, LINES).select(RECORD) == expected


@pytest.mark.parametrize(
    "path", ["$.none", "$.id.x", "$.id[0]", "$.in.a[4]", "$.in.a[-5]", "$.in.a[9:]", "$['id','no']"]
)
def test_what_a_record_lacks_is_named(path):
    with pytest.raises(DataError) as error:
        parse("OutputFilter", path, LINES).select(RECORD)
    assert str(error.value).startswith(f"Invalid JsonPath: {path}: ")


def test_the_refusals_of_aws():
    with pytest.raises(ApiError) as error:
        parse("OutputFilter", "$['account_id','SageMakerOutput']", LINES)
    assert error.value.code == "ValidationException"
    assert error.value.message == (
        "Invalid OutputFilter: \"$['account_id','SageMakerOutput']\". Unexpected \"_\" in "
        'JsonPath. Supported operators for "application/jsonlines" are '
        "['$', '[', ']', '*', '.', ' ', ',', ':', '-', ''']"
    )
    with pytest.raises(ApiError) as error:
        parse("OutputFilter", "$[0:2,246:]", CSV)
    assert error.value.message == (
        "Invalid JsonPath: $[0:2,246:]: only single range filters of format (eg: [1:5]) are "
        "supported. Format [0:2,246:] is not supported"
    )


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("id", JSON),
        ("$id", JSON),
        ("$.", JSON),
        ("$..id", JSON),
        ("$[", JSON),
        ("$[]", JSON),
        ("$['a.b']", JSON),
        ("$['a','b'].c", JSON),
        ("$[?(@.x)]", JSON),
        ("$[1:2:3]", JSON),
        ("$['a',1]", JSON),
        ("$.id", CSV),
        ("$['id']", CSV),
        ("$[0][1]", CSV),
    ],
)
def test_paths_that_are_refused(path, content_type):
    with pytest.raises(ApiError, match="JsonPath"):
        parse("InputFilter", path, content_type)


@given(st.text(alphabet="$[].*:,-' aB10_?", max_size=12))
def test_any_text_is_a_path_or_refused(text):
    try:
        path = parse("InputFilter", text, JSON)
    except ApiError:
        return
    try:
        path.select(RECORD)
    except DataError:
        return
    assert text in ("", "$") or text.startswith("$")


def lengths(payload: bytes) -> bytes:
    return b"".join(b"%d\n" % len(line) for line in payload.splitlines())


def test_csv_is_filtered_joined_and_filtered_again():
    seen = []

    def model(payload: bytes) -> bytes:
        seen.append(payload)
        return lengths(payload)

    output = run(
        b'id1,1.50,"a,b"\r\nid2,2,"say ""x"""\n',
        model,
        content_type=CSV,
        InputFilter="$[1:]",
        JoinSource="Input",
        OutputFilter="$[0,-1]",
    )
    # Fields stay as they are written, quotes and zeros included.
    assert seen == [b'1.50,"a,b"\n2,"say ""x"""\n']
    assert output == b"id1,10\nid2,13\n"
    whole = run(b"1,2\n3,4\n", lambda _: b"9\n8", content_type=CSV, JoinSource="Input")
    assert whole == b"1,2,9\n3,4,8"


fields = st.text(alphabet=st.sampled_from('ab",é 1'), max_size=5)


@given(st.lists(st.lists(fields, min_size=2, max_size=4), min_size=1, max_size=6))
def test_csv_rows_are_taken_apart_as_the_csv_module_does(rows):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    output = run(
        buffer.getvalue().encode(),
        lambda payload: b"".join(b"y\n" for _ in payload.splitlines()),
        content_type=CSV,
        JoinSource="Input",
        OutputFilter="$[-1,0]",
    )
    assert list(csv.reader(io.StringIO(output.decode()))) == [["y", row[0]] for row in rows]


def test_json_lines_are_joined_as_objects():
    seen = []

    def model(payload: bytes) -> bytes:
        seen.append(payload)
        return b'{"score":0.5}\n[1, 2]\n'

    output = run(
        b'{"id": 1, "features": [1, 2.50]}\n{"id": 2, "features": ["\xc3\xa4"], "Z": null}\n',
        model,
        InputFilter="$.features",
        JoinSource="Input",
    )
    assert seen == [b'[1,2.5]\n["\xc3\xa4"]\n']
    # Members stand in the order of their names, as in SageMaker's own output.
    assert output.decode() == (
        '{"SageMakerOutput":{"score":0.5},"features":[1,2.5],"id":1}\n'
        '{"SageMakerOutput":[1,2],"Z":null,"features":["ä"],"id":2}\n'
    )


def test_json_that_is_no_object_is_wrapped():
    output = run(b"[1]\n5\n", lambda _: b"10\n20\n", JoinSource="Input")
    assert [json.loads(line) for line in output.splitlines()] == [
        {"SageMakerInput": [1], "SageMakerOutput": 10},
        {"SageMakerInput": 5, "SageMakerOutput": 20},
    ]


def test_a_whole_json_document_is_one_record():
    output = run(
        b'{\n  "id": 3,\n  "x": [1]\n}\n',
        lambda payload: b'{\n "predictions": [1]\n}',
        content_type=JSON,
        split="None",
        assemble="None",
        JoinSource="Input",
        OutputFilter="$['id','SageMakerOutput']",
    )
    assert output == b'{"SageMakerOutput":{"predictions":[1]},"id":3}'


def test_an_output_filter_alone_follows_accept():
    output = run(
        b"1,2\n3,4\n",
        lambda _: b'{"class": "a", "p": 1}\n{"class": "b", "p": 0}\n',
        content_type=CSV,
        accept=JSON,
        OutputFilter="$['class']",
    )
    assert output == b'"a"\n"b"\n'


def test_an_input_filter_alone_leaves_the_answer_as_it_is():
    seen = []
    output = run(
        b"1,2\n3,4\n",
        lambda payload: seen.append(payload) or b"anything \x00",
        content_type=CSV,
        InputFilter="$[0]",
    )
    assert (seen, output) == ([b"1\n3\n"], b"anything \x00")


@pytest.mark.parametrize(
    ("payload", "answer", "content_type", "complaint"),
    [
        (b"1\n2\n", b"1\n", CSV, "2 input records and 1 output records"),
        (b"1\n2\n", b"1\n2\n3\n", CSV, "2 input records and 3 output records"),
        (b"1\n2\n", b"1\n", LINES, "2 input records and 1 output records"),
        (b'1,a"b\n', b"1\n", CSV, 'Failed to parse input as CSV: bare " in non quoted field'),
        (b"1,2\n", b'{"a": 1}\n', CSV, "Failed to parse output from the algorithm as CSV: bare"),
        (b'{"a": 1\n', b"1\n", LINES, "Failed to parse input as JSON"),
        (b"\xff\n", b"1\n", LINES, "Failed to parse input as JSON"),
        (b'{"a": 1}\n', b"oops\n", LINES, "Failed to parse output from the algorithm as JSON"),
        (b"[" * 100_000, b"1\n", LINES, "Failed to parse input as JSON"),
        (b"1\n", b"1e999\n", LINES, "Failed to write a record as JSON"),
        (b'"\\ud800"\n', b"1\n", LINES, "Failed to write a record as JSON"),
    ],
)
def test_records_that_do_not_fit(payload, answer, content_type, complaint):
    with pytest.raises(DataError) as error:
        run(payload, lambda _: answer, content_type=content_type, JoinSource="Input")
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"content_type": None}, "ContentType must be one of"),
        ({"content_type": "application/x-recordio-protobuf"}, "ContentType must be one of"),
        ({"accept": "application/x-npy"}, "Accept must be one of"),
        ({"accept": CSV}, "of one format"),
        ({"split": "RecordIO"}, "SplitType must be None or Line"),
        ({"assemble": "None"}, "AssembleWith must be Line, as SplitType is"),
        ({"content_type": CSV, "split": "None"}, "SplitType must be Line for CSV"),
        ({"content_type": CSV, "assemble": "None"}, "AssembleWith must be Line for CSV"),
    ],
)
def test_settings_that_do_not_go_together(settings, complaint):
    with pytest.raises(ApiError) as error:
        data_processing(request(**settings, JoinSource="Input"))
    assert error.value.code == "ValidationException"
    assert complaint in error.value.message


@pytest.mark.parametrize(
    "processing",
    [{}, {"JoinSource": "None"}, {"InputFilter": "$", "OutputFilter": "", "JoinSource": "None"}],
)
def test_the_defaults_leave_records_alone(processing):
    assert data_processing(request("application/x-recordio-protobuf", **processing)) is None


def test_parameters_of_content_types_are_ignored():
    settings = request("application/jsonlines; verbose=true", "text/CSV; x=y", OutputFilter="$[0]")
    assert data_processing(settings) is not None


def test_inference_ids():
    wanted = {**request(CSV), "DataCaptureConfig": {"GenerateInferenceId": True}}
    rows = data_processing(wanted, "2026-11-20T01:02:03Z").run(b"1\n2\n", lambda _: b"0.5\n0.7\n")
    fields = [line.split(",") for line in rows.decode().splitlines()]
    assert [(row[0], row[2]) for row in fields] == [
        ("0.5", "2026-11-20T01:02:03Z"),
        ("0.7", "2026-11-20T01:02:03Z"),
    ]
    assert len({row[1] for row in fields}) == 2
    wanted = {**request(LINES), "DataCaptureConfig": {"GenerateInferenceId": True}}
    line = data_processing(wanted, "then").run(b"1\n", lambda _: b'{"output": 0}\n')
    record = json.loads(line)
    assert set(record) == {"output", "SageMakerInferenceId", "SageMakerInferenceTime"}
    with pytest.raises(DataError, match="JSON objects"):
        data_processing(wanted, "then").run(b"1\n", lambda _: b"5\n")
