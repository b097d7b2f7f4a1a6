"""The log of a training job, line for line in the built-in container's form.

SageMaker finds a job's metrics in these lines by regular expressions, so their wording is an
interface.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO

Clock = Callable[[], float]
_HIGHER_IS_BETTER = ("accuracy", "binary_classification_accuracy", "binary_f_1.000", "ndcg@10")
# The measures of the built-in Factorization Machines: their names in SageMaker, and in the log.
MEASURES = {
    "rmse": "rmse <loss>",
    "mse": "mse <loss>",
    "absolute_loss": "absolute_loss <loss>",
    "binary_classification_accuracy": "binary_classification_accuracy <score>",
    "binary_classification_cross_entropy": "binary_classification_cross_entropy <loss>",
    "binary_f_beta": "binary_f_1.000 <score>",
}


def metric_definitions() -> list[dict[str, str]]:
    """MetricDefinitions by which SageMaker reads the measures of the finished model.

    They are named as those of the built-in image, to which they must not be given.
    """
    host = r"#quality_metric: host=\S+, "
    measures = MEASURES | {"ndcg@10": "ndcg@10 <score>"}
    return [
        {"Name": f"{channel}:{name}", "Regex": f"{host}{channel} {re.escape(logged)}=(\\S+)"}
        for channel in ("train", "test")
        for name, logged in measures.items()
    ]


class JobLog:
    """Writes lines to ``stream``, each flushed at once; ``clock`` returns Unix seconds.

    ``algorithm`` is what the built-in container calls itself in its ``#metrics`` lines.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Clock,
        host: str = "algo-1",
        algorithm: str = "factorization-machines",
    ) -> None:
        self._stream = stream
        self.clock = clock
        self.host = host
        self._algorithm = algorithm

    def line(self, text: str) -> None:
        """Write a line without time stamp."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def info(self, text: str) -> None:
        """Write a line with time stamp, level and thread."""
        self._stamped("INFO", text)

    def warning(self, text: str) -> None:
        """Write a warning."""
        self._stamped("WARNING", text)

    def error(self, text: str) -> None:
        """Write an error."""
        self._stamped("ERROR", text)

    def quality(self, values: Mapping[str, float], where: str) -> None:
        """Write metrics; ``where`` is what they were measured on, as ``epoch=0, train``."""
        for name, value in values.items():
            tag = "<score>" if name in _HIGHER_IS_BETTER else "<loss>"
            self.info(f"#quality_metric: host={self.host}, {where} {name} {tag}={float(value)!r}")

    def test_score(self, values: Mapping[str, float]) -> None:
        """Write the metrics of the test channel."""
        for name, value in values.items():
            self.info(f"#test_score ({self.host}) : ({name!r}, {float(value)!r})")
        self.quality(values, "test")

    def metrics(
        self,
        values: Mapping[str, float],
        started: float,
        dimensions: Mapping[str, object] | None = None,
    ) -> None:
        """Write a ``#metrics`` line of single values, measured from ``started`` until now."""
        line = {
            "StartTime": started,
            "EndTime": self.clock(),
            "Dimensions": {
                "Algorithm": self._algorithm,
                "Host": self.host,
                "Operation": "training",
                **(dimensions or {}),
            },
            "Metrics": {
                name: {"sum": float(value), "count": 1, "min": value, "max": value}
                for name, value in values.items()
            },
        }
        self.line(f"#metrics {json.dumps(line)}\n")

    def epoch(
        self, begun: float, done: int, epochs: int, records: int, batches: int, share: float = 1
    ) -> None:
        """Write how far training is: ``done`` epochs, the last of which began at ``begun``.

        An epoch has ``records`` in ``batches``; ``share`` of the last one was trained since then.
        """
        seconds = self.clock() - begun
        self.metrics({"update.time": seconds * 1000}, begun)
        percent = 100 * done / epochs
        self.info(f"#progress_metric: host={self.host}, completed {percent} % of epochs")
        self.metrics(
            {
                "Total Records Seen": records * done,
                "Total Batches Seen": batches * done,
                "Max Records Seen Between Resets": records,
                "Max Batches Seen Between Resets": batches,
                "Reset Count": done,
                "Number of Records Since Last Reset": records,
                "Number of Batches Since Last Reset": batches,
            },
            begun,
            {"epoch": done - 1, "Meta": "training_data_iter"},
        )
        rate = records * share / max(seconds, 1e-9)
        self.info(f"#throughput_metric: host={self.host}, train throughput={rate} records/second")

    def _stamped(self, level: str, text: str) -> None:
        now = datetime.fromtimestamp(self.clock(), UTC).strftime("%m/%d/%Y %H:%M:%S")
        self.line(f"[{now} {level} {threading.get_ident()}] {text}")
