"""Endpoint configurations and models of this deployment that nothing uses any more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from fmrec.layout import Layout, behind
from fmrec.steps.hosting import Hosting

Guard = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class Idle:
    """Names of what may go, models with their run, and the models that what stays has `named`.

    Among the `named` are those that an endpoint may have whose configuration is gone.
    """

    configs: list[str]
    models: dict[str, str]
    named: set[str]


def idle(
    hosting: Hosting,
    layout: Layout,
    beginnings: tuple[str, ...],
    *,
    without: Collection[str] = (),
    before: datetime | None = None,
    guard: Guard = lambda what: nullcontext(),
) -> Idle:
    """What nothing uses of the configurations and models whose names begin so.

    What any endpoint, whoever made it, has in service, on its way there or to go back to stays, and
    so does a model that is named by any configuration that stays. `without` are endpoints that are
    as good as gone; with `before`, only what was made before that moment goes. Whatever cannot be
    told of one candidate is raised within `guard`, and that one stays.
    """
    used = hosting.used_configs(without)
    taken = {config for its in used.values() for config in its}
    listed = list(hosting.configs())
    configs = []
    for each in listed:
        wanted = each.name.startswith(beginnings) and (before is None or each.created < before)
        with guard(f"configuration {each.name}"):
            if wanted and each.name not in taken and hosting.owns(each, layout):
                configs.append(each.name)
    staying = {each.name for each in listed} - set(configs)
    named = hosting.used_models(staying)
    # An endpoint whose configuration somebody has deleted does not say which model it has.
    blind = tuple(behind(name) for name, its in used.items() if its - staying)
    models: dict[str, str] = {}
    for each in (each for beginning in beginnings for each in hosting.models(beginning)):
        if each.name.startswith(blind):
            named.add(each.name)
        wanted = each.name not in named and (before is None or each.created < before)
        with guard(f"model {each.name}"):
            if wanted:
                run = hosting.run_of(each.name, layout)
                if run is not None:
                    models[each.name] = run
    return Idle(configs, models, named)


def sweep(hosting: Hosting, layout: Layout, endpoint: str) -> list[str]:
    """Delete what was made for an endpoint and is used by none; say what that was."""
    found = idle(hosting, layout, (behind(endpoint),))
    for name in found.configs:
        hosting.delete_config(name)
    for name in found.models:
        hosting.delete_model(name)
    return [*found.configs, *found.models]
