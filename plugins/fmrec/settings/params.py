"""A run's choices as the fields of Airflow's trigger form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fmrec.settings.fields import default_of, value_type
from fmrec.settings.run import RunSettings


def params(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The fields of a run of `fmrec_retrain`."""
    return form(RunSettings, environ)


def form(cls: Any, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Keyword arguments of one Airflow Param for each field of a settings class, in form order."""
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    made = {}
    for each in fields(cls):
        kind, optional = value_type(each)
        made[each.name] = {
            "default": default_of(each, environ),
            "type": ["null", names[kind]] if optional else names[kind],
            "title": each.metadata["title"],
            "description_md": each.metadata["description"],
            "section": each.metadata["section"],
            **each.metadata["schema"],
        }
        if optional and "enum" in made[each.name]:
            # JSON schema: an enum without null would refuse the empty form field.
            made[each.name]["enum"] = [*made[each.name]["enum"], None]
    return made


def tuning_params(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The same for a run that tunes and releases nothing."""
    made = {
        name: each
        for name, each in params(environ).items()
        if each["section"] not in {"Release", "Report"} and name != "transform_instance_type"
    }
    return made | {"mode": {"default": "tune", "const": "tune"}}
