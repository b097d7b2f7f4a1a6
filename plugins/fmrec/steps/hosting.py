"""What SageMaker hosts: endpoints, the configurations and models behind them, and who uses them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fmrec import endpoints
from fmrec.errors import BusyError, RefusedError
from fmrec.layout import SERVED, Layout

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

log = logging.getLogger(__name__)

Sleep = Callable[[float], None]

_ROLE = re.compile(r"assume|PassRole|role ?ARN", re.IGNORECASE)
# How the names begin of all that this project makes in SageMaker.
OURS = "fmrec-"
_MOVING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as AWS describes it. `config` is in service, `pending` on its way there.

    `created` and `changed` are when it was made and last updated, aware.
    """

    name: str
    arn: str
    status: str
    config: str
    pending: str | None
    reason: str
    created: datetime
    changed: datetime
    tags: Mapping[str, str]

    @property
    def moving(self) -> bool:
        """Whether AWS is at work on it: until that is over it takes no other request."""
        return self.status in _MOVING

    @property
    def proven(self) -> str | None:
        """The configuration that passed its test last, None for none."""
        value = self.tags.get(endpoints.PROVEN, endpoints.NOTHING)
        return None if value == endpoints.NOTHING else value

    def belongs_to(self, layout: Layout) -> bool:
        """Whether it was made by the deployment of `layout`, by its tags and its name."""
        named = layout.endpoint(self.tags.get(endpoints.LANE, ""))
        return self.name == named and self.tags.get(endpoints.DEPLOYMENT) == endpoints.owner(layout)


@dataclass(frozen=True)
class Listed:
    """An entry of a list of configurations or models."""

    name: str
    arn: str
    created: datetime


@dataclass(frozen=True)
class Config:
    """An endpoint configuration: its models, and the instances of its first variant."""

    models: tuple[str, ...]
    instance_type: str | None
    instances: int


class Hosting:
    """A region of an account, through a client; what is polled is so every `seconds`."""

    def __init__(self, client: SageMakerClient, seconds: float, sleep: Sleep = time.sleep) -> None:
        self._client, self._seconds, self._sleep = client, seconds, sleep

    def names(self) -> Iterator[str]:
        """All endpoints, whoever made them."""
        for page in self._client.get_paginator("list_endpoints").paginate():
            for each in page["Endpoints"]:
                yield each["EndpointName"]

    def find(self, name: str) -> Endpoint | None:
        """An endpoint, with its tags if it may be ours; None where there is none."""
        describe = self._client.describe_endpoint
        found = _unless_absent(describe, EndpointName=name)
        if found is None:
            return None
        try:
            tags = self.tags(found["EndpointArn"]) if name.startswith(OURS) else {}
        except ClientError:
            if _unless_absent(describe, EndpointName=name) is None:
                return None  # it was just being deleted
            raise
        pending = found.get("PendingDeploymentSummary", {})
        return Endpoint(
            name,
            found["EndpointArn"],
            found["EndpointStatus"],
            found.get("EndpointConfigName", ""),
            pending.get("EndpointConfigName"),
            found.get("FailureReason", ""),
            found["CreationTime"],
            found["LastModifiedTime"],
            tags,
        )

    def settled(self, name: str) -> Endpoint | None:
        """An endpoint when AWS is at work on it no more; None when it is gone."""
        said = ""
        while True:
            found = self.find(name)
            status = "gone" if found is None else found.status
            if status != said:
                log.info("Endpoint %s: %s", name, status)
                said = status
            if found is None or not found.moving:
                return found
            self._sleep(self._seconds)

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of anything."""
        pages = self._client.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {each["Key"]: each["Value"] for page in pages for each in page["Tags"]}

    def tag(self, endpoint: Endpoint, tags: Mapping[str, str]) -> None:
        """Change tags of an endpoint, in one request."""
        given: Any = endpoints.tag_list(tags)
        self._client.add_tags(ResourceArn=endpoint.arn, Tags=given)

    def ensure(self, model: Any, config: Any) -> None:
        """Make a model and a configuration of it, unless they are there: names tell contents."""
        with asking(f"make the model {model['ModelName']}"), _present():
            self._client.create_model(**model)
        with asking(f"make the configuration {config['EndpointConfigName']}"), _present():
            self._client.create_endpoint_config(**config)

    def create(self, request: Any) -> None:
        """Begin to make an endpoint, unless it is there: botocore repeats what got no answer."""
        with asking(f"make the endpoint {request['EndpointName']}"), _present():
            self._client.create_endpoint(**request)

    def update(self, name: str, config: str) -> None:
        """Begin to put another configuration in the place of the one in service, without a gap."""
        with asking(f"update the endpoint {name}"):
            self._client.update_endpoint(EndpointName=name, EndpointConfigName=config)

    def delete(self, name: str) -> None:
        """Begin to delete an endpoint, if there is one."""
        with asking(f"delete the endpoint {name}"):
            _unless_absent(self._client.delete_endpoint, EndpointName=name)

    def configs(self) -> Iterator[Listed]:
        """All endpoint configurations, whoever made them."""
        for page in self._client.get_paginator("list_endpoint_configs").paginate():
            for each in page["EndpointConfigs"]:
                names = each["EndpointConfigName"], each["EndpointConfigArn"]
                yield Listed(*names, each["CreationTime"])

    def config(self, name: str) -> Config | None:
        """A configuration; None where there is none."""
        describe = self._client.describe_endpoint_config
        found = _unless_absent(describe, EndpointConfigName=name)
        if found is None:
            return None
        variants = [*found["ProductionVariants"], *found.get("ShadowProductionVariants", [])]
        first = variants[0] if variants else {}
        return Config(
            tuple(each["ModelName"] for each in variants if "ModelName" in each),
            first.get("InstanceType"),
            first.get("InitialInstanceCount", 1),
        )

    def models(self, beginning: str) -> Iterator[Listed]:
        """The models whose names begin so."""
        pages = self._client.get_paginator("list_models").paginate(NameContains=beginning)
        for page in pages:
            for each in page["Models"]:
                if each["ModelName"].startswith(beginning):
                    yield Listed(each["ModelName"], each["ModelArn"], each["CreationTime"])

    def artifacts(self, model: str) -> list[str] | None:
        """The URIs of a model's data; None where there is no such model."""
        found = _unless_absent(self._client.describe_model, ModelName=model)
        if found is None:
            return None
        containers = [found.get("PrimaryContainer", {}), *found.get("Containers", [])]
        return [each["ModelDataUrl"] for each in containers if "ModelDataUrl" in each]

    def run_of(self, model: str, layout: Layout) -> str | None:
        """The run of this deployment that a model was made for; None for anybody else's model.

        Its name says so, and its data lie among the files of that very run.
        """
        runs = {layout.run_of(uri) for uri in self.artifacts(model) or []}
        run = runs.pop() if len(runs) == 1 else None
        if run is None:
            return None
        own = layout.of(run).job("model", 0).removesuffix("0")
        named = model.startswith(own) or (model.startswith(SERVED) and f"-{run}-" in model)
        return run if named else None

    def owns(self, config: Listed, layout: Layout) -> bool:
        """Whether a configuration was made by this deployment.

        Its name says so, and its models are this deployment's. Where one is gone, its tag tells.
        """
        found = self.config(config.name) if config.name.startswith(SERVED) else None
        if found is None or not found.models:
            return False
        for model in found.models:
            if self.artifacts(model) is None:
                if self.tags(config.arn).get(endpoints.DEPLOYMENT) != endpoints.owner(layout):
                    return False
            elif self.run_of(model, layout) is None:
                return False
        return True

    def delete_config(self, name: str) -> None:
        """Delete a configuration, if there is one."""
        with asking(f"delete the configuration {name}"):
            _unless_absent(self._client.delete_endpoint_config, EndpointConfigName=name)

    def delete_model(self, name: str) -> None:
        """Delete a model, if there is one; its data stay."""
        with asking(f"delete the model {name}"):
            _unless_absent(self._client.delete_model, ModelName=name)

    def used_configs(self, without: Collection[str] = ()) -> dict[str, set[str]]:
        """The configurations of all endpoints but some, by endpoint.

        That is what is in service, what is on its way there, and what there is to go back to.
        """
        found = [self.find(name) for name in self.names() if name not in without]
        return {
            each.name: {config for config in (each.config, each.pending, each.proven) if config}
            for each in found
            if each is not None
        }

    def used_models(self, configs: Collection[str]) -> set[str]:
        """The models that configurations name."""
        found = (self.config(name) for name in configs)
        return {model for each in found if each is not None for model in each.models}


@contextmanager
def asking(to: str) -> Iterator[None]:
    """Say in plain words what AWS refuses, and what to do; the rest goes through as it is."""
    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        if code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}:
            raise RefusedError(
                f"AWS forbids to {to} ({message}): allow the credentials of the connection "
                f"aws_default sagemaker:{error.operation_name}"
            ) from error
        if code == "ValidationException" and _ROLE.search(message):
            raise RefusedError(
                f"AWS refuses to {to}: {message} The role FMREC_ROLE_ARN must exist and trust "
                "sagemaker.amazonaws.com, and the credentials of the connection aws_default need "
                "iam:PassRole on it"
            ) from error
        if code == "ResourceLimitExceeded":
            raise BusyError(
                f"AWS has no room to {to}: {message} Tear an endpoint down, choose another "
                "instance type or fewer instances, or ask AWS for a higher limit"
            ) from error
        if code == "ValidationException" and "in-progress" in message:
            raise BusyError(
                f"AWS is at work on it and does not {to} now: {message} Airflow tries again"
            ) from error
        if code == "ValidationException" and "instanceType" in message:
            raise RefusedError(
                "parameter endpoint_instance_type: AWS knows no such instance for endpoints "
                f"({message.partition(' Member must satisfy')[0]}). Name one that "
                "https://aws.amazon.com/sagemaker/ai/pricing/ lists for real-time inference"
            ) from error
        if code == "ValidationException":
            raise RefusedError(f"AWS refuses to {to}: {message}") from error
        raise


def _unless_absent(call: Callable[..., Any], **request: str) -> Any:
    """The answer to a request; None where it names something that does not exist."""
    try:
        return call(**request)
    except ClientError as error:
        if not _says(error, "Could not find"):
            raise
        return None


@contextmanager
def _present() -> Iterator[None]:
    """Go on where what is to be made is there."""
    try:
        yield
    except ClientError as error:
        if not _says(error, "already existing"):
            raise


def _says(error: ClientError, text: str) -> bool:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    return code in {"ValidationException", "ResourceNotFound"} and text in message
