"""Register a training job's artifact as a SageMaker model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerModelOperator
from botocore.exceptions import ClientError

from fmrec import jobs
from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.operators import links, refusals
from fmrec.operators.clients import CONNECTION
from fmrec.operators.hook import JobHook
from fmrec.settings import Deployment

if TYPE_CHECKING:
    from airflow.sdk import Context


class ModelOperator(SageMakerModelOperator):
    """Register the artifact of whichever training there was, unless that is done already."""

    aws_hook_class = JobHook
    template_fields = (*SageMakerModelOperator.template_fields, "run", "training")
    operator_extra_links = (links.ModelLink(),)

    def __init__(self, *, run: Any, training: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(config={}, aws_conn_id=CONNECTION, **kwargs)
        self.run = run
        self.training = training

    def execute(self, context: Context) -> dict[str, Any]:
        """Take the run's model that is made of this artifact, or create it."""
        run, deployment = Run.from_xcom(self.run), Deployment.of(os.environ)
        training = next((each for each in self.training if each is not None), None)
        if training is None:
            raise ConfigurationError(
                "no training of this run has a result: the task that trains was marked by hand "
                "before it had one. Clear it"
            )
        for number in itertools.count(1):
            self.config = jobs.model_request(run, deployment, training, number)
            asked, name = jobs.model_work(self.config), self.config["ModelName"]
            there = self._found(name) or self._create(name, deployment)
            if there is None or jobs.model_work(there) == asked:
                links.show(context, self, name, group="")
                return {"name": name, "training": training}
            self.log.info("Model %s is made of something else: the next number is taken.", name)
        raise AssertionError("unreachable")

    def _found(self, name: str) -> dict[str, Any] | None:
        """The description of a model; None when there is none of that name."""
        try:
            description: dict[str, Any] = self.hook.describe_model(name)
        except ClientError as error:
            if refusals.means_missing(error):
                return None
            raise
        return description

    def _create(self, name: str, deployment: Deployment) -> dict[str, Any] | None:
        """Create the model; the description of another that took its name in the meantime."""
        try:
            super().execute({})
        except ClientError as error:
            if error.operation_name.startswith("Describe"):
                return None  # it was created; the provider looks at it afterwards
            if refusals.means_taken(error):
                return self._found(name)
            raise refusals.refused(error, name, deployment.role_arn) or error from error
        return None
