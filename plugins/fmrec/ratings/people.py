"""What archives say of their users: u.user of MovieLens 100K, users.dat of MovieLens 1M.

Layouts: the README of each archive (GroupLens Research).
"""

from __future__ import annotations

import pyarrow as pa

from fmrec.ratings.archive import Archive
from fmrec.ratings.lines import lines
from fmrec.ratings.tables import USERS

_AGE_BANDS = (1, 18, 25, 35, 45, 50, 56)
_OCCUPATIONS = (
    "other or not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


def u_user(archive: Archive) -> pa.Table:
    """u.user as USERS: `id|age|gender|occupation|zip code`, ASCII. Raises DataError by line."""
    rows: dict[int, dict[str, object]] = {}
    for place, line in lines(archive, "u.user", "ascii"):
        user_id, age, gender, occupation, zip_code = place.fields(line, "|", 5)
        user = place.new_id("user", user_id, rows)
        years = place.whole_number("age", age, 0, 150)
        rows[user] = _row(user, years, gender, occupation, zip_code)
    return pa.Table.from_pylist(list(rows.values()), USERS)


def users_dat(archive: Archive) -> pa.Table:
    """users.dat as USERS: `id::gender::age::occupation::zip code`, ASCII.

    The age is the first year of its band, as in the file; the code of an occupation becomes its
    name in the README. Raises DataError by line.
    """
    rows: dict[int, dict[str, object]] = {}
    for place, line in lines(archive, "users.dat", "ascii"):
        user_id, gender, age, occupation, zip_code = place.fields(line, "::", 5)
        user = place.new_id("user", user_id, rows)
        years = place.whole_number("age", age, 0, 150)
        if years not in _AGE_BANDS:
            bands = ", ".join(map(str, _AGE_BANDS))
            raise place.fault(f"age {years} is not the first year of a band: one of {bands}")
        code = place.whole_number("occupation", occupation, 0, len(_OCCUPATIONS) - 1)
        rows[user] = _row(user, years, gender, _OCCUPATIONS[code], zip_code)
    return pa.Table.from_pylist(list(rows.values()), USERS)


def _row(user: int, age: int, gender: str, occupation: str, zip_code: str) -> dict[str, object]:
    return {
        "user_id": user,
        "age": age,
        "gender": gender or None,
        "occupation": occupation or None,
        "zip_code": zip_code or None,
    }
