"""What a run can be told, and where it runs: typed objects, from which everything derives.

`RunSettings` is one run's choices. The DAG's Params (the trigger form), the options of
`python -m fmrec run`, the `FMREC_*` variables that change a default, and docs/settings.md
are all made from its fields. `Deployment` is where the pipeline lives (bucket, role, folders)
and comes from the environment alone, as does `Operations`, how the DAGs are run. What the DAGs on
champions are told (`Recommending`, `Rollback`) are Params alone; those of `Serving` and `Cleaning`
have variables too, for nobody fills in a form when a new champion or the clock starts them; but not
`dry_run` of `Cleaning`, whose name is that of a run's own.
"""

from fmrec.settings.data import ARCHIVES, SPLITS
from fmrec.settings.defaults import DEFAULTS, HYPERPARAMETERS
from fmrec.settings.deployment import Deployment
from fmrec.settings.fields import default_of, describe_limits, env_name
from fmrec.settings.instants import parse_instant
from fmrec.settings.janitor import Cleaning
from fmrec.settings.operations import TASK_HOURS, Operations
from fmrec.settings.params import form, params, tuning_params
from fmrec.settings.recommending import Recommending
from fmrec.settings.rollback import Rollback
from fmrec.settings.run import RunSettings
from fmrec.settings.serving import Serving
from fmrec.settings.training import TUNING_HOURS

__all__ = [
    "ARCHIVES",
    "DEFAULTS",
    "HYPERPARAMETERS",
    "SPLITS",
    "TASK_HOURS",
    "TUNING_HOURS",
    "Cleaning",
    "Deployment",
    "Operations",
    "Recommending",
    "Rollback",
    "RunSettings",
    "Serving",
    "default_of",
    "describe_limits",
    "env_name",
    "form",
    "params",
    "parse_instant",
    "tuning_params",
]
