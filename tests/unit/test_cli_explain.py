"""`python -m fmrec explain`, over a run that the real steps made and published."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws
from rich.console import Console

from fmrec import recordio as codec
from fmrec import topn
from fmrec.cli import explain, zone
from fmrec.cli.main import main
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.explanation import Explanation
from fmrec.fm.model import Model
from fmrec.layout import Run
from fmrec.settings import Deployment
from fmrec.steps.evaluate import evaluate
from fmrec.steps.events import events
from fmrec.steps.ingest import ingest
from fmrec.steps.plan import plan
from fmrec.steps.publish import publish
from fmrec.steps.recordio import recordio
from fmrec.steps.xcom import design_of, events_of
from fmrec.store import Store

pytestmark = pytest.mark.slow

AS_OF = datetime(1998, 1, 1, tzinfo=UTC)


class Shop:
    """A bucket of published runs, whose models were drawn at random and not trained."""

    def __init__(self, s3: Any, cache: Path) -> None:
        self.s3, self.store = s3, Store(s3, "fmrec")
        self.deployment = Deployment(bucket="fmrec", role_arn="arn", cache_dir=cache)

    def publish(self, run_id: str = "r", predictor: str = "regressor", **params: Any) -> Any:
        """Everything that the steps returned, and the model."""
        x: Any = {
            "run": plan(run_id, AS_OF, {"source": "sample"} | params, self.deployment, self.s3)
        }
        x["tables"] = ingest(x["run"], self.s3, self.deployment)
        x["parts"] = events(x["run"], x["tables"], self.s3)
        x["channels"] = recordio(x["run"], x["tables"], x["parts"], self.s3)
        d, rng = x["parts"]["columns"]["number"], np.random.default_rng(len(run_id))
        w = rng.normal(size=d).astype(np.float32)
        V = rng.normal(size=(d, 3)).astype(np.float32)
        model = Model(3.5, w, V, predictor)  # type: ignore[arg-type]
        self._put(model, f"models/{run_id}/model.tar.gz")
        for each in x["channels"]["files"]["test"]:
            rows = codec.decode(self.store.get(each["key"])).features
            lines = "\n".join(json.dumps({"score": s}) for s in model.score(rows).tolist())
            name = each["key"].rpartition("/")[2]
            self.store.put(f"out/{run_id}/{name}.out", lines.encode())
        job = {"name": "job", "status": "Completed", "seconds": 1, "billable_seconds": 1}
        training = job | {"artifact": f"s3://fmrec/models/{run_id}/model.tar.gz", "metrics": {}}
        transform = job | {"output": f"s3://fmrec/out/{run_id}/"}
        pages = SimpleNamespace(paginate=lambda **_: iter([{"events": []}]))
        logs: Any = SimpleNamespace(get_paginator=lambda _: pages)
        report = evaluate(
            s3=self.s3,
            logs=logs,
            region="us-east-1",
            training=training,
            transform=transform,
            **x,
        )
        publish(x["run"], report, self.s3)
        return x | {"model": model, "run": Run.from_xcom(x["run"])}

    def _put(self, model: Model, key: str) -> None:
        folder = Path(self.deployment.cache_dir, key).parent
        d, k = model.V.shape
        told = {"feature_dim": d, "num_factors": k, "predictor_type": model.predictor_type}
        member = artifact.save(model, folder, hyperparameters.parse(told).configuration)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(member, member.name)
        self.store.put(key, packed.getvalue())

    def titles(self, x: Any) -> dict[int, str]:
        items = self.store.get_table(x["tables"]["keys"]["items"]).to_pydict()
        return dict(zip(items["item_id"], items["title"], strict=True))


@pytest.fixture
def shop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="fmrec")
        made = Shop(s3, cache)
        monkeypatch.setattr(zone, "open_store", lambda: (made.store, made.deployment))
        yield made


def shown(user: int, item: int, run: str = "latest", top: int = 10) -> tuple[str, Explanation]:
    console = Console(file=io.StringIO(), width=200)
    found = explain.show(run, user, item, top, console)
    return console.file.getvalue(), found  # type: ignore[attr-defined]


def tables(text: str) -> list[list[float]]:
    """The contributions of each table, the total last."""
    parts = text.split("and, one by one, of")
    return [[float(n) for n in re.findall(r"^ *([+-]\d+\.\d{4}) ", part, re.M)] for part in parts]


@pytest.mark.parametrize("features", ["ids", "full"])
def test_both_tables_add_up_to_the_score_that_ranked_the_film(shop: Shop, features: str) -> None:
    x = shop.publish(features=features)
    design = design_of(x["run"], x["tables"], x["parts"], shop.store)
    user = int(design.space.trained_users[7])
    seen = events_of(x["parts"]["parts"]["train"], shop.store)
    at = int(AS_OF.timestamp())
    [[item, *_]], [[score, *_]] = topn.best(x["model"], design, [user], seen, 3, at=at)
    text, found = shown(user, int(item), top=7)
    assert found.score == pytest.approx(score, rel=1e-9)
    assert f"Score {score:.4f}" in text
    assert f"User {user} and {shop.titles(x)[item]}, item {item}" in text
    groups, terms = tables(text)
    for column in (groups, terms):
        assert sum(column[:-1]) == pytest.approx(score, abs=1e-3)
        assert column[-1] == pytest.approx(score, abs=1e-4)
        assert column[0] == 3.5
    assert f"item: {shop.titles(x)[item]}" in text
    if features == "full":
        assert len(terms) == 10  # bias, seven, the others, the total
        assert f"{found.count - 8:,} others" in text
        assert re.search(r"^ *[+-][\d.]+  [a-z_]+ x [a-z_]+ *$", text, re.M)
        rated = [name for name in found.names if name.startswith("rated: ")]
        assert rated
        assert {name.removeprefix("rated: ") for name in rated} <= set(shop.titles(x).values())


def test_a_film_that_the_user_has_rated_is_left_out_of_the_history(shop: Shop) -> None:
    x = shop.publish(features="history")
    train = shop.store.get_table(x["parts"]["parts"]["train"]["files"][0]["key"]).to_pandas()
    user, item = train[["user_id", "item_id"]].iloc[-1].tolist()
    _, found = shown(user, item)
    title = shop.titles(x)[item]
    assert f"item: {title}" in found.names
    assert f"rated: {title}" not in found.names
    assert f"rated_by: {user}" not in found.names


def test_a_classifier_is_explained_in_log_odds(shop: Shop) -> None:
    x = shop.publish(predictor="binary_classifier", objective="like")
    train = shop.store.get_table(x["parts"]["parts"]["train"]["files"][0]["key"]).to_pandas()
    user, item = train[["user_id", "item_id"]].iloc[0].tolist()
    text, found = shown(user, item)
    assert found.score == pytest.approx(1 / (1 + np.exp(-found.raw)))
    assert f"Probability {found.score:.4f}: log-odds of {found.raw:+.4f}" in text
    assert tables(text)[0][-1] == pytest.approx(found.raw, abs=1e-4)


def described_only(shop: Shop, x: Any) -> int:
    """A film that the tables describe and no training event has."""
    space = design_of(x["run"], x["tables"], x["parts"], shop.store).space
    return min(set(shop.titles(x)) - set(space.trained_items.tolist()))


def test_what_is_not_known_is_said(shop: Shop) -> None:
    x = shop.publish(features="side")
    user = int(shop.store.get_table(x["tables"]["keys"]["users"])["user_id"][0].as_py())
    item = described_only(shop, x)
    text, found = shown(user, item)
    assert re.search(rf"No training event has item {item}: for it speaks .*genre.* alone", text)
    assert not any(name.startswith("item: ") for name in found.names)
    with pytest.raises(DataError, match=r"user 999999 is not known .* Choose one of the \d+ users"):
        shown(999_999, item)


def test_a_film_that_nothing_is_said_of_has_no_explanation(shop: Shop) -> None:
    x = shop.publish(features="ids")
    user = int(shop.store.get_table(x["tables"]["keys"]["users"])["user_id"][0].as_py())
    with pytest.raises(DataError, match="features=ids nothing else is said of it"):
        shown(user, 999_999)


def test_runs_are_found_by_key_and_the_latest_by_its_moment(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="no run is published in s3://fmrec/fmrec/reports"):
        shown(1, 1)
    late = shop.publish("late")
    early = shop.publish("early!", as_of="1997-12-01")
    train = shop.store.get_table(early["parts"]["parts"]["train"]["files"][0]["key"]).to_pandas()
    user, item = train[["user_id", "item_id"]].iloc[0].tolist()
    keys = [each["run"].layout.run for each in (late, early)]
    assert f"in run {keys[0]}" in shown(user, item)[0]
    assert f"in run {keys[1]}" in shown(user, item, run=keys[1])[0]
    again = shop.publish("again, of the same moment")
    manifest = again["run"].layout.published_report("manifest.json")
    body = json.loads(shop.store.get(manifest)) | {"finished": "2999-01-01T00:00:00+00:00"}
    shop.store.put(manifest, json.dumps(body).encode(), replace=True)
    assert f"in run {again['run'].layout.run}" in shown(user, item)[0]
    with pytest.raises(ConfigurationError, match=f"run 'x' is not published .* {keys[0]}"):
        shown(user, item, run="x")


def test_the_command_line(capsys: pytest.CaptureFixture[str], shop: Shop) -> None:
    x = shop.publish()
    train = shop.store.get_table(x["parts"]["parts"]["train"]["files"][0]["key"]).to_pandas()
    user, item = map(str, train[["user_id", "item_id"]].iloc[0])
    assert main(["explain", "--user", user, "--item", item, "--top", "2"]) == 0
    assert "which is the sum of" in capsys.readouterr().out
    assert main(["explain", "--user", "-5", "--item", item]) == 1
    assert "fmrec: user -5 is not known to run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["explain", "--user", user, "--item", item, "--top", "0"])
    assert "is not a number from 1 on" in capsys.readouterr().err
