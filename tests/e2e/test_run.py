"""`python -m fmrec run`: the whole pipeline, through real processes, on this machine."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sample_reports import assert_valid

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("nothing_left_running")]


def finished(answer: Any) -> tuple[dict[str, Any], Path]:
    """The report that the last line of a successful run names."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    path = Path(answer.stdout.splitlines()[-1])
    return json.loads(path.read_text()), path.parent


def test_make_demo(tmp_path: Path, plain_environ: dict[str, str]) -> None:
    """The README's first command, with whatever ratings are at hand."""
    environ = plain_environ | {"FMREC_STATE_DIR": str(tmp_path)}
    answer = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    report, folder = finished(answer)
    assert report["schema"] == 1
    assert folder.parent == tmp_path / "reports"
    assert (folder / "report.html").is_file()
    assert report["verdict"]["headline"] in answer.stdout
    assert f"Recommended to user {report['recommendations']['user_id']}" in answer.stdout
    assert len(report["recommendations"]["items"]) == 10
    for row in report["recommendations"]["items"]:
        assert row["title"] in answer.stdout
    generated = report["run"]["source"] == "sample"
    assert report["run"]["generated"] is generated
    assert ("generated ratings" in answer.stdout) is generated
    # What is left is the report and the cache: no half-made run, no database.
    assert {each.name for each in tmp_path.iterdir()} <= {"reports", "cache"}


def test_sample_by_likes(fmrec: Any, tmp_path: Path) -> None:
    answer = fmrec(
        "run", "--source", "sample", "--objective", "like", "--as-of", "1998-01-01",
        "--unknown-ids", "exclude", "--epochs", "5", "--report-to", str(tmp_path / "out"),
    )  # fmt: skip
    report, folder = finished(answer)
    assert folder == tmp_path / "out"
    assert report["run"]["generated"] is True
    assert "not real" in (folder / "report.html").read_text()
    assert "generated" in answer.stdout
    assert set(report["metrics"]) >= {"accuracy", "cross_entropy", "f1", "auc"}
    counts = report["counts"]
    assert counts["events"] == counts["predictions"]
    assert counts["train"] + counts["validation"] + counts["test"] == counts["ratings_seen"]
    assert counts["test"] - counts["set_aside"] == counts["events"] > 0
    unknown = sum(counts[f"unknown_{which}"] for which in ("user", "item", "both"))
    assert counts["set_aside"] == unknown > 0
    assert len([point for point in report["learning_curve"] if point["epoch"] is not None]) >= 5
    manifest = json.loads((folder / "manifest.json").read_text())
    for part in ("train", "validation", "test"):
        assert manifest["events"][part]["last"] < 883612800  # 1998-01-01


def test_real_ratings_beat_the_bias_baseline_on_u1(
    fmrec: Any, data_dir: Path, tmp_path: Path
) -> None:
    """The project's own defaults; the split's test rows were never used to choose them."""
    answer = fmrec(
        "run", "--split", "u1", "--report-to", str(tmp_path / "out"), FMREC_DATA_DIR=str(data_dir)
    )
    report, _ = finished(answer)
    assert report["run"]["source"] == "ml-100k"
    assert report["run"]["generated"] is False
    assert report["counts"]["events"] == report["counts"]["predictions"] == 20_000
    assert 0.95 <= report["baselines"]["user_item_bias"]["rmse"] <= 0.965
    assert report["metrics"]["rmse"] <= 0.93
    assert len(report["recommendations"]["items"]) == 10
    # Good at ratings, and worse at lists than the most popular films: the report says so.
    assert report["gate"]["decision"] == "promote"
    (lists,) = report["gate"]["others"]
    assert (lists["use"], lists["decision"]) == ("ranking", "keep")
    assert report["metrics"]["ndcg@10"] < report["baselines"]["popularity"]["ndcg@10"]
    assert "loses to popularity" in answer.stdout
    assert_valid(report)


def test_the_bayesian_solver_through_the_pipeline(
    fmrec: Any, data_dir: Path, tmp_path: Path
) -> None:
    """With fewer sweeps than by default: docs/benchmarks/accuracy.md has the whole."""
    answer = fmrec(
        "run", "--split", "u1", "--image", "fmrec", "--features", "full", "--iterations", "40",
        "--chains", "2", "--burn-in", "10", "--report-to", str(tmp_path / "out"),
        FMREC_DATA_DIR=str(data_dir),
    )  # fmt: skip
    report, folder = finished(answer)
    assert report["metrics"]["rmse"] <= 0.9
    curve = [point for point in report["learning_curve"] if point["epoch"] is not None]
    assert {point["epoch"] for point in curve} == set(range(40))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["hyperparameters"]["solver"] == "mcmc"
    names = {each["key"].rpartition("/")[2] for each in manifest["recordio"]["features"]}
    assert names == {"columns.json", "user.pbr", "item.pbr"}


def test_lists_of_the_catalogue_solver_beat_popularity(fmrec: Any, tmp_path: Path) -> None:
    answer = fmrec(
        "run", "--source", "sample", "--split", "u1", "--image", "fmrec", "--objective", "ranking",
        "--features", "profile", "--epochs", "10", "--report-to", str(tmp_path / "out"),
    )  # fmt: skip
    report, _ = finished(answer)
    assert report["metrics"]["ndcg@10"] > report["baselines"]["popularity"]["ndcg@10"]
    assert report["verdict"]["headline"] in answer.stdout


@pytest.mark.parametrize(
    ("params", "least"),
    [
        (["--image", "fmrec", "--features", "profile", "--peers", "ease"], 0.48),
        ([], 0.43),
        (["--objective", "rating", "--use", "ranking"], None),
    ],
    ids=["own image", "built-in image", "ratings, meant for lists"],
)
def test_rankings_of_u1_beside_popularity_and_ease(
    fmrec: Any, data_dir: Path, tmp_path: Path, params: list[str], least: float | None
) -> None:
    answer = fmrec(
        "run", "--split", "u1", "--objective", "ranking", *params,
        "--report-to", str(tmp_path / "out"), FMREC_DATA_DIR=str(data_dir),
    )  # fmt: skip
    report, _ = finished(answer)
    assert report["counts"]["ranked_users"] == 456
    assert report["baselines"]["popularity"]["ndcg@10"] == pytest.approx(0.2606, abs=1e-4)
    if "--peers" in params:
        assert report["peers"]["ease"]["ndcg@10"] == pytest.approx(0.4855, abs=1e-3)
    assert report["gate"]["use"] == "ranking"
    if least is None:
        assert report["gate"]["headline"] == "Refused: loses to popularity"
    else:
        assert report["gate"]["decision"] == "promote"
        assert report["metrics"]["ndcg@10"] >= least
    assert_valid(report)


def test_a_wrong_parameter_stops_before_anything_starts(fmrec: Any) -> None:
    answer = fmrec("run", "--epochs", "0")
    assert answer.returncode == 1
    assert "parameter epochs: '0' is not allowed" in answer.stderr
    assert answer.stdout == ""


def altered(archive: Path, folder: Path) -> Path:
    """A copy of the MovieLens archive in which one rating of u.data is another."""
    copy = folder / "ml-100k.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"\t3\t", b"\t7\t", 1) if "u.data" in name else data)
    return copy


def test_a_bad_archive_fails_the_run_with_its_name(
    fmrec: Any, data_dir: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "data"
    bad.mkdir()
    archive = altered(data_dir / "ml-100k.zip", bad)
    answer = fmrec("run", "--source", "ml-100k", FMREC_DATA_DIR=str(bad))
    assert answer.returncode == 1
    assert "task ingest failed" in answer.stderr
    assert str(archive) in answer.stderr


def test_an_empty_window_names_what_there_is(fmrec: Any) -> None:
    answer = fmrec("run", "--source", "sample", "--as-of", "1990-01-01")
    assert answer.returncode == 1
    assert "task events failed" in answer.stderr
    assert "1997-09-20" in answer.stderr
