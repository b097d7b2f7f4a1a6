"""Results of double precision in the single precision that artifacts and answers have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = float(np.finfo(np.float32).max)


def single(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the values as float32; what is beyond its range as its largest number."""
    return np.clip(values, -LARGEST, LARGEST).astype(np.float32)
