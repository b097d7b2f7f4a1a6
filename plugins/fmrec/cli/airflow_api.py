"""Airflow's own REST API, of the Airflow that `up` started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from fmrec.cli.started import USER, Stack
from fmrec.errors import FmrecError

_SECONDS = 60
_PAGE = 100


class AirflowApi:
    """Requests of a person who has logged in. Each raises FmrecError when it is not answered."""

    def __init__(self, client: httpx.Client, ui: str) -> None:
        self._client = client
        self.ui = ui

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path below /api/v2/."""
        return self._asked("GET", path, params=query)

    def post(self, path: str, body: Any) -> Any:
        """The same of what is made there."""
        return self._asked("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """The same of what is changed there."""
        return self._asked("PATCH", path, json=body)

    def every(self, path: str, name: str, **query: Any) -> Iterator[Any]:
        """All entries of a list that comes in pages, under `name` in each."""
        offset = 0
        while True:
            page = self.get(path, limit=_PAGE, offset=offset, **query)
            yield from page[name]
            offset += _PAGE
            if offset >= page["total_entries"]:
                return

    def _asked(self, method: str, path: str, **rest: Any) -> Any:
        try:
            answer = self._client.request(method, f"/api/v2/{path}", **rest)
        except httpx.HTTPError as error:
            raise FmrecError(f"Airflow does not answer at {self.ui} ({error})") from None
        if not answer.is_success:
            raise FmrecError(f"Airflow refuses {method} {path}: {_reason(answer)}")
        return answer.json()


@contextmanager
def opened(stack: Stack) -> Iterator[AirflowApi]:
    """The API of what `up` started. Raises FmrecError when it does not answer."""
    # A proxy is for other machines.
    with httpx.Client(base_url=stack.ui, timeout=_SECONDS, trust_env=False) as client:
        try:
            body = {"username": USER, "password": stack.password}
            answer = client.post("/auth/token", json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise FmrecError(
                f"Airflow does not answer at {stack.ui} ({error}): `make up` starts what has ended"
            ) from None
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield AirflowApi(client, stack.ui)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
