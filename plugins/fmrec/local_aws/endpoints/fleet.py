"""What every endpoint runs now. The way from an endpoint's name to a model server."""

from __future__ import annotations

import threading

from fmrec.local_aws.endpoints.capture import Captures
from fmrec.local_aws.endpoints.deployment import Deployment
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace


class Fleet:
    """The deployments in service, by endpoint."""

    def __init__(self, place: Workplace) -> None:
        self.captures = Captures(place)
        self._lock = threading.Lock()
        self._serving: dict[tuple[str, str], Deployment] = {}

    def find(self, region: str, name: str) -> Deployment | None:
        """Return what an endpoint runs, None for one that is not in service."""
        return self._serving.get((region, name))

    def put(self, identity: Identity, deployment: Deployment) -> Deployment | None:
        """Send an endpoint's requests to a deployment from now on; return the former one."""
        key = (identity.region, identity.name)
        with self._lock:
            former = self._serving.get(key)
            self._serving[key] = deployment
        return former

    def remove(self, identity: Identity) -> Deployment | None:
        """Take an endpoint out of service; return what it ran."""
        with self._lock:
            return self._serving.pop((identity.region, identity.name), None)

    def close(self) -> None:
        """End all servers and write what was captured."""
        with self._lock:
            deployments = list(self._serving.values())
            self._serving.clear()
        for deployment in deployments:
            deployment.ask_to_end()
        for deployment in deployments:
            deployment.close()
        self.captures.close()
