"""The output of a batch transform job, as scores aligned with the events that were sent.

SageMaker writes one ``<part>.out`` per input part, with ``AssembleWith=Line`` and
``Accept=application/jsonlines`` one JSON object per record, in input order:
``{"score": 3.4}`` from a regressor, ``{"score": 0.7, "predicted_label": 1.0}`` from a binary
classifier. A part that failed has no .out, while the others are still written
(SageMaker guide, "Batch transform"; "Common data formats for inference"). A score that is missing
here would shift every later one onto the wrong event, so anything unexpected is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from fmrec.errors import EvaluationError

SUFFIX = ".out"

_PARSE = pj.ParseOptions(
    explicit_schema=pa.schema([("score", pa.float64())]), unexpected_field_behavior="ignore"
)
_SHOWN = 60


def align(rows: Mapping[str, int], outputs: Mapping[str, bytes]) -> NDArray[np.float64]:
    """Scores of all events, shape (sum of rows,), in the order of the events.

    `rows` maps the name of each input part to the number of events in it, in event order.
    `outputs` maps the name of each output object (``<part>.out``, without its prefix) to its
    content; parts are read one after the other.

    Raises EvaluationError for an output that is missing or belongs to no part, for a part whose
    number of predictions is not its number of events, and for whatever `read_part` raises.
    """
    expected = [part + SUFFIX for part in rows]
    missing = [name for name in expected if name not in outputs]
    if missing:
        raise EvaluationError(
            f"the batch transform wrote no {_listed(missing)} ({len(missing)} of "
            f"{len(expected)} outputs missing): look at its failure reason and run it again"
        )
    extra = sorted(set(outputs) - set(expected))
    if extra:
        raise EvaluationError(
            f"{_listed(extra)} answers no input part of this run ({len(extra)} such outputs): "
            "the output folder holds another job's files"
        )
    scores = []
    for part, events in rows.items():
        found = read_part(outputs[part + SUFFIX], part + SUFFIX)
        if found.size != events:
            raise EvaluationError(
                f"{part + SUFFIX} holds {found.size} predictions for the {events} events of {part} "
                f"({sum(rows.values())} events in all): run the batch transform again"
            )
        scores.append(found)
    return np.concatenate(scores) if scores else np.empty(0)


def read_part(content: bytes, name: str) -> NDArray[np.float64]:
    """Scores of one output object, float64, one per line; a final newline is optional.

    Raises EvaluationError, naming `name` and the line, for a line that is empty or no JSON object,
    and for a score that is missing, no number, or not finite.
    """
    scores = _parsed_at_once(content)
    return _parsed_by_line(content, name) if scores is None else scores


def _parsed_at_once(content: bytes) -> NDArray[np.float64] | None:
    """The scores, or None when anything is unusual enough to need a look at every line.

    Arrow reads a stream of objects and pays no heed to lines, so the lines are counted here. When
    each begins with { and ends with }, none can hold part of an object (after a } that does not
    close its object, JSON allows no {), and equal counts mean one object in each.
    """
    if not content:
        return np.empty(0)
    if not content.isascii():
        return None
    raw = np.frombuffer(content if content.endswith(b"\n") else content + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not (np.all(raw[starts] == ord("{")) and np.all(raw[ends - 1] == ord("}"))):
        return None
    try:
        table = pj.read_json(pa.BufferReader(content), parse_options=_PARSE)
    except pa.ArrowInvalid:
        return None
    scores: NDArray[np.float64] = table["score"].to_numpy()
    return scores if scores.size == ends.size and np.isfinite(scores).all() else None


def _parsed_by_line(content: bytes, name: str) -> NDArray[np.float64]:
    lines = content.removesuffix(b"\n").split(b"\n")
    return np.array([_score(line, f"{name}, line {i}") for i, line in enumerate(lines, start=1)])


def _score(line: bytes, where: str) -> float:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise EvaluationError(
            f"{where}: {line[:_SHOWN]!r} is not a JSON object: the transform job must ask for "
            "Accept application/jsonlines and AssembleWith Line"
        )
    score = answer.get("score")
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise EvaluationError(
            f"{where}: {line[:_SHOWN]!r} has no number as its score: is the model a "
            "factorization machine?"
        )
    try:
        value = float(score)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise EvaluationError(
            f"{where}: the score {value} is not finite: the training diverged; lower its learning "
            "rates"
        )
    return value


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
