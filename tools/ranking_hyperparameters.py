"""The part of choose_hyperparameters.py that searches for the objective `ranking`.

The built-in algorithm can rank when it learns likes beside sampled unseen films. What is searched:
its own hyperparameters, how many films are sampled for a like, and how popular they are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from fmrec.evaluation import ranking
from fmrec.events import negatives
from fmrec.fm import hyperparameters
from fmrec.fm.adam import Adam
from fmrec.fm.model import Model

USERS, ITEMS = 943, 1682
METHOD = """\
Judged by NDCG@10 of whole lists: films of the training part that the user has not rated there;
relevant is 4 stars or more. Inner splits of u1.base alone: of users 463 to 943, none of whom is
in u1.test, 40 % of the ratings are held out (u1's own shape). The best few are trained again on
two other such draws and on one that holds out ten ratings of each of all users; the mean of the
four decides. Popularity, for the sampling, counts training events. u1.test and ua.test are scored
with the winner, for the record."""
EVERY = 4  # epochs between two looks at the lists
MAX_EPOCHS = 48
FINALISTS = 8

Configuration = dict[str, str]


@dataclass(frozen=True)
class Split:
    """Events with columns user_id, item_id, rating: to train on, and to be judged on."""

    train: pd.DataFrame
    held_out: pd.DataFrame


@dataclass(frozen=True)
class Trial:
    """A configuration, its sampling, and its NDCG@10 on each split tried so far."""

    configuration: Configuration
    ratio: int
    exponent: float
    ndcg: tuple[float, ...]
    seconds: float

    def row(self) -> str:
        """Return the cells of its line in a table."""
        settings = [self.configuration[name] for name in SHOWN]
        values = [f"{value:.4f}" for value in self.ndcg]
        return " | ".join(
            [*settings, str(self.ratio), f"{self.exponent:g}", *values, f"{self.seconds:.1f} s"]
        )


SHOWN = (
    "num_factors",
    "epochs",
    "mini_batch_size",
    "bias_lr",
    "linear_lr",
    "factors_lr",
    "linear_wd",
    "factors_wd",
    "factors_init_sigma",
)


def section(tables: dict[str, np.ndarray], trials: int, seed: int) -> list[str]:
    """Search; return this objective's part of the report."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    base = frame(tables["u1.base"])
    inner = [like_u1(base, rng) for _ in range(3)] + [ten_each(base, rng)]
    tried = []
    for number in range(trials):
        trial = best_epoch(draw(rng), inner[0], seed)
        tried.append(trial)
        print(f"ranking {number + 1}/{trials}: {trial.row()}", flush=True)
    tried.sort(key=lambda trial: -trial.ndcg[0])
    finalists = [
        replace(
            trial,
            ndcg=(*trial.ndcg, *(judged(trial, split, seed)["ndcg@10"] for split in inner[1:])),
        )
        for trial in tried[:FINALISTS]
    ]
    winner = max(finalists, key=lambda trial: float(np.mean(trial.ndcg)))
    spent = time.perf_counter() - started
    chosen = {name: value for name, value in winner.configuration.items() if name != "feature_dim"}
    names = ["ndcg@10", "precision@10", "recall@10", "map@10"]
    lines = ["", "## ranking (binary_classifier on likes and sampled films)", ""]
    lines += [*METHOD.splitlines(), ""]
    lines += [
        f"Searched in {spent:.0f} s. The choice, with {winner.ratio} sampled films for each like, "
        f"drawn with popularity to the power of {winner.exponent:g}:",
        "",
        "```json",
        "{" + ", ".join(f'"{name}": "{value}"' for name, value in chosen.items()) + "}",
        "```",
        "",
        f"| lists for | seed | {' | '.join(names)} | training |",
        f"|---|---|{'--:|' * len(names)}--:|",
    ]
    for fold in ("u1", "ua"):
        split = Split(frame(tables[f"{fold}.base"]), frame(tables[f"{fold}.test"]))
        for run_seed in (1, 2, 3):
            begun = time.perf_counter()
            values = judged(winner, split, run_seed)
            cells = " | ".join(f"{values[name]:.4f}" for name in names)
            taken = time.perf_counter() - begun
            lines.append(f"| {fold}.test | {run_seed} | {cells} | {taken:.1f} s |")
        values = popularity(split)
        cells = " | ".join(f"{values[name]:.4f}" for name in names)
        lines.append(f"| {fold}.test, most liked films | | {cells} | |")
    more = ("inner 1", "inner 2", "inner 3", "ten each")
    lines += ["", "The finalists, NDCG@10 on inner splits of u1.base:", "", *header(*more)]
    lines += [f"| {trial.row()} |" for trial in finalists]
    lines += ["", "All that was tried, best first:", "", *header("inner 1")]
    return lines + [f"| {trial.row()} |" for trial in tried]


def header(*splits: str) -> list[str]:
    """Return the head of a table of trials."""
    columns = [*SHOWN, "ratio", "exponent", *splits, "training"]
    return [f"| {' | '.join(columns)} |", f"|{'--:|' * len(columns)}"]


def frame(table: np.ndarray) -> pd.DataFrame:
    """Return the events of a MovieLens 100K file."""
    return pd.DataFrame(table[:, :3], columns=["user_id", "item_id", "rating"])


def like_u1(base: pd.DataFrame, rng: np.random.Generator) -> Split:
    """Hold out 40 % of the ratings of the second half of the users."""
    later = np.flatnonzero(base["user_id"] >= 463)
    out = np.zeros(len(base), bool)
    out[rng.permutation(later)[: int(0.4 * later.size)]] = True
    return Split(base[~out], base[out])


def ten_each(base: pd.DataFrame, rng: np.random.Generator) -> Split:
    """Hold out ten ratings of each user, or half of what a user has."""
    order = base.iloc[rng.permutation(len(base))]
    place = order.groupby("user_id").cumcount()
    out = (place < 10) & (place < order.groupby("user_id")["item_id"].transform("size") // 2)
    return Split(order[~out], order[out])


def draw(rng: np.random.Generator) -> Trial:
    """Return a random configuration, not yet tried."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    batch = int(rng.choice([200, 500, 1000, 2000]))
    configuration = {
        "feature_dim": str(USERS + ITEMS),
        "predictor_type": "binary_classifier",
        "num_factors": str(rng.choice([8, 16, 32, 64])),
        "epochs": str(MAX_EPOCHS),
        "mini_batch_size": str(batch),
        "bias_lr": f"{log_uniform(1e-3, 1e-1):.2g}",
        "linear_lr": f"{log_uniform(1e-3, 3e-2):.2g}",
        "factors_lr": f"{log_uniform(1e-3, 2e-2):.2g}",
        "bias_wd": "0",
        "linear_wd": f"{log_uniform(1e-3, 0.3) / batch:.2g}",
        "factors_wd": f"{log_uniform(1e-2, 0.5) / batch:.2g}",
        "factors_init_sigma": f"{log_uniform(1e-2, 0.2):.2g}",
    }
    ratio, exponent = int(rng.choice([4, 8, 16])), float(rng.choice([0.0, 0.25, 0.5]))
    return Trial(configuration, ratio, exponent, (), 0.0)


def best_epoch(trial: Trial, split: Split, seed: int) -> Trial:
    """Train once; keep the number of epochs that did best, looked at every fourth."""
    begun = time.perf_counter()
    curve: list[tuple[int, float]] = []
    trainer, epochs = prepared(trial, split.train, seed)
    for epoch in range(1, epochs + 1):
        trainer.train(0, trainer.batches)
        if epoch % EVERY == 0:
            curve.append((epoch, measured(lists(trainer.model(), split), split)["ndcg@10"]))
            if max(curve, key=lambda point: point[1])[0] <= epoch - 4 * EVERY:
                break
    best, value = max(curve, key=lambda point: point[1])
    configuration = trial.configuration | {"epochs": str(best)}
    return replace(
        trial,
        configuration=configuration,
        ndcg=(value,),
        seconds=time.perf_counter() - begun,
    )


def judged(trial: Trial, split: Split, seed: int) -> dict[str, float]:
    """Train with the configured number of epochs; return the mean metrics of the lists."""
    trainer, epochs = prepared(trial, split.train, seed)
    for _ in range(epochs):
        trainer.train(0, trainer.batches)
    return measured(lists(trainer.model(), split), split)


def prepared(trial: Trial, train: pd.DataFrame, seed: int) -> tuple[Adam, int]:
    """Return a trainer of likes and their negatives, shuffled once as the DAG does."""
    liked = train[train["rating"] >= 4]
    items, counts = np.unique(train["item_id"], return_counts=True)
    sampled = negatives.sample(
        (liked["user_id"], liked["item_id"]),
        seen=(train["user_id"], train["item_id"]),
        items=items,
        counts=counts,
        ratio=trial.ratio,
        exponent=trial.exponent,
        seed=seed,
    )
    users = np.concatenate([liked["user_id"], sampled.users])
    films = np.concatenate([liked["item_id"], sampled.items])
    y = np.zeros(users.size, np.float32)
    y[: len(liked)] = 1
    order = np.random.default_rng(seed).permutation(users.size)
    keys = np.column_stack([users - 1, USERS + films - 1])[order].ravel()
    X = sparse.csr_matrix(
        (np.ones(keys.size, np.float32), keys, np.arange(0, keys.size + 1, 2)),
        shape=(users.size, USERS + ITEMS),
    )
    hp = hyperparameters.parse(trial.configuration | {"_seed": str(seed)})
    return Adam(hp, X, y[order]), hp.epochs


def lists(model: Model, split: Split) -> np.ndarray:
    """Return the best unseen films of each judged user, as many as lists are long."""
    users = ranking.judged_users(split.train, split.held_out)
    scores = model.V[users - 1] @ model.V[USERS:].T + model.w[USERS:]
    place = np.full(USERS + 1, -1)
    place[users] = np.arange(users.size)
    row = place[split.train["user_id"]]
    scores[row[row >= 0], split.train["item_id"].to_numpy()[row >= 0] - 1] = -np.inf
    unknown = np.setdiff1d(np.arange(1, ITEMS + 1), split.train["item_id"])
    scores[:, unknown - 1] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, : ranking.DEPTH] + 1


def popularity(split: Split) -> dict[str, float]:
    """Return the metrics of the most liked films."""
    users = ranking.judged_users(split.train, split.held_out)
    return measured(ranking.Popularity.of(split.train).lists(users, split.train), split)


def measured(listed: np.ndarray, split: Split) -> dict[str, float]:
    """Return the mean metrics over the judged users."""
    users = ranking.judged_users(split.train, split.held_out)
    values = ranking.per_user(ranking.hits(users, listed, split.held_out))
    return {name: float(each.mean()) for name, each in values.items()}
