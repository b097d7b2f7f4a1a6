"""Requests for tuning jobs: SageMaker's defaults, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.algorithms import Algorithm, metrics_of, resolve_for
from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import ApiError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.tuning.definitions import Definition, definitions_of
from fmrec.local_aws.tuning.ranges import KINDS, Categories, combinations
from fmrec.local_aws.tuning.stopping import hyperband_resources
from fmrec.local_aws.workplace import Workplace

OBJECTIVE_PARAMETER = "_tuning_objective_metric"
# SageMaker's quotas.
_MOST_JOBS = 750
_MOST_PARALLEL = 100
# Of the objectives of built-in algorithms, those that are better when greater.
_MAXIMIZED = ("test:accuracy", "test:binary_classification_accuracy", "test:binary_f_beta")


def completed(place: Workplace, request: Document) -> Document:
    """Return a CreateHyperParameterTuningJob request with SageMaker's defaults.

    Raises ApiError for what SageMaker refuses, and for what cannot be honoured here. The jobs of a
    warm start's parents are not looked at.
    """
    if "Autotune" in request:
        raise unsupported("Autotune")
    _check_forms(request)
    config = {"TrainingJobEarlyStoppingType": "Off", **request["HyperParameterTuningJobConfig"]}
    document: Document = {**request, "HyperParameterTuningJobConfig": config}
    if "TrainingJobDefinition" in request:
        config["ParameterRanges"] = _all_kinds(config["ParameterRanges"])
        objective = config["HyperParameterTuningJobObjective"]
        document["TrainingJobDefinition"] = _definition(
            place, request["TrainingJobDefinition"], objective
        )
    else:
        document["TrainingJobDefinitions"] = [
            {
                **_definition(place, given, given["TuningObjective"]),
                "HyperParameterRanges": _all_kinds(given["HyperParameterRanges"]),
            }
            for given in request["TrainingJobDefinitions"]
        ]
    definitions = definitions_of(document)
    _check_names(definitions)
    if len({definition.objective.maximize for definition in definitions}) > 1:
        raise invalid("The objective type must be the same in all TrainingJobDefinitions.")
    _complete_strategy(config, definitions)
    config["ResourceLimits"] = _limits(config, definitions)
    return document


def check_total(launched: int, document: Document) -> None:
    """Refuse a warm start whose parents' training jobs and its own are more than SageMaker's quota.

    `launched` is how many its parents started.
    """
    most = document["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    if launched + most > _MOST_JOBS:
        raise _exceeded("Number of training jobs per hyperparameter tuning job", launched, most)


def _check_forms(request: Document) -> None:
    """Refuse what is missing, or given in two places."""
    config = request["HyperParameterTuningJobConfig"]
    place = "hyperParameterTuningJobConfig"
    if "TrainingJobDefinition" in request and "TrainingJobDefinitions" in request:
        raise invalid("Provide either TrainingJobDefinition or TrainingJobDefinitions, not both.")
    if "TrainingJobDefinition" in request:
        if "HyperParameterTuningJobObjective" not in config:
            raise missing(f"{place}.hyperParameterTuningJobObjective")
        if "ParameterRanges" not in config:
            raise missing(f"{place}.parameterRanges")
        for member in ("TuningObjective", "HyperParameterRanges"):
            if member in request["TrainingJobDefinition"]:
                raise invalid(f"{member} is for TrainingJobDefinitions alone.")
        return
    if "TrainingJobDefinitions" not in request:
        raise missing("trainingJobDefinition")
    for member in ("HyperParameterTuningJobObjective", "ParameterRanges"):
        if member in config:
            raise invalid(
                f"{member} of HyperParameterTuningJobConfig is for TrainingJobDefinition alone; "
                "each of the TrainingJobDefinitions has its own."
            )
    for position, given in enumerate(request["TrainingJobDefinitions"], start=1):
        for member in ("DefinitionName", "TuningObjective", "HyperParameterRanges"):
            if member not in given:
                path = member[0].lower() + member[1:]
                raise missing(f"trainingJobDefinitions.{position}.member.{path}")


def _all_kinds(ranges: Document) -> Document:
    return {**{kind: [] for kind in KINDS}, **ranges}


def _definition(place: Workplace, given: Document, objective: Mapping[str, str]) -> Document:
    specification = given["AlgorithmSpecification"]
    if "TrainingImage" not in specification:
        if "AlgorithmName" in specification:
            raise unsupported("AlgorithmName; name a TrainingImage")
        raise missing("algorithmSpecification.trainingImage")
    image = specification["TrainingImage"]
    algorithm = resolve_for("train", image, place.algorithms)
    metrics = metrics_of(algorithm, specification.get("MetricDefinitions", []))
    _check_objective(algorithm, image, objective, [metric.name for metric in metrics])
    if OBJECTIVE_PARAMETER in given.get("StaticHyperParameters", {}):
        raise invalid(f"The hyperparameter {OBJECTIVE_PARAMETER} is reserved.")
    return {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
        **given,
        "ResourceConfig": _resources(given),
        "StaticHyperParameters": {
            **given.get("StaticHyperParameters", {}),
            OBJECTIVE_PARAMETER: objective["MetricName"],
        },
        "AlgorithmSpecification": {
            **specification,
            "MetricDefinitions": [
                {"Name": metric.name, "Regex": metric.regex} for metric in metrics
            ],
        },
    }


def _resources(given: Document) -> Document:
    """Return the ResourceConfig; of several instance types the first, which is always to be had.

    The SDK sends HyperParameterTuningResourceConfig, and looks for ResourceConfig in the answer.
    """
    flexible = given.get("HyperParameterTuningResourceConfig")
    if flexible is None:
        return dict(given.get("ResourceConfig", {}))
    if "ResourceConfig" in given:
        raise invalid("Provide either ResourceConfig or HyperParameterTuningResourceConfig.")
    chosen = {
        member: flexible[member]
        for member in ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")
        if member in flexible
    }
    return {**chosen, **flexible.get("InstanceConfigs", [{}])[0]}


def _check_objective(
    algorithm: Algorithm, image: str, objective: Mapping[str, str], metrics: list[str]
) -> None:
    name = objective["MetricName"]
    if not algorithm.built_in:
        if name not in metrics:
            raise invalid(
                "A metric is required for this hyperparameter tuning job objective. Provide a "
                "metric in the metric definitions."
            )
        return
    # The metrics of the training set are reported, but are no objectives.
    if name not in metrics or not name.startswith("test:"):
        known = ", ".join(metric for metric in metrics if metric.startswith("test:"))
        raise invalid(
            f"The objective metric, [{name}], isn't valid for the [{image}] algorithm. Choose a "
            f"valid objective metric: [{known}]."
        )
    if (objective["Type"] == "Maximize") != (name in _MAXIMIZED):
        raise invalid(
            f"The objective metric type, [{objective['Type']}], that you specified for objective "
            f"metric, [{name}], isn't valid for the [{image}] algorithm. Choose a valid objective "
            "metric type."
        )


def _check_names(definitions: tuple[Definition, ...]) -> None:
    names = [item.document.get("DefinitionName") for item in definitions]
    if len(set(names)) < len(names):
        raise invalid(f"The DefinitionName of each definition must be unique: {names}.")
    for definition in definitions:
        both = [item.name for item in definition.space if item.name in definition.fixed]
        if both:
            raise invalid(
                f"The hyperparameter {both[0]!r} is static and has a range; it must be one of both."
            )


def _complete_strategy(config: Document, definitions: tuple[Definition, ...]) -> None:
    if config["Strategy"] == "Hyperband":
        if config["TrainingJobEarlyStoppingType"] != "Off":
            raise invalid("TrainingJobEarlyStoppingType must be Off to use Hyperband.")
        resources = hyperband_resources(config, [item.fixed for item in definitions])
        config["StrategyConfig"] = {"HyperbandStrategyConfig": resources}
    elif "StrategyConfig" in config:
        raise invalid("HyperbandStrategyConfig is only supported for the Hyperband strategy.")
    if config["Strategy"] == "Grid":
        for definition in definitions:
            for item in definition.space:
                if not isinstance(item, Categories):
                    raise invalid(
                        "Only categorical parameters are supported when using the grid search "
                        f"strategy; {item.name!r} is not."
                    )


def _limits(config: Document, definitions: tuple[Definition, ...]) -> Document:
    given = config["ResourceLimits"]
    choices = sum(combinations(definition.space) for definition in definitions)
    most = given.get("MaxNumberOfTrainingJobs", min(choices, _MOST_JOBS))
    if config["Strategy"] == "Grid":
        if given.get("MaxNumberOfTrainingJobs", choices) != choices:
            raise invalid(
                "If specified, the value of MaxNumberOfTrainingJobs should equal the total number "
                f"of distinct categorical combinations possible, {choices:.0f}; it is {most}."
            )
        most = choices
    elif choices < most:
        raise invalid(
            "You don't have enough combinations of hyperparameter ranges. The total number of "
            f"hyperparameter combinations for the provided ranges [{choices}] must be equal or "
            f"greater than the value of MaxNumberOfJobs, [{most}]. Provide additional ranges."
        )
    if most > _MOST_JOBS:
        raise _exceeded("Number of training jobs per hyperparameter tuning job", 0, int(most))
    parallel = given["MaxParallelTrainingJobs"]
    if parallel > _MOST_PARALLEL:
        raise _exceeded("Number of parallel training jobs", 0, parallel, _MOST_PARALLEL)
    if parallel > most:
        raise invalid(
            f"MaxParallelTrainingJobs {parallel} must not exceed MaxNumberOfTrainingJobs "
            f"{most:.0f}."
        )
    return {**given, "MaxNumberOfTrainingJobs": int(most)}


def _exceeded(quota: str, used: int, wanted: int, limit: int = _MOST_JOBS) -> ApiError:
    return ApiError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit}, with current utilization of {used} "
        f"and a request delta of {wanted}.",
    )
