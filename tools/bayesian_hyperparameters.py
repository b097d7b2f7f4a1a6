"""Choose and measure the hyperparameters of solver mcmc on MovieLens 100K.

    python tools/bayesian_hyperparameters.py --choose     writes var/bayesian-choice.json
    python tools/bayesian_hyperparameters.py --compare    adds to it
    python tools/bayesian_hyperparameters.py --measure    writes docs/benchmarks/accuracy.md

The choice sees training files alone. What it found is to be set as defaults in
plugins/fmrec/fm/hyperparameters.py and plugins/fmrec/settings/defaults.py by hand; so are
PROBIT_TO_LOGIT in plugins/fmrec/fm/mcmc.py and LIKE_PRESET in tools/bayesian_accuracy.py. Then
`--compare` tells, on the same splits, what features add and what an export loses, and `--measure`
scores the test files. FMREC_DATA_DIR names the folder of ml-100k.zip.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Two chains run at a time; numpy's own threads would only get into their way.
THREADS = 2
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(THREADS)}

import numpy as np  # noqa: E402

import bayesian_rows as rows  # noqa: E402
from fmrec.evaluation import metrics  # noqa: E402
from fmrec.events.objectives import labels  # noqa: E402
from fmrec.fm import mcmc  # noqa: E402
from fmrec.fm.blocks import design as blocks  # noqa: E402
from fmrec.fm.chain import Chain  # noqa: E402

CHOICE = Path(__file__).resolve().parent.parent / "var" / "bayesian-choice.json"
PRESETS = ("full", "profile")
FACTORS = (6, 8, 10, 12)
ITERATIONS, BURN_INS = (100, 150, 200), (10, 20, 30, 50)
# Fixed beforehand: with eight chains a job of 8 factors takes about ten seconds on two cores.
CHAINS, FEWER_CHAINS = 8, (4, 6)
SAMPLES = (32, 40, 48, 64)
SCALES = (1.2, 1.3, 1.4, 1.5, 1.6, 1.7)
DRAWS, SEED = 2, 1
DECIDES = {"rating": "rmse", "like": "cross_entropy"}
# Of features: what each adds to `profile`, by the settings that were chosen.
STEPS = ("profile", rows.WITHOUT_VISIT, "full", "everything")

Record = dict[str, Any]


def choose(objectives: Sequence[str]) -> None:
    """Search; write all that was tried and what is best, after each part of the search."""
    found = json.loads(CHOICE.read_text()) if CHOICE.is_file() else {}
    CHOICE.parent.mkdir(exist_ok=True)
    for objective in objectives:
        begun, tried = time.perf_counter(), []
        for preset in PRESETS:
            for name, split in rows.inner_splits(preset, DRAWS).items():
                for k in FACTORS:
                    ran = time.perf_counter()
                    points = list(_points(split, objective, k, max(ITERATIONS)))
                    seconds = time.perf_counter() - ran
                    where = {"preset": preset, "split": name, "num_factors": k}
                    tried += [where | {"seconds": seconds} | point for point in points]
                    print(f"{objective}: {where}, {seconds:.0f} s", flush=True)
        table = _table(objective, tried)
        found[objective] = {
            "seconds": time.perf_counter() - begun,
            "noise": _noise(objective, tried),
            "scale": mcmc.PROBIT_TO_LOGIT,
            "table": table,
            "tried": tried,
        }
        CHOICE.write_text(json.dumps(found, indent=1))
        print(f"{objective}: noise {found[objective]['noise']:.5f}; best first:", flush=True)
        for each in table[:12]:
            print(each, flush=True)
        print(f"chosen: {settled(table, found[objective]['noise'])}", flush=True)


def settled(table: Sequence[Record], noise: float) -> Record:
    """Return the cheapest candidate that is as good as the best, and of several such the best."""
    near = [line for line in table if line["verdict"] <= table[0]["verdict"] + 2 * noise]
    return min(near, key=lambda line: (line["num_factors"] * line["iterations"], line["verdict"]))


def compare(settings: rows.Settings) -> None:
    """Judge what features add and exports lose, on the same inner splits, by chosen settings."""
    found = json.loads(CHOICE.read_text())
    tried: dict[str, dict[str, float]] = {}
    searched = _known(found, settings)
    for preset in STEPS:
        tried[preset] = searched.get(preset, {})
        if tried[preset]:  # the search ran the very same chains
            continue
        for name, split in rows.inner_splits(preset, DRAWS).items():
            points = _points(
                split,
                "rating",
                settings["num_factors"],
                settings["iterations"],
                burn_ins=(settings["burn_in"],),
            )
            point = next(each for each in points if each["chains"] == CHAINS)
            tried[preset][name] = point["rmse"]
            print(f"{preset}, {name}: {point['rmse']:.4f}", flush=True)
    found["features"] = tried
    found["samples"] = {
        name: _lost(split, settings) for name, split in rows.inner_splits("full", DRAWS).items()
    }
    CHOICE.write_text(json.dumps(found, indent=1))


def _known(found: Record, settings: rows.Settings) -> dict[str, dict[str, float]]:
    """Return RMSE by preset and split where the search has tried these settings."""
    wanted = {name: settings[name] for name in ("num_factors", "iterations", "burn_in", "chains")}
    known: dict[str, dict[str, float]] = {}
    for one in found["rating"]["tried"]:
        if wanted.items() <= one.items():
            known.setdefault(one["preset"], {})[one["split"]] = one["rmse"]
    return known


def _lost(split: rows.Split, settings: rows.Settings) -> dict[str, float]:
    """Return the RMSE that exports lose against the mean of all draws."""
    wanted = labels(split.held, "rating")
    whole, exported = rows.fitted(split, "rating", settings, SEED, *SAMPLES)
    all_draws, *few = (
        judged("rating", split.raw(model.w0, model.w, model.V), wanted)["rmse"]
        for model in (whole, *exported)
    )
    lost = {str(count): rmse - all_draws for count, rmse in zip(SAMPLES, few, strict=True)}
    print(lost, flush=True)
    return lost


def _points(
    split: rows.Split,
    objective: str,
    k: int,
    iterations: int,
    burn_ins: Sequence[int] = BURN_INS,
) -> Iterator[Record]:
    """Run all chains; judge the mean of what they drew, for each burn-in, length and number."""
    ends = [each for each in ITERATIONS if each < iterations] + [iterations]
    y, wanted = labels(split.train, objective), labels(split.held, objective)
    made = blocks(split.compact, split.features)
    group = split.features.feature[made.present].astype(np.int64)
    shape = split.features.dimension

    def run(number: int) -> dict[int, np.ndarray]:
        """Return the sum of what was predicted until each of the iterations that matter."""
        chain = Chain(
            made,
            y,
            group,
            num_factors=k,
            classifies=objective == "like",
            rng=np.random.default_rng([SEED, number]),
        )
        total = np.zeros(len(wanted))
        w, V = np.zeros(shape), np.zeros((shape, k))
        sums = {}
        for iteration in range(1, iterations + 1):
            chain.sweep()
            w[made.present], V[made.present] = chain.w, chain.V.T
            total += split.raw(chain.w0, w, V)
            if iteration in (*burn_ins, *ends):
                sums[iteration] = total.copy()
        return sums

    with ThreadPoolExecutor(THREADS) as pool:
        sums = list(pool.map(run, range(CHAINS)))
    parts = {str(count): range(count) for count in (*FEWER_CHAINS, CHAINS)}
    parts["other half"] = range(CHAINS // 2, CHAINS)
    for end, burn_in, (name, part) in itertools.product(ends, burn_ins, parts.items()):
        drawn = len(part) * (end - burn_in)
        mean = sum(sums[number][end] - sums[number][burn_in] for number in part) / drawn
        chains = int(name) if name.isdecimal() else name
        where = {"iterations": end, "burn_in": burn_in, "chains": chains}
        yield where | judged(objective, mean, wanted)


def judged(objective: str, raw: np.ndarray, wanted: np.ndarray) -> Record:
    """Return the metrics of raw scores; those of a probit have yet to become log-odds."""
    if objective == "rating":
        return {"rmse": metrics.rmse(wanted, metrics.clip_to_scale(raw, (1, 5)))}
    chances = {scale: 1 / (1 + np.exp(-scale * raw)) for scale in SCALES}
    by_scale = {str(s): metrics.cross_entropy(wanted, each) for s, each in chances.items()}
    return {
        "cross_entropy": by_scale[str(mcmc.PROBIT_TO_LOGIT)],
        "accuracy": metrics.accuracy(wanted, chances[SCALES[0]]),
        "auc": metrics.auc(wanted, raw),
        "by_scale": by_scale,
    }


def _table(objective: str, tried: Sequence[Record]) -> list[Record]:
    """Return the candidates, best first, each with the means over splits that decide."""
    names = [DECIDES[objective], *(("accuracy", "auc") if objective == "like" else ())]
    found = []
    for candidate, each in _by_candidate(tried):
        of_all = [one for one in each if one["chains"] == CHAINS]
        line = dict(candidate)
        line["verdict"] = _mean(of_all, names[0])
        for preset, name in itertools.product(PRESETS, names):
            line[f"{preset} {name}"] = _mean((o for o in of_all if o["preset"] == preset), name)
        for chains in FEWER_CHAINS:
            fewer = (one for one in each if one["chains"] == chains)
            line[f"{chains} chains"] = _mean(fewer, names[0])
        if objective == "like":
            line["by_scale"] = {
                scale: float(np.mean([one["by_scale"][scale] for one in of_all]))
                for scale in of_all[0]["by_scale"]
            }
        found.append(line)
    return sorted(found, key=lambda line: line["verdict"])


def _noise(objective: str, tried: Sequence[Record]) -> float:
    """Return the standard error of the difference of two candidates that chance alone makes.

    The verdict of each half of the chains is known; their mean has half the spread of their
    difference.
    """
    name = DECIDES[objective]
    differences = [
        _mean((one for one in each if one["chains"] == CHAINS // 2), name)
        - _mean((one for one in each if one["chains"] == "other half"), name)
        for _, each in _by_candidate(tried)
    ]
    return float(np.sqrt(2 * np.mean(np.square(differences)) / 4))


def _by_candidate(tried: Sequence[Record]) -> Iterator[tuple[Record, list[Record]]]:
    names = ("num_factors", "iterations", "burn_in")
    for values in sorted({tuple(one[name] for name in names) for one in tried}):
        candidate = dict(zip(names, values, strict=True))
        yield candidate, [one for one in tried if candidate.items() <= one.items()]


def _mean(records: Iterable[Record], name: str) -> float:
    return float(np.mean([each[name] for each in records]))


def main() -> None:
    """Choose or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--choose", action="store_true")
    what.add_argument("--compare", action="store_true", help="features and samples")
    what.add_argument("--measure", action="store_true")
    what.add_argument("--page", action="store_true", help="write the page anew, measure nothing")
    parser.add_argument("--objective", choices=DECIDES, help="choose for this one alone")
    arguments = parser.parse_args()
    if arguments.choose:
        choose([arguments.objective] if arguments.objective else list(DECIDES))
        return
    import bayesian_accuracy  # noqa: PLC0415 - it is of no use while a choice is made

    if arguments.compare:
        compare(bayesian_accuracy.SETTINGS)
    elif arguments.page:
        bayesian_accuracy.write(CHOICE)
    else:
        bayesian_accuracy.measure(CHOICE)


if __name__ == "__main__":
    main()
