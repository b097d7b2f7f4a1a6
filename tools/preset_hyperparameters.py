"""The part of choose_hyperparameters.py that searches for the presets beyond the ids.

Rows are made by the pipeline's own code (fmrec.events.prepare, FeatureSpace, Design): a split's
held-out events are its test part, and histories hold its training events alone.
"""

from __future__ import annotations

import functools
import math
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from fmrec.evaluation.baselines import clip_to_probability, fit_biases
from fmrec.events import encoders
from fmrec.events.design import Design
from fmrec.events.objectives import labels
from fmrec.events.prepare import Choices, prepare
from fmrec.events.space import FeatureSpace
from fmrec.fm import hyperparameters
from fmrec.fm.adam import Adam
from fmrec.fm.metrics import score_for
from fmrec.ratings import open_archive
from fmrec.settings import RunSettings
from ranking_hyperparameters import SHOWN

PRESETS = tuple(preset for preset in encoders.PRESETS if preset != "ids")
METHOD = """\
Rows are those that the pipeline writes, and the bias starts as it does there. Each configuration is
judged by {metric}, the mean of a random 15 % of u1.base and its latest 15 %, after the number of
epochs that is best for this mean; training stops when {patience} more brought nothing better. The
best {finalists} are trained again on another random 15 %; the mean of random (both) and
time-ordered decides. Wider ranges were tried before, on the same splits, and narrowed to what did
well there."""
COMPARISON = """\
Written by `python tools/choose_hyperparameters.py --compare`.

The defaults of each preset, and the bias model that every report sets beside a run (mean, user and
film bias). Rows are those that the pipeline writes. u1.test was scored after all choices; "by
time" is the latest 15 % of u1.base, on which they were made, seed 1.

What the searches below call `full` was what is `everything` now, without visits. Its choice serves
`full` and `everything`, and that of `history` serves `profile`: neither was searched for anew."""
MAX_EPOCHS = 40
PATIENCE = 4
FINALISTS = 8
HELD_OUT = 0.15
HISTORY = RunSettings().histories
CLOCK = 2**31
METRICS = {"rating": "rmse", "like": "binary_classification_cross_entropy"}
PREDICTORS = {"rating": "regressor", "like": "binary_classifier"}


Configuration = dict[str, str]


@dataclass(frozen=True, eq=False)
class Rows:
    """Design matrices and labels of a split, training rows in the order they are trained."""

    X: sparse.csr_matrix
    y: np.ndarray
    X_held: sparse.csr_matrix
    y_held: np.ndarray
    configuration: Configuration


@dataclass(frozen=True)
class Trial:
    """A configuration and its metric on each split tried so far."""

    configuration: Configuration
    values: tuple[float, ...]
    seconds: float

    @property
    def verdict(self) -> float:
        """The mean of the time-ordered split, which is the first, and the random ones' mean."""
        return (self.values[0] + float(np.mean(self.values[1:]))) / 2

    def row(self) -> str:
        """Return the cells of its line in a table."""
        settings = [self.configuration[name] for name in SHOWN]
        values = [f"{value:.4f}" for value in (*self.values, self.verdict)]
        return " | ".join([*settings, *values, f"{self.seconds:.1f} s"])


def section(objective: str, preset: str, trials: int, seed: int) -> list[str]:
    """Search; return this preset's part of the report."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    base = base_of(folded())
    by_time, first, second = (
        rows(split, preset=preset, objective=objective, seed=seed)
        for split in (time_split(base), random_split(base, rng), random_split(base, rng))
    )
    tried = []
    for number in range(trials):
        trial = best_epoch(objective, draw(rng), (by_time, first), seed)
        tried.append(trial)
        print(f"{objective} {preset} {number + 1}/{trials}: {trial.row()}", flush=True)
    tried.sort(key=lambda trial: trial.verdict)
    finalists = [
        replace(trial, values=(*trial.values, judged(objective, trial, second, seed)))
        for trial in tried[:FINALISTS]
    ]
    winner = min(finalists, key=lambda trial: trial.verdict)
    spent = time.perf_counter() - started
    chosen = ", ".join(f'"{name}": "{value}"' for name, value in winner.configuration.items())
    method = METHOD.format(patience=PATIENCE, finalists=FINALISTS, metric=METRICS[objective])
    lines = ["", f"## {objective}, {preset} ({PREDICTORS[objective]})", ""]
    lines += [*method.splitlines(), "", f"Searched in {spent:.0f} s. The choice:", ""]
    lines += ["```json", f"{{{chosen}}}", "```"]
    lines += ["", f"The finalists, {METRICS[objective]} on inner splits of u1.base:", ""]
    lines += header("by time", "random 1", "random 2") + [
        f"| {trial.row()} |" for trial in finalists
    ]
    lines += ["", "All that was tried, best first:", "", *header("by time", "random 1")]
    return lines + [f"| {trial.row()} |" for trial in tried]


def comparison(heading: str) -> list[str]:
    """Score the defaults of every preset and the bias model; return that part of the report."""
    lines = ["", f"## {heading}", "", *COMPARISON.splitlines()]
    by_time = time_split(base_of(folded()))
    for objective, metric in METRICS.items():
        names = ("u1.test, seed 1", "seed 2", "seed 3", "mean", "by time", "time of a seed")
        lines += ["", f"| `{objective}`: {metric} | {' | '.join(names)} |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|"]
        biases = [bias_model(objective, split) for split in (folded(), by_time)]
        lines.append(f"| bias model | | | | {biases[0]:.4f} | {biases[1]:.4f} | |")
        means, late = {}, {}
        for preset in ("ids", *PRESETS):
            settings = RunSettings.of({"objective": objective, "features": preset})
            trial = Trial(settings.hyperparameters(), (), 0.0)
            values, begun = [], time.perf_counter()
            for split, seed in ((folded(), 1), (folded(), 2), (folded(), 3), (by_time, 1)):
                made = rows(split, preset=preset, objective=objective, seed=seed)
                values.append(judged(objective, trial, made, seed))
            taken = (time.perf_counter() - begun) / 4
            means[preset] = float(np.mean(values[:3]))
            late[preset] = values[3]
            values.insert(3, means[preset])
            cells = " | ".join(f"{value:.4f}" for value in values)
            lines.append(f"| {preset} | {cells} | {taken:.1f} s |")
            print(lines[-1], flush=True)
        behind = [preset for preset in PRESETS if means[preset] >= means["ids"]]
        losing = [preset for preset in PRESETS if late[preset] >= biases[1]]
        lines += [
            "",
            f"With Adam these do not beat `ids` on u1.test: {', '.join(behind) or 'none'}. By time "
            f"these do not beat the bias model: {', '.join(losing) or 'none'}.",
        ]
    return lines


def bias_model(objective: str, ratings: pa.Table) -> float:
    """Fit the bias model to fold 1; return the metric on fold 2."""
    frame = ratings.to_pandas()
    train, test = frame[frame["fold"] == 1], frame[frame["fold"] == 2]
    model = fit_biases(train["user_id"], train["item_id"], labels(train, objective))
    guessed, wanted = model.predict(test["user_id"], test["item_id"]), labels(test, objective)
    if objective == "rating":
        return math.sqrt(float(np.mean((guessed - wanted) ** 2)))
    chance = clip_to_probability(guessed)
    return -float(np.mean(np.log(np.where(wanted == 1, chance, 1 - chance))))


def header(*splits: str) -> list[str]:
    """Return the head of a table of trials."""
    columns = [*SHOWN, *splits, "verdict", "training"]
    return [f"| {' | '.join(columns)} |", f"|{'--:|' * len(columns)}"]


def draw(rng: np.random.Generator) -> Configuration:
    """Return a random configuration; weight decay is drawn per row, as for the ids."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    batch = int(rng.choice([500, 1000, 2000]))
    return {
        "num_factors": str(rng.choice([8, 16, 32])),
        "epochs": str(MAX_EPOCHS),
        "mini_batch_size": str(batch),
        "bias_lr": f"{log_uniform(1e-3, 3e-2):.2g}",
        "linear_lr": f"{log_uniform(1e-3, 2e-2):.2g}",
        "factors_lr": f"{log_uniform(2e-4, 3e-3):.2g}",
        "bias_wd": "0",
        "linear_wd": f"{log_uniform(3e-3, 1) / batch:.2g}",
        "factors_wd": f"{log_uniform(0.1, 3) / batch:.2g}",
        "factors_init_sigma": f"{log_uniform(1e-3, 0.03):.2g}",
    }


def best_epoch(
    objective: str, configuration: Configuration, splits: tuple[Rows, Rows], seed: int
) -> Trial:
    """Train on both splits; keep the number of epochs with the best verdict on held-out rows."""
    begun = time.perf_counter()
    trainers = [trainer_of(configuration, made, seed)[0] for made in splits]
    best = Trial(configuration | {"epochs": "0"}, (math.inf, math.inf), 0)
    for epoch in range(1, MAX_EPOCHS + 1):
        for trainer in trainers:
            trainer.train(0, trainer.batches)
        values = tuple(
            score(objective, trainer, made) for trainer, made in zip(trainers, splits, strict=True)
        )
        now = Trial(configuration | {"epochs": str(epoch)}, values, 0)
        if now.verdict < best.verdict:
            best = now
        elif epoch >= int(best.configuration["epochs"]) + PATIENCE:
            break
    return replace(best, seconds=time.perf_counter() - begun)


def judged(objective: str, trial: Trial, made: Rows, seed: int) -> float:
    """Return the metric on the held-out rows after the configured number of epochs."""
    trainer, epochs = trainer_of(trial.configuration, made, seed)
    for _ in range(epochs):
        trainer.train(0, trainer.batches)
    return score(objective, trainer, made)


def trainer_of(configuration: Configuration, made: Rows, seed: int) -> tuple[Adam, int]:
    """Return a trainer of the rows, and its number of epochs."""
    hp = hyperparameters.parse(configuration | made.configuration | {"_seed": str(seed)})
    return Adam(hp, made.X, made.y), hp.epochs


def score(objective: str, trainer: Adam, made: Rows) -> float:
    """Return the metric that decides, on the held-out rows."""
    counted = score_for(PREDICTORS[objective])
    counted.add(trainer.model().raw(made.X_held), made.y_held)
    return counted.values()[METRICS[objective]]


@functools.cache
def tables() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the ratings of split u1 with their folds, the users and the films of ML-100K."""
    data = Path(os.environ["FMREC_DATA_DIR"])
    with open_archive("ml-100k", data_dir=data, cache_dir=data) as archive:
        ratings = pa.concat_tables(chunk.ratings for chunk in archive.ratings("u1"))
        return ratings, archive.users(), archive.items()


def folded() -> pa.Table:
    """Return the ratings of split u1: u1.base is fold 1, u1.test fold 2."""
    return tables()[0]


def base_of(ratings: pa.Table) -> pa.Table:
    """Return fold 1."""
    return ratings.filter(ratings["fold"].to_numpy() == 1)


def random_split(base: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Return the ratings with a random part as fold 2."""
    order = rng.permutation(base.num_rows)
    return refolded(base, order[: int(base.num_rows * HELD_OUT)])


def time_split(base: pa.Table) -> pa.Table:
    """Return the ratings with the latest part as fold 2."""
    order = np.argsort(base["timestamp"].to_numpy(), kind="stable")
    return refolded(base, order[int(base.num_rows * (1 - HELD_OUT)) :])


def refolded(base: pa.Table, held_out: np.ndarray) -> pa.Table:
    """Return the ratings with these rows as fold 2, all others as fold 1."""
    fold = np.ones(base.num_rows, np.int8)
    fold[held_out] = 2
    return base.set_column(base.schema.get_field_index("fold"), "fold", pa.array(fold))


def rows(ratings: pa.Table, *, preset: str, objective: str, seed: int) -> Rows:
    """Return the rows of fold 1, to train on, and of fold 2, as the pipeline writes them."""
    _, users, items = tables()
    choices = Choices(
        as_of=CLOCK,
        split="u1",
        validation_fraction=0.0,
        test_fraction=0.1,
        leave_last=1,
        user_least=1,
        item_least=1,
        order="shuffled",
        seed=seed,
        history_length=HISTORY if "rated" in encoders.PRESETS[preset] else 0,
        negatives=0,
        negative_exponent=0.0,
        shard_rows=ratings.num_rows,
        visits="visit" in encoders.PRESETS[preset],
    )
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare([ratings], choices, Path(folder, "work"))
        train, held = (
            pa.concat_tables(shard() for shard in prepared.shards(part)).to_pandas()
            for part in ("train", "test")
        )
    space = FeatureSpace.from_facts(prepared.facts, users, items, preset=preset)
    design = Design(
        space,
        prepared.facts,
        users,
        items,
        history_length=HISTORY,
        graded=False,
        leave_own_out=True,
    )
    y, y_held = labels(train, objective), labels(held, objective)
    mean = float(y.mean())
    bias = mean if objective == "rating" else math.log(mean / (1 - mean))
    given = {
        "feature_dim": str(space.dimension),
        "predictor_type": PREDICTORS[objective],
        "bias_init_method": "constant",
        "bias_init_value": f"{bias:.6g}",
    }
    return Rows(design.encode(train), y, design.encode(held), y_held, given)
