"""When a person is asked, and what becomes of the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskAwaitingInput

from fmrec.operators import ApprovalOperator
from fmrec.operators import approval as module

ASK = {"gate": {"decision": "ask"}, "question": "**Ask a person**: 20 users cannot tell."}


def operator(report: Any = ASK) -> ApprovalOperator:
    return ApprovalOperator(task_id="approve", report=report)


def context(run_type: str = "scheduled") -> Any:
    return {
        "dag_run": SimpleNamespace(run_type=run_type),
        "task_instance": SimpleNamespace(id="0198"),
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow's page would show."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail",
        lambda **detail: shown.append(detail),
    )
    return shown


@pytest.mark.parametrize("decision", ["promote", "keep"])
def test_a_gate_without_doubt_asks_nobody(decision: str, asked: Any) -> None:
    report = ASK | {"gate": {"decision": decision}}
    assert operator(report).execute(context()) == {"asked": False}
    assert asked == []


def test_a_backfill_asks_nobody(asked: Any) -> None:
    assert operator().execute(context("backfill")) == {"asked": False}
    assert asked == []


def test_where_nobody_can_answer_nobody_is_asked(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMREC_APPROVAL_HOURS", "0")
    assert operator().execute(context()) == {"asked": False}
    assert asked == []


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_a_doubt_is_brought_to_a_person_who_may_be_late(run_type: str, asked: Any) -> None:
    with pytest.raises(TaskAwaitingInput) as waiting:
        operator().execute(context(run_type))
    assert waiting.value.timeout == timedelta(hours=20)
    assert asked[0]["body"] == ASK["question"]
    assert asked[0]["options"] == [module.APPROVE, module.REJECT]
    assert asked[0]["defaults"] == [module.REJECT]


@pytest.mark.parametrize(
    ("chosen", "person", "result"),
    [
        ("Approve", {"id": "1", "name": "ada"}, {"asked": True, "approved": True, "by": "ada"}),
        ("Reject", {"id": "1", "name": "ada"}, {"asked": True, "approved": False, "by": "ada"}),
        ("Reject", None, {"asked": True, "approved": False, "by": None}),
    ],
)
def test_the_answer_goes_on(chosen: str, person: Any, result: Any) -> None:
    event = {
        "chosen_options": [chosen],
        "params_input": {},
        "responded_by_user": person,
        "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
        "timedout": person is None,
    }
    assert operator().execute_complete(context(), event) == result
