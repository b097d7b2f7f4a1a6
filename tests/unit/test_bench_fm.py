"""What the benchmarks of the algorithm conclude from their measurements."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fmrec.fm import features

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module(name)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return tool("bench_fm_inside", monkeypatch)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return tool("bench_fm_page", monkeypatch)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return tool("bench_fm_data", monkeypatch)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_curve(inside: ModuleType, power: float) -> None:
    sizes = [1e5, 1e6, 3e6, 1e7]
    assert inside.slope(sizes, [3e-7 * size**power for size in sizes]) == pytest.approx(power)


def test_the_guard_names_what_has_become_slow_and_what_is_gone(inside: ModuleType) -> None:
    recorded = {"encode": 1.0, "decode": 2.0, "score": 3.0, "adam": 4.0}
    measured = {"encode": 1.6, "decode": 2.9, "score": 1.0, "new": 9.0}
    worse = inside.regressions(recorded, measured, 1.5)
    assert worse == {"encode": pytest.approx(1.6), "adam": math.inf}
    assert inside.regressions(recorded, recorded, 1.5) == {}


def test_calls_are_repeated_until_they_fill_a_second(inside: ModuleType) -> None:
    for spent, calls in ((0.4, 3), (2.0, 1), (0.01, 5)):
        made: list[float] = []
        assert inside.steady(lambda made=made, spent=spent: made.append(spent) or spent) == spent
        assert len(made) == calls


def test_ratios_are_paired_by_round(page: ModuleType) -> None:
    samples = {"ours": [{"seconds": 1.0}, {"seconds": 4.0}], "x": [{"seconds": 2.0}] * 2}
    assert page.ratios(samples) == [0.5, 2.0]


def test_a_page_tells_whether_a_bar_is_held(page: ModuleType) -> None:
    def rival(ours: float, theirs: float) -> dict[str, object]:
        sides = {"ours": ours, "theirs": theirs}
        return {
            "samples": {
                side: [{"seconds": seconds, "rmse": 0.9, "peak": 100.0}] * 3
                for side, seconds in sides.items()
            },
            "load": 0.5,
            "date": "2026-11-20",
            "versions": {"Python": "3.11.7"},
        }

    text = "\n".join(
        page.lines({"mcmc beside myFM, ids": rival(0.7, 1), "adam beside libFM SGD": rival(1, 1)})
    )
    assert "| mcmc beside myFM, ids: ratio at most 0.6 | 0.70 | **no** |" in text
    assert "| adam beside libFM SGD: ratio at most 1.0 | 1.00 | yes |" in text
    assert "3 rounds, load average at start 0.5" in text


def test_synthetic_rows_have_a_column_of_each_family(data: ModuleType, tmp_path: Path) -> None:
    made = data.synthetic(500, nnz=5, users=30, items=22)
    assert made.train.X.shape == (500, 52)
    assert made.train.X.has_canonical_format
    families = made.features.feature[made.train.X.indices].reshape(500, 5)
    assert (families == np.arange(5)).all()
    assert data.write_job(tmp_path, made, {"num_factors": 2}, columns=True) > 0
    stored = features.load(tmp_path / "input" / "data" / "features", 52)
    assert stored is not None
    assert stored.features == made.features.features


def test_a_process_is_measured_and_its_failure_told(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = tool("bench_fm_processes", monkeypatch)
    finished = processes.run([sys.executable, "-c", "print('done'); bytearray(100 << 20)"])
    assert finished.output == "done\n"
    assert 0 < finished.seconds < 60
    assert 100 < finished.peak < 200
    with pytest.raises(processes.NotMeasuredError, match=r"ended with 3:\nno"):
        processes.run([sys.executable, "-c", "print('no'); raise SystemExit(3)"])


def test_the_guard_file_has_positive_ratios() -> None:
    recorded = json.loads((ROOT / "docs" / "benchmarks" / "guard.json").read_text())
    assert recorded["ratios"]
    assert all(ratio > 0 for ratio in recorded["ratios"].values())


def test_the_tool_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench_fm.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--guard" in done.stdout
