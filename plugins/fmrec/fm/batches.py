"""Which rows a host trains on in each mini-batch.

All hosts of a job work on the same mini-batch at the same time, each on its share of it, so what
is learnt is what one host would learn from all rows. Their order is

- where every host has all rows (S3DataDistributionType FullyReplicated): the order of the rows;
  of each batch host r of H takes the rows at positions r, r + H, r + 2H, ... of that batch;
- where each host has its own rows (ShardedByS3Key): the hosts' rows interleaved in proportion to
  their number; row i of the n of a host stands at (i + 0.5) / n, and equals stand in the order of
  the hosts. Of each batch a host takes those rows that it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmrec.errors import DataError
from fmrec.fm.job import Hosts

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """An epoch of one host: batch b has its rows ``order[bounds[b] : bounds[b + 1]]``.

    ``rows`` is how many they are without those that fill the last batch.
    """

    order: Index
    bounds: Index
    rows: int

    @property
    def count(self) -> int:
        """The number of batches, the same for all hosts."""
        return len(self.bounds) - 1


def whole(rows: int, size: int) -> Batches:
    """Return the batches of a job of one host; ``rows`` is at least 1."""
    order = filled_order(rows, size)
    return Batches(order, np.append(np.arange(0, len(order), size), len(order)), rows)


def share(rows: int, size: int, *, replicated: bool, hosts: Hosts) -> Batches:
    """Return this host's batches of ``size`` rows over all hosts; ``rows`` is what it has.

    Raises DataError when hosts that have all rows disagree on how many there are.
    """
    if hosts.size == 1:
        return whole(rows, size)
    given = hosts.all_gather(rows.to_bytes(8, "little"))
    counts = [int.from_bytes(each, "little") for each in given]
    if not replicated:
        total = sum(counts)
        owner, local = interleaved(counts)
        filled = filled_order(total, size)
        mine = np.flatnonzero(owner[filled] == hosts.rank)
        order = local[filled[mine]]
    elif len(set(counts)) > 1:
        raise DataError(
            f"channel 'train' is FullyReplicated, but the hosts have read {counts} records: "
            "was the prefix written to while the job started?"
        )
    else:
        total = rows
        filled = filled_order(total, size)
        mine = np.flatnonzero(np.arange(len(filled)) % size % hosts.size == hosts.rank)
        order = filled[mine]
    edges = np.arange(math.ceil(len(filled) / size) + 1) * size
    return Batches(order, np.searchsorted(mine, edges), int(np.searchsorted(mine, total)))


def interleaved(counts: Sequence[int]) -> tuple[Index, Index]:
    """Return for each place of the common order the host, and the number of the row there."""
    owner = np.repeat(np.arange(len(counts)), counts)
    local = np.concatenate([np.arange(count) for count in counts])
    place = (local + 0.5) / np.repeat(counts, counts)
    order = np.argsort(place, kind="stable")
    return owner[order], local[order]


def filled_order(rows: int, size: int) -> Index:
    """Return the row at each position of an epoch's batches.

    A last batch that is short is filled with the rows at the same positions of the batch
    before it. A single short batch has none before it and stays short.
    """
    batches = math.ceil(rows / size)
    order = np.arange(batches * size if batches > 1 else rows)
    order[rows:] -= size
    return order
