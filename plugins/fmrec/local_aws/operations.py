"""The SageMaker operations that are implemented: one table, name to behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.endpoints.configs import EndpointConfigs
from fmrec.local_aws.endpoints.endpoints import Endpoints
from fmrec.local_aws.endpoints.fleet import Fleet
from fmrec.local_aws.models.models import Models
from fmrec.local_aws.models.package_groups import ModelPackageGroups
from fmrec.local_aws.models.packages import ModelPackages
from fmrec.local_aws.processing.jobs import ProcessingJobs
from fmrec.local_aws.search import Search
from fmrec.local_aws.tags import Tags
from fmrec.local_aws.training.jobs import TrainingJobs
from fmrec.local_aws.transform.jobs import TransformJobs
from fmrec.local_aws.tuning.jobs import TuningJobs
from fmrec.local_aws.workplace import Workplace


class Resource(Protocol):
    """The operations on one kind of resource, and what its kind needs when the server starts."""

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""

    def recover(self) -> None:
        """Take up, or bring to an end, what a former server left in flight."""


class Resources:
    """Every kind of resource that the local AWS knows. `fleet` runs the endpoints' servers."""

    def __init__(self, place: Workplace) -> None:
        self.fleet = Fleet(place)
        self._resources: tuple[Resource, ...] = (
            TrainingJobs(place),
            TuningJobs(place),
            Models(place),
            TransformJobs(place),
            ProcessingJobs(place),
            ModelPackageGroups(place),
            ModelPackages(place),
            EndpointConfigs(place),
            Endpoints(place, self.fleet),
            Tags(place),
            Search(place),
        )

    def table(self) -> Mapping[str, Operation]:
        """Return all operations by name."""
        return {
            name: operation
            for resource in self._resources
            for name, operation in resource.operations().items()
        }

    def recover(self) -> None:
        """Take up, or bring to an end, everything that a former server left in flight."""
        for resource in self._resources:
            resource.recover()
