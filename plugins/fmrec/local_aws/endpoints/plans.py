"""What an endpoint is to run: a plan, made when it is asked for, and how Describe shows it.

A plan is a JSON document of the endpoint's own, so that neither the configuration nor the models
are needed any more once it is made: EndpointConfigName; Generation, which names the folder of the
deployment; Variants, each with VariantName, Container (Image, ModelDataUrl, Environment),
Weight, Count and, where given, InstanceType, StartSeconds, Serverless and Routing; Capture, the
DataCaptureConfig or null; Resolved, when it was made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from fmrec.local_aws.algorithms import resolve_for
from fmrec.local_aws.api.faults import ApiError, invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.workplace import Workplace

# Servers of one endpoint; AWS has such a limit for each instance type.
MOST_SERVERS = 20


def plan_of(place: Workplace, region: str, config: Document) -> Document:
    """Return the plan of an endpoint configuration; raise ApiError when it cannot be run."""
    plan = {
        "EndpointConfigName": config["EndpointConfigName"],
        "Generation": uuid.uuid4().hex[:12],
        "Variants": [_variant(place, region, variant) for variant in config["ProductionVariants"]],
        "Capture": config.get("DataCaptureConfig"),
        "Resolved": place.now(),
    }
    check_size(plan, 0)
    return plan


def check_size(plan: Document, present: int) -> None:
    """Raise ResourceLimitExceeded for a plan of too many servers, of which some are `present`."""
    wanted = sum(variant["Count"] for variant in plan["Variants"])
    if wanted > MOST_SERVERS:
        raise ApiError(
            "ResourceLimitExceeded",
            f"The account-level service limit 'instances for endpoint usage' is {MOST_SERVERS} "
            f"Instances, with current utilization of {present} Instances and a request delta of "
            f"{wanted - present} Instances. Here an instance is a process on this machine.",
        )


def retaining(plan: Document, present: Document, excluded: set[str]) -> Document:
    """Return a plan whose variants keep the count and the weight that they have at present."""
    former = {variant["VariantName"]: variant for variant in present["Variants"]}
    kept = {"DesiredInstanceCount": "Count", "DesiredWeight": "Weight"}
    members = [member for name, member in kept.items() if name not in excluded]
    return {
        **plan,
        "Variants": [
            {**variant, **_members(former.get(variant["VariantName"], {}), members)}
            for variant in plan["Variants"]
        ],
    }


def rescaled(plan: Document, changes: list[Document]) -> Document:
    """Return a plan with other weights and counts, as UpdateEndpointWeightsAndCapacities asks."""
    variants = {variant["VariantName"]: variant for variant in plan["Variants"]}
    seen = set()
    for change in changes:
        name = change["VariantName"]
        if name in seen:
            raise invalid(f'The variant name "{name}" was non-unique within the request.')
        seen.add(name)
        if name not in variants:
            raise invalid(
                f'The variant name(s) "{name}" is/are not present within endpoint configuration '
                f'"{plan["EndpointConfigName"]}".'
            )
        names = {"DesiredWeight": "Weight", "DesiredInstanceCount": "Count"}
        changed = {names[member]: change[member] for member in names if member in change}
        if changed.get("Count") == 0:
            raise invalid(f'Variant "{name}" needs at least one instance.')
        if "Serverless" in variants[name] and "Count" in changed:
            raise invalid(f'Variant "{name}" is serverless and has no instance count.')
        variants[name] = {**variants[name], **changed}
    return {**plan, "Variants": list(variants.values())}


def shown(plan: Document) -> Document:
    """Return the members of DescribeEndpoint that follow from the plan in service."""
    members: Document = {
        "EndpointConfigName": plan["EndpointConfigName"],
        "ProductionVariants": [_shown_variant(variant, plan) for variant in plan["Variants"]],
    }
    if plan["Capture"]:
        members["DataCaptureConfig"] = _shown_capture(plan["Capture"])
    return members


def shown_pending(plan: Document, now: float) -> Document:
    """Return the PendingDeploymentSummary of a plan on its way into service."""
    variants = []
    for variant in plan["Variants"]:
        summary = _shown_variant(variant, plan) | _members(variant, ["InstanceType"])
        status = [{"Status": "Creating", "StartTime": now}]
        variants.append({**summary, **_none_yet(summary), "VariantStatus": status})
    return {
        "EndpointConfigName": plan["EndpointConfigName"],
        "ProductionVariants": variants,
        "StartTime": now,
    }


def _variant(place: Workplace, region: str, given: Document) -> Document:
    identity = place.identity("model", region, given["ModelName"])
    model = place.records.find(identity)
    if model is None:
        raise invalid(f'Could not find model "{identity}".')
    container = model["PrimaryContainer"]
    resolve_for("serve", container["Image"], place.algorithms)
    variant: Document = {
        "VariantName": given["VariantName"],
        "Container": _members(container, ("Image", "ModelDataUrl", "Environment")),
        "Weight": given["InitialVariantWeight"],
        "Count": given.get("InitialInstanceCount", 1),
    }
    optional = {
        "InstanceType": "InstanceType",
        "ContainerStartupHealthCheckTimeoutInSeconds": "StartSeconds",
        "ServerlessConfig": "Serverless",
        "RoutingConfig": "Routing",
    }
    return variant | {own: given[name] for name, own in optional.items() if name in given}


def _shown_variant(variant: Document, plan: Document) -> Document:
    image = variant["Container"]["Image"]
    summary = {
        "VariantName": variant["VariantName"],
        "DeployedImages": [
            {
                "SpecifiedImage": image,
                "ResolvedImage": image,
                "ResolutionTime": plan["Resolved"],
            }
        ],
        "CurrentWeight": variant["Weight"],
        "DesiredWeight": variant["Weight"],
    }
    if "Serverless" in variant:
        summary["CurrentServerlessConfig"] = variant["Serverless"]
    else:
        summary["CurrentInstanceCount"] = variant["Count"]
        summary["DesiredInstanceCount"] = variant["Count"]
    if "Routing" in variant:
        summary["RoutingConfig"] = variant["Routing"]
    return summary


def _none_yet(summary: Document) -> Document:
    return {name: 0 for name in ("CurrentWeight", "CurrentInstanceCount") if name in summary}


def _shown_capture(capture: Document) -> Document:
    enabled = capture["EnableCapture"]
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
        "DestinationS3Uri": capture["DestinationS3Uri"],
        "KmsKeyId": capture.get("KmsKeyId", ""),
    }


def _members(document: Document, names: Iterable[str]) -> Document:
    return {name: document[name] for name in names if name in document}
