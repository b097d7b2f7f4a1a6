"""The SageMaker operations on model packages: versions in a group, or packages by themselves."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.api.faults import ApiError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.models.package_groups import IN_GROUP, MEMBERSHIP, named
from fmrec.local_aws.state.records import Identity, Listing
from fmrec.local_aws.workplace import Workplace

# Members that would have SageMaker do something with the model, and that nothing here carries out.
_REFUSED = (
    *("ValidationSpecification", "SourceAlgorithmSpecification", "CertifyForMarketplace"),
    "ManagedStorageType",
)
_UPDATED = (
    *("ModelApprovalStatus", "ApprovalDescription", "ModelPackageRegistrationType"),
    *("InferenceSpecification", "SourceUri", "ModelCard", "ModelLifeCycle"),
)
# Members of a document that no response shows: the last version that a group gave away, and the
# token of the request that made a package.
_LAST_VERSION = "_LastVersion"
_MADE_BY = "_ClientToken"
_GROUP = "coalesce(json_extract(document, '$.ModelPackageGroupName'), name)"
_VERSION = "coalesce(json_extract(document, '$.ModelPackageVersion'), 0)"
_MOST_PROPERTIES = 50
_MOST_SPECIFICATIONS = 15


class ModelPackages:
    """Create, Describe, List, Update, Delete and BatchDescribe of ModelPackage."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            "CreateModelPackage": self.create,
            "DescribeModelPackage": self.describe,
            "ListModelPackages": self.list,
            "UpdateModelPackage": self.update,
            "DeleteModelPackage": self.delete,
            "BatchDescribeModelPackage": self.batch_describe,
        }

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def create(self, region: str, request: Document) -> Document:
        """Record a package: the next version of a group, or one under a name of its own."""
        for member in _REFUSED:
            if request.get(member):
                raise unsupported(f"{member} of CreateModelPackage")
        in_group = "ModelPackageGroupName" in request
        if in_group and "ModelPackageName" in request:
            raise invalid(
                "Both ModelPackageName and ModelPackageGroupName are provided in the input. "
                "Cannot determine which one to use."
            )
        if not in_group and "ModelPackageName" not in request:
            raise invalid("Missing ARN. Give a ModelPackageGroupName or a ModelPackageName.")
        if in_group and request.get("Tags"):
            raise invalid(
                "Tags cannot be given with a ModelPackageGroupName: a versioned model package "
                "uses the tags of its group."
            )
        with MEMBERSHIP:
            made = self._made_by(region, request.get("ClientToken"))
            if made is not None:
                return {"ModelPackageArn": made}
            document = dict(request)
            tags = document.pop("Tags", [])
            if in_group:
                identity = self._next_version(region, document)
            else:
                identity = self._place.identity(
                    "model-package", region, document["ModelPackageName"]
                )
            now = self._place.now()
            document.update(
                {
                    "ModelPackageArn": str(identity),
                    "ModelPackageStatus": "Completed",
                    "ModelPackageStatusDetails": {
                        "ValidationStatuses": [],
                        "ImageScanStatuses": [],
                    },
                    "CertifyForMarketplace": False,
                    "CreationTime": now,
                    "CreatedBy": {},
                    _MADE_BY: document.pop("ClientToken", None),
                }
            )
            if not self._place.records.insert(identity, document, now):
                raise invalid(f"ModelPackage already exists: {identity}")
            self._place.records.add_tags(str(identity), tags)
        return {"ModelPackageArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return a package's document."""
        if request.get("IncludedData", "AllData") != "AllData":
            raise unsupported("IncludedData MetadataOnly of DescribeModelPackage")
        document = find_package(self._place, region, request["ModelPackageName"])
        # Lists do not name a version so, Describe does.
        return {"ModelPackageName": document.get("ModelPackageGroupName"), **document}

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        filters = dict(request)
        where: list[tuple[str, str]] = []
        if "NameContains" in filters:
            where.append((f"instr(lower({_GROUP}), lower(?)) > 0", filters.pop("NameContains")))
        if "ModelApprovalStatus" in filters:
            where.append(
                (
                    "json_extract(document, '$.ModelApprovalStatus') = ?",
                    filters["ModelApprovalStatus"],
                )
            )
        kind = "Unversioned"
        if "ModelPackageGroupName" in filters:
            group = named(
                self._place, "model-package-group", region, filters["ModelPackageGroupName"]
            )
            where.append((IN_GROUP, group.name))
            kind = "Versioned"
        kind = filters.get("ModelPackageType", kind)
        if kind != "Both":
            where.append((f"iif({_VERSION} > 0, 'Versioned', 'Unversioned') = ?", kind))
        columns = {"Name": f"{_GROUP} || printf('/%09d', {_VERSION})", "CreationTime": "created"}
        page, token = self._place.records.page(
            "model-package", region, Listing(filters, "Ascending", where, columns)
        )
        return {"ModelPackageSummaryList": page, "NextToken": token}

    def update(self, region: str, request: Document) -> Document:
        """Change a package's approval, properties, specifications or life cycle."""
        identity = named(self._place, "model-package", region, request["ModelPackageArn"])
        now = self._place.now()

        def change(document: Document) -> None:
            document.update({name: request[name] for name in _UPDATED if name in request})
            _change_properties(document, request)
            _add_specifications(document, request)
            document.update({"LastModifiedTime": now, "LastModifiedBy": {}})

        try:
            self._place.records.update(identity, change, now)
        except KeyError:
            raise _absent(identity) from None
        return {"ModelPackageArn": str(identity)}

    def delete(self, region: str, request: Document) -> Document:
        """Forget a package; its number is never given to another one, its artifact stays in S3."""
        identity = named(self._place, "model-package", region, request["ModelPackageName"])
        if not self._place.records.delete(identity):
            raise _absent(identity)
        return {}

    def batch_describe(self, region: str, request: Document) -> Document:
        """Return summaries by ARN, and what is wrong with those that cannot be described."""
        summaries, errors = {}, {}
        for arn in request["ModelPackageArnList"]:
            try:
                summaries[arn] = find_package(self._place, region, arn)
            except ApiError as fault:
                errors[arn] = {"ErrorCode": fault.code, "ErrorResponse": fault.message}
        return {
            "ModelPackageSummaries": summaries,
            "BatchDescribeModelPackageErrorMap": errors,
        }

    def _next_version(self, region: str, document: Document) -> Identity:
        """Make a package the next version of its group and return its identity."""
        group = named(self._place, "model-package-group", region, document["ModelPackageGroupName"])

        def count(document: Document) -> None:
            document[_LAST_VERSION] = document.get(_LAST_VERSION, 0) + 1

        try:
            version = self._place.records.update(group, count, self._place.now())[_LAST_VERSION]
        except KeyError:
            raise invalid("Model Package Group does not exist.") from None
        document.update({"ModelPackageGroupName": group.name, "ModelPackageVersion": version})
        document.setdefault("ModelApprovalStatus", "PendingManualApproval")
        return self._place.identity("model-package", region, f"{group.name}/{version}")

    def _made_by(self, region: str, token: str | None) -> str | None:
        """Return the ARN of the package that a request with this token has made already."""
        if token is None:
            return None
        same = (f"json_extract(document, '$.{_MADE_BY}') = ?", token)
        listing = Listing({"MaxResults": 1}, "Ascending", where=[same])
        found, _ = self._place.records.page("model-package", region, listing)
        return found[0]["ModelPackageArn"] if found else None


def find_package(place: Workplace, region: str, name_or_arn: str) -> Document:
    """Return a package's document; raise ValidationException when there is none."""
    identity = named(place, "model-package", region, name_or_arn)
    document = place.records.find(identity)
    if document is None:
        raise _absent(identity)
    return document


def container_of(place: Workplace, region: str, name_or_arn: str) -> Document:
    """Return the one container that a package describes, to be a model's.

    Raises ValidationException when there is no such package, when it is a version that is not
    approved, or when it does not describe one container.
    """
    package = find_package(place, region, name_or_arn)
    arn, approval = package["ModelPackageArn"], package.get("ModelApprovalStatus")
    if "ModelPackageVersion" in package and approval != "Approved":
        raise invalid(
            f"The ModelApprovalStatus of the model package {arn} is {approval}. It must be set to "
            "Approved to deploy the model."
        )
    containers: list[Document] = package.get("InferenceSpecification", {}).get("Containers", [])
    if len(containers) != 1:
        raise unsupported(f"a model of the {len(containers)} containers of {arn}; one is needed")
    return containers[0]


def _absent(identity: Identity) -> ApiError:
    return invalid(f"ModelPackage {identity} does not exist.")


def _change_properties(document: Document, request: Document) -> None:
    properties = document.get("CustomerMetadataProperties", {})
    properties = {**properties, **request.get("CustomerMetadataProperties", {})}
    for name in request.get("CustomerMetadataPropertiesToRemove", []):
        properties.pop(name, None)
    if len(properties) > _MOST_PROPERTIES:
        raise invalid(f"A model package has at most {_MOST_PROPERTIES} CustomerMetadataProperties.")
    document["CustomerMetadataProperties"] = properties


def _add_specifications(document: Document, request: Document) -> None:
    added = request.get("AdditionalInferenceSpecificationsToAdd", [])
    if not added:
        return
    specifications = [*document.get("AdditionalInferenceSpecifications", []), *added]
    if len(specifications) > _MOST_SPECIFICATIONS:
        raise invalid(
            f"A model package has at most {_MOST_SPECIFICATIONS} additional inference "
            "specifications."
        )
    document["AdditionalInferenceSpecifications"] = specifications
