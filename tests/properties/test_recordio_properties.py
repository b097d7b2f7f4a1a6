"""Laws of the codec on random matrices, and a slow encoder written from the format's text."""

from __future__ import annotations

import io
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec import recordio
from fmrec.errors import FormatError
from fmrec.recordio.varint import decode_many, encode_many

floats = st.floats(width=32, allow_nan=False)


@st.composite
def matrices(draw: st.DrawFn) -> sparse.csr_matrix:
    """Rows of any length, empty ones too, with unsorted distinct keys of any byte length."""
    width = draw(st.sampled_from([1, 2, 127, 128, 129, 2625, 2**14 + 1, 2**31 + 5, 2**62]))
    keys = st.lists(st.integers(0, width - 1), max_size=6, unique=True)
    rows = draw(st.lists(keys, max_size=20))
    flat = [key for row in rows for key in row]
    data = draw(st.lists(floats, min_size=len(flat), max_size=len(flat)))
    indptr = np.cumsum([0] + [len(row) for row in rows])
    return sparse.csr_matrix(
        (np.array(data, np.float32), np.array(flat, np.int64), indptr), shape=(len(rows), width)
    )


def slow_varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low]) if value < 128 else bytes([low | 128]) + slow_varint(value >> 7)


def slow_field(number: int, body: bytes) -> bytes:
    return slow_varint(number * 8 + 2) + slow_varint(len(body)) + body


def slow_encode(matrix: sparse.csr_matrix, labels: np.ndarray | None) -> bytes:
    out = b""
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        keys = b"".join(slow_varint(int(key)) for key in matrix.indices[span])
        values = struct.pack(f"<{len(matrix.data[span])}f", *matrix.data[span])
        tensor = slow_field(1, values) + slow_field(2, keys) if keys else b""
        tensor += slow_field(3, slow_varint(matrix.shape[1]))
        payload = slow_field(1, slow_field(1, b"values") + slow_field(2, slow_field(2, tensor)))
        if labels is not None:
            tensor = slow_field(1, struct.pack("<f", labels[row]))
            payload += slow_field(
                2, slow_field(1, b"values") + slow_field(2, slow_field(2, tensor))
            )
        out += struct.pack("<II", 0xCED7230A, len(payload)) + payload
        out += bytes(-len(payload) % 4)
    return out


def assert_same(found: sparse.csr_matrix, expected: sparse.csr_matrix) -> None:
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.data.tobytes() == expected.data.tobytes()


@given(matrices(), st.booleans())
def test_bytes_equal_the_slow_encoders(matrix: sparse.csr_matrix, labelled: bool) -> None:
    labels = np.arange(matrix.shape[0], dtype=np.float32) if labelled else None
    assert recordio.encode(matrix, labels) == slow_encode(matrix, labels)


@given(matrices(), st.integers(1, 7))
def test_chunks_do_not_show_in_the_bytes(matrix: sparse.csr_matrix, chunk_rows: int) -> None:
    stream = io.BytesIO()
    written = recordio.write(stream, matrix, None, chunk_rows)
    assert stream.getvalue() == recordio.encode(matrix, None)
    assert written == len(stream.getvalue())


@given(matrices(), st.booleans())
def test_decoding_undoes_encoding(matrix: sparse.csr_matrix, labelled: bool) -> None:
    labels = np.linspace(-1, 1, matrix.shape[0], dtype=np.float32) if labelled else None
    records = recordio.decode(recordio.encode(matrix, labels))
    assert_same(records.features, matrix)
    if matrix.shape[0]:
        assert records.features.shape == matrix.shape
        assert (records.labels is None) == (labels is None)
        assert labels is None or records.labels.tolist() == labels.tolist()


@given(matrices(), st.integers(1, 200))
def test_reading_in_blocks_of_any_size_gives_the_same_rows(
    matrix: sparse.csr_matrix, chunk_bytes: int
) -> None:
    data = recordio.encode(matrix, np.arange(matrix.shape[0]))
    blocks = list(recordio.read(io.BytesIO(data), chunk_bytes=chunk_bytes))
    assert sum(block.features.shape[0] for block in blocks) == matrix.shape[0]
    if blocks:
        assert_same(sparse.vstack([block.features for block in blocks], format="csr"), matrix)
        assert np.concatenate([block.labels for block in blocks]).tolist() == list(
            range(matrix.shape[0])
        )


@given(st.integers(0, 5), st.integers(1, 9), st.booleans())
def test_dense_records_come_back_as_the_same_matrix(
    rows: int, columns: int, labelled: bool
) -> None:
    matrix = np.random.default_rng(rows).normal(size=(rows, columns)).astype(np.float32)
    labels = np.arange(rows) if labelled else None
    records = recordio.decode(recordio.encode_dense(matrix, labels))
    if rows:
        assert (records.features.toarray() == matrix).all()
        assert (records.labels is not None) == labelled


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_varints_carry_every_uint64(values: list[int]) -> None:
    stream, starts = encode_many(np.array(values, np.uint64))
    assert stream.tobytes() == b"".join(map(slow_varint, values))
    decoded, ends = decode_many(stream)
    assert decoded.tolist() == values
    assert (ends + 1).tolist() == starts[1:].tolist()


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_breaks_the_reader(data: st.DataObject) -> None:
    matrix = sparse.random(6, 300, 0.02, format="csr", dtype=np.float32, random_state=1)
    good = bytearray(recordio.encode(matrix, np.ones(6)))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        records = recordio.decode(bytes(good))
    except FormatError:
        return
    assert records.features.shape[0] <= 6
    if records.features.nnz:
        assert records.features.indices.max() < records.features.shape[1]
