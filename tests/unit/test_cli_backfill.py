"""`python -m fmrec backfill`: asked once, watched to its end, told what has failed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from fmrec.cli import backfill
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings

FIRST, LAST = date(1998, 3, 1), date(1998, 3, 3)
RUNS = "dags/fmrec_retrain/dagRuns"
# What Airflow's log of a task holds, as its API gives it.
LOG = {
    "content": [
        {"event": "::group::Log message source details"},
        "a line of plain text",
        {
            "event": "Task failed with exception",
            "error_detail": [
                {"exc_type": "KeyError", "exc_value": "'first'"},
                {"exc_type": "DataError", "exc_value": "u.data, line 7: rating 9 is not 1 to 5"},
            ],
        },
    ]
}


class Airflow:
    """An Airflow's API: each time its runs are listed, the next one ends."""

    ui = "http://airflow"

    def __init__(self) -> None:
        self.paused = False
        self.asked: list[dict[str, Any]] = []
        self.backfills: list[dict[str, Any]] = []
        self.runs: dict[date, dict[str, Any]] = {}
        self.ends: dict[date, str] = {}  # how the run of a day will end, unless well

    def add(self, day: date, state: str, ended: datetime | None = None, conf: Any = None) -> None:
        self.runs[day] = {
            "logical_date": f"{day}T00:00:00Z",
            "conf": conf,
            "dag_run_id": f"backfill__{day}",
            "state": state,
            "end_date": None if ended is None else ended.isoformat(),
        }

    def get(self, path: str, **_: Any) -> Any:
        if path == "dags/fmrec_retrain":
            return {"is_paused": self.paused}
        if path.endswith("/plan/xcomEntries/return_value"):
            settings, nowhere = (
                RunSettings.of({"source": "sample"}),
                Deployment(bucket="", role_arn=""),
            )
            run = Run.of("r", datetime(1998, 3, 2, tzinfo=UTC), settings, nowhere)
            return {"value": run.to_xcom()}
        assert path == f"{RUNS}/backfill__1998-03-02/taskInstances/events/logs/3"
        return LOG

    def patch(self, path: str, body: Any) -> Any:
        assert (path, body) == ("dags/fmrec_retrain", {"is_paused": False})
        self.paused = False

    def post(self, path: str, body: Any) -> Any:
        assert path == "backfills"
        self.asked.append(body)
        now = datetime.now(UTC)
        made = {name: body.get(name) for name in ("from_date", "to_date", "dag_run_conf")}
        self.backfills.append(made | {"created_at": now.isoformat(), "completed_at": None})
        day = FIRST
        while day <= LAST:
            again = body.get("reprocess_behavior") == "completed"
            if again or self.runs.get(day, {}).get("state") != "success":
                self.add(day, "running", conf=body.get("dag_run_conf"))
            day += timedelta(days=1)
        return self.backfills[-1]

    def every(self, path: str, name: str, **_: Any) -> Iterator[Any]:
        if name == "backfills":
            yield from list(self.backfills)
        elif path == RUNS:
            yield from [self.runs[day] | {} for day in sorted(self.runs)]
            for day in sorted(self.runs):
                if self.runs[day]["state"] == "running":
                    conf = self.runs[day]["conf"]
                    self.add(day, self.ends.get(day, "success"), datetime.now(UTC), conf)
                    break
        elif path == f"{RUNS}/~/taskInstances":
            run = f"backfill__{LAST}"
            yield {"dag_run_id": run, "task_id": "train", "state": "running", "try_number": 2}
        else:
            day = date.fromisoformat(path.split("__")[1].partition("/")[0])
            failed = self.runs[day]["state"] == "failed"
            for task in ("plan", "events", "publish"):
                state = "upstream_failed" if failed and task == "publish" else "success"
                state = "failed" if failed and task == "events" else state
                yield {"task_id": task, "state": state, "try_number": 3}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    made = Airflow()

    @contextmanager
    def opened(_: Any) -> Iterator[Airflow]:
        yield made

    monkeypatch.setattr(backfill.airflow_api, "opened", opened)
    monkeypatch.setattr(backfill.stack, "needed", lambda: None)
    monkeypatch.setattr(backfill, "_POLL_SECONDS", 0)
    return made


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lanes whose table was shown."""
    shown: list[str] = []
    monkeypatch.setattr(backfill.history, "show", lambda lane, *_: shown.append(lane))
    return shown


@pytest.fixture
def rebuild() -> Callable[..., str]:
    def call(console: Console | None = None, **params: Any) -> str:
        out = io.StringIO()
        backfill.run(params, FIRST, LAST, None, console or Console(file=out, width=200))
        return out.getvalue()

    return call


def test_days_are_asked_for_watched_and_shown(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    said = rebuild(source="sample", epochs=3)
    assert airflow.asked == [
        {
            "dag_id": "fmrec_retrain",
            "from_date": "1998-03-01T00:00:00+00:00",
            "to_date": "1998-03-03T00:00:00+00:00",
            "dag_run_conf": {"source": "sample", "epochs": 3},
            "max_active_runs": 4,
            "reprocess_behavior": "failed",
        }
    ]
    assert [line.split()[0] for line in said.splitlines() if line.endswith("done")] == [
        "1998-03-01", "1998-03-02", "1998-03-03",
    ]  # fmt: skip
    assert tables == ["rating-sample-time"]
    assert "paused" not in said


def test_a_paused_dag_is_unpaused_and_that_is_said(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    airflow.paused = True
    assert (
        "fmrec_retrain was paused and is not any more: its daily schedule runs, too." in rebuild()
    )
    assert not airflow.paused


def test_a_day_that_fails_is_named_with_its_task_and_error(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    airflow.ends[date(1998, 3, 2)] = "failed"
    with pytest.raises(FmrecError) as raised:
        rebuild()
    assert str(raised.value).splitlines() == [
        "1 of 3 days have failed:",
        "  1998-03-02, task events: DataError: u.data, line 7: rating 9 is not 1 to 5",
        "    http://airflow/dags/fmrec_retrain/runs/backfill__1998-03-02/tasks/events",
        "Mend the cause; the same command then repeats these days.",
    ]
    assert tables == ["rating-sample-time"], "the other days have figures to show"


def test_the_failure_is_told_where_no_table_can_be_shown(
    airflow: Airflow, rebuild: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise ConfigurationError("no run is published")

    monkeypatch.setattr(backfill.history, "show", none)
    airflow.ends[date(1998, 3, 2)] = "failed"
    out = io.StringIO()
    with pytest.raises(FmrecError, match="1 of 3 days have failed"):
        rebuild(Console(file=out, width=200))
    assert "The table of their figures cannot be shown: no run is published" in out.getvalue()


def test_where_every_day_fails_no_table_is_asked_for(
    airflow: Airflow,
    tables: list[str],
    rebuild: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "_why", lambda _, day: f"  {day.day}")
    airflow.ends = dict.fromkeys([FIRST, date(1998, 3, 2), LAST], "failed")
    with pytest.raises(FmrecError, match="3 of 3 days have failed"):
        rebuild()
    assert tables == []


def test_the_same_days_again_are_watched_and_not_asked_for(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    body = {"from_date": "1998-03-01T00:00:00Z", "to_date": "1998-03-03T00:00:00Z"}
    airflow.post("backfills", body | {"dag_run_conf": {"epochs": 3}})
    airflow.asked.clear()
    with pytest.raises(FmrecError, match=r"at work with epochs=3, and not with no Param: wait"):
        rebuild()
    assert "is at work already: watching it" in rebuild(epochs=3)
    assert airflow.asked == []


def test_days_that_were_rebuilt_before_are_kept(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    airflow.add(FIRST, "success", datetime(2026, 1, 1, tzinfo=UTC))
    airflow.add(date(1998, 3, 2), "failed", datetime(2026, 1, 1, tzinfo=UTC))
    said = rebuild()
    assert "1 of the days have been rebuilt before, and are kept." in said
    assert "1998-03-01  done" not in said
    assert "1998-03-02  done" in said


def test_days_that_were_told_something_else_are_run_again(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    before = datetime(2026, 1, 1, tzinfo=UTC)
    airflow.add(FIRST, "success", before, {"features": "ids"})
    airflow.add(date(1998, 3, 2), "success", before, {"features": "side"})
    said = rebuild(features="side")
    assert "1 of the days were told something else before, such as features=ids" in said
    assert airflow.asked[0]["reprocess_behavior"] == "completed"
    assert {run["conf"]["features"] for run in airflow.runs.values()} == {"side"}
    assert "1998-03-01  done" in said


def test_a_day_at_work_with_something_else_is_not_taken_for_one_that_is_run_again(
    airflow: Airflow, rebuild: Callable[..., str]
) -> None:
    airflow.add(LAST, "running")
    said = r"1998-03-03 is at work with no Param, .* stop it at http://airflow/dags/.*03-03"
    with pytest.raises(FmrecError, match=said):
        rebuild(solver="mcmc")
    assert airflow.asked == []


def test_a_dag_that_is_paused_meanwhile_is_not_watched_for_ever(
    airflow: Airflow, rebuild: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def paused(_: float) -> None:
        airflow.paused = True

    monkeypatch.setattr(backfill.time, "sleep", paused)
    with pytest.raises(FmrecError, match="fmrec_retrain has been paused, and no day goes on"):
        rebuild()


def test_days_that_airflow_makes_no_run_for_are_counted(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    made = airflow.post

    def post(path: str, body: Any) -> Any:
        answer = made(path, body)
        del airflow.runs[FIRST]
        return answer

    airflow.post = post  # type: ignore[method-assign]
    assert "1 of the days have no run: Airflow makes none before" in rebuild()


def test_another_backfill_at_work_is_named(airflow: Airflow, rebuild: Callable[..., str]) -> None:
    airflow.post("backfills", {"from_date": "1998-01-01", "to_date": "1998-01-31"})
    with pytest.raises(FmrecError, match="a backfill of 1998-01-01 to 1998-01-31 is at work"):
        rebuild()


def test_one_whose_days_are_over_is_waited_for(
    airflow: Airflow, tables: list[str], rebuild: Callable[..., str]
) -> None:
    """Airflow lists it as at work for up to half a minute more."""
    airflow.post("backfills", {"from_date": "1998-01-01", "to_date": "1998-01-31"})
    over = airflow.backfills[0]
    for day in airflow.runs:
        airflow.add(day, "success", datetime.now(UTC))
    looks = []

    def every(path: str, name: str, **more: Any) -> Iterator[Any]:
        if name == "backfills":
            looks.append(name)
            over["completed_at"] = None if len(looks) < 4 else "2026-01-01T00:00:00Z"
        return Airflow.every(airflow, path, name, **more)

    airflow.every = every  # type: ignore[method-assign]
    rebuild()
    assert len(looks) >= 4
    assert airflow.asked[-1]["from_date"].startswith("1998-03-01")


def test_an_interrupted_watch_leaves_the_backfill_alone(
    airflow: Airflow, rebuild: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill.time, "sleep", interrupted)
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        rebuild(Console(file=out, width=200))
    assert "The backfill goes on. The same command shows again how far it is" in out.getvalue()
    assert airflow.backfills[-1]["completed_at"] is None


def test_the_view_has_the_days_at_work_and_how_long_the_rest_will_take(airflow: Airflow) -> None:
    airflow.post("backfills", {"from_date": str(FIRST), "to_date": str(LAST)})
    days = backfill._days(airflow, FIRST, LAST)  # type: ignore[arg-type]
    days = backfill._days(airflow, FIRST, LAST)  # type: ignore[arg-type]
    since = datetime.now(UTC) - timedelta(minutes=4)
    out = io.StringIO()
    tasks = backfill._tasks(airflow)  # type: ignore[arg-type]
    Console(file=out, width=120).print(backfill._picture(days, set(), since, tasks))
    said = out.getvalue()
    assert "1 of 3 days over" in said
    assert "2 at work" in said
    assert "about 8 min left" in said
    assert "1998-03-02  between tasks" in said
    assert "1998-03-03  train (attempt 2)" in said


@pytest.mark.parametrize(
    ("first", "last"),
    [(LAST, FIRST), (FIRST, datetime.now(UTC).date()), (FIRST, date(2999, 1, 1))],
)
def test_days_that_are_no_range_or_not_over(airflow: Airflow, first: date, last: date) -> None:
    with pytest.raises(ConfigurationError, match="the last must be over"):
        backfill.run({}, first, last, None)
    assert airflow.asked == []


def test_one_moment_for_all_days_is_refused(airflow: Airflow) -> None:
    with pytest.raises(ConfigurationError, match="--as-of would give all days one moment"):
        backfill.run({"as_of": "1998-03-08"}, FIRST, LAST, None)


def test_days_of_which_airflow_makes_none_are_no_backfill(
    airflow: Airflow, rebuild: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_start", lambda *_: datetime.now(UTC))
    with pytest.raises(FmrecError, match=r"3 of the days have no run.*Nothing was rebuilt"):
        rebuild()
