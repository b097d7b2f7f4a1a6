from __future__ import annotations

import pytest

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.jobs.variables import check_variables


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH"),
        *("_PYTHON_SYSCONFIGDATA_NAME", "OPENSSL_CONF", "AWS_CONFIG_FILE", "XDG_CACHE_HOME"),
        *("DYLD_INSERT_LIBRARIES", "NUMBA_CACHE_DIR", "BASH_ENV", "PATH", "HOME", "FMREC_ML_ROOT"),
        "FMREC_BIND_HOST",
    ],
)
def test_what_brings_code_to_run_is_refused(name):
    with pytest.raises(ApiError, match=f"{name!r}.*--images"):
        check_variables({"LEVEL": "1", name: "1"})


def test_other_variables_pass():
    names = ("LEVEL", "SAGEMAKER_PROGRAM", "PYTHONUNBUFFERED", "FMREC_HOSTS_PATIENCE")
    check_variables(dict.fromkeys(names, "1"))


def test_a_nul_is_no_part_of_a_variable():
    with pytest.raises(ApiError, match="NUL"):
        check_variables({"LEVEL": "a\0b"})
