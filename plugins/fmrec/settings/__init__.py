"""What a run can be told, and where it runs: typed objects, from which everything derives.

`RunSettings` is one run's choices. The DAG's Params (the trigger form), the options of
`python -m fmrec run`, the `FMREC_*` variables that change a default, and docs/settings.md
are all made from its fields. `Deployment` is where the pipeline lives (bucket, role, folders)
and comes from the environment alone, as does `Operations`, how the DAGs are run.
"""

from fmrec.settings.data import ARCHIVES, SPLITS
from fmrec.settings.defaults import DEFAULTS, HYPERPARAMETERS
from fmrec.settings.deployment import Deployment
from fmrec.settings.fields import default_of, describe_limits, env_name
from fmrec.settings.instants import parse_instant
from fmrec.settings.operations import Operations
from fmrec.settings.params import form, params, tuning_params
from fmrec.settings.run import RunSettings

__all__ = [
    "ARCHIVES",
    "DEFAULTS",
    "HYPERPARAMETERS",
    "SPLITS",
    "Deployment",
    "Operations",
    "RunSettings",
    "default_of",
    "describe_limits",
    "env_name",
    "form",
    "params",
    "parse_instant",
    "tuning_params",
]
