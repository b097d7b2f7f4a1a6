"""Requests and responses as text: every form reads alike, and what is written never changes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm.model import Model, sigmoid
from fmrec.fm.payloads import JSON, JSON_LINES, RECORDIO, parse, render

D = 6
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
ROWS = st.lists(st.dictionaries(st.integers(0, D - 1), NUMBERS), min_size=1, max_size=8)


def instance(row: dict[int, float], form: str) -> dict[str, Any]:
    dense = [row.get(key, 0) for key in range(D)]
    features = {"keys": list(row), "shape": [D], "values": list(row.values())}
    return {
        "sparse": {"data": {"features": features}},
        "sparse, with more beside": {"data": {"features": features}, "id": 7},
        "sparse, alone": {"features": features},
        "dense": {"features": dense},
        "dense, long form": {"data": {"features": {"values": dense}}},
    }[form]


FORMS = ["sparse", "sparse, with more beside", "sparse, alone", "dense", "dense, long form"]


@given(ROWS, st.data())
def test_rows_of_any_forms_read_alike(rows: list[dict[int, float]], data: st.DataObject) -> None:
    form = st.sampled_from(["sparse"] if data.draw(st.booleans()) else FORMS)
    instances = [instance(row, data.draw(form)) for row in rows]
    expected = [[np.float32(row.get(key, 0)) for key in range(D)] for row in rows]
    whole = parse(json.dumps({"instances": instances}).encode(), JSON, D)
    assert whole.toarray().tolist() == expected
    between = st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"])
    lines = "".join(json.dumps(each) + data.draw(between) for each in instances)
    assert parse(lines.encode(), JSON_LINES, D).toarray().tolist() == expected
    assert parse(lines.rstrip().encode(), JSON_LINES, D).toarray().tolist() == expected


def test_features_beside_data_are_the_ones_that_count() -> None:
    given_twice = {"features": [0, 0, 0, 0, 0, 9], "data": instance({1: 2.0}, "sparse")["data"]}
    body = json.dumps({"instances": [given_twice]}).encode()
    assert parse(body, JSON, D).toarray().tolist() == [[0, 0, 0, 0, 0, 9]]


GOOD = json.dumps(instance({1: 1.0}, "sparse"))
BAD_LINES = {
    "a value over two lines": ('{"features":\n[1, 2, 3, 4, 5, 6]}\n', 1),
    "over two lines, and two on a third": (
        f'{{"features": [{{}}\n{{}}, 1]}}\n{GOOD}, {GOOD}\n',
        1,
    ),
    "a line that ends early": (f"{GOOD}\n{GOOD[:-1]}\n{GOOD}", 2),
    "two on a line": (f"{GOOD}\n\n{GOOD} {GOOD}\n", 3),
    "a comma after it": (f"{GOOD},\n{GOOD}", 1),
    "the mark": (f'{GOOD}\n"|",{GOOD}', 2),
    "the mark in other letters": (f'{GOOD},"\\u007c",{GOOD}\n[1\n2]', 1),
    "other white space": (f"{GOOD}\n\u00a0{GOOD}", 2),
    "nesting without end": (f"{GOOD}\n" + "[" * 200_000, 2),
}


@pytest.mark.parametrize(("text", "line"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_is_one_value(text: str, line: int) -> None:
    with pytest.raises(DataError, match=f"line {line} is not JSON"):
        parse(text.encode(), JSON_LINES, D)


@given(st.lists(st.sampled_from(["{", "}", "[", "]", '"', ",", ":", "|", "\\", "1", "\n", " "])))
def test_lines_read_together_are_lines_read_one_by_one(pieces: list[str]) -> None:
    text = "".join(pieces)
    expected: str | list[Any] = []
    try:
        expected = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError:
        expected = "is not JSON"
    if expected == []:
        expected = "holds no rows"
    elif isinstance(expected, list):
        expected = "instance 0 .counted from 0.: has no"
    with pytest.raises(DataError, match=str(expected)):
        parse(text.encode(), JSON_LINES, D)


def test_nesting_without_end_is_refused_as_json_too() -> None:
    with pytest.raises(DataError, match="the payload is not JSON"):
        parse(b'{"instances": ' + b"[" * 200_000, JSON, D)


def test_the_first_of_several_bad_rows_is_named() -> None:
    rows = [instance({1: 1.0}, "sparse") for _ in range(4)]
    rows[2]["data"]["features"]["keys"] = [D]
    rows[3]["data"]["features"]["values"] = ["x"]
    with pytest.raises(DataError, match=r"instance 3 .*: has the value 'x'"):
        parse(json.dumps({"instances": rows}).encode(), JSON, D)
    rows[1]["data"]["features"]["shape"] = [D + 1]
    with pytest.raises(DataError, match=rf"instance 1 .*: has {D + 1} features"):
        parse(json.dumps({"instances": rows}).encode(), JSON, D)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@given(raw=st.lists(st.floats(-1e6, 1e6, width=32), max_size=9))
def test_the_text_of_answers(predictor_type: Any, raw: list[float]) -> None:
    """One object for each row, as json.dumps writes it: score in single precision, then label."""
    model = Model(0.0, np.array([1], np.float32), np.zeros((1, 1), np.float32), predictor_type)
    X = sparse.csr_matrix(np.array(raw, np.float32).reshape(-1, 1))
    expected = []
    for value in model.raw(X).tolist():
        if predictor_type == "regressor":
            expected.append({"score": float(np.float32(value))})
        else:
            score = float(np.float32(sigmoid(np.array([value]))[0]))
            expected.append({"score": score, "predicted_label": float(value >= 0)})
    assert render(model, X, JSON).decode() == json.dumps({"predictions": expected})
    lines = "\n".join(map(json.dumps, expected)) + "\n"
    assert render(model, X, JSON_LINES).decode() == lines
    assert bool(raw) == bool(render(model, X, RECORDIO))
