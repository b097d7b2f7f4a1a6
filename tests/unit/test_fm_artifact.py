"""Round trips of the artifact, and what is said about damaged ones."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fmrec.errors import DataError, FormatError
from fmrec.fm import artifact, hyperparameters, mxnet_params
from fmrec.fm.model import Model


def some_model(predictor_type: str = "regressor") -> Model:
    rng = np.random.default_rng(5)
    w, V = rng.normal(size=7).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    return Model(0.25, w, V, predictor_type)


def configuration(predictor_type: str = "regressor") -> dict[str, str]:
    required = {"feature_dim": "7", "num_factors": "3", "predictor_type": predictor_type}
    return dict(hyperparameters.parse(required).configuration)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_saved_model_comes_back(tmp_path: Path, predictor_type: str) -> None:
    model = some_model(predictor_type)
    path = artifact.save(model, tmp_path / "model", configuration(predictor_type))
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(path, arcname=path.name)
    for source in (path, path.parent, archive, tmp_path):
        found = artifact.load(source)
        assert (found.w0, found.predictor_type) == (0.25, predictor_type)
        assert found.w.tobytes() == model.w.tobytes()
        assert found.V.tobytes() == model.V.tobytes()


def test_the_same_model_gives_the_same_bytes_and_no_other_file(tmp_path: Path) -> None:
    first = artifact.save(some_model(), tmp_path, configuration()).read_bytes()
    second = artifact.save(some_model(), tmp_path, configuration()).read_bytes()
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["model_algo-1"]


def test_a_save_that_fails_leaves_the_old_model_and_nothing_else(tmp_path: Path) -> None:
    before = artifact.save(some_model(), tmp_path, configuration()).read_bytes()
    unwritable = configuration() | {"bias_init_method": "uniform"}
    with pytest.raises(KeyError):
        artifact.save(some_model(), tmp_path, unwritable)
    assert (tmp_path / "model_algo-1").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_rows_that_are_not_stored_are_zero() -> None:
    """MXNet writes only the rows it has; AWS's models have them all, others' may not."""
    array = struct.pack("<Ii", 0xF993FAC9, 1)
    array += struct.pack("<Iqq", 2, 1, 2) + struct.pack("<Iqq", 2, 3, 2)
    array += struct.pack("<iii", 1, 0, 1) + struct.pack("<iIq", 4, 1, 1)
    array += struct.pack("<2d", 1.5, 2.5) + struct.pack("<i", 2)
    data = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 1) + b"v"
    (entry,) = mxnet_params.parse(data)
    assert entry.name == "v"
    assert entry.dense().tolist() == [[0, 0], [0, 0], [1.5, 2.5]]


def test_dense_arrays_of_older_and_newer_mxnet_are_read() -> None:
    for magic in (struct.pack("<I", 0xF993FAC8), struct.pack("<Ii", 0xF993FACA, 0)):
        array = magic + struct.pack("<Iq", 1, 2) + struct.pack("<iii", 1, 0, 0)
        array += struct.pack("<2f", 3.0, 4.0)
        data = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 1) + b"b"
        assert mxnet_params.parse(data)[0].dense().tolist() == [3.0, 4.0]


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_damage_is_named(tmp_path: Path) -> None:
    path = artifact.save(some_model(), tmp_path, configuration())
    whole, members = path.read_bytes(), members_of(path)
    params = members["params"]
    cases = {
        "not a zip file": b"nonsense",
        "File is not a zip file": whole[: len(whole) // 2],
        "has no member params": rezip({"meta.json": members["meta.json"]}),
        "names no predictor_type": rezip(members | {"meta.json": b"{}"}),
        "predictor_type 'ranker', which is unknown": rezip(
            members | {"meta.json": members["meta.json"].replace(b"regressor", b"ranker")}
        ),
        "begins with 0x0 instead of 0x112": rezip(members | {"params": bytes(30)}),
        "bytes should follow": rezip(members | {"params": params[:-4]}),
        "4 bytes follow the last name": rezip(members | {"params": params + bytes(4)}),
        "an array begins with 0xf993fad0": rezip(
            members | {"params": params.replace(b"\xc9\xfa\x93\xf9", b"\xd0\xfa\x93\xf9", 1)}
        ),
        "instead of arg:w1_weight": rezip(members | {"params": params.replace(b"arg:v", b"arg:x")}),
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            artifact.load(path)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model_algo-1"):
        artifact.load(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        artifact.load(tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz"):
        pass
    with pytest.raises(FormatError, match="has no member model_algo-1"):
        artifact.load(tmp_path / "other.tar.gz")
