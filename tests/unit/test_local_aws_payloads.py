from __future__ import annotations

import io
import struct
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import FormatError
from fmrec.local_aws.transform.payloads import PayloadTooLargeError, assembled, payloads
from fmrec.local_aws.transform.tfrecord import masked_crc

MAGIC = b"\x0a\x23\xd7\xce"


def frame(payload: bytes) -> bytes:
    return MAGIC + struct.pack("<I", len(payload)) + payload + b"\0" * (-len(payload) % 4)


def cut(data: bytes, split_type: str, strategy: str, limit: int) -> list[bytes]:
    stream = io.BytesIO(data)
    return list(
        payloads(stream, name="part", split_type=split_type, strategy=strategy, limit=limit)
    )


# Payloads that contain the magic word and look like frames themselves are the hard case.
frames = st.lists(
    st.one_of(st.binary(max_size=40), st.binary(max_size=9).map(lambda inner: frame(inner) * 2)),
    max_size=25,
).map(lambda found: [frame(payload) for payload in found])
lines = st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"") + b"\n"))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C bit by bit, independently of the table under test."""
    crc = 0xFFFFFFFF
    for bit in range(len(data) * 8):
        crc ^= data[bit // 8] >> bit % 8 & 1
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def tfrecord(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def smallest_limit(records: list[bytes]) -> int:
    return max(map(len, records), default=1)


@given(frames, st.integers(0, 200))
def test_any_limit_keeps_every_record_in_order(records, spare):
    data = b"".join(records)
    limit = smallest_limit(records) + spare
    packed = cut(data, "RecordIO", "MultiRecord", limit)
    assert b"".join(packed) == data
    assert all(0 < len(payload) <= limit for payload in packed)
    # Whole records, and as many as fit: the next payload's first record would not have fitted.
    remaining = iter(records)
    for payload, following in zip_longest(packed, packed[1:]):
        size = 0
        while size < len(payload):
            size += len(next(remaining))
        assert size == len(payload)
        if following is not None:
            (body, *_) = cut(following, "RecordIO", "SingleRecord", limit)
            assert len(payload) + len(frame(body)) > limit
    # One at a time, a record comes without its framing.
    assert [frame(body) for body in cut(data, "RecordIO", "SingleRecord", limit)] == records


def test_the_checksum_is_the_known_one():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    # The length of TensorFlow's own example of a record: 24 bytes.
    assert struct.pack("<I", masked_crc(struct.pack("<Q", 24))) == bytes.fromhex("a37f4b22")


@given(st.lists(st.binary(max_size=40), max_size=25), st.integers(0, 200))
def test_tfrecords(contents, spare):
    records = [tfrecord(content) for content in contents]
    data = b"".join(records)
    limit = smallest_limit(records) + spare
    packed = cut(data, "TFRecord", "MultiRecord", limit)
    assert b"".join(packed) == data
    assert all(0 < len(payload) <= limit for payload in packed)
    assert cut(data, "TFRecord", "SingleRecord", limit) == contents


def test_damaged_tfrecords_name_the_record():
    whole = tfrecord(b"abcd")
    for junk in (b"\1" + whole[1:], whole[:-1], whole[:5], b"x" * 30):
        with pytest.raises(FormatError, match=r"part: record 2 .*not TFRecord"):
            cut(whole * 2 + junk, "TFRecord", "MultiRecord", 1000)
    # A length that its checksum confirms and no object can have.
    length = struct.pack("<Q", 1 << 62)
    with pytest.raises(PayloadTooLargeError, match="a record is larger"):
        cut(length + masked(length) + b"x" * 100, "TFRecord", "MultiRecord", 50)


@given(lines, st.binary(max_size=10), st.integers(0, 100))
def test_lines_with_or_without_a_last_line_break(records, last, spare):
    last = last.replace(b"\n", b"")
    records = [*records, last] if last else records
    data = b"".join(records)
    limit = smallest_limit(records) + spare
    packed = cut(data, "Line", "MultiRecord", limit)
    assert b"".join(packed) == data
    assert all(0 < len(payload) <= limit for payload in packed)
    assert cut(data, "Line", "SingleRecord", limit) == records


@given(st.lists(st.binary(max_size=20)), st.integers(0, 50), st.integers(0, 50))
def test_line_assembly_does_not_depend_on_the_limit(values, one, other):
    """A model that answers a line per line gives one output, however the input was cut."""
    records = [value.replace(b"\n", b"") + b"\n" for value in values]
    data = b"".join(records)

    def output(spare: int) -> bytes:
        answers = [
            b"\n".join(b"%d" % len(line) for line in payload.split(b"\n")[:-1])
            for payload in cut(data, "Line", "MultiRecord", smallest_limit(records) + spare)
        ]
        return b"".join(assembled(answer, "Line") for answer in answers)

    assert output(one) == output(other)
    assert output(one) == b"".join(b"%d\n" % (len(record) - 1) for record in records)


@pytest.mark.parametrize(
    ("fitting", "too_large", "split_type"),
    [(frame(b"abcd") * 2, frame(b"x" * 100), "RecordIO"), (b"ab\n", b"x" * 50, "Line")],
)
def test_a_record_above_the_limit(fitting, too_large, split_type):
    stream = io.BytesIO(fitting + too_large)
    found = payloads(stream, name="part", split_type=split_type, strategy="MultiRecord", limit=40)
    assert next(found) == fitting
    with pytest.raises(PayloadTooLargeError, match="part: a record is larger"):
        next(found)


def test_an_object_that_is_not_split():
    assert cut(b"x" * 10, "None", "MultiRecord", 10) == [b"x" * 10]
    with pytest.raises(PayloadTooLargeError, match="part: the object is larger"):
        cut(b"x" * 11, "None", "MultiRecord", 10)


def test_damaged_recordio_names_the_record():
    with pytest.raises(FormatError, match="part: record 1 "):
        cut(frame(b"abcd") + b"nonsense", "RecordIO", "MultiRecord", 1000)
    # The third record of the file is the first of the second payload.
    with pytest.raises(FormatError, match="part: record 2 "):
        cut(frame(b"abcd") * 2 + b"nonsense", "RecordIO", "MultiRecord", 24)
    with pytest.raises(FormatError, match="part: record 1 "):
        cut(frame(b"abcd") + frame(b"abcd")[:-3], "RecordIO", "MultiRecord", 1000)


def test_memory_is_bounded_by_the_limit():
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size >= 0
            self.largest = max(self.largest, size)
            return super().read(size)

    stream = Counting(b"line\n" * 10_000)
    total = sum(
        len(payload)
        for payload in payloads(
            stream, name="part", split_type="Line", strategy="MultiRecord", limit=64
        )
    )
    assert total == 50_000
    assert stream.largest <= 65


@pytest.mark.parametrize(
    ("response", "how", "expected"),
    [
        (b"a", "None", b"a"),
        (b"a", "Line", b"a\n"),
        (b"a\nb\n", "Line", b"a\nb\n"),
        (b"", "Line", b""),
    ],
)
def test_assembly(response, how, expected):
    assert assembled(response, how) == expected
