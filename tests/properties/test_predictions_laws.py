"""Whatever the bytes, reading at once and reading by line say the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fmrec import predictions
from fmrec.errors import EvaluationError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FRAGMENTS = st.sampled_from(
    [
        b'{"score":1}',
        b'{"score":2.5,"predicted_label":1.0}',
        b'{"score":',
        b"3}",
        b'{"a":{}',
        b'"score":4}',
        b"{}",
        b"\n",
        b"\n",
        b" ",
        b",",
        b"NaN",
        b'"}',
        b'{"',
        b'{"score":null}',
        b'{"score":1e999}',
        b'{"a":"}\\n{","score":7}',
    ]
)


@given(st.lists(st.lists(FINITE, max_size=8), max_size=4))
def test_what_was_written_is_read_part_by_part(parts: list[list[float]]) -> None:
    rows = {f"part-{i}": len(values) for i, values in enumerate(parts)}
    outputs = {
        f"part-{i}.out": b"".join(json.dumps({"score": v}).encode() + b"\n" for v in values)
        for i, values in enumerate(parts)
    }
    assert predictions.align(rows, outputs).tolist() == [v for values in parts for v in values]


@given(st.lists(FRAGMENTS, min_size=1, max_size=12))
def test_the_fast_path_accepts_nothing_that_a_look_at_each_line_refuses(fragments) -> None:
    content = b"".join(fragments)
    fast = predictions._parsed_at_once(content)
    if fast is not None:
        try:
            slow = predictions._parsed_by_line(content, "p.out")
        except EvaluationError as error:
            raise AssertionError(f"{content!r} was read as {fast}") from error
        assert fast.tolist() == slow.tolist()
