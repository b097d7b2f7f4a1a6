"""CloudWatch's metrics of training jobs: moto answers the API, the values come from the logs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, MetricDatum

from fmrec.local_aws.algorithms import Metric, MetricReader
from fmrec.local_aws.state.log_groups import LogGroups
from fmrec.local_aws.state.records import Identity, Records

# The namespace and the log group have one name.
TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"
_by_moto: Any = CloudWatchBackend.get_metric_statistics


class TrainingMetrics:
    """GetMetricStatistics for the namespace of SageMaker's training jobs.

    Nothing is stored for it: a job's log, which is kept, says what its metrics were, and when.
    """

    def __init__(self, account: str, records: Records, logs: LogGroups) -> None:
        self._account = account
        self._records = records
        self._logs = logs

    def show(self) -> None:
        """Have moto ask here for this namespace, in every region."""

        def statistics(
            backend: Any,
            namespace: str,
            metric_name: str,
            start_time: datetime,
            *rest: Any,
            **more: Any,
        ) -> Any:
            if namespace == TRAINING_JOBS:
                # moto compares times as the request gave them.
                zone = start_time.tzinfo
                region, dimensions = backend.region_name, more.get("dimensions") or []
                backend = CloudWatchBackend(region, self._account)
                backend.metric_data = [
                    MetricDatum(
                        namespace, metric_name, value, dimensions, moment.replace(tzinfo=zone)
                    )
                    for moment, value in self._curve(region, metric_name, dimensions)
                ]
            return _by_moto(backend, namespace, metric_name, start_time, *rest, **more)

        moto: Any = CloudWatchBackend
        moto.get_metric_statistics = statistics

    def _curve(
        self, region: str, name: str, dimensions: list[dict[str, str]]
    ) -> Iterator[tuple[datetime, float]]:
        """Yield the values of a job's metric in the order in which they were logged, in UTC."""
        jobs = [item["Value"] for item in dimensions if item["Name"] == "TrainingJobName"]
        if len(jobs) != 1:
            return
        document = self._records.find(Identity("training-job", region, jobs[0], self._account))
        definitions = (
            (document or {}).get("AlgorithmSpecification", {}).get("MetricDefinitions", [])
        )
        metrics = [
            Metric(item["Name"], item["Regex"]) for item in definitions if item["Name"] == name
        ]
        reader = MetricReader(metrics)
        for milliseconds, message in self._logs.timed(region, TRAINING_JOBS, f"{jobs[0]}/"):
            for _, value in reader.values(message):
                yield datetime.fromtimestamp(milliseconds / 1000, UTC), value
