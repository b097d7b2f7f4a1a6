"""Solver mcmc: what it recovers, what it exports, and that it can be repeated and resumed."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from fm_jobs import Alone, Kept, StopAfter
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm import hyperparameters, mcmc
from fmrec.fm.blocks import Block, Columns, Design, design
from fmrec.fm.chain import Chain
from fmrec.fm.channels import Rows
from fmrec.fm.features import Feature, Features
from fmrec.fm.hyperparameters import Mcmc
from fmrec.fm.job import Fitted, Job, Start
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model, sigmoid

USERS, ITEMS, K = 60, 40, 2
D = USERS + ITEMS + 2
FEATURES = (Feature("user", "user"), Feature("age", "user"), Feature("item", "item"))


def truth(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    w, V = rng.normal(0, 0.5, D), rng.normal(0, 0.6, (D, K))
    return Model(3.0, w.astype(np.float32), V.astype(np.float32), "regressor")


def world(rows: int, seed: int) -> tuple[sparse.csr_matrix, Features]:
    """Users 0 to 59 of two ages, films after them, ages last; rows hold own columns alone."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, rows), USERS + rng.integers(0, ITEMS, rows)
    table = sparse.csr_matrix(
        (np.ones(2 * rows, np.float32), (np.repeat(np.arange(rows), 2), np.c_[user, item].ravel())),
        shape=(rows, D),
    )
    ages = np.zeros((USERS, D), np.float32)
    ages[np.arange(USERS), np.arange(USERS)] = 1
    ages[np.arange(USERS), D - 2 + np.arange(USERS) % 2] = 1
    codes = np.repeat([0, 2, 1], [USERS, ITEMS, 2]).astype(np.int16)
    names = tuple(f"{FEATURES[code].name}:{n}" for n, code in enumerate(codes))
    return table, Features(FEATURES, codes, names, {"user": sparse.csr_matrix(ages)})


def job(
    X: sparse.csr_matrix,
    y: np.ndarray,
    features: Features | None,
    *,
    stop: threading.Event | None = None,
    kept: Kept | None = None,
    start: Start | None = None,
    predictor_type: str = "regressor",
    **more: object,
) -> tuple[Job, io.StringIO]:
    given = {"feature_dim": D, "num_factors": K, "predictor_type": predictor_type}
    own = {"iterations": 30, "burn_in": 10, "chains": 2, "samples": 40, "_seed": 3}
    hp = hyperparameters.parse({**given, "solver": "mcmc", **own, **more})
    stream = io.StringIO()
    clock = iter(range(10**9))
    log = JobLog(stream, lambda: float(next(clock)))
    rows = Rows(X, y.astype(np.float32))
    return (
        Job(hp, rows, features, start, Alone(), kept or Kept(), log, stop or threading.Event()),
        stream,
    )


def fitted(*arguments: object, **named: object) -> Model:
    found = mcmc.fit(job(*arguments, **named)[0])
    assert isinstance(found, Fitted)
    assert found.finished
    return found.model


def small(noise: float = 0.5) -> tuple[sparse.csr_matrix, np.ndarray, Features]:
    X, features = world(500, 1)
    y = truth().raw(features.complete(X)) + np.random.default_rng(2).normal(0, noise, 500)
    return X, y, features


def same(one: Model, other: Model) -> bool:
    return one.w0 == other.w0 and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("w", "V")
    )


def test_a_known_machine_is_recovered() -> None:
    """8,000 rows for 306 parameters, noise of 0.5: the outputs' error must be far below it.

    Rotations of the factors say the same, so what is compared is what the machine says: its output
    for every pair of user and film, and the interaction of each pair alone.
    """
    X, features = world(8000, 1)
    rng = np.random.default_rng(2)
    known = truth()
    y = known.raw(features.complete(X)) + rng.normal(0, 0.5, X.shape[0])
    found = fitted(X, y, features, iterations=60, burn_in=20, samples=80)
    pairs = np.array([(u, USERS + i) for u in range(USERS) for i in range(ITEMS)])
    rows = sparse.csr_matrix(
        (np.ones(pairs.size, np.float32), (np.repeat(np.arange(len(pairs)), 2), pairs.ravel())),
        shape=(len(pairs), D),
    )
    whole = features.complete(rows)
    wanted = known.raw(whole)
    error = found.raw(whole) - wanted
    assert wanted.std() > 1
    assert np.sqrt(np.mean(error**2)) < 0.15
    between = found.V[:USERS] @ found.V[USERS : USERS + ITEMS].T
    expected = known.V[:USERS] @ known.V[USERS : USERS + ITEMS].T
    centred = [m - m.mean(0) - m.mean(1, keepdims=True) + m.mean() for m in (between, expected)]
    assert np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1] > 0.95


def test_the_noise_is_recovered_user_by_user() -> None:
    X, features = world(8000, 1)
    rng = np.random.default_rng(2)
    user = X.indices[X.indptr[:-1]]
    sd = np.where(user < USERS // 2, 0.3, 1.2)
    y = truth().raw(features.complete(X)) + rng.normal(0, sd)
    made = design(X, features)
    groups = features.feature[made.present].astype(np.int64)
    chain = Chain(made, y.astype(np.float32), groups, num_factors=K, classifies=False, rng=rng)
    drawn = []
    for iteration in range(60):
        chain.sweep()
        if iteration >= 30:
            drawn.append((chain._alpha * chain._omega) ** -0.5)
    found = np.mean(drawn, axis=0)
    assert found[: USERS // 2].mean() == pytest.approx(0.3, rel=0.1)
    assert found[USERS // 2 :].mean() == pytest.approx(1.2, rel=0.1)


def test_a_probit_machine_is_recovered() -> None:
    X, features = world(12_000, 1)
    rng = np.random.default_rng(2)
    raw = truth().raw(features.complete(X)) - 3
    y = raw + rng.normal(0, 1, len(raw)) > 0
    found = fitted(X, y, features, predictor_type="binary_classifier", iterations=60, burn_in=20)
    assert found.predictor_type == "binary_classifier"
    probability = sigmoid(found.raw(features.complete(X)))
    # Where the true machine gives a chance, that share of the labels is 1.
    from scipy.special import ndtr

    assert np.sqrt(np.mean((probability - ndtr(raw)) ** 2)) < 0.08
    assert np.corrcoef(found.raw(features.complete(X)), raw)[0, 1] > 0.97


def test_latent_numbers_have_the_moments_of_a_truncated_normal() -> None:
    n = 40_000
    X = sparse.csr_matrix((n, 3), dtype=np.float32)
    y = (np.arange(n) % 2).astype(np.float32)
    rng = np.random.default_rng(0)
    chain = Chain(
        design(X, None), y, np.empty(0, np.int64), num_factors=1, classifies=True, rng=rng
    )
    from scipy.stats import truncnorm

    for mean in (-9.0, -1.0, 0.0, 2.5, 40.0):
        drawn = chain._latent(np.full(n, mean))
        assert (drawn[y > 0] > 0).all()
        assert (drawn[y == 0] < 0).all()
        if abs(mean) < 10:
            for label, low, high in ((1, -mean, np.inf), (0, -np.inf, -mean)):
                law = truncnorm(low, high, loc=mean)
                of = drawn[y == label]
                assert of.mean() == pytest.approx(law.mean(), abs=5 * law.std() / np.sqrt(n / 2))
                assert of.std() == pytest.approx(law.std(), rel=0.05)


def test_errors_are_those_of_the_machine_after_any_number_of_sweeps() -> None:
    X, y, features = small()
    made = design(X, features)
    groups = features.feature[made.present].astype(np.int64)
    for classifies in (False, True):
        labels = (y > 3 if classifies else y).astype(np.float32)
        rng = np.random.default_rng(1)
        chain = Chain(made, labels, groups, num_factors=K, classifies=classifies, rng=rng)
        for _ in range(20):
            chain.sweep()
        w, V = np.zeros(D), np.zeros((D, K))
        w[made.present], V[made.present] = chain.w, chain.V.T
        rows = features.complete(X).toarray().astype(np.float64)
        pairs = (rows @ V) ** 2 - rows**2 @ V**2
        assert chain.raw() == pytest.approx(chain.w0 + rows @ w + pairs.sum(1) / 2, abs=1e-9)


def test_blocks_draw_what_whole_rows_would() -> None:
    """The same columns in the same order, once as blocks and once row by row."""
    X, y, features = small()
    made = design(X, features)
    (user, item) = made.blocks
    whole = features.complete(X)[:, made.present].tocsc()
    order = np.concatenate([user.columns.columns, item.columns.columns])
    main = whole[:, order]
    main.sort_indices()
    rows = Columns(order, main.indptr.astype(np.int64), main.indices.astype(np.int32), main.data)
    none = Columns(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32), main.data)
    by_row = Design((replace(user, columns=none),), rows, made.present, made.rows)
    groups = features.feature[made.present].astype(np.int64)
    chains = [
        Chain(
            each,
            y.astype(np.float32),
            groups,
            num_factors=K,
            classifies=False,
            rng=np.random.default_rng(5),
        )
        for each in (made, by_row)
    ]
    for _ in range(10):
        for chain in chains:
            chain.sweep()
    assert chains[0].w == pytest.approx(chains[1].w, abs=1e-7)
    assert pytest.approx(chains[1].V, abs=1e-7) == chains[0].V
    assert isinstance(made.blocks[0], Block)


def test_the_export_is_the_mean_of_the_samples_exactly() -> None:
    X, y, features = small()
    given, _ = job(X, y, features, iterations=12, burn_in=2, samples=5)
    made = design(X, features)
    chains = mcmc._Chains(given, made, given.train.labels)
    found = chains.run()
    assert found is not None
    samples = list(chains._kept.values())
    assert len(samples) == 5
    rows = features.complete(X)
    outputs = []
    for sample in samples:
        w, V = np.zeros(D, np.float32), np.zeros((D, K), np.float32)
        w[made.present], V[made.present] = sample["w"], sample["V"].T
        outputs.append(Model(float(sample["w0"]), w, V, "regressor").raw(rows))
    assert found.model.V.shape == (D, 5 * K)
    assert found.model.raw(rows) == pytest.approx(np.mean(outputs, axis=0), abs=1e-5)


@pytest.mark.parametrize(
    ("iterations", "burn_in", "chains", "samples"), [(100, 20, 6, 40), (5, 0, 3, 99), (3, 2, 1, 1)]
)
def test_samples_are_spread_over_chains_and_time(
    iterations: int, burn_in: int, chains: int, samples: int
) -> None:
    found = mcmc.picks(Mcmc(iterations, burn_in, chains, samples))
    assert len(found) == min(samples, chains * (iterations - burn_in))
    assert sorted(found.values()) == list(range(len(found)))
    assert all(burn_in <= at < iterations and 0 <= chain < chains for at, chain in found)
    per_chain = np.bincount([chain for _, chain in found], minlength=chains)
    assert per_chain.max() - per_chain.min() <= 1


def test_a_seed_gives_the_same_bits_however_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, features = small()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    one = fitted(X, y, features)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert same(one, fitted(X, y, features))
    assert not same(one, fitted(X, y, features, _seed=4))


def test_columns_that_no_row_has_stay_zero() -> None:
    X, y, features = small()
    kept = X.indices[X.indptr[:-1]] != 7
    found = fitted(X[kept], y[kept], features)
    assert found.w[7] == 0
    assert not found.V[7].any()
    assert found.w[6] != 0


def test_the_log_speaks_as_the_builtin_does() -> None:
    X, y, features = small()
    given, stream = job(X, y, features, iterations=60)
    mcmc.fit(given)
    log = stream.getvalue()
    found = re.findall(r"host=algo-1, epoch=(\d+), train rmse <loss>=(\S+)", log)
    assert [int(epoch) for epoch, _ in found] == list(range(60))
    assert re.findall(r"host=algo-1, train rmse <loss>=(\S+)", log) == [found[-1][1]]
    assert float(found[-1][1]) == pytest.approx(0.5, rel=0.2)
    assert "completed 100.0 % of epochs" in log


def test_a_stop_saves_what_was_drawn() -> None:
    X, y, features = small()
    assert mcmc.fit(job(X, y, features, stop=StopAfter(0))[0]) is None
    early = mcmc.fit(job(X, y, features, stop=StopAfter(3))[0])
    assert early is not None
    assert not early.finished
    assert early.model.V.shape == (D, 2 * K)  # the last draw of each chain
    later = mcmc.fit(job(X, y, features, stop=StopAfter(25))[0])
    assert later is not None
    assert not later.finished
    assert later.model.V.shape[1] > 2 * K


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_resumed_job_draws_what_an_undisturbed_one_would(predictor_type: str) -> None:
    X, y, features = small()
    labels = y > 3 if predictor_type == "binary_classifier" else y
    whole = fitted(X, labels, features, predictor_type=predictor_type)
    kept = Kept()
    mcmc.fit(
        job(X, labels, features, predictor_type=predictor_type, kept=kept, stop=StopAfter(17))[0]
    )
    assert kept.states
    again = fitted(X, labels, features, predictor_type=predictor_type, kept=kept)
    assert same(whole, again)


class Meeting:
    """Hosts that are threads."""

    def __init__(self, size: int) -> None:
        self._given: list[bytes] = [b""] * size
        self._barrier = threading.Barrier(size, timeout=60)

    def host(self, rank: int) -> object:
        meeting = self

        class Host:
            size = len(meeting._given)

            def all_gather(self, data: bytes) -> list[bytes]:
                meeting._given[rank] = data
                meeting._barrier.wait()
                found = list(meeting._given)
                meeting._barrier.wait()
                return found

        Host.rank = rank
        return Host()


@pytest.mark.parametrize("replicated", [True, False])
@pytest.mark.parametrize("chains", [1, 3])
def test_several_hosts_draw_what_one_would(replicated: bool, chains: int) -> None:
    X, y, features = small()
    one = fitted(X, y, features, chains=chains)
    meeting = Meeting(2)
    jobs = []
    for rank, part in enumerate((slice(0, 300), slice(300, None))):
        rows = slice(None) if replicated else part
        given, _ = job(X[rows], y[rows], features, chains=chains)
        jobs.append(replace(given, hosts=meeting.host(rank), replicated=replicated))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(mcmc.fit, jobs))
    for each in found:
        assert each is not None
        assert same(one, each.model)


def test_a_host_that_lost_its_state_makes_all_begin_anew() -> None:
    X, y, features = small()
    kept = Kept()
    mcmc.fit(job(X, y, features, chains=3, kept=kept, stop=StopAfter(17))[0])
    meeting = Meeting(2)
    jobs = []
    for rank, states in enumerate(([], kept.states)):
        given, _ = job(X, y, features, chains=3, kept=Kept(states))
        jobs.append(replace(given, hosts=meeting.host(rank)))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(mcmc.fit, jobs))
    one = fitted(X, y, features, chains=3)
    assert all(each is not None and same(one, each.model) for each in found)


def test_a_warm_start_goes_on_from_the_model() -> None:
    """Four iterations from a model do what as many from nothing cannot."""
    X, y, features = small(noise=0.2)
    before = fitted(X, y, features, iterations=60)
    known = np.ones(D, bool)
    settings = {"iterations": 4, "burn_in": 0, "samples": 4}
    whole = features.complete(X)
    truth_of = truth().raw(whole)

    def error(model: Model) -> float:
        return float(np.sqrt(np.mean((model.raw(whole) - truth_of) ** 2)))

    warm = fitted(X, y, features, start=Start(before, known), **settings)
    assert error(warm) < 2.5 * error(before)
    assert error(fitted(X, y, features, **settings)) > 2 * error(warm)


def test_a_classifier_goes_on_from_what_it_exported() -> None:
    """The export is scaled for a sigmoid; the chain must find its own scale again."""
    X, y, features = small()
    before = fitted(X, y > 3, features, predictor_type="binary_classifier", samples=1, chains=1)
    given, _ = job(
        X, y > 3, features, predictor_type="binary_classifier", chains=1,
        start=Start(before, np.ones(D, bool)),
    )  # fmt: skip
    chains = mcmc._Chains(given, design(X, features), given.train.labels)
    chains._begin()
    (chain,) = chains._chains
    scale = mcmc.PROBIT_TO_LOGIT
    assert scale * chain.raw() == pytest.approx(before.raw(features.complete(X)), abs=1e-4)


def test_what_does_not_fit_into_memory_is_refused_at_once() -> None:
    X, y, features = small()
    with pytest.raises(ConfigurationError, match=r"100000000 chains .* more than there is"):
        mcmc.fit(job(X, y, features, chains=100_000_000)[0])


def test_a_model_of_another_shape_is_refused() -> None:
    X, y, features = small()
    other = Model(0, np.zeros(D, np.float32), np.zeros((D, 3), np.float32), "regressor")
    with pytest.raises(ConfigurationError, match="3 factors, which is no multiple of num_factors"):
        mcmc.fit(job(X, y, features, start=Start(other, np.ones(D, bool)))[0])


def test_a_burn_in_without_end_is_refused() -> None:
    X, y, features = small()
    with pytest.raises(ConfigurationError, match="burn_in 30 leaves none of 30 iterations"):
        mcmc.fit(job(X, y, features, burn_in=30)[0])


def test_no_rows_are_refused() -> None:
    X, y, features = small()
    with pytest.raises(DataError, match="channel 'train' holds no records"):
        mcmc.fit(job(X[:0], y[:0], features)[0])


def test_without_features_all_columns_are_one_group() -> None:
    X, y, _ = small()
    found = fitted(X, y, None)
    assert np.sqrt(np.mean((found.raw(X) - y) ** 2)) < 0.6
