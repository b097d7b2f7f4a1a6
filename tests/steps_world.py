"""Runs of the steps over S3 in memory, with the algorithm called in this process."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from fmrec import recordio as codec
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.adam import Adam
from fmrec.layout import Run
from fmrec.settings import Deployment
from fmrec.steps.evaluate import evaluate
from fmrec.steps.events import events
from fmrec.steps.ingest import ingest
from fmrec.steps.plan import plan
from fmrec.steps.publish import publish
from fmrec.steps.recordio import recordio
from fmrec.steps.release import release
from fmrec.store import Store

AS_OF = datetime(1998, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A bucket, a deployment, and what the steps of one run returned."""

    def __init__(self, s3: Any, cache: Path) -> None:
        self.s3, self.store = s3, Store(s3, "fmrec")
        self.deployment = Deployment(bucket="fmrec", role_arn="arn", cache_dir=cache)
        self.xcom: dict[str, Any] = {}

    def prepare(self, run_id: str = "r", **params: Any) -> World:
        settings = {"source": "sample", "num_factors": 4} | params
        if params.get("image") != "fmrec":
            settings = {"epochs": 2} | settings
        x = self.xcom
        x["run"] = plan(run_id, AS_OF, settings, self.deployment, self.s3)
        x["tables"] = ingest(x["run"], self.s3, self.deployment)
        x["parts"] = events(x["run"], x["tables"], self.s3)
        x["channels"] = recordio(x["run"], x["tables"], x["parts"], self.s3)
        return self

    def table(self, part: str) -> pd.DataFrame:
        files = self.xcom["parts"]["parts"][part]["files"]
        return pd.concat([self.store.get_table(each["key"]).to_pandas() for each in files])

    def records(self, part: str) -> codec.Records:
        files = self.xcom["channels"]["files"][part]
        return codec.decode(b"".join(self.store.get(each["key"]) for each in files))

    def train_and_score(self, folder: Path, *, cheating: bool = False) -> World:
        """What the two jobs would do, in this process; cheating, it has seen the test events."""
        run, channels = Run.from_xcom(self.xcom["run"]), self.xcom["channels"]
        given = run.hyperparameters() | {"feature_dim": str(channels["feature_dim"])}
        train = self.records("train")
        chosen = hyperparameters.parse(given)
        features, labels = train.features, train.labels
        if cheating:
            test = self.records("test")
            features = sparse.vstack([features, test.features], format="csr")
            labels = np.concatenate([labels, test.labels])
        trainer = Adam(chosen, features, labels)
        for _ in range(run.settings.epochs or 1):
            trainer.train(0, trainer.batches)
        member = artifact.save(trainer.model(), folder, chosen.configuration)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(member, member.name)
        own = run.layout.run
        self.store.put(f"{own}/model.tar.gz", packed.getvalue(), replace=True)
        for each in channels["files"]["test"]:
            rows = codec.decode(self.store.get(each["key"])).features
            lines = [
                json.dumps({"score": float(np.float32(s))}) for s in trainer.model().score(rows)
            ]
            name = each["key"].rpartition("/")[2]
            self.store.put(f"{own}/out/{name}.out", "\n".join(lines).encode(), replace=True)
        self.xcom["training"] = {"name": "job", "status": "Completed", "seconds": 1,
                                 "artifact": f"s3://fmrec/{own}/model.tar.gz",
                                 "billable_seconds": 1, "metrics": {}}  # fmt: skip
        self.xcom["transform"] = {"name": "job", "status": "Completed", "seconds": 1,
                                  "output": f"s3://fmrec/{own}/out/"}  # fmt: skip
        return self

    def evaluate(self, logs: Any = None) -> World:
        steps = ("tables", "parts", "channels", "training", "transform")
        given = {name: self.xcom[name] for name in steps}
        logs = logs or log_of("#quality_metric: host=algo-1, epoch=0, train rmse <loss>=1.5")
        self.xcom["report"] = evaluate(
            self.xcom["run"], s3=self.s3, logs=logs, region="us-east-1", **given
        )
        return self

    def release(self, now: datetime = NOW, **approval: Any) -> World:
        """Publish, and act on the gate's decision."""
        run, report = self.xcom["run"], self.xcom["report"]
        self.xcom["published"] = publish(run, report, self.s3)
        said = {"asked": False} | approval
        self.xcom["release"] = release(run, report, self.xcom["published"], said, self.s3, now)
        return self

    def json(self, name: str) -> Any:
        return json.loads(self.store.get(self.xcom["report"]["files"][name]))


def sums(parts: Any) -> list[str]:
    return [file["sha256"] for part in parts["parts"].values() for file in part["files"]]


def log_of(*lines: str) -> Any:
    pages = [{"events": [{"message": line} for line in lines]}]
    return SimpleNamespace(
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: iter(pages))
    )
