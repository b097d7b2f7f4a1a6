"""Machine code of loops, kept by numba from one process to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def machine_code(function: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """Return the machine code of a function for one signature, from numba's cache if it can be.

    The loops run without the interpreter lock, and a division by zero gives what it gives in
    numpy. ``options`` are further ones of `numba.njit`.
    """
    import numba  # noqa: PLC0415 - a third of a second, which small requests never need

    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):
        # No folder to write the cache to (read-only installation, no home): compile each time.
        return numba.njit(signature, **options)(function)
