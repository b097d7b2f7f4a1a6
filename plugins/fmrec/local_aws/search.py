"""The SageMaker operation Search: resources by what their descriptions say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.state.records import Kind, Listing
from fmrec.local_aws.workplace import Workplace

_KINDS: Mapping[str, Kind] = {
    "TrainingJob": "training-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "Endpoint": "endpoint",
    "ModelPackage": "model-package",
    "ModelPackageGroup": "model-package-group",
}
_PAGE = 100
# A filter's Name becomes part of an SQL statement: names and the dots between them, nothing else.
_PATH = re.compile(r"[A-Za-z][\w:-]*(\.[\w:-]+)*")


def _text(value: str) -> str:
    """Return a value as SQLite writes what JSON calls so."""
    return {"true": "1", "false": "0"}.get(value, value)


def _number(value: str) -> float:
    """Return a number, or the Unix seconds of a moment (UTC unless it says otherwise)."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise invalid(f"{value!r} is neither a number nor a time.") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _present(value: str) -> int:
    """Return what a question for presence is compared with, whatever the filter's Value."""
    del value
    return 1


def _listed(value: str) -> str:
    return f",{value},"


# What an operator asks of a property ("{}"), with one parameter, which is made of the Value.
_OPERATORS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Equals": ("CAST({} AS TEXT) = ?", _text),
    "NotEquals": ("CAST({} AS TEXT) IS NOT ?", _text),
    "Contains": ("instr(lower({}), lower(?)) > 0", _text),
    "In": ("instr(?, ',' || {} || ',') > 0", _listed),
    "Exists": ("({} IS NOT NULL) = ?", _present),
    "NotExists": ("({} IS NULL) = ?", _present),
    "GreaterThan": ("CAST({} AS REAL) > ?", _number),
    "GreaterThanOrEqualTo": ("CAST({} AS REAL) >= ?", _number),
    "LessThan": ("CAST({} AS REAL) < ?", _number),
    "LessThanOrEqualTo": ("CAST({} AS REAL) <= ?", _number),
}


class Search:
    """Search: filters that must all hold, over the documents that Describe answers."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {"Search": self.search}

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def search(self, region: str, request: Document) -> Document:
        """Return a page of the resources of one kind for which every filter holds."""
        resource = request["Resource"]
        if resource not in _KINDS:
            raise unsupported(f"Resource {resource} of Search")
        if request.get("CrossAccountFilterOption") == "CrossAccount":
            raise unsupported("CrossAccountFilterOption CrossAccount of Search")
        if request.get("VisibilityConditions"):
            raise unsupported("VisibilityConditions of Search")
        sort_by = request.get("SortBy", "LastModifiedTime")
        listing = Listing(
            {"MaxResults": _PAGE, **request, "SortBy": sort_by},
            "Descending",
            _conditions(request.get("SearchExpression", {})),
            {sort_by: _sort_key(sort_by)},
        )
        page, token = self._place.records.page(_KINDS[resource], region, listing)
        found = [
            {**document, "Tags": self._place.records.tags(document[f"{resource}Arn"])}
            for document in page
        ]
        return {"Results": [{resource: document} for document in found], "NextToken": token}


def _conditions(expression: Document) -> list[tuple[str, Any]]:
    for member in ("NestedFilters", "SubExpressions"):
        if expression.get(member):
            raise unsupported(f"{member} of Search")
    filters = expression.get("Filters", [])
    if expression.get("Operator", "And") == "Or":
        raise unsupported("Operator Or of Search")
    return [_condition(item) for item in filters]


def _condition(given: Document) -> tuple[str, Any]:
    operator = given.get("Operator", "Equals")
    if "Value" not in given and operator not in ("Exists", "NotExists"):
        raise invalid(f"The filter on {given['Name']} has no Value for the operator {operator}.")
    sql, parameter = _OPERATORS[operator]
    return sql.format(_property(given["Name"])), parameter(given.get("Value", ""))


def _sort_key(name: str) -> str:
    # A resource without the property is sorted too, or a page would end at it.
    return "modified" if name == "LastModifiedTime" else f"ifnull({_property(name)}, '')"


def _property(name: str) -> str:
    """Return the SQL of a property that a filter names by its path."""
    if not _PATH.fullmatch(name) or name.startswith(("Tags.", "Metrics.", "InputDataConfig.")):
        raise unsupported(f"a search by {name!r}")
    path = ".".join(f'"{part}"' for part in name.split("."))
    return f"json_extract(document, '$.{path}')"
