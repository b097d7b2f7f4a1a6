"""The artifact against one that AWS produced, and its scores against AWS's own log."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fmrec import recordio
from fmrec.fm import artifact
from fmrec.fm.model import Model

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def aws_archive(data_dir: Path) -> Path:
    return data_dir / "aws-fm-regressor" / "model.tar.gz"


@pytest.fixture(scope="module")
def aws_members(aws_archive: Path) -> dict[str, bytes]:
    with tarfile.open(aws_archive) as archive:
        member = archive.extractfile("model_algo-1")
        assert member is not None
        with zipfile.ZipFile(member) as inner:
            assert {info.compress_type for info in inner.infolist()} == {zipfile.ZIP_STORED}
            return {name: inner.read(name) for name in inner.namelist()}


@pytest.fixture(scope="module")
def aws_model(aws_archive: Path) -> Model:
    return artifact.load(aws_archive)


def test_awss_model_scores_awss_test_file_as_aws_logged(data_dir: Path, aws_model: Model) -> None:
    records = recordio.decode((data_dir / "aws-fm-regressor" / "test.protobuf").read_bytes())
    assert records.labels is not None
    error = aws_model.score(records.features) - records.labels
    assert np.sqrt(np.mean(error**2)) == pytest.approx(1.0002630, abs=1e-6)
    assert np.mean(np.abs(error)) == pytest.approx(0.7952481, abs=1e-6)


def test_saving_awss_model_gives_awss_bytes(
    aws_model: Model, aws_members: dict[str, bytes], tmp_path: Path
) -> None:
    """Same members in the same order; parameters and meta byte for byte; the same graph."""
    parameters = json.loads(aws_members["meta.json"])["training_parameters"]
    path = artifact.save(aws_model, tmp_path, parameters)
    assert path.name == "model_algo-1"
    with zipfile.ZipFile(path) as ours:
        assert {info.compress_type for info in ours.infolist()} == {zipfile.ZIP_STORED}
        members = {name: ours.read(name) for name in ours.namelist()}
    assert list(members) == list(aws_members) == ["meta.json", "symbol.json", "params"]
    assert members["params"] == aws_members["params"]
    assert members["meta.json"] == aws_members["meta.json"]
    assert json.loads(members["symbol.json"]) == json.loads(aws_members["symbol.json"])
