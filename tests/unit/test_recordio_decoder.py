"""Records of other makes are understood, and broken files are refused by record and byte."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.errors import DataError, FormatError

MAGIC = 0xCED7230A


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def block(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def scalar(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def floats(*values: float) -> bytes:
    return block(1, struct.pack(f"<{len(values)}f", *values))


def keys(*values: int) -> bytes:
    return block(2, b"".join(map(varint, values)))


def shape(width: int) -> bytes:
    return block(3, varint(width))


def entry(tensor: bytes, *, name: str = "values", kind: int = 2) -> bytes:
    return block(1, name.encode()) + block(2, block(kind, tensor))


def features(tensor: bytes, *, name: str = "values", kind: int = 2) -> bytes:
    return block(1, entry(tensor, name=name, kind=kind))


def label(tensor: bytes, *, name: str = "values", kind: int = 2) -> bytes:
    return block(2, entry(tensor, name=name, kind=kind))


def frame(payload: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


ROW = floats(1.5, -2.0) + keys(3, 200) + shape(300)
CANONICAL = features(ROW) + label(floats(4.0))

SAME_RECORD_OTHERWISE = {
    "label before features": label(floats(4.0)) + features(ROW),
    "shape, keys, values": features(shape(300) + keys(3, 200) + floats(1.5, -2.0))
    + label(floats(4.0)),
    "unpacked values": features(
        b"".join(b"\x0d" + struct.pack("<f", v) for v in (1.5, -2.0)) + keys(3, 200) + shape(300)
    )
    + label(b"\x0d" + struct.pack("<f", 4.0)),
    "unpacked keys and shape": features(
        floats(1.5, -2.0) + scalar(2, 3) + scalar(2, 200) + scalar(3, 300)
    )
    + label(floats(4.0)),
    "packed in two parts": features(floats(1.5) + keys(3) + floats(-2.0) + keys(200) + shape(300))
    + label(floats(4.0)),
    "a tensor in two parts": block(
        1,
        block(1, b"values")
        + block(2, block(2, floats(1.5) + keys(3, 200)) + block(2, floats(-2.0) + shape(300))),
    )
    + label(floats(4.0)),
    "float64": features(block(1, struct.pack("<2d", 1.5, -2.0)) + keys(3, 200) + shape(300), kind=3)
    + label(block(1, struct.pack("<d", 4.0)), kind=3),
    "int32 label": features(ROW) + label(block(1, varint(4)), kind=7),
    "value before name": block(1, block(2, block(2, ROW)) + block(1, b"values"))
    + label(floats(4.0)),
    "unknown fields": scalar(15, 7)
    + features(ROW + block(9, b"??") + b"\x79" + bytes(8))
    + block(3, b"uid-1")
    + b"\x85\x01"
    + bytes(4)
    + label(floats(4.0)),
    "other tensors in both maps": features(floats(9.0), name="weights")
    + features(ROW)
    + label(floats(0.5), name="weight")
    + label(floats(4.0)),
    "a key in more bytes than it needs": features(
        floats(1.5, -2.0) + block(2, b"\x83\x00" + varint(200)) + shape(300)
    )
    + label(floats(4.0)),
    "a key in ten bytes": features(
        floats(1.5, -2.0) + block(2, b"\x83" + b"\x80" * 8 + b"\x00" + varint(200)) + shape(300)
    )
    + label(floats(4.0)),
    "name given twice, last one counts": features(floats(7.0) + keys(1) + shape(300))
    + features(ROW)
    + label(floats(4.0)),
}


@pytest.mark.parametrize("payload", SAME_RECORD_OTHERWISE.values(), ids=SAME_RECORD_OTHERWISE)
def test_any_valid_form_of_a_record_is_understood(payload: bytes) -> None:
    # Among canonical records, and several times, so that grouping is at work too.
    data = frame(CANONICAL) + 3 * frame(payload) + frame(CANONICAL) + frame(payload)
    records = recordio.decode(data)
    assert records.features.shape == (6, 300)
    assert records.features.indices.tolist() == [3, 200] * 6
    assert records.features.data.tolist() == [1.5, -2.0] * 6
    assert records.labels is not None
    assert records.labels.tolist() == [4.0] * 6


def test_negative_int32_values() -> None:
    tensor = block(1, varint(2**64 - 5)) + keys(0) + shape(1)
    assert recordio.decode(frame(features(tensor, kind=7))).features.toarray().tolist() == [[-5]]


def test_dense_records_with_and_without_shape_mix_with_sparse_ones() -> None:
    rows = [floats(1, 2), floats(3, 4) + shape(2), floats(5) + keys(1) + shape(2), shape(2)]
    records = recordio.decode(b"".join(frame(features(row)) for row in rows))
    assert records.features.toarray().tolist() == [[1, 2], [3, 4], [0, 5], [0, 0]]
    assert records.labels is None


def test_more_layouts_than_are_learnt_at_once() -> None:
    """Sixty makes of one size: unknown fields of changing content."""
    payloads = [scalar(15, i) + CANONICAL for i in range(60)]
    records = recordio.decode(b"".join(map(frame, payloads * 2)))
    assert records.features.data.tolist() == [1.5, -2.0] * 120


def test_the_magic_word_inside_a_payload_is_only_a_value() -> None:
    magic_as_float = np.frombuffer(struct.pack("<I", MAGIC), np.float32)[0]
    matrix = sparse.csr_matrix(np.full((7, 5), magic_as_float))
    for labels in (None, np.full(7, magic_as_float)):
        data = recordio.encode(matrix, labels)
        assert (recordio.decode(data).features != matrix).nnz == 0
        blocks = list(recordio.read(io.BytesIO(data), chunk_bytes=13))
        assert sum(b.features.shape[0] for b in blocks) == 7


def test_no_bytes_hold_no_records() -> None:
    assert recordio.decode(b"").features.shape == (0, 0)
    assert list(recordio.read(io.BytesIO(b""))) == []


GOOD = frame(CANONICAL)
BROKEN = {
    "bad magic": (
        GOOD + b"\x00" + GOOD[1:],
        f"record 1 (counted from 0), byte {len(GOOD)}: found 0xced72300 instead of the magic",
    ),
    "text file": (b"1,2,3\n4,5,6\n", "record 0 (counted from 0), byte 0: found 0x"),
    "cut in the payload": (
        GOOD + GOOD[:-9],
        f"record 1 (counted from 0), byte {len(GOOD)}: a payload of",
    ),
    "cut in the header": (GOOD + GOOD[:5], "the data ends after 5 bytes"),
    "cut in the magic": (GOOD + GOOD[:2], "the data ends after 2 bytes"),
    "length past the end": (
        struct.pack("<II", MAGIC, 10_000) + CANONICAL,
        "a payload of 10000 bytes with padding should stand here",
    ),
    "one part of several": (
        GOOD + struct.pack("<II", MAGIC, 1 << 29 | 4) + bytes(4),
        f"byte {len(GOOD) + 4}: the length word 0x20000004 marks part of a record split",
    ),
    "key beyond shape": (
        GOOD + frame(features(floats(1.0) + keys(300) + shape(300)) + label(floats(1.0))),
        "record 1 (counted from 0), byte 72: has key 300, but its shape allows keys 0 to 299",
    ),
    "key beyond uint63": (
        frame(features(floats(1.0) + block(2, b"\xff" * 9 + b"\x01") + shape(300))),
        "has key 18446744073709551615",
    ),
    "more values than keys": (
        frame(features(floats(1.0, 2.0) + keys(1) + shape(300))),
        "has 1 keys for 2 values",
    ),
    "more keys than values": (
        frame(features(floats(1.0) + keys(1, 2) + shape(300))),
        "has 2 keys for 1 values",
    ),
    "dense of the wrong width": (frame(features(floats(1, 2) + shape(3))), "0 keys for 2 values"),
    "keys without shape": (frame(features(floats(1) + keys(0))), "has keys but no shape"),
    "matrix": (frame(features(floats(1) + shape(2) + shape(2))), "of shape [2, 2]"),
    "impossible width": (
        frame(features(block(3, b"\xff" * 9 + b"\x01"))),
        "impossible number of features",
    ),
    "bytes tensor": (frame(features(b"jpg", kind=9)), "holds raw bytes"),
    "no features": (frame(label(floats(1.0))), "no feature tensor named 'values' (found: none)"),
    "features under another name": (frame(features(ROW, name="x")), "(found: 'x')"),
    "empty payload": (frame(b""), "no feature tensor"),
    "two labels": (frame(features(ROW) + label(floats(1, 2))), "has 2 label values"),
    "half a float": (frame(features(block(1, b"\0\0\0"))), "no whole Float32Tensor"),
    "varint without end": (
        frame(features(floats(1.0) + block(2, b"\x80") + shape(300))),
        "a varint runs past the end of its message",
    ),
    "varint too long": (
        frame(features(floats(1.0) + block(2, b"\x80" * 11) + shape(300))),
        "a varint is longer than 64 bits",
    ),
    "field past the end": (frame(b"\x0a\x7f\x00\x00"), "past its message's end"),
    "group": (frame(b"\x0b\x0c"), "wire type 3 is not supported"),
    "wrong wire type": (frame(scalar(1, 1)), "field 'features' has wire type 0 instead of 2"),
    "another width": (
        GOOD + frame(features(floats(1.0) + keys(0) + shape(301)) + label(floats(1.0))),
        "record 1 (counted from 0), byte 72: has 301 features, but the records before it have 300",
    ),
    "label missing": (GOOD + frame(features(ROW)), "has no label, but the records before it"),
    "label added": (frame(features(ROW)) + GOOD, "has a label, but the records before it have"),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_record_and_byte(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        recordio.decode(data, name="train/part-0.pbr")
    assert str(caught.value).startswith("train/part-0.pbr: record ")
    assert message in str(caught.value)


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_the_message_is_the_same_when_read_in_small_blocks(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        list(recordio.read(io.BytesIO(data), name="f", chunk_bytes=16))
    assert message in str(caught.value)


def test_the_first_of_several_bad_records_is_named() -> None:
    bad = frame(features(floats(1.0, 2.0) + keys(3, 299) + shape(299)) + label(floats(1.0)))
    with pytest.raises(FormatError, match=r"record 2 \(counted from 0\)"):
        recordio.decode(GOOD * 2 + bad + GOOD + bad)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.ones(3), "do not fit 2 rows"), (np.ones((2, 1)), "do not fit 2 rows")],
)
def test_labels_must_fit_the_rows(labels: np.ndarray, message: str) -> None:
    matrix = sparse.csr_matrix(np.eye(2))
    with pytest.raises(DataError, match=message):
        recordio.encode(matrix, labels)
    with pytest.raises(DataError, match=message):
        recordio.encode_dense(np.eye(2), labels)


def test_an_index_outside_the_matrix_is_refused() -> None:
    matrix = sparse.csr_matrix(np.eye(3))
    matrix.indices[1] = 3
    with pytest.raises(DataError, match=r"index outside 0\.\.2"):
        recordio.encode(matrix, None)


def test_matrices_without_columns_are_refused() -> None:
    with pytest.raises(DataError, match="without columns"):
        recordio.encode(sparse.csr_matrix((2, 0)), None)
    with pytest.raises(DataError, match="with columns"):
        recordio.encode_dense(np.empty((2, 0)), None)


def test_responses_hold_one_label_tensor_per_column() -> None:
    data = recordio.encode_responses({"score": [0.25, 0.75], "predicted_label": [0, 1]})
    assert data == b"".join(
        frame(label(floats(score), name="score") + label(floats(hit), name="predicted_label"))
        for score, hit in ((0.25, 0.0), (0.75, 1.0))
    )
    with pytest.raises(DataError, match="columns of one length"):
        recordio.encode_responses({"score": [1.0], "predicted_label": [0.0, 1.0]})


class Sink(io.RawIOBase):
    """Counts bytes and keeps none."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: object) -> int:
        self.bytes += memoryview(data).nbytes
        return memoryview(data).nbytes


class Repeated(io.RawIOBase):
    """The same bytes over and over, without holding them."""

    def __init__(self, data: bytes, times: int) -> None:
        self.data, self.times = data, times

    def read(self, size: int = -1) -> bytes:
        self.times -= 1
        return self.data if self.times >= 0 else b""


def peak_of(run: object) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    rng = np.random.default_rng(0)

    def one_hot(rows: int) -> sparse.csr_matrix:
        pairs = np.column_stack([rng.integers(0, 943, rows), rng.integers(943, 2625, rows)])
        indptr = np.arange(0, 2 * rows + 1, 2)
        return sparse.csr_matrix((np.ones(2 * rows, np.float32), pairs.ravel(), indptr))

    small, large = one_hot(4_096), one_hot(65_536)
    labels = np.ones(65_536, np.float32)
    for matrix in (small, large):
        recordio.write(Sink(), matrix, labels[: matrix.shape[0]], chunk_rows=2_048)
    few = peak_of(lambda: recordio.write(Sink(), small, labels[:4_096], chunk_rows=2_048))
    many = peak_of(lambda: recordio.write(Sink(), large, labels, chunk_rows=2_048))
    assert many < 1.2 * few

    part = recordio.encode(small, labels[:4_096])
    few = peak_of(lambda: [None for _ in recordio.read(Repeated(part, 2))])
    many = peak_of(lambda: [None for _ in recordio.read(Repeated(part, 12))])
    assert many < 1.2 * few
