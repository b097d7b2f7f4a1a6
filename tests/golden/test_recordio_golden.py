"""Bytes that others made: the SageMaker Python SDK 2.x, and a published worked example."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio

# User key 0, item key 943, both values 1, shape 2625, label 5.0, as SDK 2.x writes it.
ONE_RECORD = bytes.fromhex(
    "0a23d7ce350000000a1f0a0676616c756573121512130a080000803f0000803f120300af071a02c114"
    "12120a0676616c756573120812060a040000a040000000"
)


def test_one_record_has_the_sdks_64_bytes() -> None:
    row = sparse.csr_matrix(([1.0, 1.0], [0, 943], [0, 2]), shape=(1, 2625))
    assert recordio.encode(row, np.array([5.0])) == ONE_RECORD


def test_the_sdks_64_bytes_are_read_back() -> None:
    records = recordio.decode(ONE_RECORD)
    assert records.features.shape == (1, 2625)
    assert records.features.indices.tolist() == [0, 943]
    assert records.labels is not None
    assert records.labels.tolist() == [5.0]


@pytest.fixture(scope="module")
def u1_test(data_dir: Path) -> np.ndarray:
    with zipfile.ZipFile(data_dir / "ml-100k.zip") as archive:
        member = next(name for name in archive.namelist() if name.endswith("/u1.test"))
        lines = archive.read(member).decode().splitlines()
    return np.array([[int(field) for field in line.split("\t")] for line in lines])


@pytest.mark.data
def test_u1_test_gives_the_file_that_aws_scored(data_dir: Path, u1_test: np.ndarray) -> None:
    users, items, ratings = u1_test[:, 0], u1_test[:, 1], u1_test[:, 2]
    keys = np.column_stack([users - 1, 943 + items - 1]).ravel()
    one_hot = sparse.csr_matrix(
        (np.ones(len(keys)), keys, np.arange(0, len(keys) + 1, 2)), shape=(len(users), 2625)
    )
    expected = (data_dir / "aws-fm-regressor" / "test.protobuf").read_bytes()
    assert recordio.encode(one_hot, ratings) == expected


@pytest.mark.data
def test_the_file_that_aws_scored_is_u1_test(data_dir: Path, u1_test: np.ndarray) -> None:
    path = data_dir / "aws-fm-regressor" / "test.protobuf"
    records = recordio.decode(path.read_bytes(), name=path.name)
    assert records.features.shape == (20_000, 2625)
    assert records.features.indices.reshape(-1, 2).tolist() == (u1_test[:, :2] + [-1, 942]).tolist()
    assert (records.features.data == 1).all()
    assert records.labels is not None
    assert records.labels.tolist() == u1_test[:, 2].tolist()
