"""`python -m fmrec history`, over published runs whose models go stale by a known amount."""

from __future__ import annotations

import io
import json
import math
import shlex
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pytest
from botocore.config import Config
from moto import mock_aws
from rich.console import Console

from fmrec.cli import environment, history, zone
from fmrec.cli.main import main
from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation.ageing import explained
from fmrec.events.window import DAY
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.model import Model
from fmrec.layout import Layout, Run
from fmrec.ratings import tables
from fmrec.release import champions
from fmrec.settings import Deployment
from fmrec.steps.ageing import ageing
from fmrec.steps.events import events
from fmrec.steps.plan import plan
from fmrec.steps.published import Published
from fmrec.steps.xcom import events_of
from fmrec.store import Store

pytestmark = pytest.mark.slow

FIRST = datetime(1998, 1, 1, tzinfo=UTC)
BEGIN = int(FIRST.timestamp())
USERS, FILMS, DAYS = 10, 60, 44
DRIFT = 0.04  # stars a day
LANE = "rating-ml-100k-time"
SETTINGS = {"validation_fraction": 0.0, "test_fraction": 0.02}

# The runs of these days have learnt up to the day before: what is held back lies on it too. The
# last run is too young for any day, but it alone has seen the ratings of all.
BACKFILL = (13, 27, 34, 40, 44)
# By age, for each day that has a model of it and a fresh one: up to which day it has learnt.
LEARNT = {
    1: {28: 26, 29: 26, 35: 33, 36: 33, 41: 39, 42: 39},
    7: {35: 26, 36: 26, 41: 33, 42: 33},
    14: {28: 12, 29: 12, 41: 26, 42: 26},
    28: {41: 12, 42: 12},
}


def ratings() -> list[tuple[int, int, float, int]]:
    """Every user rates a film a day; what is given rises by DRIFT a day, one star off each time.

    On day 42 user 3 rates the film of day 5 once more.
    """
    given = [
        (user, film(user, day), 2 + DRIFT * day + (-1) ** user, BEGIN + day * DAY + 3600 + user)
        for day in range(DAYS)
        for user in range(1, USERS + 1)
    ]
    return [*given, (3, film(3, 5), 5.0, BEGIN + 42 * DAY)]


def film(user: int, day: int) -> int:
    return (7 * user + day) % FILMS + 1


class Past:
    """A bucket of published runs, each with a model that knows what was given on its last day."""

    def __init__(self, s3: Any, cache: Path, prefix: str, more: Sequence[Any] = ()) -> None:
        self.s3, self.store, self.cache = s3, Store(s3, "fmrec"), cache
        self.deployment = Deployment(bucket="fmrec", prefix=prefix, role_arn="arn", cache_dir=cache)
        self.layout = Layout("fmrec", prefix, "")
        user, item, rating, time = zip(*ratings(), *more, strict=True)
        nothing = [0] * len(user)
        values = [user, item, rating, time, nothing, nothing]
        columns = dict(zip(tables.RATINGS.names, map(list, values), strict=True))
        # What every test reads is there once.
        own = f"{prefix}-" if more else ""
        self.index = f"{own}sources"
        self.store.put_table(f"{own}ratings", pa.table(columns, tables.RATINGS))
        self.store.put_table("users", tables.USERS.empty_table())
        self.store.put_table("items", tables.ITEMS.empty_table())
        part = {"name": self.index, "rows": len(user), "ratings": [{"key": f"{own}ratings"}]}
        index = {"indexes": [part]}
        self.store.put(self.index, json.dumps(index).encode())

    def publish(self, day: int, name: str = "r", **settings: Any) -> Run:
        """A run that sees the days before `day`; for lists its model has a taste of its own."""
        told = plan(
            name, FIRST + timedelta(days=day), SETTINGS | settings, self.deployment, self.s3
        )
        keys = {"sources": self.index, "users": "users", "items": "items"}
        made = events(told, {"keys": keys, "erasure": ""}, self.s3)
        run = Run.from_xcom(told)
        manifest = {
            "schema": 1, "run_id": run.run_id, "as_of": run.as_of.isoformat(),
            "source": {"scale": {"low": 1, "high": 5}},
            "parameters": told["settings"], "tables": keys, "events": made["parts"],
            "id_map": made["id_map"], "finished": f"2026-01-01T00:00:{len(name):02d}+00:00",
            "jobs": {"training": {"artifact": f"s3://fmrec/models/{run.layout.run}"}},
        }  # fmt: skip
        w = np.zeros(made["columns"]["number"], np.float32)
        if settings.get("use") == "ranking":
            w = np.random.default_rng(day).normal(size=w.size).astype(np.float32)
        level = 2 + DRIFT * ((made["parts"]["train"]["last"] - BEGIN) // DAY)
        model = Model(level, w, np.zeros((w.size, 1), np.float32), predictor(settings))
        self.put_model(f"models/{run.layout.run}", model)
        self.put(run, "manifest.json", manifest)
        self.put(run, "report.json", report(run))
        return run

    def put(self, run: Run, name: str, content: Any) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.store.put(run.layout.published_report(name), text, replace=True)

    def put_model(self, key: str, model: Model) -> None:
        d = model.feature_dim
        told = {"feature_dim": d, "num_factors": 1, "predictor_type": model.predictor_type}
        folder = self.cache / key
        member = artifact.save(model, folder, hyperparameters.parse(told).configuration)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(member, member.name)
        self.store.put(key, packed.getvalue(), replace=True)


def predictor(settings: Any) -> Any:
    return "binary_classifier" if settings.get("objective") == "like" else "regressor"


def report(run: Run) -> dict[str, Any]:
    figures = {
        "candidate": 1.01,
        "reference": 1.05,
        "difference": -0.04,
        "low": -0.06,
        "high": -0.02,
    }
    return {
        "run": {"as_of": run.as_of.isoformat(), "objective": "rating", "features": "ids",
                "use": "rating", "lane": run.lane},
        "verdict": {"metric": "rmse", "against": "user_item_bias", "better": "less"} | figures,
        "baselines": {}, "comparisons": [], "gate": {"decision": "promote"},
        "cost": {"currency": "USD", "total": 0.0021}, "counts": {"events": 12},
    }  # fmt: skip


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """One bucket for all tests: each has a prefix of its own."""
    with mock_aws():
        s3 = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(ignore_configured_endpoint_urls=True),
        )
        s3.create_bucket(Bucket="fmrec")
        yield s3
        s3.close()


@pytest.fixture(scope="module")
def backfilled(bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """The runs of BACKFILL; tests only read them."""
    made = Past(bucket, tmp_path_factory.mktemp("backfilled"), "backfilled")
    for day in BACKFILL:
        made.publish(day)
    return made


@pytest.fixture
def past(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    """No run yet."""
    made = Past(bucket, tmp_path, tmp_path.name)
    opened(made, tmp_path, monkeypatch)
    return made


def opened(made: Past, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find these runs."""
    monkeypatch.setattr(zone, "open_store", lambda: (made.store, made.deployment))
    monkeypatch.setattr(environment, "state_folder", lambda _: state)


def shown(
    lane: str | None = None, page: Path | None = None, advise: bool = False, width: int = 100
) -> str:
    console = Console(file=io.StringIO(), width=width)
    history.show(lane, page, advise, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_known_drift_is_what_the_ages_lose(backfilled: Past) -> None:
    """On day d a model of day h is off by DRIFT x (d - h), beside one star: the RMSE is known."""
    asked = []
    found = ageing(backfilled.store, backfilled.layout, progress=lambda *each: asked.append(each))
    assert [row.age for row in found.rows] == [1, 7, 14, 28]
    for row in found.rows:
        days = np.array([day - learnt for day, learnt in LEARNT[row.age].items()])
        fresh = np.array([day - LEARNT[1][day] for day in LEARNT[row.age]])
        assert row.value == pytest.approx(math.sqrt(1 + np.mean((DRIFT * days) ** 2)), rel=1e-6)
        assert row.fresh == pytest.approx(math.sqrt(1 + np.mean((DRIFT * fresh) ** 2)), rel=1e-6)
        assert row.loss == pytest.approx(row.value - row.fresh)
        assert row.mean_age == pytest.approx(days.mean(), abs=1e-3)
        assert row.models == len(set(LEARNT[row.age].values()))
        assert (row.days, row.ratings, row.users) == (days.size, 10 * days.size, 10)
        assert (row.known_users, row.known_items) == (1, 1)
    assert (found.lane, found.metric, found.better, found.runs) == (LANE, "rmse", "less", 5)
    assert (found.ratings, found.users, found.days) == (60, 10, 6)
    assert (f"{found.first}", f"{found.last}") == ("1998-01-29", "1998-02-12")
    # Each run has learnt up to an hour and some seconds into the day before its own.
    assert found.lag == pytest.approx(23 / 24, abs=1e-3)
    assert asked == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.notes == []


def test_columns_that_depend_on_the_moment_are_asked_at_the_beginning_of_the_day(
    past: Past,
) -> None:
    for day in BACKFILL:
        past.publish(day, features="full")
    assert [row.age for row in ageing(past.store, past.layout).rows] == [1, 7, 14, 28]


def test_a_rating_that_a_model_has_learnt_is_not_judged(backfilled: Past) -> None:
    found = ageing(backfilled.store, backfilled.layout)
    assert found.rerated == 1
    assert "1 rating was left out" in "".join(explained(found))


def test_who_and_what_is_unknown_is_told_apart(bucket: Any, tmp_path: Path) -> None:
    """A newcomer of day 41 rates a film that all know; on day 42 one of all rates a new film."""
    newcomer = (USERS + 1, film(1, 0), 3.0, BEGIN + 41 * DAY)
    news = [(1, FILMS + 9, 3.0, BEGIN + 42 * DAY), (2, FILMS + 9, 3.0, BEGIN + 42 * DAY)]
    made = Past(bucket, tmp_path, tmp_path.name, [newcomer, *news])
    for day in BACKFILL:
        made.publish(day)
    for row in ageing(made.store, made.layout).rows:
        assert row.ratings == 10 * row.days + 3
        assert row.known_users == pytest.approx(1 - 1 / row.ratings)
        assert row.known_items == pytest.approx(1 - 2 / row.ratings)


def test_a_film_that_was_rated_before_is_no_find(bucket: Any, tmp_path: Path) -> None:
    """User 10 rates a film on the day that run 40 holds back, and likes it more on day 41."""
    again = (10, film(10, 39), 5.0, BEGIN + 41 * DAY)
    made = Past(bucket, tmp_path, tmp_path.name, [again])
    runs = [made.publish(day, use="ranking") for day in BACKFILL]
    held = made.store.get(runs[3].layout.published_report("manifest.json"))
    test = events_of(json.loads(held)["events"]["test"], made.store)
    assert ((test["user_id"] == 10) & (test["item_id"] == film(10, 39))).any()
    found = ageing(made.store, made.layout)
    assert (found.rerated, found.ratings) == (2, 30)  # and user 3's of day 42


def test_likes_are_judged_by_cross_entropy(past: Past) -> None:
    for day in BACKFILL:
        past.publish(day, objective="like")
    found = ageing(past.store, past.layout)
    for row in found.rows:
        # Every other rating is a like, and all of a day have one probability.
        days = np.array(list(LEARNT[row.age].values()))
        likely = 1 / (1 + np.exp(-(2 + DRIFT * days)))
        wanted = -np.mean(np.log(likely) + np.log(1 - likely)) / 2
        assert row.value == pytest.approx(wanted, rel=1e-6)
    assert found.metric == "cross_entropy"


def test_lists_are_judged_by_what_their_users_like_on_the_day(past: Past) -> None:
    """Each even user likes one film a day; of what it has not seen, that film has a known rank."""
    runs = {day: past.publish(day, use="ranking") for day in BACKFILL}
    found = ageing(past.store, past.layout)
    assert found.lane == "ranking-ml-100k-time"
    assert (found.metric, found.better) == ("ndcg@10", "more")
    assert found.ratings == 30
    assert found.over == "30 lists, one for each user and day"
    for row in found.rows:
        gains = []
        for day, learnt in LEARNT[row.age].items():
            past_run = Published.of(runs[learnt + 1].layout, past.store)
            model, design = past_run.model(), past_run.design()
            catalogue = design.space.trained_items
            scores = dict(zip(catalogue.tolist(),
                              model.score(design.item_side(catalogue)).tolist(),
                              strict=True))  # fmt: skip
            for user in range(2, USERS + 1, 2):
                seen = {film(user, before) for before in range(day)}
                unseen = sorted(set(scores) - seen, key=lambda each: (-scores[each], each))
                wanted = film(user, day)
                rank = unseen.index(wanted) + 1 if wanted in unseen else 99
                gains.append(1 / math.log2(rank + 1) if rank <= 10 else 0)
        assert row.value == pytest.approx(np.mean(gains))


def test_the_runs_of_one_kind_are_compared(past: Past) -> None:
    """A run that was repeated counts once, the later one; others are left out, and it is said."""
    for day in BACKFILL:
        past.publish(day)
    past.publish(40, "again")
    past.publish(45, features="side")  # the latest of all, but alone
    broken = past.publish(41, "broken")
    past.put(broken, "manifest.json", b"{}")
    found = ageing(past.store, past.layout)
    assert found.runs == 5
    assert [row.models for row in found.rows] == [3, 2, 2, 1]
    [damaged, otherwise] = found.notes
    assert broken.layout.run in damaged
    assert "1 run of the lane was told otherwise" in otherwise
    assert found.told == SETTINGS


def test_a_manifest_that_lacks_a_part_is_named_and_left_out(past: Past) -> None:
    for day in BACKFILL[2:]:
        past.publish(day)
    lacking = [("source",), ("source", "scale"), ("events", "test", "files"), ("tables",),
               ("events", "train"), ("events", "train", "files"), ("finished",)]  # fmt: skip
    broken = []
    for number, path in enumerate(lacking):
        run = past.publish(41, f"broken-{number}")
        manifest = json.loads(past.store.get(run.layout.published_report("manifest.json")))
        part = manifest
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]
        past.put(run, "manifest.json", manifest)
        broken.append(run.layout.run)
    found = ageing(past.store, past.layout)
    assert found.notes[0] == (
        f"Left out, as their manifest.json is damaged: {', '.join(sorted(broken))}."
    )
    assert found.runs == 3


def test_a_model_that_has_learnt_more_than_its_manifest_says_is_refused(past: Past) -> None:
    runs = [past.publish(day) for day in BACKFILL]
    key = runs[3].layout.published_report("manifest.json")
    manifest = json.loads(past.store.get(key))
    manifest["events"]["train"]["last"] -= 3600
    past.put(runs[3], "manifest.json", manifest)
    with pytest.raises(EvaluationError, match=r"was trained on a rating of the second .* says"):
        ageing(past.store, past.layout)


def test_fewer_ages_are_judged_where_no_day_has_all(past: Past) -> None:
    for day in BACKFILL[2:]:
        past.publish(day)
    found = ageing(past.store, past.layout)
    assert [row.age for row in found.rows] == [1, 7]
    [note] = found.notes
    assert "No day has a model of 14 or 28 days beside a fresh one" in note
    assert "--from-date 1997-12-15 --to-date 1998-02-13" in note


def test_what_is_missing_is_said_with_the_command_that_makes_it(past: Past) -> None:
    with pytest.raises(ConfigurationError, match=r"no run is published .* backfill create"):
        ageing(past.store, past.layout)
    past.publish(44)
    command = (
        "backfill create --dag-id fmrec_retrain --from-date 1997-12-15 --to-date 1998-02-13 "
        "--dag-run-conf '"
    )
    with pytest.raises(EvaluationError, match=r"1 run was told the same, .* 1998-02-13") as raised:
        ageing(past.store, past.layout)
    assert command in str(raised.value)
    conf = str(raised.value).partition("--dag-run-conf '")[2].partition("'")[0]
    assert json.loads(conf) == SETTINGS
    with pytest.raises(
        ConfigurationError, match=f"no run is in lane 'x'; there are runs in {LANE}"
    ):
        ageing(past.store, past.layout, "x")


def test_the_command_makes_such_runs_in_any_shell(past: Past) -> None:
    told = {"use": "ranking", "source": "ml-100k", "features": "side"}
    aside = {"only": "year>=1990", "gate_tolerance": 0.1, "peers": "ease",
             "instance_type": "ml.c5.large", "max_runtime_minutes": 90}  # fmt: skip
    past.publish(44, **told, **aside)
    with pytest.raises(EvaluationError) as raised:
        ageing(past.store, past.layout)
    words = shlex.split(str(raised.value).split("`")[1])
    del told["source"]  # the default
    assert json.loads(words[words.index("--dag-run-conf") + 1]) == SETTINGS | told


@pytest.mark.parametrize("width", [20, 80])
def test_no_figure_is_cut_however_narrow_the_console(past: Past, width: int) -> None:
    run = past.publish(13)
    made = report(run)
    made["gate"]["decision"], made["verdict"]["against"] = "[/b]", "[red]rival"
    made["run"]["features"] = "[bold]"
    past.put(run, "report.json", made)
    past.put(past.publish(14), "report.json", report(run))  # of another kind: one column more
    for line in shown(width=width).splitlines():
        if line.startswith("1998-01-14") and "[/b]" in line:
            break
    assert line.split() == [
        "1998-01-14", run.layout.run.rpartition("-")[2], "rating,", "[bold]", "1.0100", "1.0500",
        "-0.0400", "-0.0600..-0.0200", "[red]rival", "[/b]", "0.0021", "USD",
    ]  # fmt: skip


def test_a_pipe_gets_whole_lines(
    past: Past, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past.publish(13)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["history"]) == 0
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("1998")]
    for whole in ("1998-01-14", "1.0100", "1.0500", "-0.0600..-0.0200", "0.0021 USD"):
        assert whole in line.rstrip()


def test_the_runs_are_listed_and_the_page_is_written(past: Past, tmp_path: Path) -> None:
    runs = [past.publish(day) for day in (13, 27)]
    past.publish(27, use="ranking")
    bad = past.publish(34, "bad")
    past.put(bad, "report.json", b"not JSON")
    champions.promote(
        past.store, past.layout, LANE, run=runs[0].layout.run, as_of=runs[0].as_of, manifest="m",
        artifact="s3://b/a", decision=None, compared_with=None, at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    text = shown()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 or all(bad.layout.run in line or "page" in line.lower()
                                              for line in lines if len(line) > 100)  # fmt: skip
    assert "Lane rating-ml-100k-time: 2 runs" in text
    assert "Lane ranking-ml-100k-time: 1 run\n" in text
    first = next(line for line in lines if line.startswith("1998-01-14"))
    assert first.split() == [
        "1998-01-14", runs[0].layout.run.rpartition("-")[2] + "*", "1.0100", "1.0500", "-0.0400",
        "-0.0600..-0.0200", "bias", "promote", "0.0021", "USD",
    ]  # fmt: skip
    assert f"Left out: {bad.layout.run}: its report.json is not JSON." in text
    assert f"2026-01-02 00:00 UTC, promotion: {runs[0].layout.run}" in text
    assert "All runs together: 0.0042 USD" in text
    page = tmp_path / "reports" / "history.html"
    assert str(page) in text
    assert runs[1].layout.run in page.read_text()
    assert "Lane ranking" not in shown(LANE)


def test_the_advice_is_printed_and_shown(
    backfilled: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(backfilled, tmp_path, monkeypatch)
    page = tmp_path / "deep" / "page.html"
    text = shown(page=page, advise=True)
    assert "Models of lane rating-ml-100k-time by their age" in text
    days = next(line for line in text.splitlines() if line.strip().startswith("28 days"))
    assert days.split()[:3] == ["28", "days", "1.5469"]
    assert days.split()[-4:] == ["100.0%", "100.0%", "29.5", "1"]
    assert "Whether models may be 7 days old cannot be told: 10 users are too few" in text
    assert "How often to retrain" in page.read_text()


def test_without_advice_the_page_is_still_there(past: Past, tmp_path: Path) -> None:
    past.publish(13)
    with pytest.raises(EvaluationError, match="1 run was told the same"):
        shown(advise=True)
    assert (tmp_path / "reports" / "history.html").is_file()


def test_a_damaged_history_of_champions_costs_no_more_than_itself(past: Past) -> None:
    past.publish(13)
    past.store.put(f"{past.layout.champions(LANE)}00000001.json", b"{}")
    text = shown()
    assert f"Left out: the champions of {LANE}: s3://" in text
    assert "1998-01-14" in text


def test_mistakes_are_told(past: Past, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no run is published in s3://fmrec/.*reports/"):
        shown()
    past.publish(13)
    with pytest.raises(
        ConfigurationError, match=f"no run is in lane 'x'; there are runs in {LANE}"
    ):
        shown("x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        shown(page=tmp_path / "file" / "page.html")


def test_the_command_line(
    backfilled: Past,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened(backfilled, tmp_path, monkeypatch)
    page = tmp_path / "page.html"
    assert main(["history", "--lane", LANE, "--page", str(page), "--advise"]) == 0
    assert "by their age" in capsys.readouterr().out
    assert page.is_file()
    assert main(["history", "--lane", "x"]) == 1
    assert "fmrec: no run is in lane 'x'" in capsys.readouterr().err
