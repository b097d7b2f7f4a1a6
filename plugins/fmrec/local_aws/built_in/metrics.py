"""The predefined metrics of the two algorithms: name, and where its value stands in a log line.

Documented are those of the test channel (SageMaker Developer Guide, "Tune a k-NN Model" and "Tune a
K-Means Model"); the rest are what the containers log in the form that all built-ins share.
"""

from __future__ import annotations

_HOST = r"host=\S+, "
_COMMON = (
    ("train:progress", rf"#progress_metric: {_HOST}completed (\S+) %"),
    ("train:throughput", rf"#throughput_metric: {_HOST}train throughput=(\S+) records/second"),
)

KNN: tuple[tuple[str, str], ...] = (
    *_COMMON,
    ("test:accuracy", rf"#quality_metric: {_HOST}test accuracy <score>=(\S+)"),
    ("test:mse", rf"#quality_metric: {_HOST}test mse <loss>=(\S+)"),
)
KMEANS: tuple[tuple[str, str], ...] = (
    *_COMMON,
    ("train:msd", rf"#quality_metric: {_HOST}train msd <loss>=(\S+)"),
    ("train:ssd", rf"#quality_metric: {_HOST}train ssd <loss>=(\S+)"),
    ("test:msd", rf"#quality_metric: {_HOST}test msd <loss>=(\S+)"),
    ("test:ssd", rf"#quality_metric: {_HOST}test ssd <loss>=(\S+)"),
)
