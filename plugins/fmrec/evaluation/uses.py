"""One use of a model: every predictor measured by it, and the model compared with the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fmrec.evaluation.comparison import Comparison

MODEL, CHAMPION = "model", "champion"
BIAS, MEAN, POPULARITY = "user_item_bias", "global_mean", "popularity"


@dataclass(frozen=True)
class Use:
    """The use `name` of a model: "rating", "like" or "ranking".

    `metric` decides; `baseline` is the rival that a model for this use has to beat; `over` says in
    words what the metric is a mean over. `metrics` has the figures of each predictor, the model
    first, `comparisons` the model against each rival that can be compared.
    """

    name: str
    metric: str
    baseline: str
    over: str
    metrics: Mapping[str, Mapping[str, float]]
    comparisons: Mapping[str, Comparison]

    def rows(self) -> list[dict[str, Any]]:
        """The comparisons as the report tells them."""
        return [
            {
                "use": self.name,
                "metric": self.metric,
                "against": rival,
                "outcome": each.outcome,
                **asdict(each),
            }
            for rival, each in self.comparisons.items()
        ]
