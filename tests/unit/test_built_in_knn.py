"""k-NN: neighbours against brute force, known answers, the artifact in faiss's own layout."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from fmrec.errors import DataError, FormatError
from fmrec.fm import artifact
from fmrec.fm.model import Model
from fmrec.local_aws.built_in import faiss_file, hyperparameters, knn_model
from fmrec.local_aws.built_in.channels import Rows
from fmrec.local_aws.built_in.index_building import build
from fmrec.local_aws.built_in.knn_model import KnnModel, Preparation
from fmrec.local_aws.built_in.nearest_rows import Index, Metric
from fmrec.local_aws.built_in.projection import Projection
from fmrec.local_aws.built_in.reservoir import Reservoir

Pair = tuple[int, float]


def by_hand(metric: str, rows: list[list[float]], query: list[float], k: int) -> list[Pair]:
    """Rows and distances in the order of an answer, one pair after the other in plain Python."""
    found: list[tuple[float, int, float]] = []
    for number, row in enumerate(rows):
        if metric == "L2":
            distance = math.fsum((a - b) ** 2 for a, b in zip(query, row, strict=True))
            found.append((distance, number, distance))
        else:
            distance = math.fsum(a * b for a, b in zip(query, row, strict=True))
            if metric == "COSINE":
                lengths = math.hypot(*query) * math.hypot(*row)
                distance = distance / lengths if lengths else 0.0
            found.append((-distance, number, distance))
    best = [(number, distance) for _, number, distance in sorted(found)[:k]]
    return best if metric == "L2" else best[::-1]


def neighbours(index: Index, queries: np.ndarray, k: int) -> list[list[Pair]]:
    return [
        list(zip(places.tolist(), distances.tolist(), strict=True))
        for rows, values in index.search(queries, k)
        for places, distances in zip(rows, values, strict=True)
    ]


# Whole numbers, so that equal distances are equal to the bit: most neighbourhoods have ties.
SMALL = st.integers(-2, 2).map(float)


@settings(max_examples=200)
@given(st.data(), st.integers(1, 3), st.sampled_from(["L2", "INNER_PRODUCT"]))
def test_neighbours_are_those_of_brute_force_also_among_equals(
    data: st.DataObject, width: int, metric: Metric
) -> None:
    row = st.lists(SMALL, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=1, max_size=12))
    queries = data.draw(st.lists(row, min_size=1, max_size=4))
    k = data.draw(st.integers(1, len(rows)))
    index = Index(metric, np.array(rows, np.float32))
    found = neighbours(index, np.array(queries, np.float32), k)
    assert found == [by_hand(metric, rows, query, k) for query in queries]


@pytest.mark.parametrize("metric", ["L2", "INNER_PRODUCT", "COSINE"])
def test_neighbours_of_any_numbers(metric: str) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 9)).astype(np.float32)
    queries = rng.normal(size=(300, 9)).astype(np.float32)
    prepare = Preparation(9, None, metric == "COSINE")
    index = Index("L2" if metric == "L2" else "INNER_PRODUCT", prepare(rows, 9))
    found = neighbours(index, prepare(queries, 9), 20)
    for query, answer in zip(queries.tolist(), found, strict=True):
        expected = by_hand(metric, rows.tolist(), query, 20)
        assert [row for row, _ in answer] == [row for row, _ in expected]
        assert [value for _, value in answer] == pytest.approx(
            [value for _, value in expected], rel=1e-5, abs=1e-6
        )


def test_known_answers() -> None:
    rows = np.array([[0, 0], [3, 4], [6, 8], [0, 1]], np.float32)
    query = np.array([[3, 4]], np.float32)
    # Squared distances, nearest first.
    assert neighbours(Index("L2", rows), query, 3) == [[(1, 0.0), (3, 18.0), (0, 25.0)]]
    # Inner products ascend, so that the nearest is the last.
    assert neighbours(Index("INNER_PRODUCT", rows), query, 3) == [[(3, 4.0), (1, 25.0), (2, 50.0)]]
    prepare = Preparation(2, None, normalize=True)
    unit = Index("INNER_PRODUCT", prepare(rows, 2))
    (found,) = neighbours(unit, prepare(query, 2), 4)
    # Both rows of the query's direction are alike; the first of them counts as nearer.
    assert [row for row, _ in found] == [0, 3, 2, 1]
    assert [value for _, value in found] == pytest.approx([0, 0.8, 1, 1])


def test_a_row_has_no_distance_to_itself_however_far_from_zero() -> None:
    rows = (np.random.default_rng(2).normal(size=(50, 6)) + 10_000).astype(np.float32)
    found = neighbours(Index("L2", rows), rows, 1)
    assert found == [[(number, 0.0)] for number in range(50)]


def test_distances_beyond_single_precision_stay_numbers() -> None:
    rows = np.array([[3e38], [-3e38]], np.float32)
    for metric in ("L2", "INNER_PRODUCT"):
        for answer in neighbours(Index(metric, rows), rows, 2):
            assert np.isfinite([value for _, value in answer]).all()


def a_model(predictor_type: str, labels: np.ndarray, k: int) -> KnnModel:
    rng = np.random.default_rng(3)
    rows = rng.uniform(0, 30, (len(labels), 3)).astype(np.float32)
    prepare = Preparation(3, None, normalize=False)
    return KnnModel(Index("L2", rows), labels.astype(np.float32), k, predictor_type, prepare)


def predicted(model: KnnModel, X: np.ndarray) -> list[float]:
    return np.concatenate([block.predicted for block in model.answers(X)]).tolist()


def test_a_classifier_takes_the_label_of_most_and_a_regressor_the_mean() -> None:
    """As scikit-learn's do; of labels with as many rows the smallest."""
    rng = np.random.default_rng(4)
    labels = rng.choice([1, 2, 5, 7], 200)
    X = rng.uniform(0, 30, (300, 3)).astype(np.float32)
    classifier = a_model("classifier", labels, 8)
    rows = classifier.index.vectors
    votes = KNeighborsClassifier(8, algorithm="brute").fit(rows, labels).predict(X)
    assert predicted(classifier, X) == votes.tolist()
    regressor = a_model("regressor", labels, 8)
    means = KNeighborsRegressor(8, algorithm="brute").fit(rows, labels).predict(X)
    assert predicted(regressor, X) == pytest.approx(means, rel=1e-6)


def test_of_labels_with_as_many_votes_the_smallest_wins() -> None:
    prepare = Preparation(1, None, normalize=False)
    rows = np.array([[1], [2], [3], [4]], np.float32)
    model = KnnModel(
        Index("L2", rows), np.array([9, 5, 5, 9], np.float32), 4, "classifier", prepare
    )
    assert predicted(model, np.array([[1.0]], np.float32)) == [5.0]


# -- Factorization Machines: the best films by an index of inner products.


def best_first(model: Model, users: int, rows: slice | None = None) -> np.ndarray:
    """The films of each user, best first, as k-NN over the machine's matrices has them."""
    items = model.feature_dim - users
    item_matrix = np.concatenate([model.V[users:], model.w[users:, None]], axis=1)
    user_matrix = np.concatenate([model.V[:users], np.ones((users, 1), np.float32)], axis=1)
    prepare = Preparation(item_matrix.shape[1], None, normalize=False)
    labels = np.arange(1, items + 1).astype(np.float32)
    knn = KnnModel(Index("INNER_PRODUCT", item_matrix), labels, items, "classifier", prepare)
    blocks = knn.answers(user_matrix[rows or slice(None)])
    return np.concatenate([block.labels[:, ::-1] for block in blocks]).astype(np.int64) - 1


def check_order(model: Model, users: int, chosen: range) -> None:
    items = model.feature_dim - users
    orders = best_first(model, users, slice(chosen.start, chosen.stop))
    for user, order in zip(chosen, orders, strict=True):
        keys = np.stack([np.full(items, user), users + np.arange(items)], axis=1)
        pairs = sparse.csr_matrix(
            (np.ones(2 * items, np.float32), keys.ravel(), np.arange(0, 2 * items + 1, 2)),
            shape=(items, model.feature_dim),
        )
        scores = model.raw(pairs)
        assert sorted(order.tolist()) == list(range(items))
        assert (np.diff(scores[order]) <= 1e-6 * np.abs(scores).max()).all()


def test_inner_products_order_films_as_the_machine_scores_them() -> None:
    rng = np.random.default_rng(5)
    V = rng.normal(size=(30 + 80, 6)).astype(np.float32)
    w = rng.normal(size=110).astype(np.float32)
    check_order(Model(3.5, w, V, "regressor"), 30, range(30))


@pytest.mark.data
def test_inner_products_order_films_as_a_machine_of_aws_scores_them(data_dir: Path) -> None:
    model = artifact.load(data_dir / "aws-fm-regressor" / "model.tar.gz")
    check_order(model, 943, range(0, 943))


# -- The sample


def test_a_reservoir_that_is_large_enough_keeps_all_rows_in_order() -> None:
    reservoir = Reservoir(100, np.random.default_rng(0))
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    for first in range(0, 20, 7):
        reservoir.add(Rows(X[first : first + 7], X[first : first + 7, 0]))
    kept = reservoir.rows()
    assert kept.features.tolist() == X.tolist()
    assert kept.labels.tolist() == X[:, 0].tolist()


def test_a_reservoir_samples_uniformly_without_replacement() -> None:
    counts = np.zeros(50)
    for seed in range(600):
        reservoir = Reservoir(10, np.random.default_rng(seed))
        for first in range(0, 50, 8):
            numbers = np.arange(first, min(first + 8, 50), dtype=np.float32)
            reservoir.add(Rows(numbers[:, None], -numbers))
        features, labels = reservoir.rows()
        numbers = features[:, 0]
        assert (labels == -numbers).all()
        assert (np.diff(numbers) > 0).all()  # in the order of the stream, none twice
        assert len(numbers) == 10
        counts[numbers.astype(int)] += 1
    # Each row is in with probability 1/5: 120 of 600, standard deviation 9.8.
    assert counts.min() > 120 - 45
    assert counts.max() < 120 + 45
    # Chi-squared over 50 rows: its mean is near 40, its standard deviation near 9.
    assert np.square(counts - 120).sum() / (120 * 0.8) < 90


# -- Dimension reduction


@pytest.mark.parametrize("kind", ["sign", "fjlt"])
def test_projections_keep_inner_products_on_average(kind: Any) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 60))
    seen = []
    for seed in range(400):
        a, b = Projection(kind, seed, 60, 20)(np.stack([x, y]).astype(np.float32))
        assert a.shape == (20,)
        seen.append((a @ a, a @ b))
    squares, products = np.mean(seen, axis=0)
    assert squares == pytest.approx(x @ x, rel=0.05)
    assert products == pytest.approx(x @ y, abs=0.05 * (x @ x))
    assert np.std(seen, axis=0)[0] < 0.5 * (x @ x)


@pytest.mark.parametrize("kind", ["sign", "fjlt"])
def test_one_seed_gives_one_projection_row_by_row(kind: Any) -> None:
    X = np.random.default_rng(7).normal(size=(9, 13)).astype(np.float32)
    projection = Projection(kind, 3, 13, 5)
    alone = np.concatenate([Projection(kind, 3, 13, 5)(row[None]) for row in X])
    assert projection(X) == pytest.approx(alone, rel=1e-6, abs=1e-6)
    assert not np.allclose(projection(X), Projection(kind, 4, 13, 5)(X))


def test_signs_are_all_that_the_sign_projection_has() -> None:
    matrix = Projection("sign", 0, 6, 4)(np.eye(6, dtype=np.float32))
    assert set(np.abs(matrix).ravel()) == {np.float32(0.5)}


# -- Approximate indexes


def built(rows: np.ndarray, **more: str) -> Index:
    hp = hyperparameters.knn(
        {"feature_dim": rows.shape[1], "k": 1, "predictor_type": "classifier", "sample_size": 1}
        | more
    )
    return build(hp, rows, np.random.default_rng(0), threading.Event())


def test_cells_hold_the_rows_next_to_their_center_and_few_are_looked_into() -> None:
    rng = np.random.default_rng(8)
    middles = np.array([[0, 0], [100, 0], [0, 100], [100, 100]])
    rows = (np.repeat(middles, 50, axis=0) + rng.normal(size=(200, 2))).astype(np.float32)
    index = built(
        rows, index_type="faiss.IVFFlat", faiss_index_ivf_nlists="8", _faiss_index_nprobe="1"
    )
    assert index.cells is not None
    away = np.square(rows[:, None] - index.cells.centers).sum(axis=2)
    assert (away.argmin(axis=1) == index.cells.cell).all()
    for row, answer in zip(rows, neighbours(index, rows, 10), strict=True):
        cell = np.square(row - index.cells.centers).sum(axis=1).argmin()
        members = np.flatnonzero(index.cells.cell == cell)
        if len(members) >= 10:
            # Brute force among the rows of that cell.
            nearest = members[np.square(rows[members] - row).sum(axis=1).argsort(kind="stable")]
            assert [number for number, _ in answer] == nearest[:10].tolist()
        assert len({number for number, _ in answer}) == 10


@pytest.mark.parametrize("metric", ["L2", "INNER_PRODUCT", "COSINE"])
def test_looking_into_all_cells_is_looking_at_all_rows(metric: str) -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    if metric == "COSINE":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = built(rows, index_type="faiss.IVFFlat", index_metric=metric, _faiss_index_nprobe="99")
    assert index.cells is not None
    assert len(index.cells.centers) == math.isqrt(300)
    queries = rng.normal(size=(20, 5)).astype(np.float32)
    exact = Index(index.metric, rows)
    assert neighbours(index, queries, 7) == neighbours(exact, queries, 7)


def test_as_many_cells_are_looked_into_as_it_takes_to_find_k_rows() -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    index = built(
        rows, index_type="faiss.IVFFlat", faiss_index_ivf_nlists="6", _faiss_index_nprobe="1"
    )
    for number, answer in enumerate(neighbours(index, rows, 12)):
        assert answer == by_hand("L2", rows.tolist(), [float(number)], 12)


def test_product_quantisation_answers_for_what_the_codes_stand_for() -> None:
    rng = np.random.default_rng(10)
    rows = rng.normal(size=(700, 8)).astype(np.float32)
    index = built(rows, index_type="faiss.IVFPQ", faiss_index_pq_m="4", _faiss_index_nprobe="99")
    assert index.codes is not None
    assert index.codes.codes.shape == (700, 4)
    # Each row in 4 bytes instead of 32, a quarter of the way off at most.
    error = np.square(index.vectors - rows).sum() / np.square(rows).sum()
    assert 0 < error < 0.1
    found = neighbours(index, rows, 5)
    assert found[:50] == [
        [
            (row, pytest.approx(value, rel=1e-5))
            for row, value in by_hand("L2", index.vectors.tolist(), query, 5)
        ]
        for query in rows[:50].tolist()
    ]
    exact = neighbours(Index("L2", rows), rows, 5)
    shared = [
        len({row for row, _ in a} & {row for row, _ in b})
        for a, b in zip(found, exact, strict=True)
    ]
    assert np.mean(shared) > 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"index_type": "faiss.IVFFlat", "faiss_index_ivf_nlists": "31"}, r"\(30\).*\(31\)"),
        ({"index_type": "faiss.IVFPQ", "faiss_index_pq_m": "2"}, r"\(30\).*\(256\)"),
    ],
)
def test_too_few_rows_for_an_approximate_index(more: dict[str, str], message: str) -> None:
    rows = np.random.default_rng(11).normal(size=(30, 4)).astype(np.float32)
    with pytest.raises(DataError, match=f"Number of training points {message}"):
        built(rows, **more)


# -- The artifact

# Written by faiss 1.15.1 (faiss.write_index) over x = arange(12).reshape(6, 2) % 5.
X = (np.arange(12) % 5).reshape(6, 2).astype(np.float32)
FAISS = {
    "flat, L2": (
        "497846320200000006000000000000000000100000000000000010000000000001010000000c000000000000"
        "00000000000000803f000000400000404000008040000000000000803f000000400000404000008040000000"
        "000000803f"
    ),
    "flat, inner product": (
        "497846490200000006000000000000000000100000000000000010000000000001000000000c000000000000"
        "00000000000000803f000000400000404000008040000000000000803f000000400000404000008040000000"
        "000000803f"
    ),
    "cells": (
        "4977466c020000000600000000000000000010000000000000001000000000000101000000020000000000000005"
        "000000000000004978463202000000020000000000000000001000000000000000100000000000010100000004"
        "000000000000000000404056551540abaaaa3eabaaaa3f000000000000000000696c6172020000000000000008"
        "0000000000000066756c6c020000000000000003000000000000000300000000000000000000400000404000008"
        "040000000000000404000008040010000000000000002000000000000000400000000000000000000000000803f"
        "0000803f00000040000000000000803f000000000000000003000000000000000500000000000000"
    ),
    "cells, most of them empty": (
        "4977466c020000000100000000000000000010000000000000001000000000000101000000040000000000000001"
        "000000000000004978463202000000040000000000000000001000000000000000100000000000010100000008"
        "000000000000000000804000000000000000000000803f00002040000060400000803f00000040000000000000"
        "000000696c61720400000000000000080000000000000073707273020000000000000001000000000000000100"
        "000000000000000000000000803f0000000000000000"
    ),
}


@pytest.mark.parametrize("name", FAISS)
def test_the_index_file_is_faisss_own(name: str) -> None:
    data = bytes.fromhex(FAISS[name])
    index = faiss_file.parse(data)
    assert faiss_file.dump(index) == data
    rows = 1 if "empty" in name else 6
    assert index.vectors.tolist() == X[:rows].tolist()
    assert index.metric == ("INNER_PRODUCT" if "inner" in name else "L2")
    if "cells" in name:
        assert index.cells is not None
        assert index.cells.nprobe == (1 if "empty" in name else 5)
        away = np.square(X[:rows, None] - index.cells.centers).sum(axis=2)
        assert index.cells.cell.tolist() == away.argmin(axis=1).tolist()


def test_any_index_comes_back_from_its_file() -> None:
    rows = np.random.default_rng(12).normal(size=(300, 8)).astype(np.float32)
    more = {"faiss.Flat": {}, "faiss.IVFFlat": {}, "faiss.IVFPQ": {"faiss_index_pq_m": "2"}}
    for index_type, given_more in more.items():
        index = built(rows, index_type=index_type, **given_more)
        again = faiss_file.parse(faiss_file.dump(index))
        assert again.vectors.tolist() == index.vectors.tolist()
        assert neighbours(again, rows, 4) == neighbours(index, rows, 4)


@pytest.mark.parametrize("name", FAISS)
def test_a_damaged_index_file_is_refused(name: str) -> None:
    data = bytes.fromhex(FAISS[name])
    for end in range(len(data)):
        with pytest.raises(FormatError, match="byte"):
            faiss_file.parse(data[:end])
    with pytest.raises(FormatError, match="2 bytes follow the index"):
        faiss_file.parse(data + b"ab")
    with pytest.raises(FormatError, match="kind of index b'IxHN' is none of"):
        faiss_file.parse(b"IxHN" + data[4:])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x41
        try:
            faiss_file.parse(bytes(changed))
        except FormatError:
            continue


def saved(folder: Path, **changes: Any) -> KnnModel:
    """A model written to a folder, with these values changed in the JSON file by hand."""
    prepare = Preparation(3, Projection("sign", 5, 3, 2), normalize=True)
    rng = np.random.default_rng(13)
    rows = prepare(rng.normal(size=(20, 3)).astype(np.float32), 2)
    labels = (np.arange(20) % 3).astype(np.float32)
    model = KnnModel(Index("INNER_PRODUCT", rows), labels, 5, "classifier", prepare)
    for name, content in model.dump().items():
        (folder / name).write_bytes(content)
    path = folder / "model_algo-1.json"
    meta = json.loads(path.read_text())
    assert meta["k"] == 5
    assert meta["predictor_type"] == "classifier"
    assert meta["normalize"] is True
    assert meta["version"] == "1.0"
    assert meta["dimension_reduction"]["type"] == "sign"
    path.write_text(json.dumps(meta | changes))
    return model


def test_the_artifact_comes_back_and_its_labels_are_plain_numbers(tmp_path: Path) -> None:
    model = saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("model_algo-1", "model_algo-1.json", "model_algo-1.labels"),
    ]
    labels = np.fromfile(tmp_path / "model_algo-1.labels", np.float32)
    assert labels.tolist() == model.labels.tolist()
    X = np.random.default_rng(14).normal(size=(30, 3)).astype(np.float32)
    again = list(knn_model.load(tmp_path).answers(X))
    for ours, theirs in zip(model.answers(X), again, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.tolist() == b.tolist()


def test_k_and_predictor_type_may_be_changed_in_the_artifact(tmp_path: Path) -> None:
    saved(tmp_path, k=2, predictor_type="regressor")
    X = np.random.default_rng(15).normal(size=(4, 3)).astype(np.float32)
    (block,) = knn_model.load(tmp_path).answers(X)
    assert block.labels.shape == block.distances.shape == (4, 2)
    assert block.predicted.tolist() == block.labels.mean(axis=1).tolist()


def test_an_artifact_without_a_word_on_reduction_has_none(tmp_path: Path) -> None:
    """As AWS's may be: the width of the index is that of the rows."""
    saved(tmp_path, dimension_reduction={}, normalize=False)
    assert knn_model.load(tmp_path).feature_dim == 2


FOREIGN = {"type": "sign", "seed": 3, "target_dim": 2, "input_dim": 20}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 21}, "k is 21, but the index holds 20 records"),
        ({"k": 0}, "k is 0: set a whole number"),
        ({"k": "5"}, "k is '5': set a whole number"),
        ({"predictor_type": "ranker"}, "predictor_type is 'ranker': set classifier or regressor"),
        ({"dimension_reduction": FOREIGN}, "made by other code"),
        ({"dimension_reduction": {"type": "pca"}}, "'pca' is unknown"),
        ({"dimension_reduction": {"input_dim": 9}}, "rows of 9 columns do not fit an index of 2"),
    ],
)
def test_an_artifact_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    saved(tmp_path, **changes)
    with pytest.raises(FormatError, match=f"model_algo-1.json: .*{message}"):
        knn_model.load(tmp_path)


def test_a_damaged_artifact_says_which_file(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model_algo-1.json").write_text("{")
    with pytest.raises(FormatError, match=r"model_algo-1\.json: "):
        knn_model.load(tmp_path)
    (tmp_path / "model_algo-1.labels").write_bytes(bytes(79))
    with pytest.raises(FormatError, match=r"model_algo-1\.labels has 79 bytes"):
        knn_model.load(tmp_path)
    (tmp_path / "model_algo-1").write_bytes(b"")
    with pytest.raises(FormatError, match="model_algo-1, byte 0: 4 bytes should follow"):
        knn_model.load(tmp_path)
    (tmp_path / "model_algo-1").unlink()
    with pytest.raises(DataError, match="holds no model_algo-1: was the model trained"):
        knn_model.load(tmp_path)
