"""Which environment variables a request may set in a container that shares this machine."""

from __future__ import annotations

from collections.abc import Iterable

from fmrec.local_aws.api.faults import invalid

# On AWS a container can be told to load other code than its image's: it is alone. Here that code
# could be any object that was put into S3, for objects are files.
_LOADERS = ("PYTHON", "LD_", "DYLD_", "NUMBA_CACHE", "GCONV_", "BASH_", "PERL", "RUBY", "NODE_")
_NAMES = ("PATH", "HOME", "ENV", "SHELL", "IFS", "TMPDIR", "FMREC_ML_ROOT")
_HARMLESS = (
    *("PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONFAULTHANDLER"),
)


def check_variables(names: Iterable[str]) -> None:
    """Raise a ValidationException for a variable by which a request could bring code to run."""
    for name in names:
        loader = name.startswith(_LOADERS) and name not in _HARMLESS
        if loader or name in _NAMES or "\0" in name or "=" in name:
            raise invalid(
                f"The local AWS does not let a request set the environment variable {name!r}: it "
                "decides which code runs on this machine. Give it to the image, in the file of "
                "--images."
            )
