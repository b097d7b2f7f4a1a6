"""A score and its parts: laws that hold for any model and row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm.explanation import Explanation, Term, explain
from fmrec.fm.model import Model, PredictorType

FEATURES = ("user", "item", "genre", "rated")


def world(
    seed: int, d: int, k: int, predictor_type: PredictorType = "regressor"
) -> tuple[Model, sparse.csr_matrix, list[str]]:
    rng = np.random.default_rng(seed)
    model = Model(
        float(rng.normal()),
        rng.normal(size=d).astype(np.float32),
        rng.normal(size=(d, k)).astype(np.float32),
        predictor_type,
    )
    row = rng.normal(size=(1, d)) * (rng.random((1, d)) < 0.6)
    names = [f"{rng.choice(FEATURES)}:{column}" for column in range(d)]
    return model, sparse.csr_matrix(row.astype(np.float32)), names


def total(terms: list[Term]) -> float:
    return math.fsum(term.contribution for term in terms)


def every_term(found: Explanation) -> list[Term]:
    return [Term((), found.bias), *found.linear_terms(), *found.pair_terms()]


WORLDS = (st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 5))


@settings(deadline=None)
@given(*WORLDS, st.sampled_from(["regressor", "binary_classifier"]))
def test_the_parts_are_the_score(seed: int, d: int, k: int, predictor_type: Any) -> None:
    model, row, names = world(seed, d, k, predictor_type)
    found = explain(model, row, names)
    raw = model.raw(row)[0]
    for terms in (every_term(found), found.groups(), [Term((), found.bias), *found.largest(999)]):
        assert total(terms) == pytest.approx(raw, rel=1e-9, abs=1e-9)
    assert found.raw == pytest.approx(raw, rel=1e-9, abs=1e-9)
    assert found.score == pytest.approx(model.score(row)[0], rel=1e-9, abs=1e-9)
    assert found.count == len(every_term(found))


@settings(deadline=None)
@given(*WORLDS)
def test_each_term_is_what_the_score_loses_without_it(seed: int, d: int, k: int) -> None:
    """A pair's term is the mixed difference of the score in its two columns."""
    model, row, names = world(seed, d, k)
    found = explain(model, row, names)
    place = {name: names.index(name) for name in found.names}
    alone = {
        name: without(model, row, [p for n, p in place.items() if n != name]) for name in place
    }
    nothing = without(model, row, list(place.values()))
    assert nothing == pytest.approx(found.bias, rel=1e-9)
    for (name,), contribution in found.linear_terms():
        assert contribution == pytest.approx(alone[name] - nothing, rel=1e-9, abs=1e-9)
    for (a, b), contribution in found.pair_terms():
        both = without(model, row, [p for n, p in place.items() if n not in (a, b)])
        mixed = both - alone[a] - alone[b] + nothing
        assert contribution == pytest.approx(mixed, rel=1e-9, abs=1e-9)


def without(model: Model, row: sparse.csr_matrix, columns: list[int]) -> float:
    dense = row.toarray()
    dense[0, columns] = 0
    return float(model.raw(sparse.csr_matrix(dense))[0])


@settings(deadline=None)
@given(*WORLDS, st.integers(0, 40))
def test_largest_first_and_groups_add_up(seed: int, d: int, k: int, n: int) -> None:
    model, row, names = world(seed, d, k)
    found = explain(model, row, names)
    by_size = sorted(every_term(found)[1:], key=lambda term: -abs(term.contribution))
    assert found.largest(n) == by_size[:n]
    groups: dict[frozenset[str], float] = {}
    for term in every_term(found):
        group = frozenset(name.split(":")[0] for name in term.names)
        # A pair within one feature is another group than the feature alone.
        group |= {"itself"} if len(term.names) == 2 and len(group) == 1 else set()
        groups[group] = groups.get(group, 0) + term.contribution
    shown = {
        frozenset(term.names) | ({"itself"} if len(set(term.names)) < len(term.names) else set()): (
            term.contribution
        )
        for term in found.groups()
    }
    assert shown.keys() == groups.keys()
    assert len(shown) == len(found.groups())
    for group, contribution in groups.items():
        assert shown[group] == pytest.approx(contribution, rel=1e-9, abs=1e-9)


def test_by_hand() -> None:
    """Weights 1 and 2, values 2 and 3, factors (1, 1) and (1, -3): 0.5 + 2 + 6 - 12."""
    w, V = np.array([1, 9, 2], np.float32), np.array([[1, 1], [9, 9], [1, -3]], np.float32)
    row = sparse.csr_matrix(np.array([[2, 0, 3]], np.float32))
    found = explain(Model(0.5, w, V, "binary_classifier"), row, ["user:7", "item:1", "item:2:x"])
    assert found.names == ("user:7", "item:2:x")
    assert found.values.tolist() == [2, 3]
    assert found.linear_terms() == [(("user:7",), 2.0), (("item:2:x",), 6.0)]
    assert found.pair_terms() == [(("user:7", "item:2:x"), -12.0)]
    assert found.largest(1) == found.pair_terms()
    assert found.largest(0) == []
    assert found.groups() == [
        ((), 0.5), (("user",), 2.0), (("item",), 6.0), (("user", "item"), -12.0)
    ]  # fmt: skip
    assert found.raw == -3.5
    assert found.score == pytest.approx(1 / (1 + math.exp(3.5)))


def test_an_empty_row_is_the_bias() -> None:
    model, _, names = world(0, 4, 2)
    found = explain(model, sparse.csr_matrix((1, 4), dtype=np.float32), names)
    assert found.raw == model.w0
    assert found.groups() == [((), model.w0)]
    assert found.largest(3) == []


def test_entries_of_one_column_count_as_their_sum() -> None:
    model, _, names = world(0, 4, 2)
    data, keys = np.array([1, 2, 1, -1], np.float32), np.array([2, 0, 2, 1])
    row = sparse.csr_matrix((data, keys, [0, 4]), shape=(1, 4))
    found = explain(model, row, names)
    assert found.values.tolist() == [2, -1, 2]
    assert found.raw == pytest.approx(model.raw(row)[0], rel=1e-12)


def test_three_hundred_columns() -> None:
    model, row, names = world(3, 500, 64)
    found = explain(model, row, names)
    assert found.count > 40_000
    assert total(found.groups()) == pytest.approx(model.raw(row)[0], rel=1e-9)


def test_rows_and_names_must_fit() -> None:
    model, row, names = world(0, 4, 2)
    for wrong, given_names in ((row, names[:3]), (sparse.vstack([row, row]), names)):
        with pytest.raises(DataError, match="do not fit a model of 4 features"):
            explain(model, wrong, given_names)
