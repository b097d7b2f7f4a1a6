"""Measure what the gate lets pass, on the test files of MovieLens 100K.

    python tools/gate_power.py --fit         writes var/gate-power.npz: what models say
    python tools/gate_power.py --measure     writes docs/benchmarks/gate.md; fails if a bar fails

FMREC_DATA_DIR names the folder of ml-100k.zip. Nothing is chosen by these figures.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# The fits run two chains at a time; numpy's own threads would only get into their way.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}

import numpy as np

import bayesian_rows as rows
import ranking_catalogue as lists
from fmrec import topn
from fmrec.evaluation import baselines, ranking
from fmrec.events.objectives import labels
from fmrec.release.gate import Policy
from gate_cases import Array, Case, Test, as_it_is, drawn, ranking_case, rating_case, turned

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "var" / "gate-power.npz"
REPORT = ROOT / "docs" / "benchmarks" / "gate.md"
FOLDS = ("u1", "ua")
# A quarter of the default's chains, half its iterations: a model like others, soon fitted.
SETTINGS = {"num_factors": 10, "iterations": 75, "burn_in": 10, "chains": 2, "samples": 32}
SEEDS, MORE_SEEDS = 100, 300
WORSE = 0.01
SHARES = {
    "rating": (0.001, 0.002, 0.004, 0.006, WORSE, 0.02),
    "ranking": (WORSE, 0.02, 0.03, 0.04, 0.06, 0.08),
}
TOLERANCES = (0.0, 0.005, 0.01)
POWER = 0.8
MOST_PROMOTED = 0.05
EXCHANGED = "champion and twin, exchanged at random"

# What the gate says.


def worse_and_better(case: Case, fold: str) -> Iterator[tuple[str, str, float, float, str]]:
    """Yield (role, way, share, tolerance, decision) for test sets drawn from the file's users.

    Both roles of each pair: the model that was spoilt as the candidate, which is "worse", and as
    the champion, which makes the other one "better" by this share of the better one's figure.
    """
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, *map(ord, fold + case.use)])
        names, others = {}, {}
        for way in case.ways:
            for share, values in case.spoilt(way, SHARES[case.use], rng).items():
                names[f"{way} {share}"] = (way, share)
                others[f"{way} {share}"] = values
        for where, test in (("file", as_it_is(case)), ("drawn", drawn(case, rng))):
            if where == "file":
                asked = {name: each for name, each in others.items() if names[name][1] == WORSE}
            else:
                asked = others
            found = case.compared(case.champion, asked | {"own": case.baseline}, test, seed)
            below = case.compared(case.baseline, asked, test, seed)
            for name in asked:
                way, share = names[name]
                for tolerance in TOLERANCES:
                    policy = Policy(tolerance=tolerance)
                    said = case.decided(turned(found[name]), turned(below[name]), policy)
                    yield f"worse, {where}", way, share, tolerance, said
                if where == "drawn":
                    said = case.decided(found[name], found["own"], Policy())
                    yield "better", way, share, 0.0, said


def equal(case: Case, fold: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, decision) for pairs of models of which neither is better."""
    for seed in range(MORE_SEEDS):
        rng = np.random.default_rng([seed, *map(ord, "equal" + fold + case.use)])
        test = drawn(case, rng)
        pairs = {
            way: [case.spoilt(way, (WORSE,), rng)[WORSE][test.events] for _ in range(2)]
            for way in case.random
        }
        # A coin for each user that was drawn: were it one for each user of the file, then one of
        # the models would be better over the file, and so on most test sets drawn from it.
        exchanged = rng.integers(2, size=test.owner.max() + 1)[test.owner] == 1
        champion, twin = case.champion[test.events], case.twin[test.events]
        pairs[EXCHANGED] = [
            np.where(exchanged, champion, twin),
            np.where(exchanged, twin, champion),
        ]
        whole = Test(np.arange(test.owner.size), test.owner)
        for kind, (ours, theirs) in pairs.items():
            others = {"champion": theirs, "baseline": case.baseline[test.events]}
            found = case.compared(ours, others, whole, seed)
            yield kind, case.decided(found["champion"], found["baseline"], Policy())


# The page.


def measure() -> list[str]:
    """Write the page; return the bars that failed."""
    with np.load(KEPT) as file:
        kept = dict(file)
    began = time.perf_counter()
    failed: list[str] = []
    lines = [
        "# What the gate lets pass",
        "",
        f"Written by `python tools/gate_power.py --measure` {_where()}",
        "",
        *METHOD.splitlines(),
    ]
    for use, make, title in (
        ("rating", rating_case, "RMSE"),
        ("ranking", ranking_case, "NDCG@10"),
    ):
        cases = {fold: make(kept, fold) for fold in FOLDS}
        said = {fold: Counter(worse_and_better(case, fold)) for fold, case in cases.items()}
        same = {fold: Counter(equal(case, fold)) for fold, case in cases.items()}
        lines += ["", f"## {title}", "", *_cases(cases, title)]
        lines += _worse(cases, said, failed, title)
        lines += _equal(cases, same, failed)
        lines += _better(cases, said, SHARES[use])
        print(f"{title}: {time.perf_counter() - began:.0f} s", flush=True)
    bars = failed or ["All bars hold."]
    place = lines.index("## RMSE")
    lines[place:place] = ["## Bars", "", *METHOD_BARS.splitlines(), "", *bars, ""]
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {REPORT}")
    return failed


METHOD = """\
The test files of MovieLens 100K, u1 (20,000 ratings of 459 users) and ua (ten ratings of each of
943 users), real models, and the gate itself with the default policy: tolerance 0, a person is asked
from 0.8. The champion and its twin are one model by two seeds, of which the twin has the better
figure; of ratings those of solver mcmc, preset `full`, with fewer draws than by default, of lists
those of solver catalogue, preset `profile`. What is made worse is the twin, until its figure over
the whole file is worse than the champion's by the share that is named: so the two differ everywhere
a little, as the models of two days do.

A seed draws what is random in a model and in the bootstrap and, where it says *drawn*, a test set:
as many users as the file has, drawn from them with replacement. There a model that is worse may
look better by chance."""
METHOD_BARS = """\
A model that is 1 % worse is promoted in at most 5 of 100 seeds, in whatever way it was made worse
(tolerance 0); one that is equal to the champion in at most 5 of 100."""


def _cases(cases: Mapping[str, Case], title: str) -> list[str]:
    rows_of = {
        "the champion": lambda case: case.champion,
        "its twin, by another seed": lambda case: case.twin,
        "the baseline": lambda case: case.baseline,
    }
    lines = [f"| {title} | {' | '.join(cases)} |", f"|---|{'--:|' * len(cases)}"]
    for name, of in rows_of.items():
        cells = " | ".join(f"{case.figure(of(case)):.4f}" for case in cases.values())
        lines.append(f"| {name} | {cells} |")
    return lines


def _worse(
    cases: Mapping[str, Case], said: Mapping[str, Counter[Any]], failed: list[str], title: str
) -> list[str]:
    lines = ["", f"### 1 % worse: {SEEDS} seeds", ""]
    heads = [f"tolerance {tolerance:.1%}" for tolerance in TOLERANCES]
    lines += [
        "Promoted, by the tolerance of the policy (at 1 % these models are just on its edge, where",
        "a test at 2.5 % is to let 2.5 of 100 pass); and brought to a person, with tolerance 0.",
        "",
        f"| made worse by | test set | {' | '.join(heads)} | a person |",
        f"|---|---|{'--:|' * (len(heads) + 1)}",
    ]
    for fold, case in cases.items():
        for way in case.ways:
            for where in ("drawn", "file"):
                of = functools.partial(_count, said[fold], f"worse, {where}", way, WORSE)
                promoted = [of(tolerance, "promote") for tolerance in TOLERANCES]
                if sum(of(0.0, each) for each in ("promote", "ask", "keep")) != SEEDS:
                    failed.append(f"- **FAILED**: {title}, {way}, {fold}: never 1 % worse")
                cells = " | ".join(map(str, [*promoted, of(0.0, "ask")]))
                name = f"{fold}, drawn" if where == "drawn" else f"{fold} itself"
                lines.append(f"| {way} | {name} | {cells} |")
                if promoted[0] > MOST_PROMOTED * SEEDS:
                    failed.append(f"- **FAILED**: {title}, {way}, {name}: {promoted[0]} promoted")
    return lines


def _count(
    said: Counter[Any], role: str, way: str, share: float, tolerance: float, decision: str
) -> int:
    return int(said[role, way, share, tolerance, decision])


def _equal(
    cases: Mapping[str, Case], same: Mapping[str, Counter[Any]], failed: list[str]
) -> list[str]:
    lines = [
        "",
        f"### Equal: {MORE_SEEDS} seeds",
        "",
        "Both models are made 1 % worse in the same way, each by itself; or they are champion and",
        "twin, of which a coin for each drawn user says which is the candidate. In per cent of the",
        "seeds; 2.5 % is what the interval promises.",
        "",
        "| | test set | promoted | a person | kept |",
        "|---|---|--:|--:|--:|",
    ]
    for fold in cases:
        for kind in dict.fromkeys(kind for kind, _ in same[fold]):
            shares = [same[fold][kind, each] / MORE_SEEDS for each in ("promote", "ask", "keep")]
            cells = " | ".join(f"{share:.1%}" for share in shares)
            lines.append(f"| {kind} | {fold}, drawn | {cells} |")
            if shares[0] > MOST_PROMOTED:
                failed.append(f"- **FAILED**: equal, {kind}, {fold}: {shares[0]:.1%} promoted")
    return lines


def _better(
    cases: Mapping[str, Case], said: Mapping[str, Counter[Any]], shares: tuple[float, ...]
) -> list[str]:
    heads = [f"{share:.1%}" for share in shares]
    lines = [
        "",
        f"### Better: {SEEDS} seeds",
        "",
        "How many are promoted, with tolerance 0, that are better than the champion by a share of",
        "their own figure, since the champion was made so much worse; and by what share a model",
        f"has to be better to be promoted in {POWER:.0%} (between the columns by a straight line).",
        "",
        f"| champion made worse by | test set | {' | '.join(heads)} | {POWER:.0%} |",
        f"|---|---|{'--:|' * (len(shares) + 1)}",
    ]
    for fold, case in cases.items():
        for way in case.ways:
            found = {}
            for share in shares:
                of = functools.partial(_count, said[fold], "better", way, share, 0.0)
                if any(map(of, ("promote", "ask", "keep"))):
                    found[share] = of("promote")
            cells = " | ".join(str(found.get(share, "-")) for share in shares)
            lines.append(f"| {way} | {fold}, drawn | {cells} | {_reached(found)} |")
    return lines


def _reached(promoted: Mapping[float, int]) -> str:
    """Return the share at which so many are promoted as POWER says."""
    before = (0.0, 0.0)
    for share, number in promoted.items():
        power = number / SEEDS
        if power >= POWER:
            part = (POWER - before[1]) / (power - before[1])
            return f"{before[0] + part * (share - before[0]):.2%}"
        before = (share, power)
    return f"> {before[0]:.1%}"


def _where() -> str:
    today = datetime.now(UTC).date()
    return f"on {today}: Python {platform.python_version()}, numpy {np.__version__}."


# The models.


def fit() -> None:
    """Fit the models and keep what they say of the test files."""
    kept: dict[str, Array] = {}
    for fold in FOLDS:
        began = time.perf_counter()
        for name, values in (_ratings(fold) | _lists(fold)).items():
            kept[f"{fold} {name}"] = values
        print(f"{fold}: {time.perf_counter() - began:.0f} s", flush=True)
    KEPT.parent.mkdir(exist_ok=True)
    np.savez_compressed(KEPT, **kept)
    print(f"wrote {KEPT}")


def _ratings(fold: str) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, preset, seed in (
        ("champion", "full", 1),
        ("twin", "full", 2),
        ("ids", "ids", 1),
    ):
        split = rows.split_of(lists.tables(fold)[0], preset)
        _, (model,) = rows.fitted(split, "rating", SETTINGS, seed, SETTINGS["samples"])
        found[name] = split.raw(model.w0, model.w, model.V)
        owner = split.held["user_id"].to_numpy()
        if not np.array_equal(owner, found.setdefault("owner", owner)):
            raise SystemExit(f"{fold}: presets order the held-out events differently")
    train, held = split.train, split.held
    biases = baselines.fit_biases(train["user_id"], train["item_id"], labels(train, "rating"))
    found["bias"] = biases.predict(held["user_id"], held["item_id"])
    found["truth"] = labels(held, "rating").astype(np.float64)
    return found


def _lists(fold: str) -> dict[str, Array]:
    split = lists.split_of(fold, lists.tables(fold)[0], preset="profile")
    users, seen = split.judged, split.train
    popular = ranking.Popularity.of(split.train).lists(users, seen)
    marked = {"popular lists": ranking.hits(users, popular, split.held)}
    for name, seed in (("lists", 1), ("twin lists", 2)):
        model = lists.fitted(split, lists.CHOSEN, seed)
        items, _ = topn.best(model, split.design, users, seen, ranking.DEPTH, at=0)
        marked[name] = ranking.hits(users, items, split.held)
    return {name: each.places for name, each in marked.items()} | {
        "relevant": marked["lists"].relevant
    }


def main() -> None:
    """Fit or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--fit", action="store_true")
    what.add_argument("--measure", action="store_true")
    if parser.parse_args().fit:
        fit()
        return
    failed = measure()
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
