"""All compiled loops of this package, so that they can be compiled ahead.

numba keeps machine code beside the modules (or in the user's cache folder), and a training job
then starts in half a second instead of ten.
"""

from __future__ import annotations

import importlib

# Module and function; a call compiles what is not in the cache yet.
COMPILED: tuple[tuple[str, str], ...] = (
    ("fmrec.fm.adam_kernels", "compiled"),
    ("fmrec.fm.adam_kernels", "compiled_in_parts"),
    ("fmrec.fm.gibbs", "compiled"),
    ("fmrec.fm.scoring", "compiled"),
)


def compile_all() -> None:
    """Compile everything that no job has compiled here before."""
    for module, function in COMPILED:
        getattr(importlib.import_module(module), function)()
