"""What archives say of their films: u.item of MovieLens 100K, movies.dat and movies.csv.

Layouts: the README of each archive (GroupLens Research).
"""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa

from fmrec.ratings.archive import Archive
from fmrec.ratings.lines import Place, lines, table
from fmrec.ratings.tables import ITEMS

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(rf"(\d{{1,2}})-({'|'.join(_MONTHS)})-(\d{{4}})", re.ASCII)
_YEAR = re.compile(r"\((\d{4})\)", re.ASCII)
_BEFORE_FLAGS = 5  # fields of u.item before the genre flags
_NO_GENRES = "(no genres listed)"


def u_item(archive: Archive) -> pa.Table:
    """u.item as ITEMS: `id|title|release date|video date|URL|flags`, latin-1.

    The genres are those of u.genre whose flag is set; a film whose genre is not known has the one
    genre `unknown`, as in the file. Raises DataError by line.
    """
    names = _genres(archive)
    rows: dict[int, dict[str, object]] = {}
    for place, line in lines(archive, "u.item", "latin-1"):
        fields = place.fields(line, "|", _BEFORE_FLAGS + len(names))
        item = place.new_id("item", fields[0], rows)
        flags = fields[_BEFORE_FLAGS:]
        if not set(flags) <= {"0", "1"}:
            raise place.fault(f"item {item} has a genre flag that is neither 0 nor 1")
        genres = [name for name, flag in zip(names, flags, strict=True) if flag == "1"]
        rows[item] = _row(item, fields[1], genres)
        if fields[2]:
            rows[item]["release_year"] = _release_year(place, fields[2])
    return pa.Table.from_pylist(list(rows.values()), ITEMS)


def movies_dat(archive: Archive, encoding: str) -> pa.Table:
    """movies.dat as ITEMS: `id::title::genres`, the genres separated by `|`.

    Raises DataError by line.
    """
    rows: dict[int, dict[str, object]] = {}
    for place, line in lines(archive, "movies.dat", encoding):
        movie_id, title, genres = place.fields(line, "::", 3)
        item = place.new_id("item", movie_id, rows)
        rows[item] = _row(item, title, _listed(genres))
    return pa.Table.from_pylist(list(rows.values()), ITEMS)


def movies_csv(archive: Archive) -> pa.Table:
    """movies.csv as ITEMS: `movieId,title,genres`, UTF-8, the genres separated by `|`.

    Raises DataError by line.
    """
    rows: dict[int, dict[str, object]] = {}
    for place, row in table(archive, "movies.csv", ("movieId", "title", "genres")):
        item = place.new_id("item", row["movieId"], rows)
        rows[item] = _row(item, row["title"], _listed(row["genres"]))
    return pa.Table.from_pylist(list(rows.values()), ITEMS)


def _row(item: int, title: str, genres: list[str]) -> dict[str, object]:
    years = _YEAR.findall(title)
    return {
        "item_id": item,
        "title": title or None,
        "release_year": int(years[-1]) if years else None,
        "genres": genres,
    }


def _listed(genres: str) -> list[str]:
    return [] if genres in ("", _NO_GENRES) else genres.split("|")


def _release_year(place: Place, field: str) -> int:
    """The year of a day such as 01-Jan-1995; month names do not depend on the locale."""
    parts = _DATE.fullmatch(field)
    try:
        if parts is None:
            raise ValueError(field)
        return date(int(parts[3]), _MONTHS.index(parts[2]) + 1, int(parts[1])).year
    except ValueError:
        raise place.fault(f"release date {field[:40]!r} is not a day such as 01-Jan-1995") from None


def _genres(archive: Archive) -> list[str]:
    """u.genre: the names in the order of the flags of u.item. Raises DataError by line."""
    names: list[str] = []
    for place, line in lines(archive, "u.genre", "ascii"):
        if not line:
            continue  # the published file ends with an empty line
        name, _, position = line.rpartition("|")
        if not name or position != str(len(names)):
            raise place.fault(
                f"{line[:40]!r} where a name and the number {len(names)} are expected, "
                f"as in 'Drama|{len(names)}'"
            )
        names.append(name)
    return names
