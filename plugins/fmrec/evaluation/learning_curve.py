"""The learning curve that a training job prints, read back from its log.

The built-in container writes (sagemaker factorization machines, log group
``/aws/sagemaker/TrainingJobs``)::

    #quality_metric: host=algo-1, epoch=3, train rmse <loss>=1.09
    #quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=3.85
    #quality_metric: host=algo-1, test rmse <loss>=1.0003

Training metrics of an epoch are taken batch by batch before each update, so they lag behind what
the finished model would score on the same rows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)

_MARK = "#quality_metric:"
_LINE = re.compile(
    r"#quality_metric: host=(?P<host>\S+),"
    r"(?: epoch=(?P<epoch>\d+),)?(?P<batch> batch=\d+,?)?"
    r" (?P<channel>train|test) (?P<metric>\S+) <(?:loss|score)>=(?P<value>\S+)\s*$"
)
_NAMES = {
    "absolute_loss": "mae",
    "binary_classification_accuracy": "accuracy",
    "binary_classification_cross_entropy": "cross_entropy",
    "binary_f_1.000": "f1",
}


@dataclass(frozen=True)
class Point:
    """One metric at one moment; `epoch` counts from 0, None is the finished model.

    `metric` is spelt as in `fmrec.evaluation.metrics` where it is one of those. `value` is nan or
    infinite when the training diverged.
    """

    channel: str
    metric: str
    epoch: int | None
    value: float


def parse(lines: Iterable[str]) -> list[Point]:
    """The points in log lines, in the order of their first appearance.

    Lines of single batches are left out, and of several hosts only the first (algo-1) is read: each
    host reports its own share of the rows. A job that was interrupted and resumed prints an epoch
    twice; the later value counts. A metric line that cannot be read is logged as a warning: a curve
    with a gap is no reason to lose the evaluation.
    """
    points: dict[tuple[str, str, int | None], Point] = {}
    for line in lines:
        if _MARK not in line:
            continue
        match = _LINE.search(line)
        value = _number(match["value"]) if match else None
        if match is None or value is None:
            _LOG.warning("metric line that cannot be read: %s", line.rstrip())
            continue
        if match["batch"] or match["host"] != "algo-1":
            continue
        metric = _NAMES.get(match["metric"], match["metric"])
        epoch = int(match["epoch"]) if match["epoch"] else None
        points[match["channel"], metric, epoch] = Point(match["channel"], metric, epoch, value)
    return list(points.values())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
