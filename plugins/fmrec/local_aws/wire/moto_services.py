"""The services that moto answers here, and no other.

moto knows two hundred. Some of them run what a request brings: a CloudFormation template is loaded
as any YAML, objects and all, a Lambda function is started in Docker, a topic posts to any address.
"""

from __future__ import annotations

from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from fmrec.errors import FmrecError

# By the names of moto's modules.
SERVICES = ("s3", "iam", "sts", "logs", "cloudwatch", "applicationautoscaling", "sqs")


class OtherServiceError(FmrecError):
    """A request is for a service that is not answered."""


class MotoServices(DomainDispatcherApplication):
    """moto's server, for a few of its services."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)

    def get_backend_for_host(self, host: str | None) -> Any:
        """Return moto's name of the service of a host, None when the host tells nothing.

        Raises OtherServiceError for a service that is not among `SERVICES`.
        """
        if host is None:
            return None
        address = f"http://{host}"
        known = [name for name, pattern in self.backend_url_patterns if pattern.match(address)]
        name = known[0] if known else host
        if name not in SERVICES:
            raise OtherServiceError(
                f"The local AWS does not answer {name}. Besides SageMaker it answers "
                f"{', '.join(SERVICES)}."
            )
        return name
