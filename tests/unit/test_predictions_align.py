"""Batch transform output: aligned when whole, refused with part and line when not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.predictions import align, read_part

GOOD = b'{"score": 3.5}\n{"score": 1}\n'


def test_parts_follow_the_order_of_the_events_not_of_the_listing() -> None:
    outputs = {"b.out": b'{"score": 3.0}\n', "a.out": b'{"score": 1.0}\n{"score": 2.0}\n'}
    scores = align({"a": 2, "b": 1}, outputs)
    assert scores.tolist() == [1.0, 2.0, 3.0]
    assert scores.dtype == np.float64


def test_a_classifiers_label_is_passed_over_and_key_order_is_free() -> None:
    content = b'{"predicted_label":1.0,"score":0.5895}\n{"score":0.25,"predicted_label":0.0}\n'
    assert read_part(content, "p.out").tolist() == [0.5895, 0.25]


@pytest.mark.parametrize(
    "content",
    [GOOD, GOOD[:-1], GOOD.replace(b"\n", b"\r\n"), b' {"score": 3.5}\n{"score": 1} \n'],
    ids=["final newline", "no final newline", "CRLF", "spaces around"],
)
def test_harmless_variants_of_lines(content: bytes) -> None:
    assert read_part(content, "p.out").tolist() == [3.5, 1.0]


def test_scores_survive_with_every_bit() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 5000).astype(np.float32).astype(float)
    content = "".join(json.dumps({"score": value}) + "\n" for value in values.tolist())
    assert np.array_equal(read_part(content.encode(), "p.out"), values)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "not a JSON object"),
        (b"oops", "not a JSON object"),
        (b'{"score": 1.0', "not a JSON object"),
        (b"[1.0]", "not a JSON object"),
        (b"2.5", "not a JSON object"),
        (b'{"score": 1}{"score": 2}', "not a JSON object"),
        (b'{"score": 1, "a": "\xff"}', "not a JSON object"),
        (b"{}", "no number as its score"),
        (b'{"predicted_label": 1.0}', "no number as its score"),
        (b'{"score": null}', "no number as its score"),
        (b'{"score": "3.5"}', "no number as its score"),
        (b'{"score": true}', "no number as its score"),
        (b'{"score": [3.5]}', "no number as its score"),
        (b'{"score": NaN}', "not finite"),
        (b'{"score": -Infinity}', "not finite"),
        (b'{"score": 1e999}', "not finite"),
        (b'{"score": 1' + b"0" * 400 + b"}", "not finite"),
    ],
)
def test_a_bad_line_is_named_with_its_part(line: bytes, says: str) -> None:
    content = b'{"score": 3.0}\n' + line + b'\n{"score": 4.0}\n'
    with pytest.raises(EvaluationError, match=rf"part-1\.out, line 2: .*{says}"):
        align({"part-1": 3}, {"part-1.out": content})


def test_two_answers_on_one_line_do_not_make_up_for_an_empty_line() -> None:
    with pytest.raises(EvaluationError, match="line 1"):
        align({"p": 2}, {"p.out": b'{"score": 1}{"score": 2}\n\n'})


def test_an_object_over_two_lines_does_not_make_up_for_two_on_one() -> None:
    content = b'{"score": 1}{"score": 2}\n{"score":\n3}\n'
    with pytest.raises(EvaluationError, match="line 1"):
        align({"p": 3}, {"p.out": content})


@pytest.mark.parametrize("events", [1, 3])
def test_too_many_or_too_few_predictions_give_part_and_both_counts(events: int) -> None:
    with pytest.raises(
        EvaluationError, match=rf"b\.out holds 2 predictions for the {events} events"
    ):
        align({"a": 2, "b": events}, {"a.out": GOOD, "b.out": GOOD})


def test_parts_that_err_in_opposite_directions_do_not_cancel() -> None:
    with pytest.raises(EvaluationError, match=r"a\.out holds 2 predictions for the 1 events"):
        align({"a": 1, "b": 3}, {"a.out": GOOD, "b.out": GOOD})


def test_a_missing_output_and_a_foreign_one_are_named() -> None:
    with pytest.raises(EvaluationError, match=r"wrote no b\.out \(1 of 2 outputs missing\)"):
        align({"a": 2, "b": 2}, {"a.out": GOOD})
    with pytest.raises(EvaluationError, match=r"c\.out answers no input part"):
        align({"a": 2}, {"a.out": GOOD, "c.out": GOOD})
    with pytest.raises(EvaluationError, match=r"a\.out, b\.out, c\.out, \.\.\. \(4 of 4"):
        align(dict.fromkeys("abcd", 1), {})


def test_no_events_have_no_predictions() -> None:
    assert align({}, {}).shape == (0,)
    assert align({"a": 0}, {"a.out": b""}).shape == (0,)
    with pytest.raises(EvaluationError, match="holds 0 predictions for the 2 events"):
        align({"a": 2}, {"a.out": b""})
