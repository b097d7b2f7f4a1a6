"""Jobs, models and tags: what SageMaker remembers, as documents in SQLite."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fmrec.local_aws.api.faults import invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.state.database import Database

Kind = Literal[
    "training-job",
    "hyper-parameter-tuning-job",
    "transform-job",
    "processing-job",
    "model",
    "endpoint-config",
    "endpoint",
    "model-package-group",
    "model-package",
]
# The member of a document that holds the resource's status, where its kind has one.
_STATUS = {
    "training-job": "TrainingJobStatus",
    "hyper-parameter-tuning-job": "HyperParameterTuningJobStatus",
    "transform-job": "TransformJobStatus",
    "processing-job": "ProcessingJobStatus",
    "endpoint": "EndpointStatus",
    "model-package-group": "ModelPackageGroupStatus",
    "model-package": "ModelPackageStatus",
}
SORT_COLUMNS: Mapping[str, str] = {"Name": "name", "CreationTime": "created", "Status": "status"}


@dataclass(frozen=True)
class Identity:
    """Where a resource lives: its kind, region and name; `str` gives the ARN."""

    kind: Kind
    region: str
    name: str
    account: str

    def __str__(self) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{self.kind}/{self.name}"


@dataclass(frozen=True)
class Listing:
    """The members that the List operations share, as SageMaker spells them.

    `where` adds conditions in SQL, each with its one parameter, to those of the request;
    `columns` says what each value of SortBy sorts by, in SQL. Both may look into the document,
    as in ``json_extract(document, '$.TuningJobArn') = ?``.
    """

    request: Document
    default_order: Literal["Ascending", "Descending"]
    where: Sequence[tuple[str, Any]] = ()
    columns: Mapping[str, str] = field(default_factory=lambda: SORT_COLUMNS)

    @property
    def sort_by(self) -> str:
        """Name of the sort key."""
        return str(self.request.get("SortBy", "CreationTime"))

    @property
    def descending(self) -> bool:
        """Whether the greatest comes first."""
        return bool(self.request.get("SortOrder", self.default_order) == "Descending")

    @property
    def limit(self) -> int:
        """Page size; SageMaker's default is 10."""
        return int(self.request.get("MaxResults", 10))

    def conditions(self) -> list[tuple[str, Any]]:
        """Return SQL conditions, each with its one parameter, for the filters that were given."""
        filters = {
            "NameContains": "instr(lower(name), lower(?)) > 0",
            "StatusEquals": "status = ?",
            "CreationTimeAfter": "created > ?",
            "CreationTimeBefore": "created < ?",
            "LastModifiedTimeAfter": "modified > ?",
            "LastModifiedTimeBefore": "modified < ?",
        }
        given = [(sql, self.request[name]) for name, sql in filters.items() if name in self.request]
        return [*given, *self.where]


class Records:
    """The documents of all resources. A document is what Describe answers, times in seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(
            "CREATE TABLE IF NOT EXISTS resources (kind TEXT, region TEXT, name TEXT, arn TEXT, "
            "status TEXT, created REAL, modified REAL, document TEXT, "
            "PRIMARY KEY (kind, region, name))"
        )
        database.create(
            "CREATE TABLE IF NOT EXISTS tags (arn TEXT, position INTEGER, key TEXT, value TEXT, "
            "PRIMARY KEY (arn, key))"
        )

    def insert(self, identity: Identity, document: Document, now: float) -> bool:
        """Store a new document; return False, changing nothing, when the name is taken."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(identity.kind, identity.region, identity.name, str(identity)),
                    *(_status(identity.kind, document), now, now, json.dumps(document)),
                ),
            )
            return cursor.rowcount == 1

    def find(self, identity: Identity) -> Document | None:
        """Return a document, or None."""
        rows = self._database.rows(
            "SELECT document FROM resources WHERE kind = ? AND region = ? AND name = ?",
            (identity.kind, identity.region, identity.name),
        )
        return json.loads(rows[0]["document"]) if rows else None

    def update(
        self, identity: Identity, change: Callable[[Document], None], now: float
    ) -> Document:
        """Apply a change to a document in one transaction and return what came of it.

        Raises KeyError when there is no such resource.
        """
        with self._database.transaction() as connection:
            document = self.find(identity)
            if document is None:
                raise KeyError(str(identity))
            change(document)
            connection.execute(
                "UPDATE resources SET status = ?, modified = ?, document = ? "
                "WHERE kind = ? AND region = ? AND name = ?",
                (
                    *(_status(identity.kind, document), now, json.dumps(document)),
                    *(identity.kind, identity.region, identity.name),
                ),
            )
        return document

    def delete(self, identity: Identity) -> bool:
        """Remove a document and its tags; return whether it was there."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM tags WHERE arn = ?", (str(identity),))
            cursor = connection.execute(
                "DELETE FROM resources WHERE kind = ? AND region = ? AND name = ?",
                (identity.kind, identity.region, identity.name),
            )
            return cursor.rowcount == 1

    def with_status(self, kind: Kind, statuses: tuple[str, ...], account: str) -> list[Identity]:
        """Return every resource of a kind, in all regions, that is in one of these states.

        The oldest comes first.
        """
        marks = ", ".join("?" * len(statuses))
        rows = self._database.rows(
            f"SELECT region, name FROM resources WHERE kind = ? AND status IN ({marks}) "  # noqa: S608
            "ORDER BY created, rowid",
            (kind, *statuses),
        )
        return [Identity(kind, row["region"], row["name"], account) for row in rows]

    def page(self, kind: Kind, region: str, listing: Listing) -> tuple[list[Document], str | None]:
        """Return one page of documents and the token of the next page.

        The token holds the last row's sort key, so rows created meanwhile neither repeat nor hide
        others.
        """
        column = listing.columns[listing.sort_by]
        conditions, parameters = ["kind = ?", "region = ?"], [kind, region]
        for sql, parameter in listing.conditions():
            conditions.append(sql)
            parameters.append(parameter)
        if "NextToken" in listing.request:
            conditions.append(f"({column}, name) {'<' if listing.descending else '>'} (?, ?)")
            parameters.extend(_position(listing))
        order = "DESC" if listing.descending else "ASC"
        rows = self._database.rows(
            f"SELECT {column} AS sort_key, name, document FROM resources "  # noqa: S608
            f"WHERE {' AND '.join(conditions)} ORDER BY {column} {order}, name {order} LIMIT ?",
            (*parameters, listing.limit + 1),
        )
        page = rows[: listing.limit]
        token = None
        if len(rows) > len(page):
            last = [listing.sort_by, page[-1]["sort_key"], page[-1]["name"]]
            token = base64.urlsafe_b64encode(json.dumps(last).encode()).decode()
        return [json.loads(row["document"]) for row in page], token

    def exists(self, arn: str) -> bool:
        """Return whether a resource has this ARN."""
        return bool(self._database.rows("SELECT 1 FROM resources WHERE arn = ?", (arn,)))

    def tags(self, arn: str) -> list[Document]:
        """Return a resource's tags in the order in which they were first given."""
        rows = self._database.rows(
            "SELECT key, value FROM tags WHERE arn = ? ORDER BY position", (arn,)
        )
        return [{"Key": row["key"], "Value": row["value"]} for row in rows]

    def add_tags(self, arn: str, tags: list[Document]) -> None:
        """Add tags, overwriting those of equal key; at most 50 remain on a resource."""
        with self._database.transaction() as connection:
            for tag in tags:
                connection.execute(
                    "INSERT INTO tags SELECT ?, coalesce(max(position), 0) + 1, ?, ? FROM tags "
                    "WHERE arn = ? ON CONFLICT (arn, key) DO UPDATE SET value = excluded.value",
                    (arn, tag["Key"], tag["Value"], arn),
                )
            count = connection.execute("SELECT count(*) FROM tags WHERE arn = ?", (arn,))
            if count.fetchone()[0] > 50:
                raise invalid(f"A resource has at most 50 tags: {arn}")

    def delete_tags(self, arn: str, keys: list[str]) -> None:
        """Remove tags by key; keys that are not there are ignored, as on AWS."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM tags WHERE arn = ? AND key = ?", [(arn, key) for key in keys]
            )


def _status(kind: Kind, document: Document) -> str:
    member = _STATUS.get(kind)
    return document[member] if member else ""


def _position(listing: Listing) -> tuple[Any, str]:
    try:
        sort_by, value, name = json.loads(base64.urlsafe_b64decode(listing.request["NextToken"]))
        if not isinstance(value, str | float) or not isinstance(name, str):
            value = float(value)
    except (ValueError, TypeError, OverflowError):
        raise invalid("Invalid NextToken.") from None
    if sort_by != listing.sort_by:
        raise invalid(f"The NextToken belongs to a list sorted by {sort_by}.")
    return value, name
