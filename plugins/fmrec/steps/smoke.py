"""Whether an endpoint answers as the batch transform of the same model did, on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from fmrec import predictions
from fmrec.errors import EvaluationError
from fmrec.jobs import RECORDIO
from fmrec.layout import split_uri
from fmrec.recordio import framing
from fmrec.steps.hosting import asking
from fmrec.steps.published import Published
from fmrec.steps.xcom import Xcom

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = logging.getLogger(__name__)

# Of the score, or of 1 where that is more. A container adds float32 numbers up in an order that
# depends on which rows come together: that costs a few of the 1e-7 that such a number is exact to.
TOLERANCE = 1e-5
# InvokeEndpoint takes 6 MiB.
BATCH_BYTES = 5 << 20


@dataclass(frozen=True)
class Sample:
    """Test events: each as a frame of RecordIO, and the score that the batch transform gave."""

    frames: Sequence[bytes]
    scores: NDArray[np.float64]


def sample(past: Published, rows: int) -> Sample:
    """At most so many test events of a run, evenly from as few of its files as there are needed.

    Raises StoreError when the files are gone or were altered, EvaluationError when the outputs do
    not belong to them.
    """
    _, outputs = split_uri(past.manifest["jobs"]["transform"]["output"])
    frames: list[bytes] = []
    scores: list[NDArray[np.float64]] = []
    for file in past.manifest["recordio"]["test"]:
        wanted = min(rows - len(frames), file["rows"])
        if not wanted:
            break
        name = file["key"].rpartition("/")[2] + predictions.SUFFIX
        given = predictions.read_part(past.store.get(outputs + name), name)
        there = _frames(past.store.get(file["key"]), file["key"])
        if len(there) != given.size:
            raise EvaluationError(
                f"{outputs + name} holds {given.size} scores of the {len(there)} test events of "
                f"{file['key']}: the run {past.run.layout.run} cannot vouch for an endpoint"
            )
        chosen = np.arange(wanted) * given.size // wanted
        frames += [there[n] for n in chosen.tolist()]
        scores.append(given[chosen])
    if not frames:
        raise EvaluationError(
            f"the run {past.run.layout.run} has no test events, and so nothing vouches for an "
            "endpoint: serve the champion of a run that has"
        )
    return Sample(frames, np.concatenate(scores))


def _frames(data: bytes, name: str) -> list[bytes]:
    """The frames of a RecordIO file, each as the bytes that it is."""
    found = framing.split(np.frombuffer(data, np.uint8), framing.Place(name), final=True)
    starts = found.starts - framing.HEADER_BYTES
    ends = np.append(starts[1:], found.consumed)
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def compare(endpoint: str, asked: Sample, runtime: SageMakerRuntimeClient) -> Xcom:
    """Send the rows of a sample to an endpoint and compare its scores.

    The result has `rows`, `requests`, `largest_difference` and `tolerance`. Raises EvaluationError
    when the endpoint does not answer, not to each row, or another score than the batch transform;
    RefusedError when it may not be asked.
    """
    answers = []
    batches = list(_batches(asked.frames))
    for number, body in enumerate(batches, start=1):
        what = f"endpoint {endpoint}, answer {number} of {len(batches)}"
        answers.append(predictions.read_part(_answer(endpoint, body, runtime), what))
    found = np.concatenate(answers)
    if found.size != asked.scores.size:
        raise EvaluationError(
            f"endpoint {endpoint} gave {found.size} scores for {asked.scores.size} test events"
        )
    difference = np.abs(found - asked.scores)
    other = difference > TOLERANCE * np.maximum(1, np.abs(asked.scores))
    largest = int(difference.argmax())
    told = (
        f"{found[largest]:.9g} where the batch transform gave {asked.scores[largest]:.9g} "
        f"(event {largest + 1} of {found.size})"
    )
    if other.any():
        raise EvaluationError(
            f"endpoint {endpoint} gives other scores than the batch transform of the same model: "
            f"{np.count_nonzero(other)} of {found.size} test events differ by more than "
            f"{TOLERANCE:g}; most of all {told}"
        )
    log.info(
        "%d test events (requests: %d): the scores are those of the batch transform; the largest "
        "difference is %.3g: %s",
        found.size, len(batches), difference[largest], told,
    )  # fmt: skip
    return {
        "rows": int(found.size),
        "requests": len(batches),
        "largest_difference": float(difference[largest]),
        "tolerance": TOLERANCE,
    }


def _batches(frames: Sequence[bytes]) -> Iterator[bytes]:
    """The frames in bodies of at most BATCH_BYTES, or of one frame."""
    body = bytearray()
    for frame in frames:
        if body and len(body) + len(frame) > BATCH_BYTES:
            yield bytes(body)
            body.clear()
        body += frame
    yield bytes(body)


def _answer(endpoint: str, body: bytes, runtime: SageMakerRuntimeClient) -> bytes:
    try:
        with asking(f"invoke the endpoint {endpoint}"):
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint,
                Body=body,
                ContentType=RECORDIO,
                Accept="application/jsonlines",
            )
        return answer["Body"].read()
    except (ClientError, BotoCoreError) as error:
        raise EvaluationError(
            f"endpoint {endpoint} does not answer {len(body):,} bytes of test events: {error}"
        ) from error
