"""A person's word on a model that the gate is in doubt about."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from fmrec.settings import Operations

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"


class ApprovalOperator(HITLOperator):
    """Ask whether a model becomes the champion, where the gate decided so and a person can answer.

    The result is a mapping: `asked`, and where somebody was asked `approved` and `by`. Without an
    answer in FMREC_APPROVAL_HOURS the champion stays. A backfill asks nobody: it would wait for a
    person once for each day.
    """

    template_fields = (*HITLOperator.template_fields, "report")

    def __init__(self, *, report: Any, **kwargs: Any) -> None:
        hours = Operations.of(os.environ).approval_hours
        # The time limit of tasks is not meant for people.
        super().__init__(
            execution_timeout=None,
            subject="Shall this model become the champion?",
            body="{{ task.report['question'] }}",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=timedelta(hours=hours) if hours else None,
            **kwargs,
        )
        self.report = report

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, or go on at once."""
        dag_run: Any = context["dag_run"]
        if self.report["gate"]["decision"] != "ask" or self.response_timeout is None:
            return {"asked": False}
        if dag_run.run_type == "backfill":
            self.log.info("The gate asks a person; a backfill does not, so the champion stays.")
            return {"asked": False}
        self.body = self.report["question"]
        super().execute(context)
        raise AssertionError("unreachable: the task waits")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on with what was answered, or with the default after the time-out."""
        answer = super().execute_complete(context, event)
        person = answer["responded_by_user"]
        return {
            "asked": True,
            "approved": answer["chosen_options"] == [APPROVE],
            "by": None if person is None else person["name"],
        }
