"""Runs that are over, by what they published: their manifest, their columns, their model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fmrec.errors import ConfigurationError, DataError, StoreError
from fmrec.events.design import Design
from fmrec.fm.model import Model
from fmrec.layout import Layout, Run
from fmrec.steps.xcom import Xcom, design_of, model_of
from fmrec.store import Store

_MANIFEST = "manifest.json"
_LATEST = 50
MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class Published:
    """A published run. `manifest` is its manifest.json; what is large is read when asked for."""

    run: Run
    manifest: Xcom
    store: Store

    @classmethod
    def of(cls, layout: Layout, store: Store) -> Published:
        """The run that `layout` names.

        Raises StoreError when it is not published, DataError for a manifest of another form.
        """
        key = layout.published_report(_MANIFEST)
        data = store.get(key)
        try:
            manifest: Xcom = json.loads(data)
            if manifest["schema"] != MANIFEST_SCHEMA:
                raise ValueError(f"its schema is {manifest['schema']!r}, not {MANIFEST_SCHEMA}")
            run = Run.from_xcom(
                {
                    "run_id": manifest["run_id"],
                    "as_of": manifest["as_of"],
                    "settings": manifest["parameters"],
                    "layout": asdict(layout),
                }
            )
            found = cls(run, manifest, store)
            found.tables, found.parts, found.artifact  # noqa: B018 - fail here, where it can be told
        except (ValueError, KeyError, TypeError, ConfigurationError) as error:
            raise DataError(
                f"s3://{store.bucket}/{key} is no manifest that this version reads "
                f"({type(error).__name__}: {error}): publish the run again"
            ) from None
        return found

    @property
    def tables(self) -> Xcom:
        """What the ingest step returned, as far as later steps ask."""
        return {"keys": self.manifest["tables"]}

    @property
    def parts(self) -> Xcom:
        """What the events step returned, as far as later steps ask."""
        return {
            "parts": self.manifest["events"],
            "id_map": self.manifest["id_map"],
            "facts": {"key": self.run.layout.facts},
        }

    @property
    def artifact(self) -> str:
        """The URI of the run's model."""
        return str(self.manifest["jobs"]["training"]["artifact"])

    def design(self) -> Design:
        """The run's own columns. Raises StoreError when its files are gone."""
        return design_of(self.run, self.tables, self.parts, self.store)

    def model(self) -> Model:
        """The run's own model. Raises StoreError or FormatError when there is none to be read."""
        return model_of(self.manifest["jobs"]["training"], self.store)

    def report(self) -> Any:
        """The content of the run's report.json."""
        return json.loads(self.store.get(self.run.layout.published_report("report.json")))


def names(layout: Layout, store: Store) -> Iterator[str]:
    """The keys of all published runs, in the order of their as_of; `layout` of any run."""
    end = f"/{_MANIFEST}"
    for key in store.list(layout.published):
        if key.endswith(end):
            yield key.removeprefix(layout.published).removesuffix(end)


def latest(layout: Layout, store: Store) -> Iterator[Published]:
    """The runs that were published last, by their as_of, the newest first: of a few dozen keys.

    What another version of the manifest describes, or has gone meanwhile, is left out.
    """
    for name in reversed(list(names(layout, store))[-_LATEST:]):
        try:
            yield Published.of(layout.of(name), store)
        except (DataError, StoreError):
            continue
