"""Hosts that meet, exchange and fail: threads with real connections on loopback addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from fmrec.errors import ConfigurationError, DataError
from fmrec.fm import batches, hosts, hyperparameters
from fmrec.fm.adam import Adam
from fmrec.fm.batches import filled_order, interleaved
from fmrec.fm.channels import Rows
from fmrec.fm.hosts import Alone, Together
from fmrec.fm.job import Hosts
from fmrec.fm.meeting import HostsError

NAMES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@pytest.fixture
def environ() -> dict[str, str]:
    with socket.create_server((NAMES[0], 0)) as server:
        port = server.getsockname()[1]
    return {"FMREC_HOSTS_PORT": str(port), "FMREC_HOSTS_PATIENCE": "20"}


def join(rank: int, size: int, environ: dict[str, str], stop: threading.Event | None = None) -> Any:
    resources = {"hosts": NAMES[:size], "current_host": NAMES[rank]}
    return hosts.join(resources, environ, stop or threading.Event())


def on_each(size: int, environ: dict[str, str], task: Callable[[Hosts], Any]) -> list[Any]:
    """Run ``task`` on every host, each in a thread; return the results or errors by rank."""

    def run(rank: int) -> Any:
        with join(rank, size, environ) as met:
            return task(met)

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
        return [future.exception() or future.result() for future in futures]


@pytest.mark.parametrize("size", [2, 3])
def test_each_host_gets_what_each_gave_by_rank(environ: dict[str, str], size: int) -> None:
    def task(met: Hosts) -> list[list[bytes]]:
        assert met.size == size
        mine = bytes([met.rank]) * 3_000_000 * met.rank
        return [met.all_gather(mine), met.all_gather(f"{met.rank}".encode())]

    results = on_each(size, environ, task)
    large = [bytes([rank]) * 3_000_000 * rank for rank in range(size)]
    assert results == [[large, [f"{rank}".encode() for rank in range(size)]]] * size


def test_a_job_of_one_host_needs_no_network() -> None:
    for resources in ({}, {"hosts": ["algo-1"], "current_host": "algo-1"}):
        met = hosts.join(resources, {"FMREC_HOSTS_PORT": "nonsense"}, threading.Event())
        assert isinstance(met, Alone)
        with met:
            assert met.all_gather(b"x") == [b"x"]


@pytest.mark.parametrize(
    ("resources", "environ", "message"),
    [
        ({"current_host": "algo-3"}, {}, "current_host 'algo-3': each must be there once"),
        ({"hosts": ["algo-1", "algo-1"]}, {}, "each must be there once"),
        ({}, {"FMREC_HOSTS_PORT": "70000"}, "FMREC_HOSTS_PORT is '70000'"),
        ({}, {"FMREC_HOSTS_PORT": "http"}, "FMREC_HOSTS_PORT is 'http'"),
        ({}, {"FMREC_HOSTS_PATIENCE": "0"}, "FMREC_HOSTS_PATIENCE is '0'"),
    ],
)
def test_settings_that_cannot_be(
    resources: dict[str, object], environ: dict[str, str], message: str
) -> None:
    given = {"hosts": ["algo-1", "algo-2"], "current_host": "algo-1"} | resources
    with pytest.raises(ConfigurationError, match=message):
        hosts.join(given, environ, threading.Event())


def test_a_port_that_is_taken_is_named(environ: dict[str, str]) -> None:
    address = (NAMES[0], int(environ["FMREC_HOSTS_PORT"]))
    with (
        socket.create_server(address),
        pytest.raises(HostsError, match="cannot listen on its port"),
    ):
        join(0, 2, environ)


def test_a_name_that_nobody_knows_is_waited_for(environ: dict[str, str]) -> None:
    for rank, message in ((0, "cannot listen"), (1, "did not come within")):
        names = ["no-such-host.invalid", "127.0.0.1"]
        resources = {"hosts": names, "current_host": names[rank]}
        with pytest.raises(HostsError, match=message):
            hosts.join(resources, environ | {"FMREC_HOSTS_PATIENCE": "0.3"}, threading.Event())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_ends_the_wait(environ: dict[str, str], rank: int) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(join, rank, 2, environ, stop)
        assert not waiting.done()
        stop.set()
        assert waiting.result() is None


def test_all_are_told_who_did_not_come(environ: dict[str, str]) -> None:
    environ["FMREC_HOSTS_PATIENCE"] = "1"
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(join, rank, 3, environ) for rank in (0, 1)]
        errors = [str(future.exception()) for future in waiting]
    assert [error.split(":")[0] for error in errors] == [
        f"host {NAMES[2]} did not come within 1 s"
    ] * 2


def knock(environ: dict[str, str], greeting: bytes) -> bytes:
    """Greet the first host as soon as it listens; return what it says before it hangs up."""
    address = (NAMES[0], int(environ["FMREC_HOSTS_PORT"]))
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            stranger = socket.create_connection(address)
            break
    with stranger:
        stranger.sendall(greeting)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            return stranger.recv(100)
    return b""


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 32 + b"\1\0\0\0"])
def test_strangers_are_turned_away(environ: dict[str, str], greeting: bytes) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(join, 0, 2, environ)
        assert knock(environ, greeting) == b""
        second = pool.submit(join, 1, 2, environ)
        with first.result() as one, second.result() as two:
            assert (one.rank, two.rank) == (0, 1)


def test_hosts_of_another_job_are_strangers(environ: dict[str, str]) -> None:
    mine, other = environ | {"TRAINING_JOB_NAME": "a"}, environ | {"TRAINING_JOB_NAME": "b"}
    mine["FMREC_HOSTS_PATIENCE"] = other["FMREC_HOSTS_PATIENCE"] = "0.5"
    with ThreadPoolExecutor(2) as pool:
        errors = [
            pool.submit(join, 0, 2, mine).exception(),
            pool.submit(join, 1, 2, other).exception(),
        ]
    assert all(isinstance(error, HostsError) for error in errors)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_host_that_fails_tells_all_others_why(environ: dict[str, str], victim: int) -> None:
    def task(met: Hosts) -> None:
        met.all_gather(b"")
        if met.rank == victim:
            raise OSError("the disk is full")
        met.all_gather(b"x" * 1_000_000)

    errors = on_each(3, environ, task)
    for rank, error in enumerate(errors):
        if rank == victim:
            assert isinstance(error, OSError)
        else:
            assert isinstance(error, HostsError)
            assert str(error) == f"host {NAMES[victim]} failed: the disk is full"


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_host_that_vanishes_is_named(environ: dict[str, str], victim: int) -> None:
    def task(met: Together) -> None:
        met.all_gather(b"")
        if met.rank == victim:
            met.__exit__(None, None, None)
        else:
            met.all_gather(b"")

    for rank, error in enumerate(on_each(3, environ, task)):
        if rank != victim:
            assert str(error).startswith(f"host {NAMES[victim]} vanished"), error


def test_one_stop_is_the_stop_of_all(environ: dict[str, str]) -> None:
    def task(met: Hosts) -> tuple[bool, bool]:
        stop = threading.Event()
        before = hosts.agreed(stop, met)
        if met.rank == 1:
            stop.set()
        return before, hosts.agreed(stop, met)

    assert on_each(3, environ, task) == [(False, True)] * 3


def matrix(rows: int, d: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    X = sparse.random(rows, d, 0.3, format="csr", dtype=np.float32, random_state=seed)
    return Rows(X, rng.normal(size=rows).astype(np.float32))


def test_the_union_holds_the_rows_of_all_by_rank(environ: dict[str, str]) -> None:
    shards = [matrix(rows, 6, rows) for rows in (4, 0, 3)]

    def task(met: Hosts) -> tuple[Rows, Rows]:
        own = shards[met.rank]
        return hosts.union(own, met, replicated=False), hosts.union(own, met, replicated=True)

    expected = np.vstack([shard.features.toarray() for shard in shards])
    labels = np.concatenate([shard.labels for shard in shards])
    for rank, (union, same) in enumerate(on_each(3, environ, task)):
        assert union.features.toarray().tolist() == expected.tolist()
        assert union.features.dtype == np.float32
        assert union.labels.tolist() == labels.tolist()
        assert same is shards[rank]
    assert hosts.union(shards[0], Alone(), replicated=False) is shards[0]


class Silent:
    """A host among several that gathers what a test has written down."""

    def __init__(self, rank: int, gathered: list[int]) -> None:
        self.rank, self.size = rank, len(gathered)
        self._gathered = gathered

    def all_gather(self, _: bytes) -> list[bytes]:
        return [count.to_bytes(8, "little") for count in self._gathered]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(2, 4))
def test_shares_of_common_rows_are_the_batches(rows: int, size: int, count: int) -> None:
    plans = [
        batches.share(rows, size, replicated=True, hosts=Silent(rank, [rows] * count))
        for rank in range(count)
    ]
    whole = batches.whole(rows, size)
    assert sum(plan.rows for plan in plans) == rows
    for batch in range(whole.count):
        expected = whole.order[whole.bounds[batch] : whole.bounds[batch + 1]]
        for rank, plan in enumerate(plans):
            assert plan.count == whole.count
            share = plan.order[plan.bounds[batch] : plan.bounds[batch + 1]]
            assert share.tolist() == expected[rank::count].tolist()


@given(st.lists(st.integers(0, 30), min_size=2, max_size=4).filter(sum), st.integers(1, 20))
def test_shares_of_own_rows_are_the_batches_of_the_union(counts: list[int], size: int) -> None:
    owner, local = interleaved(counts)
    filled = filled_order(sum(counts), size)
    plans = [
        batches.share(rows, size, replicated=False, hosts=Silent(rank, counts))
        for rank, rows in enumerate(counts)
    ]
    assert [plan.rows for plan in plans] == counts
    for batch, first in enumerate(range(0, len(filled), size)):
        places = filled[first : first + size]
        for rank, plan in enumerate(plans):
            share = plan.order[plan.bounds[batch] : plan.bounds[batch + 1]]
            assert share.tolist() == local[places][owner[places] == rank].tolist()


def test_rows_are_interleaved_in_proportion() -> None:
    owner, local = interleaved([4, 2, 0])
    # .125 of the first, .25 of the second, .375 of the first, and so on.
    assert owner.tolist() == [0, 1, 0, 0, 1, 0]
    assert local.tolist() == [0, 0, 1, 2, 1, 3]
    assert interleaved([2, 2])[0].tolist() == [0, 1, 0, 1]  # equals stand by rank


def test_hosts_that_disagree_on_common_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"the hosts have read \[10, 9\] records"):
        batches.share(10, 5, replicated=True, hosts=Silent(0, [10, 9]))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("size", [2, 3])
def test_hosts_hold_the_same_bits_and_learn_what_one_host_learns(
    environ: dict[str, str], size: int, predictor_type: str
) -> None:
    rows = matrix(57, 9, 3)
    hp = hyperparameters.parse(
        {"feature_dim": 9, "num_factors": 4, "predictor_type": predictor_type}
        | {"mini_batch_size": 10, "linear_lr": 0.05, "factors_lr": 0.05, "clip_gradient": 0.2}
        | {"factors_init_sigma": 0.3}
    )
    labels = (rows.labels > 0).astype(np.float32)

    def train(met: Hosts) -> tuple[Adam, np.ndarray]:
        plan = batches.share(57, 10, replicated=True, hosts=met)
        trainer = Adam(hp, rows.features, labels, plan=plan, hosts=met)
        trainer.train(0, 4)
        trainer.train(4, 6)
        return trainer, trainer.train(0, 6)[0]

    one, raw = train(Alone())
    each = on_each(size, environ, train)
    for trainer, share in each:
        for name, array in trainer.state().items():
            assert array.tobytes() == each[0][0].state()[name].tobytes()
            np.testing.assert_allclose(array, one.state()[name], rtol=2e-5, atol=1e-7)
        assert len(share)
    # Output by output: host r has the places r, r + H, ... of each batch.
    shares = [iter(share) for _, share in each]
    together = [next(shares[place % 10 % size]) for place in range(60)]
    np.testing.assert_allclose(together, raw, rtol=2e-5, atol=1e-5)
