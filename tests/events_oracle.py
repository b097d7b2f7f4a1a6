"""The columns once more, slowly: plain dictionaries by name, written from docs/data.md."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from fmrec.events.facts import Facts, History

DAY, HOUR = 86_400, 3_600
DESCRIBED = ["age_band", "gender", "occupation", "zip_area", "genre", "release_year"]
ORDER = ["user", "item", *DESCRIBED, "day", "weekday", "visit", "rated", "rated_by", "previous"]
OF_PRESET = {
    "ids": ["user", "item"],
    "side": ["user", "item", *DESCRIBED],
    "history": ["user", "item", "rated", "rated_by", "previous"],
    "profile": ["user", "item", *DESCRIBED, "rated", "rated_by"],
    "full": ["user", "item", *DESCRIBED, "day", "visit", "rated", "rated_by"],
    "everything": ORDER,
}
GRADES = {0.5: 0.1, 1: 0.2, 1.5: 0.25, 2: 0.3, 2.5: 0.4, 3: 0.5, 3.5: 0.65, 4: 0.8, 4.5: 0.9, 5: 1}


def first_seen(row: Any) -> int:
    """The least clock with which a run sees the event: it must lie before, and have arrived."""
    return max(row.timestamp + 1, row.arrived)


def slow_facts(train: pd.DataFrame, visible: pd.DataFrame, length: int) -> Facts:
    """Facts of events with user_id, item_id, rating, timestamp, arrived, each pair once.

    The latest training event is the one with the latest timestamp; of equal ones the later row.
    `train` has previous_item_id besides.
    """
    seen: dict[str, dict[Any, int]] = {"user": {}, "item": {}, "day": {}, "visit": {}}
    for row in visible.itertuples():
        for kind, value in keys(row):
            seen[kind][value] = min(first_seen(row), seen[kind].get(value, 2**62))
    trained: dict[str, dict[Any, int]] = {kind: defaultdict(int) for kind in (*seen, "previous")}
    for row in train.itertuples():
        for kind, value in keys(row):
            trained[kind][value] += 1
        trained["previous"][row.previous_item_id] += 1
    lists = {kind: sorted(values) for kind, values in seen.items()}

    def known(kind: str) -> np.ndarray:
        return np.array([seen[kind][value] for value in lists[kind]], np.int64)

    def counts(kind: str, of: str) -> np.ndarray:
        return np.array([trained[kind][value] for value in lists[of]], np.int32)

    latest = latest_first(train)
    place = {user: at for at, user in enumerate(lists["user"])}
    return Facts(
        users=np.array(lists["user"], np.int64),
        users_known=known("user"),
        users_trained=counts("user", "user"),
        items=np.array(lists["item"], np.int64),
        items_known=known("item"),
        items_trained=counts("item", "item"),
        days=np.array(lists["day"], np.int64),
        days_known=known("day"),
        days_trained=counts("day", "day"),
        visits_user=np.array([place[user] for user, _ in lists["visit"]], np.int32),
        visits_hour=np.array([hour for _, hour in lists["visit"]], np.int32),
        visits_known=known("visit"),
        visits_trained=counts("visit", "visit"),
        previous_trained=counts("previous", "item"),
        rated=_history(latest, lists["user"], lists["item"], "user_id", "item_id", length + 1),
        raters=_history(latest, lists["item"], lists["user"], "item_id", "user_id", length + 1),
    )


def ids_facts(users: Iterable[int], items: Iterable[int]) -> Facts:
    """Facts in which all of these are trained on, and known from the beginning."""
    nothing = {"user_id": [], "item_id": [], "rating": [], "timestamp": [], "arrived": []}
    empty = pd.DataFrame(nothing | {"previous_item_id": []})
    facts = slow_facts(empty, empty, 0)
    ids = {"users": np.unique(np.array(list(users))), "items": np.unique(np.array(list(items)))}
    values = dict(vars(facts))
    for side, found in ids.items():
        values[side] = found.astype(np.int64)
        values[f"{side}_known"] = np.zeros(found.size, np.int64)
        values[f"{side}_trained"] = np.ones(found.size, np.int32)
    values["previous_trained"] = np.zeros(ids["items"].size, np.int32)
    no_users, no_items = (np.zeros(found.size + 1, np.int64) for found in ids.values())
    values["rated"] = History(no_users, np.empty(0, np.int32), np.empty(0, np.float32))
    values["raters"] = History(no_items, np.empty(0, np.int32), np.empty(0, np.float32))
    return Facts(**values)


def with_previous(events: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """The events with previous_item_id: the user's latest training event before each, or 0.

    Before is an earlier timestamp, or an earlier row of `train` with an equal one.
    """
    of_user = defaultdict(list)
    for row in train.itertuples():
        of_user[row.user_id].append((row.timestamp, row.Index, row.item_id))
    previous = []
    for row in events.itertuples():
        before = [each for each in of_user[row.user_id] if each[:2] < (row.timestamp, row.Index)]
        previous.append(int(max(before)[2]) if before else 0)
    return events.assign(previous_item_id=np.array(previous, np.int64))


def keys(row: Any) -> list[tuple[str, Any]]:
    return [
        ("user", row.user_id),
        ("item", row.item_id),
        ("day", row.timestamp // DAY),
        ("visit", (row.user_id, row.timestamp // HOUR)),
    ]


def latest_first(train: pd.DataFrame) -> list[Any]:
    rows = sorted(train.itertuples(), key=lambda row: (row.timestamp, row.Index))
    return rows[::-1]


def _history(
    latest: list[Any], owners: list[int], others: list[int], owner: str, other: str, length: int
) -> History:
    lists: dict[int, list[tuple[int, float]]] = {value: [] for value in owners}
    place = {value: at for at, value in enumerate(others)}
    for row in latest:
        mine = lists[getattr(row, owner)]
        if len(mine) < length:
            mine.append((place[getattr(row, other)], row.rating))
    ends = np.cumsum([0, *(len(lists[value]) for value in owners)])
    flat = [pair for value in owners for pair in lists[value]]
    return History(
        ends.astype(np.int64),
        np.array([at for at, _ in flat], np.int32),
        np.array([rating for _, rating in flat], np.float32),
    )


class SlowDesign:
    """Names and rows of a preset, by name."""

    def __init__(
        self,
        train: pd.DataFrame,
        visible: pd.DataFrame,
        users: list[dict[str, Any]],
        items: list[dict[str, Any]],
        *,
        preset: str,
        length: int,
        graded: bool,
        leave_own_out: bool,
    ) -> None:
        self.users = {row["user_id"]: row for row in users}
        self.items = {row["item_id"]: row for row in items}
        self.features = OF_PRESET[preset]
        self.length, self.graded, self.leave_own_out = length, graded, leave_own_out
        self.latest = latest_first(train)
        moment: dict[tuple[int, Any, str], int] = {}
        for row in visible.itertuples():
            for column in self.possible(row):
                moment[column] = min(first_seen(row), moment.get(column, 2**62))
        self.columns = sorted(moment, key=lambda column: (moment[column], *column[:2]))
        self.names = [name for _, _, name in self.columns]
        self.trained = {column[2] for row in train.itertuples() for column in self.possible(row)}
        was_before = {f"previous:{item}" for item in train["previous_item_id"]}
        self.trained -= {name for name in self.trained if name.startswith("previous:")} - was_before
        self.trained_days = sorted({row.timestamp // DAY for row in train.itertuples()})

    def possible(self, row: Any) -> list[tuple[int, Any, str]]:
        """All columns that exist because of an event: place of the feature, value, name."""
        day = row.timestamp // DAY
        found: list[tuple[str, Any, str]] = [
            ("user", row.user_id, str(row.user_id)),
            ("item", row.item_id, str(row.item_id)),
            ("rated", row.item_id, str(row.item_id)),
            ("rated_by", row.user_id, str(row.user_id)),
            ("previous", row.item_id, str(row.item_id)),
            ("day", day, date(day).strftime("%Y-%m-%d")),
            ("weekday", date(day).weekday(), date(day).strftime("%a")),
            ("visit", (row.user_id, row.timestamp // HOUR), visit(row.user_id, row.timestamp)),
        ]
        for feature, values in self.described(row.user_id, row.item_id).items():
            found += [(feature, value, str(value)) for value in values]
        return [
            (ORDER.index(feature), value, f"{feature}:{label}")
            for feature, value, label in found
            if feature in self.features
        ]

    def described(self, user_id: int | None, item_id: int | None) -> dict[str, set[Any]]:
        user, item = self.users.get(user_id, {}), self.items.get(item_id, {})
        age, zip_code = user.get("age"), user.get("zip_code")
        return {
            "age_band": set() if age is None else {band(age)},
            "gender": {user.get("gender")} - {None, ""},
            "occupation": {user.get("occupation")} - {None, ""},
            "zip_area": {zip_code[0]} if zip_code else set(),
            "genre": set(item.get("genres") or []) - {None, ""},
            "release_year": {item.get("release_year")} - {None},
        }

    def user_row(self, user_id: int, without: int | None = None) -> dict[str, float]:
        row = {f"user:{user_id}": 1.0}
        for feature, values in self.described(user_id, None).items():
            row |= {f"{feature}:{value}": 1.0 for value in values}
        films = [(e.item_id, e.rating) for e in self.latest if e.user_id == user_id]
        if self.leave_own_out:
            films = [pair for pair in films if pair[0] != without]
        films = films[: self.length]
        weights = [GRADES[rating] if self.graded else 1.0 for _, rating in films]
        norm = math.sqrt(sum(weight * weight for weight in weights))
        pairs = zip(films, weights, strict=True)
        return row | {f"rated:{item}": weight / norm for (item, _), weight in pairs}

    def item_row(self, item_id: int, without: int | None = None) -> dict[str, float]:
        row = {f"item:{item_id}": 1.0}
        for feature, values in self.described(None, item_id).items():
            row |= {f"{feature}:{value}": 1.0 for value in values}
        raters = [e.user_id for e in self.latest if e.item_id == item_id]
        if self.leave_own_out:
            raters = [user for user in raters if user != without]
        raters = raters[: self.length]
        return row | {f"rated_by:{user}": 1 / math.sqrt(len(raters)) for user in raters}

    def context(self, user_id: int, timestamp: int, previous: int) -> dict[str, float]:
        day = timestamp // DAY
        earlier = [known for known in self.trained_days if known <= day]
        nearest = earlier[-1] if earlier else self.trained_days[0]
        return {
            f"day:{date(nearest).strftime('%Y-%m-%d')}": 1.0,
            f"weekday:{date(day).strftime('%a')}": 1.0,
            f"visit:{visit(user_id, timestamp)}": 1.0,
            f"previous:{previous}": 1.0,
        }

    def encode(self, events: pd.DataFrame) -> np.ndarray:
        return self.dense(
            self.user_row(e.user_id, e.item_id)
            | self.item_row(e.item_id, e.user_id)
            | self.context(e.user_id, e.timestamp, e.previous_item_id)
            for e in events.itertuples()
        )

    def user_side(self, user_ids: list[int], at: int) -> np.ndarray:
        latest: Callable[[int], int] = lambda user: next(  # noqa: E731
            (e.item_id for e in self.latest if e.user_id == user), 0
        )
        return self.dense(self.user_row(u) | self.context(u, at, latest(u)) for u in user_ids)

    def item_side(self, item_ids: list[int]) -> np.ndarray:
        return self.dense(self.item_row(item) for item in item_ids)

    def dense(self, rows: Iterable[dict[str, float]]) -> np.ndarray:
        """Rows with a column for each name; what was not trained on is left out."""
        rows = list(rows)
        matrix = np.zeros((len(rows), len(self.names)))
        place = {name: at for at, name in enumerate(self.names)}
        for at, row in enumerate(rows):
            for name, value in row.items():
                if name in self.trained:
                    matrix[at, place[name]] = value
        return matrix


def date(day: int) -> datetime:
    return datetime.fromtimestamp(day * DAY, UTC)


def visit(user_id: int, timestamp: int) -> str:
    return f"{user_id}@{datetime.fromtimestamp(timestamp, UTC).strftime('%Y-%m-%dT%H')}"


def band(age: int) -> str:
    for below, name in [
        (18, "0-17"),
        (25, "18-24"),
        (35, "25-34"),
        (45, "35-44"),
        (50, "45-49"),
        (56, "50-55"),
    ]:
        if age < below:
            return name
    return "56+"
