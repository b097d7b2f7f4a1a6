"""From ratings to what a model reads: the window, the split, the columns, the labels."""

from fmrec.events.features import FeatureSpace
from fmrec.events.objectives import LIKED_FROM, OBJECTIVES, labels
from fmrec.events.policy import POLICIES, Admission, admit
from fmrec.events.splits import Split, divide
from fmrec.events.window import ORDERS, arrange, before

__all__ = [
    "LIKED_FROM",
    "OBJECTIVES",
    "ORDERS",
    "POLICIES",
    "Admission",
    "FeatureSpace",
    "Split",
    "admit",
    "arrange",
    "before",
    "divide",
    "labels",
]
