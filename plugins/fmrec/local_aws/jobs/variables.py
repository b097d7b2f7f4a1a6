"""Which environment variables a request may set in a container that shares this machine."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.api.faults import invalid

# On AWS a container can be told to load other code than its image's: it is alone. Here that code
# could be any object that was put into S3, for objects are files. Nobody knows all such variables;
# these are the ones that are known.
_LOADERS = (
    *("PYTHON", "_", "LD_", "DYLD_", "GCONV_", "MALLOC_", "NUMBA_", "OMP_TOOL", "LOKY_", "MPL"),
    *("OPENSSL_", "SSL", "AWS_CONFIG", "AWS_SHARED", "AWS_PROFILE", "BOTO_CONFIG", "XDG_", "GIT_"),
    *("BASH_", "PERL", "RUBY", "NODE_", "JAVA", "JDK_", "CLASSPATH", "R_", "LUA_", "DOTNET_"),
    *("CUDA_INJECTION", "NVIDIA_", "JUPYTER_", "IPYTHON", "PIP_", "UV_", "CONDA_"),
)
_NAMES = (
    *("PATH", "HOME", "ENV", "SHELL", "SHELLOPTS", "PS4", "IFS", "PROMPT_COMMAND", "CDPATH"),
    *("TMPDIR", "TMP", "TEMP", "EDITOR", "VISUAL", "PAGER", "BROWSER", "LESSOPEN", "LESSCLOSE"),
    *("FMREC_ML_ROOT", "FMREC_BIND_HOST", "SAGEMAKER_BIND_TO_PORT"),
)
_HARMLESS = (
    *("PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONFAULTHANDLER", "NUMBA_NUM_THREADS"),
)


def check_variables(given: Mapping[str, str]) -> None:
    """Raise a ValidationException for a variable by which a request could bring code to run."""
    for name, value in given.items():
        if "\0" in name + value or "=" in name:
            raise invalid(
                f"The environment variable {name!r} cannot be set: it holds a NUL, or its name a =."
            )
        if name in _NAMES or (name.startswith(_LOADERS) and name not in _HARMLESS):
            raise invalid(
                f"The local AWS does not let a request set the environment variable {name!r}: it "
                "decides which code runs on this machine. Give it to the image, in the file of "
                "--images."
            )
