"""Why a task is being killed: whether somebody ended it, or Airflow goes on with it elsewhere.

A scheduler that was restarted gives the tasks of the one before it to new workers. Should an old
worker live on, it is told to end its task, which goes on elsewhere and waits for the same job.
"""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

# Airflow will try the task again, or does so already.
_GOES_ON = frozenset({None, "scheduled", "queued", "up_for_retry", "deferred"})


def goes_on_elsewhere(ti: Any) -> bool:
    """Whether another process has the running task, or will have it, so that its job must live on.

    False when a person cleared or marked the task, when its worker is being shut down, and when
    Airflow cannot be asked.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates

    try:
        comms = task_runner.SUPERVISOR_COMMS
        question = GetTaskStates(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        state = _state(ti, comms.send(question))
        return _is_replaced(ti, comms) if state == "running" else state in _GOES_ON
    except Exception as error:  # noqa: BLE001 -- whatever it is, the job is to be stopped
        log.info("Airflow does not say why the task ends (%s).", type(error).__name__)
        return False


def _is_replaced(ti: Any, comms: Any) -> bool:
    """Whether it is another attempt that runs: each has an id, and the latest one's is known."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import ValidateInletsAndOutlets

    try:
        comms.send(ValidateInletsAndOutlets(ti_id=ti.id))
    except AirflowRuntimeError as error:
        return (error.error.detail or {}).get("status_code") in {404, 410}
    return False


def _state(ti: Any, answer: Any) -> Any:
    """The state of the task, "removed" when it is there no more."""
    found = answer.task_states.get(ti.run_id, {})
    name = (
        ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    )
    return found.get(name, "removed")
