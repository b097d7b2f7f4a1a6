"""Search for better hyperparameters on the channels that the recordio step wrote."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTuningOperator

from fmrec import bills, jobs
from fmrec.layout import Run
from fmrec.operators import assets, links, progress, refusals
from fmrec.operators.clients import aws_client
from fmrec.operators.job import LIVE, JobOperator
from fmrec.operators.training import show_model, training_facts
from fmrec.settings import TUNING_HOURS, Deployment

if TYPE_CHECKING:
    from airflow.sdk import Context


class TuningOperator(JobOperator, SageMakerTuningOperator):
    """Tune; the best training job is the result, as if it had been the only one."""

    template_fields = (*SageMakerTuningOperator.template_fields, "run", "channels")
    operator_extra_links = (links.TuningJobLink(), links.LogLink())
    kind, billed_as, log_group = "tuning", "tuning", "TrainingJobs"
    name_key, status_key = "HyperParameterTuningJobName", "HyperParameterTuningJobStatus"

    def __init__(self, *, channels: Any, **kwargs: Any) -> None:
        super().__init__(
            wait_for_completion=False,
            outlets=[assets.MODEL],
            execution_timeout=timedelta(hours=TUNING_HOURS),
            **kwargs,
        )
        self.channels = channels
        self._parents: list[str] | None = None
        self._trials: dict[str, list[dict[str, Any]]] = {}

    def request(self, number: int) -> dict[str, Any]:
        """CreateHyperParameterTuningJob."""
        from fmrec import tuning

        run = Run.from_xcom(self.run)
        if self._parents is None:
            self._parents = self._earlier(run)
        deployment = Deployment.of(os.environ)
        return tuning.tuning_request(run, deployment, self.channels, number, self._parents)

    def _earlier(self, run: Run) -> list[str]:
        """The tuning jobs to learn from, as far as SageMaker still knows them."""
        from fmrec.release import tunings
        from fmrec.store import Store

        store = Store(aws_client("s3"), run.layout.bucket)
        named = tunings.parents(tunings.history(store, run.layout, run.kind), run)
        found = {name: self._found(name) for name in named}
        known = [
            name
            for name, description in found.items()
            if description is not None and description[self.status_key] not in LIVE
        ]
        if len(known) < len(named):
            self.log.warning(
                "Of the earlier tuning jobs, SageMaker does not know: %s",
                ", ".join(sorted(set(named) - set(known))),
            )
        return known

    def work(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Image, fixed hyperparameters, ranges, trials and channels; not what it learns from."""
        return jobs.tuning_work(told)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeHyperParameterTuningJob."""
        description: dict[str, Any] = self.hook.describe_tuning_job(name)
        return description

    def stop(self, name: str) -> None:
        """StopHyperParameterTuningJob, which stops its training jobs too."""
        client: Any = self.hook.get_conn()
        client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    def longest_seconds(self) -> int:
        """As many rounds as it takes, each as long as a training job may be."""
        limits = self.config["HyperParameterTuningJobConfig"]["ResourceLimits"]
        rounds = limits["MaxNumberOfTrainingJobs"] / limits["MaxParallelTrainingJobs"]
        each = self.config["TrainingJobDefinition"]["StoppingCondition"]
        longest = each.get("MaxWaitTimeInSeconds", each["MaxRuntimeInSeconds"])
        return int(math.ceil(rounds) * longest)

    def left(self, description: Mapping[str, Any]) -> str:
        """The artifact of the best training job; empty when none has a value of the metric."""
        best = description.get("BestTrainingJob")
        if best is None:
            return ""
        found: Any = self.hook.describe_training_job(best["TrainingJobName"])
        return str(found["ModelArtifacts"]["S3ModelArtifacts"])

    def history(self, description: Mapping[str, Any]) -> list[str]:
        """How many trials are done, and the best so far."""
        return [progress.trials(description)]

    def reason(self, description: Mapping[str, Any]) -> str:
        """Why the first trial failed that did, when the tuning job failed."""
        trials = self.trials(description[self.name_key])
        reasons = [each["reason"] for each in trials if each["reason"]]
        if description[self.status_key] != "Stopped" and reasons:
            return str(reasons[0])
        return super().reason(description)

    def bill(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The sum over its training jobs."""
        trials = self.trials(description[self.name_key])
        return bills.tuning(description, [each["billable_seconds"] for each in trials])

    def trials(self, name: str) -> list[dict[str, Any]]:
        """The training jobs of a tuning job that has ended, in the order they were started."""
        if name not in self._trials:
            summaries = bills.trials(self.hook.get_conn(), name)
            self._trials[name] = [self._trial(each) for each in summaries]
        return self._trials[name]

    def _trial(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        name = summary["TrainingJobName"]
        metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric", {})
        return {
            "name": name,
            "status": summary["TrainingJobStatus"],
            "value": metric.get("Value"),
            "billable_seconds": bills.training_seconds(self.hook.describe_training_job(name)),
            "hyperparameters": summary.get("TunedHyperParameters", {}),
            "reason": summary.get("FailureReason"),
        }

    def facts(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The best training job, what it was given, and all that were tried."""
        name = description[self.name_key]
        trials = self.trials(name)
        best = description.get("BestTrainingJob")
        if best is None or not any(each["status"] == "Completed" for each in trials):
            raise refusals.ended_badly(name, "Completed without a trial", self.reason(description))
        found: Any = self.hook.describe_training_job(best["TrainingJobName"])
        metric = best["FinalHyperParameterTuningJobObjectiveMetric"]
        parents = description.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
        told = ("name", "status", "value", "billable_seconds", "hyperparameters")
        return {
            "name": best["TrainingJobName"],
            **training_facts(found),
            "hyperparameters": best["TunedHyperParameters"],
            "tuning": {
                "name": name,
                "objective": {"name": metric["MetricName"], "value": metric["Value"]},
                "jobs": [{key: each[key] for key in told} for each in trials],
                "parents": [each["HyperParameterTuningJobName"] for each in parents],
                "billable_seconds": self.bill(description)["billable_seconds"],
            },
        }

    def succeeded(self, context: Context, result: Mapping[str, Any]) -> None:
        """Say what the new model is."""
        show_model(context, self.run, result)
