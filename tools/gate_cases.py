"""Models of ratings and of lists that gate_power.py makes worse on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq

from fmrec.evaluation import list_metrics, metrics, ranking
from fmrec.evaluation.comparison import Comparison, compare_all
from fmrec.release.gate import Policy, decide

Array = np.ndarray
Gains = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged by one test file: a champion's losses or gains, and what is set against them.

    `champion`, `twin` and `baseline`, shape (n,), belong to `owner`. Champion and twin are one
    model by two seeds, of which the twin has the better figure: they differ everywhere a little, as
    the models of two days do. `spoilt` gives, for a way, some shares and a generator, what models
    lose or gain that were made from the twin and are worse than the champion by these shares of its
    figure over the whole file, as far as there are any. Two models drawn in the same one of the
    `random` ways are equal but for chance.
    """

    use: str
    metric: str
    champion: Array
    twin: Array
    baseline: Array
    owner: Array
    ways: tuple[str, ...]
    random: tuple[str, ...]
    spoilt: Callable[[str, tuple[float, ...], np.random.Generator], dict[float, Array]]

    @property
    def root(self) -> bool:
        """Return whether the figure is the root of a mean, of which less is better."""
        return self.use == "rating"

    @property
    def against(self) -> str:
        """Return the name of the baseline."""
        return "user_item_bias" if self.root else "popularity"

    def figure(self, values: Array) -> float:
        """Return the metric of losses or gains."""
        mean = float(values.mean())
        return mean**0.5 if self.root else mean

    def compared(self, candidate: Array, others: Gains, test: Test, seed: int) -> Any:
        """Compare on a test set that may draw users again."""
        return compare_all(
            candidate[test.events],
            {name: each[test.events] for name, each in others.items()},
            test.owner,
            root=self.root,
            seed=seed,
            better="less" if self.root else "more",
        )

    def decided(self, with_champion: Comparison, with_baseline: Comparison, policy: Policy) -> str:
        """Return what the gate says of a report with these comparisons."""
        as_of = "1998-03-08T00:00:00+00:00"
        past = {"run": "past", "as_of": as_of}
        compared = {"champion": with_champion, self.against: with_baseline}
        report = {
            "run": {"use": self.use, "as_of": as_of},
            "comparisons": [
                {"use": self.use, "metric": self.metric, "against": name, **asdict(each)}
                for name, each in compared.items()
            ],
            "champion": past | {"problem": None, "newest": past},
        }
        return str(decide(report, policy)["decision"])


@dataclass(frozen=True, eq=False)
class Test:
    """Events of a file, some drawn more than once, and whose they are."""

    events: Array
    owner: Array


def as_it_is(case: Case) -> Test:
    """Return the test file itself."""
    return Test(np.arange(case.owner.size), case.owner)


def drawn(case: Case, rng: np.random.Generator) -> Test:
    """Return a test set of as many users, drawn from those of the file with replacement."""
    order = np.argsort(case.owner, kind="stable")
    _, first, count = np.unique(case.owner[order], return_index=True, return_counts=True)
    users = rng.integers(first.size, size=first.size)
    parts = [order[first[user] : first[user] + count[user]] for user in users]
    return Test(np.concatenate(parts), np.repeat(np.arange(users.size), count[users]))


def turned(found: Comparison) -> Comparison:
    """Return a comparison with candidate and reference in each other's place."""
    assert found.low is not None  # noqa: S101 - there are hundreds of users
    assert found.high is not None  # noqa: S101
    assert found.probability is not None  # noqa: S101
    return replace(
        found,
        candidate=found.reference,
        reference=found.candidate,
        difference=-found.difference,
        low=-found.high,
        high=-found.low,
        probability=1 - found.probability,
    )


# What is made worse on purpose.


def rating_case(kept: Mapping[str, Array], fold: str) -> Case:
    """Return the case of a rating model: squared errors of clipped predictions."""
    truth, owner, champion, twin, ids, bias = (
        kept[f"{fold} {name}"] for name in ("truth", "owner", "champion", "twin", "ids", "bias")
    )

    def losses(predicted: Array) -> Array:
        return metrics.squared_errors(truth, metrics.clip_to_scale(predicted, (1, 5)))

    def rmse(predicted: Array) -> float:
        return float(losses(predicted).mean()) ** 0.5

    champion, twin = sorted((champion, twin), key=rmse, reverse=True)
    _, user = np.unique(owner, return_inverse=True)

    def spoilt(way: str, shares: tuple[float, ...], rng: np.random.Generator) -> dict[float, Array]:
        towards = {
            "noise at each event": lambda: twin + rng.normal(size=owner.size),
            "a shift for each user": lambda: twin + rng.normal(size=user.max() + 1)[user],
            "towards the mean": lambda: np.full(owner.size, twin.mean()),
            "towards a model of ids alone": lambda: ids,
            "towards the biases": lambda: bias,
        }[way]()

        def at(size: float) -> Array:
            return twin + size * (towards - twin)

        def excess(size: float, wanted: float) -> float:
            return rmse(at(size)) - wanted

        # A little of a weaker model makes a model better: what counts is beyond that.
        sizes = np.linspace(0, 1, 21)
        figures = np.array([rmse(at(size)) for size in sizes])
        found = {}
        for share in shares:
            wanted = rmse(champion) * (1 + share)
            below = int(np.flatnonzero(figures <= wanted)[-1])
            if below + 1 < sizes.size:
                ends = sizes[below], sizes[below + 1]
                found[share] = losses(at(brentq(excess, *ends, args=(wanted,))))
        return found

    return Case(
        use="rating",
        metric="rmse",
        champion=losses(champion),
        twin=losses(twin),
        baseline=losses(bias),
        owner=owner,
        ways=(
            "noise at each event",
            "a shift for each user",
            "towards the mean",
            "towards a model of ids alone",
            "towards the biases",
        ),
        random=("noise at each event", "a shift for each user"),
        spoilt=spoilt,
    )


def ranking_case(kept: Mapping[str, Array], fold: str) -> Case:
    """Return the case of lists: NDCG@10 of each user, made worse in the lists of some users."""
    relevant = kept[f"{fold} relevant"]
    popular = kept[f"{fold} popular lists"]
    users = np.arange(relevant.size)

    def ndcg(hit: Array) -> Array:
        return list_metrics.ndcg(hit, relevant, ranking.LENGTH)

    champion, twin = sorted(
        (kept[f"{fold} {name}"] for name in ("lists", "twin lists")),
        key=lambda hit: float(ndcg(hit).mean()),
    )
    best, given = ndcg(champion), ndcg(twin)

    def swapped(rng: np.random.Generator) -> Array:
        order = np.tile(np.arange(ranking.DEPTH), (users.size, 1))
        for _ in range(3):
            high = rng.integers(ranking.LENGTH, size=users.size)
            low = rng.integers(ranking.LENGTH, ranking.DEPTH, size=users.size)
            order[users, high], order[users, low] = order[users, low], order[users, high]
        return np.take_along_axis(twin, order, axis=1)

    def shuffled(rng: np.random.Generator) -> Array:
        order = np.tile(np.arange(ranking.DEPTH), (users.size, 1))
        order[:, :20] = rng.permuted(order[:, :20], axis=1)
        return np.take_along_axis(twin, order, axis=1)

    ways: Mapping[str, Callable[[np.random.Generator], Array]] = {
        "three films swapped with lower ones": swapped,
        "the first twenty in any order": shuffled,
        "popularity's list": lambda rng: popular,
    }

    def spoilt(way: str, shares: tuple[float, ...], rng: np.random.Generator) -> dict[float, Array]:
        other = ndcg(ways[way](rng))
        order = rng.permutation(users.size)
        lost = np.concatenate([[0.0], np.cumsum((given - other)[order])])
        found = {}
        for share in shares:
            wanted = given.sum() - (1 - share) * best.sum()
            if lost.max() >= wanted:
                count = int(np.argmin(np.abs(lost - wanted)))
                found[share] = given.copy()
                found[share][order[:count]] = other[order[:count]]
        return found

    return Case(
        use="ranking",
        metric="ndcg@10",
        champion=best,
        twin=given,
        baseline=ndcg(popular),
        owner=users,
        ways=tuple(ways),
        spoilt=spoilt,
        random=("three films swapped with lower ones", "the first twenty in any order"),
    )
