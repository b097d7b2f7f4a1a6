"""Dimension reduction by random projections that keep inner products and distances on average.

``sign``: a matrix of random signs (Achlioptas, 2003). ``fjlt``: random signs, a cosine transform
and a sample of its coordinates, a fast Johnson-Lindenstrauss transform (Ailon and Chazelle, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmrec.local_aws.built_in.single import single

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """A projection from ``input_dim`` to ``target_dim`` columns, made anew from its seed."""

    kind: Literal["sign", "fjlt"]
    seed: int
    input_dim: int
    target_dim: int

    def __call__(self, X: Floats) -> Floats:
        """Return the rows ``(n, input_dim)`` as ``(n, target_dim)``."""
        scale = 1 / np.sqrt(self.target_dim)
        if self.kind == "sign":
            return single((X @ self._signs) * scale)
        from scipy import fft  # noqa: PLC0415 - which only this needs

        signs, coordinates = self._transform
        turned = fft.dct(X * signs, norm="ortho", axis=1)[:, coordinates]
        return single(turned * (scale * np.sqrt(self.input_dim)))

    @cached_property
    def _signs(self) -> npt.NDArray[np.float64]:
        rng = np.random.default_rng(self.seed)
        return rng.choice(np.array([-1.0, 1.0]), (self.input_dim, self.target_dim))

    @cached_property
    def _transform(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        rng = np.random.default_rng(self.seed)
        signs = rng.choice(np.array([-1.0, 1.0]), self.input_dim)
        return signs, np.sort(rng.choice(self.input_dim, self.target_dim, replace=False))
