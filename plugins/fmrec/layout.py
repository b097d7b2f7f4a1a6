"""Every S3 key and every SageMaker job name of a run, spelt once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.settings import Deployment, RunSettings, params, parse_instant

# How the names of the models and endpoint configurations begin that are made for endpoints.
SERVED = "fmrec-serve-"


def run_key(as_of: datetime, *identity: str) -> str:
    """The run's name in keys and job names, e.g. "19980308T000000Z-1c2d3e4f".

    It starts with `as_of` (aware, UTC), so keys sort by the day they describe, and ends in a
    hash of what else tells runs apart, so that two runs for one day share no key and no job.
    """
    return f"{as_of:%Y%m%dT%H%M%SZ}-{_digest(*identity)}"


def _digest(*told: str) -> str:
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def is_run(name: str) -> bool:
    """Whether a name is one that `run_key` gives."""
    try:
        moment_of(name)
    except ValueError:
        return False
    return re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", name, re.ASCII) is not None


def moment_of(run: str) -> datetime:
    """The moment that a run describes, by its name. Raises ValueError for no moment."""
    return datetime.strptime(f"{run.partition('-')[0]}+0000", "%Y%m%dT%H%M%SZ%z")


def behind(endpoint: str) -> str:
    """How the names of the models and configurations begin that are made for an endpoint."""
    return f"{SERVED}{endpoint[-8:]}-"


def lane_of(settings: RunSettings) -> str:
    """What models of such runs compete in: one champion for each use, source and split.

    Models for different uses are told apart by different metrics, those of different sources
    know different films, and those of different splits have learnt each other's test events.
    """
    return "-".join([settings.promoted_for, *_sources(settings), settings.split])


def _sources(settings: RunSettings) -> list[str]:
    return [settings.source, settings.base] if settings.source == "landing" else [settings.source]


def default_lane(environ: Mapping[str, str]) -> str:
    """The lane of runs that are told nothing. Raises ConfigurationError for a bad variable."""
    told = {name: each["default"] for name, each in params(environ).items()}
    return lane_of(RunSettings.of(told))


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI. Raises ConfigurationError when it is none."""
    match = re.fullmatch(r"s3://([^/]+)/(.*)", uri)
    if match is None:
        raise ConfigurationError(f"{uri!r} is not an S3 URI of the form s3://bucket/key")
    return match[1], match[2]


@dataclass(frozen=True)
class Layout:
    """Where one run keeps what. Keys are relative to the bucket; `uri` makes them absolute."""

    bucket: str
    prefix: str
    run: str

    def uri(self, key: str) -> str:
        """The s3:// URI of a key."""
        return f"s3://{self.bucket}/{key}"

    def source(self, name: str, file: str) -> str:
        """A file of what was read from a source, shared by all runs: `name` is of its content."""
        return f"{self.prefix}/sources/{name}/{file}"

    def source_ratings(self, name: str, number: int) -> str:
        """A part of the ratings of a source."""
        return self.source(name, f"ratings/part-{number:05d}.parquet")

    def _own(self, *parts: str) -> str:
        return "/".join((self.prefix, "runs", self.run, *parts))

    @property
    def sources(self) -> str:
        """Which files of which sources the run reads."""
        return self._own("sources.json")

    @property
    def acceptance(self) -> str:
        """What the run says of its landing days, for the next run to measure by."""
        return self._own("acceptance.json")

    @property
    def tuned(self) -> str:
        """Which tuning's hyperparameters the run uses: fixed when it is planned."""
        return self._own("tuned.json")

    def described(self, what: str) -> str:
        """What the sources say of "users" or "items"."""
        return self._own(f"{what}.parquet")

    def events(self, part: str, number: int) -> str:
        """Events of one part (such as "train", "test" or "set-aside")."""
        return self._own("events", part, f"part-{number:05d}.parquet")

    @property
    def id_map(self) -> str:
        """The feature space: which id is which column."""
        return self._own("id-map.json")

    @property
    def columns(self) -> str:
        """The feature space for people: a row for each column, with its name and meaning."""
        return self._own("columns.parquet")

    @property
    def facts(self) -> str:
        """What the events say of users, items and days."""
        return self._own("facts.npz")

    def channel(self, name: str) -> str:
        """Prefix of a channel's RecordIO files; ends in a slash."""
        return self._own("recordio", name) + "/"

    def channel_part(self, name: str, number: int) -> str:
        """One RecordIO file of a channel."""
        return f"{self.channel(name)}part-{number:05d}.pbr"

    @property
    def models(self) -> str:
        """Prefix under which SageMaker puts `<training job>/output/model.tar.gz`."""
        return self._own("models")

    @property
    def checkpoints(self) -> str:
        """Prefix under which training jobs on spot capacity keep where they are."""
        return self._own("checkpoints") + "/"

    def predictions(self, job: str) -> str:
        """Prefix under which the transform job `job` puts one .out per input file."""
        return self._own("predictions", job) + "/"

    def report(self, name: str) -> str:
        """A file of the run's report, before it is published."""
        return self._own("report", name)

    @property
    def published(self) -> str:
        """Prefix of the published reports of all runs; sorts by as_of."""
        return f"{self.prefix}/reports/"

    def champions(self, lane: str) -> str:
        """Prefix of the history of one lane's champions, which is only ever added to."""
        return f"{self.prefix}/champions/{lane}/"

    def tunings(self, kind: str) -> str:
        """Prefix of the history of the hyperparameters that were found for one kind of model."""
        return f"{self.prefix}/tunings/{kind}/"

    def costs(self, month: str) -> str:
        """Prefix of what jobs cost in a calendar month such as "2026-03": an object for each."""
        return f"{self.prefix}/costs/{month}/"

    def cost(self, month: str, job: str) -> str:
        """What a job cost, in the month that it counts in."""
        return f"{self.costs(month)}{job}.json"

    def reservation(self, month: str, run: str) -> str:
        """What a run that is at work is expected to cost in a month."""
        return f"{self.prefix}/costs/reserved/{month}/{run}.json"

    def month_of_cost(self, job: str) -> str:
        """Which month that is: fixed when the job is first seen to have ended."""
        return f"{self.prefix}/costs/jobs/{job}.json"

    def requests(self, name: str) -> str:
        """A file of a dry run: a request that would be sent, or what they would cost."""
        return self._own("dry-run", name)

    def recommendations(self, lane: str) -> str:
        """Prefix of the recommendations made for one lane, a folder for each champion."""
        return f"{self.prefix}/recommendations/{lane}/"

    def recommended(self, lane: str, name: str) -> str:
        """A folder or file of the recommendations that this run's model makes as a champion."""
        return f"{self.recommendations(lane)}{self.run}/{name}"

    def latest_recommendations(self, lane: str) -> str:
        """The file that says which recommendations of a lane are in force."""
        return f"{self.recommendations(lane)}latest.json"

    def of(self, run: str) -> Layout:
        """The layout of another run of the same deployment."""
        return replace(self, run=run)

    @property
    def runs(self) -> str:
        """Prefix of what the runs keep, a folder for each; their reports are elsewhere."""
        return f"{self.prefix}/runs/"

    def run_of(self, uri: str) -> str | None:
        """The run of this deployment that an object belongs to; None for anybody else's object."""
        folder = self.uri(self.runs)
        name, slash, _ = uri.removeprefix(folder).partition("/")
        return name if uri.startswith(folder) and slash and is_run(name) else None

    def published_report(self, name: str) -> str:
        """A file of the published report; manifest.json is written last."""
        return f"{self.published}{self.run}/{name}"

    def job(self, kind: str, number: int) -> str:
        """Name of a SageMaker job or model: at most 63 characters.

        The numbers of a run's jobs of one kind count from 1; there is a second one only when the
        first has failed.
        """
        return f"fmrec-{kind}-{self.run}-{number}".replace("_", "-")

    def endpoint(self, lane: str) -> str:
        """Name of a lane's endpoint: at most 63 characters, no other lane's or deployment's."""
        readable = re.sub("[^a-zA-Z0-9]+", "-", lane)[:48].strip("-")
        digest = _digest(self.bucket, self.prefix, lane)
        return "-".join(filter(None, ("fmrec", readable, digest)))

    def served(self, lane: str, *told: str) -> str:
        """Name of what stands behind a lane's endpoint: a model or an endpoint configuration.

        It has at most 63 characters. `told` is what it is made from: what is made again has the
        same name, and anything else of the same run another.
        """
        return f"{behind(self.endpoint(lane))}{self.run}-{_digest(*told)}".replace("_", "-")

    def tuning_job(self, number: int) -> str:
        """Name of a tuning job: at most 32 characters, to which SageMaker adds for each trial."""
        moment, _, digest = self.run.partition("-")
        return f"fmrec-{moment[:8]}-{digest}-{number}"


@dataclass(frozen=True)
class Run:
    """One run of the pipeline: who it is, the moment it describes, what it was told.

    It is made once, by the first task, and passed on as a plain mapping (`to_xcom`), so that
    every task of the run sees the same clock and the same choices. `tuned` is the entry of the
    history of tunings whose hyperparameters stand where the run names none, if there is one.
    """

    run_id: str
    as_of: datetime
    settings: RunSettings
    layout: Layout
    tuned: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, run_id: str, as_of: datetime, settings: RunSettings, deployment: Deployment) -> Run:
        """The run that Airflow calls `run_id`, describing the moment `as_of` (aware).

        A run repeated with other settings is another run. Bucket and prefix count too: job
        names are shared by everyone in an AWS account.
        """
        as_of = parse_instant(as_of.isoformat())
        bucket, prefix = deployment.bucket, deployment.prefix
        told = json.dumps(asdict(settings), sort_keys=True)
        layout = Layout(bucket, prefix, run_key(as_of, run_id, bucket, prefix, told))
        return cls(run_id, as_of, settings, layout)

    @property
    def lane(self) -> str:
        """What its model competes in."""
        return lane_of(self.settings)

    @property
    def kind(self) -> str:
        """What its hyperparameters go with: of another kind of model they would mean nothing."""
        told = self.settings
        model = (told.objective, told.features, told.image, told.fitted_by)
        return "-".join([*model, *_sources(told)])

    def hyperparameters(self) -> dict[str, str]:
        """What the algorithm is given, as SageMaker takes it: text to text.

        What the run sets, else what was tuned, else the project's default.
        """
        values = self.settings.hyperparameters()
        found = {} if self.tuned is None else self.tuned["hyperparameters"]
        free = {name for name in values if getattr(self.settings, name, "") is None}
        return values | {name: value for name, value in found.items() if name in free}

    def to_xcom(self) -> dict[str, Any]:
        """The run as JSON types."""
        return {
            "run_id": self.run_id,
            "as_of": self.as_of.isoformat(),
            "settings": asdict(self.settings),
            "layout": asdict(self.layout),
            "tuned": self.tuned,
        }

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any]) -> Run:
        """What `to_xcom` made, again."""
        return cls(
            value["run_id"],
            parse_instant(value["as_of"]),
            RunSettings.of(value["settings"]),
            Layout(**value["layout"]),
            value.get("tuned"),
        )
