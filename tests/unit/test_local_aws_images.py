from __future__ import annotations

import shutil
import sys

import pytest

from fmrec.errors import ConfigurationError
from fmrec.local_aws.algorithms import IMAGES, Algorithm, resolve, resolve_for
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.image_file import read_images


@pytest.fixture
def read(tmp_path):
    """Read an images file of this text, in a folder with train.py and conf/settings.json."""
    (tmp_path / "train.py").write_text("")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/settings.json").write_text("{}")
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    def read_text(text: str):
        path = tmp_path / "images.toml"
        path.write_text(text)
        return read_images(path, IMAGES)

    return read_text


def test_an_image_has_the_commands_of_its_table(read, tmp_path):
    images = read(
        """
        [images.my-training]
        train = ["python", "train.py", "--settings", "conf/settings.json", "--mode", "fast"]
        process = ["./run.sh", "a b"]
        environment = { LEVEL = "debug" }
        batch_accept = "application/jsonlines"

        [images."other.one"]
        serve = ["env", "true"]
        """
    )
    assert set(images) == {*IMAGES, "my-training", "other.one"}
    assert images["factorization-machines"] is IMAGES["factorization-machines"]
    assert images["my-training"] == Algorithm(
        train=(
            sys.executable,
            str(tmp_path / "train.py"),
            "--settings",
            str(tmp_path / "conf/settings.json"),
            "--mode",
            "fast",
        ),
        process=(str(tmp_path / "run.sh"), "a b"),
        environment={"LEVEL": "debug"},
        batch_accept="application/jsonlines",
    )
    assert images["other.one"] == Algorithm(serve=(shutil.which("env"), "true"))
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/my-training:3"
    assert resolve(uri, images) is images["my-training"]


def test_an_image_can_be_used_for_what_it_has_a_command_for(read):
    images = read('[images.mine]\ntrain = ["python", "train.py"]')
    assert resolve_for("train", "mine:1", images) is images["mine"]
    for use, purpose in {"serve": "models", "process": "processing jobs"}.items():
        with pytest.raises(ApiError) as error:
            resolve_for(use, "mine:1", images)
        assert error.value.code == "ValidationException"
        assert f"'mine:1' cannot be used for {purpose}" in error.value.message
        assert f"`{use}`" in error.value.message


LONG = "x" * 5000


def test_a_word_may_be_long_and_need_not_be_a_file(read):
    images = read(f'[images.mine]\ntrain = ["python", "-c", "{LONG}"]')
    assert images["mine"].train == (sys.executable, "-c", LONG)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images = [", "is not TOML"),
        ('[images.a]\ntrain = ["env"]\n[images.a]\ntrain = ["env"]', "is not TOML"),
        ("", "it holds: nothing"),
        ("[image.a]", "it holds: image"),
        ("[images]", "must hold tables [images.NAME]"),
        ("images = 3", "must hold tables [images.NAME]"),
        ('[images.a]\ntrain = ["env"]\n[more]', "it holds: images, more"),
        ("[images]\na = 3", "image 'a' must be a table"),
        ("[images.a]", "image 'a' has no command"),
        ('[images.a]\nenvironment = { A = "b" }', "image 'a' has no command"),
        ('[images.a]\ntrain = ["env"]\ntran = ["env"]', "image 'a': 'tran' is unknown"),
        ('[images.a]\ntrain = "python train.py"', "image 'a': 'train' is 'python train.py'"),
        ("[images.a]\ntrain = []", "image 'a': 'train' is []"),
        ('[images.a]\ntrain = ["env", 3]', "image 'a': 'train' is ['env', 3]"),
        ('[images.a]\ntrain = ["env", ""]', "image 'a': 'train' is"),
        ('[images.a]\ntrain = ["env", "a\\u0000b"]', "image 'a': 'train' is"),
        ('[images.a]\nserve = ["no-such-program-here"]', "'serve' begins with 'no-such-program"),
        ('[images.a]\nserve = ["./train.py"]', "'serve' begins with './train.py'"),
        ('[images.a]\nserve = ["python", "gone.py"]', "'serve' names 'gone.py'"),
        ('[images.a]\ntrain = ["env"]\nenvironment = { A = 3 }', "'environment' sets A to 3"),
        ('[images.a]\ntrain = ["env"]\nenvironment = { "A-B" = "c" }', "holds 'A-B'"),
        ('[images.a]\ntrain = ["env"]\nenvironment = ["A"]', "'environment' is ['A']"),
        ('[images.a]\ntrain = ["env"]\nbatch_accept = 3', "'batch_accept' is 3"),
        ('[images.fmrec-fm]\ntrain = ["env"]', "'fmrec-fm': the local AWS brings an image"),
        ('[images."team/a"]\ntrain = ["env"]', "image 'team/a': the name must be the last part"),
        ('[images.Upper]\ntrain = ["env"]', "image 'Upper': the name must be"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(read, tmp_path, text, told):
    with pytest.raises(ConfigurationError) as error:
        read(text)
    assert str(error.value).startswith(str(tmp_path / "images.toml"))
    assert told in str(error.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigurationError, match=r"Cannot read the images file .*No such file"):
        read_images(tmp_path / "absent.toml", IMAGES)
    (tmp_path / "latin.toml").write_bytes(b'[images.caf\xe9]\ntrain = ["env"]')
    with pytest.raises(ConfigurationError, match="is not TOML"):
        read_images(tmp_path / "latin.toml", IMAGES)
