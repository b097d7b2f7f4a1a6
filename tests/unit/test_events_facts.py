"""The file of facts: what is in it, and what is no such file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from events_oracle import ids_facts
from fmrec.errors import FormatError
from fmrec.events.facts import Facts
from prepare_oracle import same_facts

FACTS = ids_facts([1, 2**62], [5, 7, 9])


def archive(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_facts_survive_their_file() -> None:
    same_facts(Facts.from_bytes(FACTS.to_bytes()), FACTS)


def test_equal_facts_give_equal_bytes_and_others_do_not() -> None:
    assert ids_facts([1, 2**62], [5, 7, 9]).to_bytes() == FACTS.to_bytes()
    assert ids_facts([1, 2**62], [5, 7, 8]).to_bytes() != FACTS.to_bytes()


def lone_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"user_id,item_id\n1,2\n",
        lone_array(),
        archive(users=np.arange(3)),
        archive(**{name: value for name, value in vars(FACTS).items() if name[-1] != "d"}),
        archive(users=np.array([{}], dtype=object)),
        FACTS.to_bytes()[:-1],
        FACTS.to_bytes()[: len(FACTS.to_bytes()) // 2],
    ],
    ids=["empty", "short", "text", "npy", "other", "unfinished", "pickled", "cut", "half"],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"facts: not a file of fmrec's .* Run the events step"):
        Facts.from_bytes(data)


def test_every_altered_value_is_noticed() -> None:
    data = FACTS.to_bytes()
    start = data.index(np.array([5, 7, 9]).tobytes())
    for place in range(start, start + 24):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(FormatError):
            Facts.from_bytes(altered)


def test_an_encrypted_or_packed_member_is_refused() -> None:
    """Bits of the zip archive's directory that say how a member is stored."""
    data = FACTS.to_bytes()
    entry = data.rindex(b"PK\x01\x02")
    for place, bits in [(8, 1), (8, 32), (8, 64), (10, 8), (10, 12), (10, 99)]:
        altered = bytearray(data)
        altered[entry + place] ^= bits
        with pytest.raises(FormatError):
            Facts.from_bytes(bytes(altered))
