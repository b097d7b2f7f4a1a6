from __future__ import annotations

import pytest

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.jobs.variables import check_variables


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH"),
        *("DYLD_INSERT_LIBRARIES", "NUMBA_CACHE_DIR", "BASH_ENV", "PATH", "HOME", "FMREC_ML_ROOT"),
    ],
)
def test_what_brings_code_to_run_is_refused(name):
    with pytest.raises(ApiError, match=f"{name!r}.*--images"):
        check_variables(["LEVEL", name])


def test_other_variables_pass():
    check_variables(["LEVEL", "SAGEMAKER_PROGRAM", "PYTHONUNBUFFERED", "FMREC_HOSTS_PATIENCE"])
