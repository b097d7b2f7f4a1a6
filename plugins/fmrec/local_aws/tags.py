"""The SageMaker operations on tags."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.api.faults import invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.workplace import Workplace

_PAGE = 50


class Tags:
    """AddTags, ListTags, DeleteTags."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {"AddTags": self.add, "ListTags": self.list, "DeleteTags": self.delete}

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def add(self, region: str, request: Document) -> Document:
        """Add tags to a resource and return those it now has."""
        arn = self._arn(region, request)
        self._place.records.add_tags(arn, request["Tags"])
        return {"Tags": self._place.records.tags(arn)}

    def list(self, region: str, request: Document) -> Document:
        """Return a page of a resource's tags."""
        tags = self._place.records.tags(self._arn(region, request))
        start = _offset(request.get("NextToken", "0"))
        end = start + request.get("MaxResults", _PAGE)
        return {"Tags": tags[start:end], "NextToken": str(end) if end < len(tags) else None}

    def delete(self, region: str, request: Document) -> Document:
        """Remove tags by key."""
        self._place.records.delete_tags(self._arn(region, request), request["TagKeys"])
        return {}

    def _arn(self, region: str, request: Document) -> str:
        arn = str(request["ResourceArn"])
        if arn.split(":")[3:4] != [region] or not self._place.records.exists(arn):
            raise invalid(f"Could not find a resource with ARN {arn} in {region}.")
        return arn


def _offset(token: str) -> int:
    if not token.isdecimal() or len(token) > 4:
        raise invalid("Invalid NextToken.")
    return int(token)
