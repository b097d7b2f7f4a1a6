"""The MovieLens 100K file layout, whoever packed it: u.data, u.user, u.item, uX.base, uX.test.

Layout: the README inside ml-100k.zip (GroupLens Research, 1998). Text is ASCII, u.item latin-1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmrec.errors import ConfigurationError, DataError
from fmrec.ratings.archive import Archive
from fmrec.ratings.rows import read_ratings, reject_duplicates, reject_unknown

FOLD_SPLITS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")
SPLITS = ("time", *FOLD_SPLITS)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(rf"(\d{{1,2}})-({'|'.join(_MONTHS)})-(\d{{4}})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]")
_ITEM_FIELDS = 5  # before the genre flags


def read(archive: Archive, split: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ratings, users and items with the columns of RatingsData.

    The ratings are those of `split`, base rows before test rows; `time` reads u.data, whose rows
    have the fold "". Raises ConfigurationError for a split that the layout does not have,
    DataError for content that cannot be used.
    """
    if split not in SPLITS:
        raise ConfigurationError(
            f"split {split!r} is not one that the files hold: choose one of {', '.join(SPLITS)}."
        )
    files = {"u.data": ""} if split == "time" else {f"{split}.{f}": f for f in ("base", "test")}
    parts = [(name, read_ratings(archive, name)) for name in files]
    users, items = read_users(archive), read_items(archive)
    reject_duplicates(archive, parts)
    reject_unknown(archive, parts, users["user_id"], "u.user")
    reject_unknown(archive, parts, items["item_id"], "u.item")
    ratings = pd.concat(
        [table.assign(fold=files[name]) for name, table in parts], ignore_index=True
    )
    return ratings.astype({"rating": np.float32}), users, items


def read_users(archive: Archive) -> pd.DataFrame:
    """u.user: user_id, age, gender, occupation, zip_code. Raises DataError by line."""
    rows: dict[int, tuple[int, int, str, str, str]] = {}
    for number, line in enumerate(_text(archive, "u.user", "ascii"), start=1):
        place = _Place(archive, "u.user", number)
        fields = place.fields(line, 5)
        user = place.whole_number("user id", fields[0], 1, 2**63 - 1)
        age = place.whole_number("age", fields[1], 0, 150)
        if user in rows:
            raise place.fault(f"user {user} is listed a second time")
        rows[user] = (user, age, fields[2], fields[3], fields[4])
    users = pd.DataFrame(
        list(rows.values()), columns=["user_id", "age", "gender", "occupation", "zip_code"]
    )
    return users.astype({"user_id": np.int64, "age": np.int64})


def read_items(archive: Archive) -> pd.DataFrame:
    """u.item: item_id, title, release_date, genres (names from u.genre). Raises DataError by line.

    A film whose genre is not known has the one genre `unknown`, as in the file.
    """
    genre_names = read_genres(archive)
    rows: dict[int, tuple[int, str, np.datetime64, list[str]]] = {}
    for number, line in enumerate(_text(archive, "u.item", "latin-1"), start=1):
        place = _Place(archive, "u.item", number)
        fields = place.fields(line, _ITEM_FIELDS + len(genre_names))
        item = place.whole_number("item id", fields[0], 1, 2**63 - 1)
        title, flags = fields[1], fields[_ITEM_FIELDS:]
        if item in rows:
            raise place.fault(f"item {item} is listed a second time")
        if not title:
            raise place.fault(f"item {item} has no title")
        if not set(flags) <= {"0", "1"}:
            raise place.fault(f"item {item} has a genre flag that is neither 0 nor 1")
        genres = [name for name, flag in zip(genre_names, flags, strict=True) if flag == "1"]
        rows[item] = (item, title, place.date(fields[2]), genres)
    items = pd.DataFrame(
        list(rows.values()), columns=["item_id", "title", "release_date", "genres"]
    )
    return items.astype({"item_id": np.int64, "release_date": "datetime64[s]"})


def read_genres(archive: Archive) -> list[str]:
    """u.genre: the names in the order of the flags of u.item. Raises DataError by line."""
    names: list[str] = []
    for number, line in enumerate(_text(archive, "u.genre", "ascii"), start=1):
        if not line:
            continue  # the published file ends with an empty line
        name, _, position = line.rpartition("|")
        if not name or position != str(len(names)):
            raise archive.fault(
                "u.genre",
                f"{line[:40]!r} where a name and the number {len(names)} are expected, "
                f"as in 'Drama|{len(names)}'",
                number,
            )
        names.append(name)
    return names


def _text(archive: Archive, name: str, encoding: str) -> list[str]:
    """Lines of a member. Bytes that are not `encoding` raise DataError with their line."""
    data = archive.read(name)
    if encoding == "latin-1" and not data.isascii() and _is_utf8(data):
        raise archive.fault(name, "UTF-8 text where latin-1 is expected: it was saved anew")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise archive.fault(
            name,
            f"byte 0x{data[error.start]:02x} is not {encoding} text",
            data.count(b"\n", 0, error.start) + 1,
        ) from None
    stray = _CONTROL.search(text)
    if stray:
        raise archive.fault(
            name,
            f"control character 0x{ord(stray[0]):02x} in what should be {encoding} text",
            text.count("\n", 0, stray.start()) + 1,
        )
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class _Place:
    """A line of a member: takes it apart, and says where it is when that fails."""

    archive: Archive
    name: str
    line: int

    def fault(self, what: str) -> DataError:
        return self.archive.fault(self.name, what, self.line)

    def fields(self, text: str, count: int) -> list[str]:
        fields = text.split("|")
        if len(fields) != count:
            raise self.fault(
                f"{len(fields)} column(s) where {count} are expected, separated by '|'"
            )
        return fields

    def whole_number(self, what: str, field: str, low: int, high: int) -> int:
        digits = field.isascii() and field.isdecimal() and len(field) < 20
        value = int(field) if digits else -1
        if not low <= value <= high:
            raise self.fault(f"{what} {field[:40]!r} is not a whole number from {low} to {high}")
        return value

    def date(self, field: str) -> np.datetime64:
        """A day such as 01-Jan-1995; month names do not depend on the locale."""
        if not field:
            return np.datetime64("NaT", "s")
        parts = _DATE.fullmatch(field)
        try:
            if parts is None:
                raise ValueError(field)
            day, month, year = int(parts[1]), _MONTHS.index(parts[2]) + 1, int(parts[3])
            return np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "s")
        except ValueError:
            raise self.fault(
                f"release date {field[:40]!r} is not a day such as 01-Jan-1995"
            ) from None
