"""The SageMaker operations on model package groups."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from fmrec.local_aws.api.faults import ApiError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.state.records import Identity, Kind, Listing
from fmrec.local_aws.workplace import Workplace

# Held while a package comes into a group, or a group goes: neither may miss the other.
MEMBERSHIP = threading.Lock()
IN_GROUP = "json_extract(document, '$.ModelPackageGroupName') = ?"


class ModelPackageGroups:
    """CreateModelPackageGroup, DescribeModelPackageGroup, ListModelPackageGroups, Delete…."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            "CreateModelPackageGroup": self.create,
            "DescribeModelPackageGroup": self.describe,
            "ListModelPackageGroups": self.list,
            "DeleteModelPackageGroup": self.delete,
        }

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def create(self, region: str, request: Document) -> Document:
        """Record a group."""
        if request.get("ManagedConfiguration"):
            raise unsupported("ManagedConfiguration of CreateModelPackageGroup")
        identity = self._place.identity(
            "model-package-group", region, request["ModelPackageGroupName"]
        )
        now = self._place.now()
        document = {
            **request,
            "ModelPackageGroupArn": str(identity),
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": now,
            "CreatedBy": {},
        }
        tags = document.pop("Tags", [])
        if not self._place.records.insert(identity, document, now):
            raise invalid(f"Model Package Group already exists: {identity}")
        self._place.records.add_tags(str(identity), tags)
        return {"ModelPackageGroupArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return a group's document."""
        identity = named(
            self._place, "model-package-group", region, request["ModelPackageGroupName"]
        )
        document = self._place.records.find(identity)
        if document is None:
            raise invalid(f"ModelPackageGroup {identity} does not exist.")
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        if request.get("CrossAccountFilterOption") == "CrossAccount":
            return {"ModelPackageGroupSummaryList": []}  # no other account shares anything
        page, token = self._place.records.page(
            "model-package-group", region, Listing(request, "Ascending")
        )
        return {"ModelPackageGroupSummaryList": page, "NextToken": token}

    def delete(self, region: str, request: Document) -> Document:
        """Forget a group that is empty."""
        with MEMBERSHIP:
            document = self.describe(region, request)
            name = document["ModelPackageGroupName"]
            listing = Listing({"MaxResults": 1}, "Ascending", where=[(IN_GROUP, name)])
            packages, _ = self._place.records.page("model-package", region, listing)
            if packages:
                raise ApiError(
                    "ConflictException",
                    f"Model Package Group {document['ModelPackageGroupArn']} cannot be deleted "
                    "because it contains model packages. Delete them first.",
                )
            self._place.records.delete(self._place.identity("model-package-group", region, name))
        return {}


def named(place: Workplace, kind: Kind, region: str, name_or_arn: str) -> Identity:
    """Return the identity that a request gives by its name or its ARN.

    Raises ValidationException for the ARN of something else, or of another region or account.
    """
    if not name_or_arn.startswith("arn:"):
        return place.identity(kind, region, name_or_arn)
    identity = place.identity(kind, region, name_or_arn.partition("/")[2])
    if str(identity) != name_or_arn:
        noun = {"model-package": "ModelPackage", "model-package-group": "ModelPackageGroup"}[kind]
        raise invalid(f"{noun} {name_or_arn} does not exist.")
    return identity
