"""The state of a job in progress, kept where it survives the machine.

SageMaker mounts ``$ML_ROOT/checkpoints`` when the job's request has a CheckpointConfig, copies
what is written there to S3, and puts it back when the job is started again (spot capacity that
was taken away, or the same job asked for once more). Without that folder nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmrec import __version__
from fmrec.fm.channels import Rows
from fmrec.fm.job import Arrays
from fmrec.fm.joblog import JobLog

# The state is of one job, and a job has one name for it on each host.
NAME = "state-{rank}.npz"
FINGERPRINT = "fingerprint"
# What numpy and zipfile raise for bytes that are no such file, or no whole one.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,  # NotImplementedError is one
    zipfile.BadZipFile,
    zlib.error,
)


class Folder:
    """The last state of one host, in a folder."""

    def __init__(self, folder: Path, fingerprint: bytes, rank: int, log: JobLog) -> None:
        """Keep states of the job that ``fingerprint`` names; see `fingerprint`."""
        self._path = folder / NAME.format(rank=rank)
        self._fingerprint = fingerprint
        self._log = log
        self._active = folder.is_dir()
        if self._active:
            log.info(f"Checkpoint loading and saving are enabled: {folder}")
        else:
            log.info("Checkpoint loading and saving are disabled.")

    def save(self, state: Arrays) -> None:
        """Keep ``state`` in place of the one before; a crash leaves one of the two, whole."""
        if not self._active:
            return
        mark = np.frombuffer(self._fingerprint, np.uint8)
        arrays: dict[str, Any] = {FINGERPRINT: mark, **state}
        # One name, so that a crash in the midst of it leaves no more than one such file.
        unfinished = self._path.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.savez(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self._path)

    def load(self) -> Arrays | None:
        """Return the last state; None when there is none that this job can go on from."""
        if not self._active or not self._path.is_file():
            return None
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                state = {name: stored[name] for name in stored.files}
            mark = state.pop(FINGERPRINT).tobytes()
        except UNREADABLE as error:
            self._log.warning(
                f"The checkpoint {self._path} is damaged ({error}): training starts anew"
            )
            return None
        if mark != self._fingerprint:
            self._log.warning(
                f"The checkpoint {self._path} is of a job with another configuration or other "
                "data: training starts anew"
            )
            return None
        self._log.info(f"Going on from the checkpoint {self._path}")
        return state


def fingerprint(
    configuration: Mapping[str, str], files: Mapping[str, Sequence[tuple[str, int]]], rows: Rows
) -> bytes:
    """Return what two jobs have in common only if one can go on from the other's state.

    ``files`` holds the name and size of each file of the other channels; of the training rows
    the content counts.
    """
    text = json.dumps([__version__, dict(configuration), dict(files)], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    X = rows.features
    for array in (X.indptr, X.indices, X.data, rows.labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
