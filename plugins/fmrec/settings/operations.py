"""How the DAGs are run: what Airflow must know when it parses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fmrec.settings.variables import from_environ, variable

# A task that takes longer is ended. The jobs have limits of their own, which are shorter: 5 hours
# of training, and an hour more of waiting for spot capacity; but not transforms.
TASK_HOURS = 8


@dataclass(frozen=True, kw_only=True)
class Operations:
    """How the DAGs are run; every field is an environment variable of all Airflow components."""

    retry_seconds: int = variable(
        "FMREC_RETRY_SECONDS", 30, "Seconds before a failed task's first retry; then they double."
    )
    approval_hours: int = variable(
        "FMREC_APPROVAL_HOURS",
        20,
        "Hours that a run waits for a person, where the gate asks one; then the champion stays. "
        "0: it does not wait.",
        least=0,
    )
    alert_hours: int = variable(
        "FMREC_ALERT_HOURS",
        3,
        "A run that takes so many hours more than the ten before it is notified.",
    )
    notify_url: str | None = variable(
        "FMREC_NOTIFY_URL",
        None,
        "A webhook that is told, as JSON, of failed and late runs, of new champions, and of "
        "endpoints that the janitor deletes or puts back.",
    )
    jobs_pool: str = variable(
        "FMREC_JOBS_POOL",
        "default_pool",
        "Airflow pool of the tasks that hold a SageMaker job; it must exist. As many of them run "
        "at once as it has slots.",
    )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Operations:
        """What the environment says. Raises ConfigurationError."""
        return cls(**from_environ(cls, environ))
