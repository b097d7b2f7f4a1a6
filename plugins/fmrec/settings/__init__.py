"""What a run can be told, and where it runs: two typed objects, from which everything derives.

`RunSettings` is one run's choices. The DAG's Params (the trigger form), the options of
`python -m fmrec run`, the `FMREC_*` variables that change a default, and docs/settings.md
are all made from its fields. `Deployment` is where the pipeline lives (bucket, role, folders)
and comes from the environment alone.
"""

from fmrec.settings.defaults import DEFAULTS, RATING_DEFAULTS
from fmrec.settings.deployment import Deployment
from fmrec.settings.fields import default_of, describe_limits, env_name
from fmrec.settings.run import ARCHIVES, SPLITS, RunSettings, params, parse_instant

__all__ = [
    "ARCHIVES",
    "DEFAULTS",
    "RATING_DEFAULTS",
    "SPLITS",
    "Deployment",
    "RunSettings",
    "default_of",
    "describe_limits",
    "env_name",
    "params",
    "parse_instant",
]
