"""New ratings on a laptop: replayed into a local AWS, rebuilt from, shown where they are bad."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws_process import serving

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("nothing_left_running")]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """A local AWS of this test's own."""
    with serving(tmp_path / "aws") as address:
        yield address


def test_replayed_days_become_a_model_and_bad_rows_are_kept(
    fmrec: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> str:
        answer = fmrec(*arguments, AWS_ENDPOINT_URL=endpoint)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return str(answer.stdout)

    said = call(
        "replay", "--source", "sample", "--first-day", "2026-01-01", "--until", "2026-02-09"
    )
    assert "2026-01-01 to 2026-02-09" in said
    assert "Nothing is missing" in call("replay", "--until", "2026-02-09")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    bad = "user_id,item_id,rating,timestamp\n1,1,9,1769900000\n1,1,5,1769900000\n"
    s3.put_object(Bucket="fmrec", Key="fmrec/landing/dt=2026-02-01/more.csv", Body=bad.encode())
    shown = call("quarantine", "--day", "2026-02-01")
    assert "more.csv" in shown
    assert "range" in shown
    assert "1 refused" in shown

    options = ["--source", "landing", "--as-of", "2026-02-10", "--objective", "ranking"]
    options += ["--negative-ratio", "2", "--epochs", "4", "--report-to", str(tmp_path / "out")]
    call("run", *options, "--split", "leave-last-k", "--leave-last", "3")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["run"]["generated"] is True
    assert report["data"]["refused_by_check"] == {"range": 1}
    assert report["counts"]["refused"] == 1
    assert 0 <= report["metrics"]["ndcg@10"] <= 1
    assert "popularity" in report["baselines"]

    best = report["recommendations"]
    first = best["items"][0]
    told = call("explain", "--user", str(best["user_id"]), "--item", str(first["item_id"]))
    assert f"User {best['user_id']} and {first['title']}" in told
    assert f"in run {report['run']['run']}" in told
    assert f"Probability {first['score']:.4f}" in told


def test_the_own_image_learns_graded_ratings(fmrec: Any, tmp_path: Path) -> None:
    options = ["--source", "sample", "--objective", "ranking", "--image", "fmrec"]
    options += ["--features", "full", "--epochs", "2", "--report-to", str(tmp_path / "out")]
    answer = fmrec("run", *options, "--split", "u1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["hyperparameters"]["predictor_type"] == "regressor"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["counts"]["ranked_users"] > 0


def test_commands_on_a_bucket_say_when_nothing_runs(fmrec: Any) -> None:
    for arguments in (
        ["replay", "--source", "sample"],
        ["quarantine"],
        ["explain", "--user", "1", "--item", "1"],
    ):
        answer = fmrec(*arguments)
        assert answer.returncode == 1
        assert "make up" in answer.stderr
