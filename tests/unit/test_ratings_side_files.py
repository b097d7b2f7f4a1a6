"""Users and films of every layout: what is read, and how each bad line is told."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from fmrec.errors import DataError
from fmrec.ratings import films, people
from fmrec.ratings.archive import Archive

GENRES = b"unknown|0\nComedy|1\nDrama|2\n\n"
ITEMS = (
    "1|The Caf\xe9 (1995)|01-Jan-1996|||0|1|1\n"
    "2|Nothing Known||||1|0|0\n"
    "7|Old (1) One (1931)||||0|0|0\n"
).encode("latin-1")
USERS = b"1|24|M|technician|85711\n3|53|F|other|T8H1N\n"
CSV_HEADER = b"movieId,title,genres\n"

Read = Callable[[Archive], pa.Table]
LATIN_1 = partial(films.movies_dat, encoding="latin-1")
UTF_8 = partial(films.movies_dat, encoding="utf-8")


def archive_of(folder: Path, **files: bytes) -> Archive:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(f"made/{name.replace('_', '.')}", data)
    return Archive(path, "made", "Get a fresh one.")


def test_u_user(tmp_path: Path) -> None:
    assert people.u_user(archive_of(tmp_path, u_user=USERS)).to_pydict() == {
        "user_id": [1, 3],
        "age": [24, 53],
        "gender": ["M", "F"],
        "occupation": ["technician", "other"],
        "zip_code": ["85711", "T8H1N"],
    }


def test_users_dat_names_the_occupations(tmp_path: Path) -> None:
    data = b"1::F::1::10::48067\r\n2::M::56::16::70072\r\n3::M::25::20::\r\n"
    assert people.users_dat(archive_of(tmp_path, users_dat=data)).to_pydict() == {
        "user_id": [1, 2, 3],
        "age": [1, 56, 25],
        "gender": ["F", "M", "M"],
        "occupation": ["K-12 student", "self-employed", "writer"],
        "zip_code": ["48067", "70072", None],
    }


def test_u_item_takes_the_year_of_the_release_else_of_the_title(tmp_path: Path) -> None:
    assert films.u_item(archive_of(tmp_path, u_item=ITEMS, u_genre=GENRES)).to_pydict() == {
        "item_id": [1, 2, 7],
        "title": ["The Café (1995)", "Nothing Known", "Old (1) One (1931)"],
        "release_year": [1996, None, 1931],
        "genres": [["Comedy", "Drama"], ["unknown"], []],
    }


@pytest.mark.parametrize(("read", "encoding"), [(LATIN_1, "latin-1"), (UTF_8, "utf-8")])
def test_movies_dat(tmp_path: Path, read: Read, encoding: str) -> None:
    text = "1::Misérables, Les: (1995) (1998)::Drama|Sci-Fi\n9::Plain::(no genres listed)\n"
    assert read(archive_of(tmp_path, movies_dat=text.encode(encoding))).to_pydict() == {
        "item_id": [1, 9],
        "title": ["Misérables, Les: (1995) (1998)", "Plain"],
        "release_year": [1998, None],
        "genres": [["Drama", "Sci-Fi"], []],
    }


def test_movies_csv_with_a_mark_quotes_commas_and_columns_in_any_order(tmp_path: Path) -> None:
    text = (
        "\ufeffgenres,movieId,title\n"
        'Drama|War,11,"American President, The (1995)"\n'
        '(no genres listed),12,"""Great Performances"" Cats (1998)"\n'
        'Comedy,13,"Two\nlines (2007\u2013)"\n'
        "Comedy,14,O'Brien\u2019s (2001)\n"
        ",15,\n"
    )
    assert films.movies_csv(archive_of(tmp_path, movies_csv=text.encode())).to_pydict() == {
        "item_id": [11, 12, 13, 14, 15],
        "title": [
            "American President, The (1995)",
            '"Great Performances" Cats (1998)',
            "Two\nlines (2007\u2013)",
            "O'Brien\u2019s (2001)",
            None,
        ],
        "release_year": [1995, 1998, None, 2001, None],
        "genres": [["Drama", "War"], [], ["Comedy"], ["Comedy"], []],
    }


@pytest.mark.parametrize(
    ("read", "name", "data", "what"),
    [
        (people.u_user, "u.user", b"1|24|M|technician\n", "line 1: 4 column(s) where 5 are"),
        (people.u_user, "u.user", USERS + b"x|2|M|a|1\n", "line 3: user id 'x' is not a whole"),
        (people.u_user, "u.user", b"1|240|M|a|1\n", "line 1: age '240' is not a whole number"),
        (people.u_user, "u.user", USERS + b"1|2|M|a|1\n", "line 3: user 1 is listed a second"),
        (people.u_user, "u.user", b"1|24|M|caf\xe9|1\n", "line 1: byte 0xe9 is not ascii text"),
        (people.users_dat, "users.dat", b"1::F::19::1::1\n", "line 1: age 19 is not the first"),
        (people.users_dat, "users.dat", b"1::F::18::21::1\n", "line 1: occupation '21' is not"),
        (people.users_dat, "users.dat", b"1|F|18|2|1\n", "line 1: 1 column(s) where 5"),
        (films.u_item, "u.item", ITEMS + b"9|A|||\n", "line 4: 5 column(s) where 8 are"),
        (films.u_item, "u.item", b"0|A||||0|1|1\n", "line 1: item id '0' is not a whole number"),
        (films.u_item, "u.item", b"1|A||||0|1|2\n", "line 1: item 1 has a genre flag"),
        (films.u_item, "u.item", b"1|A|1995-01-01|||0|1|1\n", "release date '1995-01-01' is not"),
        (films.u_item, "u.item", b"1|A|31-Feb-1995|||0|1|1\n", "'31-Feb-1995' is not a day"),
        (films.u_item, "u.item", ITEMS + ITEMS, "line 4: item 1 is listed a second time"),
        (films.u_item, "u.item", ITEMS + "8|Café||||0|1|1\n".encode(), "line 4: UTF-8 text where"),
        (films.u_item, "u.item", ITEMS + b"8|B\x93||||0|1|1\n", "line 4: control character 0x93"),
        (
            films.u_item,
            "u.item",
            ITEMS.decode("latin-1").encode("utf-16"),
            "control character 0x00",
        ),
        (films.u_item, "u.genre", b"unknown|0\nDrama|2\n", "line 2: 'Drama|2' where a name and"),
        (LATIN_1, "movies.dat", b"1::A::B\n2::A\n", "line 2: 2 column(s) where 3 are expected"),
        (LATIN_1, "movies.dat", "1::A::B\n2::Café::C\n".encode(), "line 2: UTF-8 text where latin"),
        (UTF_8, "movies.dat", b"1::A::B\n2::Caf\xe9::C\n", "line 2: byte 0xe9 is not utf-8 text"),
        (films.movies_csv, "movies.csv", b"1,Toy Story,Drama\n", "line 1: the columns '1', 'Toy"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"1,Caf\xe9,\n", "line 2: byte 0xe9 is not"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"1,A, B,C\n", "line 2: 4 column(s) where 3"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"1|A|C\n", "line 2: 1 column(s) where 3"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"1,A,\n\n", "line 3: 0 column(s) where 3"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b'1,"A,B\n2,C,D\n', "line 2: the quotes of"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b'1,"A" B,C\n', "line 2: the quotes of"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"x1,A,B\n", "line 2: item id 'x1' is not"),
        (films.movies_csv, "movies.csv", CSV_HEADER + b"1,A,\n1,B,\n", "line 3: item 1 is listed"),
    ],
)
def test_a_bad_line_is_told_by_file_and_line(
    tmp_path: Path, read: Read, name: str, data: bytes, what: str
) -> None:
    files = {"u_genre": GENRES, "u_item": ITEMS} | {name.replace(".", "_"): data}
    with pytest.raises(DataError) as caught:
        read(archive_of(tmp_path, **files))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'made.zip'}: made/{name}, line ")
    assert what in text
    assert text.endswith(". Get a fresh one.")
