"""Script images: a TOML file that gives commands to image repositories.

    [images.my-training]
    train = ["python", "train.py"]
    serve = ["python", "serve.py"]
    process = ["python", "process.py"]
    environment = { LEVEL = "debug" }
    batch_accept = "application/jsonlines"

docs/local-aws.md describes it. The file is read once, when the server starts; requests name an
image and never a command.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

from fmrec.errors import ConfigurationError
from fmrec.local_aws.algorithms import Algorithm, Algorithms, Use

_COMMANDS = get_args(Use)
_KEYS = (*_COMMANDS, "environment", "batch_accept")
# The last part of a repository's name in ECR.
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# There is one Python in which this project's packages are: the server's own.
_PYTHON = ("python", "python3")


def read_images(path: Path, known: Algorithms) -> Algorithms:
    """Return the known images and those that a file adds.

    Raises ConfigurationError that names the file, the image and the key when something is wrong.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read the images file {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    images = given.get("images")
    if set(given) != {"images"} or not isinstance(images, dict) or not images:
        raise ConfigurationError(
            f"{path} must hold tables [images.NAME], one for each image repository, and nothing "
            f"else; it holds: {', '.join(sorted(given)) or 'nothing'}."
        )
    folder = path.resolve().parent
    return {
        **known,
        **{name: _ImageTable(path, name).algorithm(folder, images[name], known) for name in images},
    }


class _ImageTable:
    """One table of the file, which knows how to name what is wrong in it."""

    def __init__(self, path: Path, name: str) -> None:
        self._where = f"{path}: image {name!r}"
        self._name = name

    def algorithm(self, folder: Path, table: object, known: Algorithms) -> Algorithm:
        if not _NAME.fullmatch(self._name):
            raise ConfigurationError(
                f"{self._where}: the name must be the last part of a repository's name, of small "
                "letters and digits with . _ - between them: acct.dkr.ecr.REGION.amazonaws.com/"
                "team/NAME:tag is found under NAME."
            )
        if self._name in known:
            raise ConfigurationError(
                f"{self._where}: the local AWS brings an image of this name. Choose another; "
                f"taken are {', '.join(sorted(known))}."
            )
        if not isinstance(table, dict):
            raise ConfigurationError(f"{self._where} must be a table [images.{self._name}].")
        for key in table:
            if key not in _KEYS:
                raise self._wrong(key, f"is unknown; known are {', '.join(_KEYS)}")
        commands = {
            key: self._command(key, table[key], folder) for key in _COMMANDS if key in table
        }
        if not commands:
            raise ConfigurationError(
                f"{self._where} has no command. Give it at least one of {', '.join(_COMMANDS)}, "
                'as a list of words: train = ["python", "train.py"].'
            )
        accept = table.get("batch_accept")
        if accept is not None and not _is_text(accept):
            raise self._wrong("batch_accept", f"is {accept!r}; expected a media type")
        environment = self._environment(table.get("environment", {}))
        return Algorithm(
            train=commands.get("train", ()),
            serve=commands.get("serve", ()),
            process=commands.get("process", ()),
            environment=environment,
            batch_accept=accept,
        )

    def _command(self, key: str, given: object, folder: Path) -> tuple[str, ...]:
        """Return a command whose program and files are found from any working directory."""
        if not isinstance(given, list) or not given or not all(_is_text(word) for word in given):
            raise self._wrong(
                key,
                f"is {given!r}; expected a list of words, none of them empty, as in "
                '["python", "train.py"]. There is no shell that would split or expand a text',
            )
        program, *rest = given
        if program in _PYTHON:
            if rest and rest[0].endswith(".py") and not _is_file(folder / rest[0]):
                raise self._wrong(key, f"names {rest[0]!r}, which is no file in {folder}")
            found: str | None = sys.executable
            if rest and rest[0] == "-m":
                # Not from the folder it runs in, which is the job's: data would be code.
                rest.insert(0, "-P")
        else:
            found = shutil.which(str(folder / program) if "/" in program else program)
        if found is None:
            raise self._wrong(
                key,
                f"begins with {program!r}, which is no program that can be run, neither on the "
                f"PATH nor, where it holds a slash, from {folder}",
            )
        return (str(Path(found).absolute()), *(_located(word, folder) for word in rest))

    def _environment(self, given: object) -> dict[str, str]:
        if not isinstance(given, dict):
            raise self._wrong("environment", f"is {given!r}; expected a table of texts")
        for name, value in given.items():
            if not _VARIABLE.fullmatch(name):
                raise self._wrong("environment", f"holds {name!r}, no name of a variable")
            if not isinstance(value, str) or "\0" in value:
                raise self._wrong("environment", f"sets {name} to {value!r}; expected a text")
        return given

    def _wrong(self, key: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {key!r} {what}.")


def _located(word: str, folder: Path) -> str:
    """Return the absolute path of a word that names a file beside the images file."""
    return str(folder / word) if _is_file(folder / word) else word


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # the word is longer than a name can be


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value
