"""What GroupLens publishes: where its archives are, how they are laid out, what they must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from fmrec.ratings import films, people
from fmrec.ratings.archive import Archive
from fmrec.ratings.rows import Form
from fmrec.ratings.stream import COLONS, CSV, TABS
from fmrec.ratings.tables import Scale

_HOST = "https://files.grouplens.org/datasets/movielens"
_WHOLE_STARS = Scale(1.0, 5.0, 1.0)
_HALF_STARS = Scale(0.5, 5.0, 0.5)


@dataclass(frozen=True)
class Layout:
    """The files of an archive: names, how rows are written, who reads what is said of whom.

    `folds` says whether there are files uX.base and uX.test beside `ratings`.
    """

    ratings: str
    form: Form
    scale: Scale
    items: Callable[[Archive], pa.Table]
    users: Callable[[Archive], pa.Table] | None = None
    folds: bool = False


@dataclass(frozen=True)
class Published:
    """An archive on files.grouplens.org.

    `folder` holds its members. `bytes` and `md5` are the archive's own, None where GroupLens
    publishes none. `members` maps names inside `folder` to bytes and sha256 where they are known:
    then the content is compared, and how it was packed does not matter.
    """

    name: str
    title: str
    folder: str
    layout: Layout
    md5: str | None
    bytes: int | None = None
    members: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return f"{_HOST}/{self.name}.zip"


U_FILES = Layout("u.data", TABS, _WHOLE_STARS, films.u_item, people.u_user, folds=True)
"""MovieLens 100K, and the sample."""

_ML_1M = Layout(
    "ratings.dat",
    COLONS,
    _WHOLE_STARS,
    partial(films.movies_dat, encoding="latin-1"),
    people.users_dat,
)
_ML_10M = Layout("ratings.dat", COLONS, _HALF_STARS, partial(films.movies_dat, encoding="utf-8"))
_CSV_FILES = Layout("ratings.csv", CSV, _HALF_STARS, films.movies_csv)

_ML_100K_MEMBERS = {
    "u.data": (1_979_173, "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"),
    "u.genre": (202, "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb"),
    "u.info": (36, "5b0a40b2e47a729ee6203063f6dcf8790c2e63f5a18663e6ee318a72c5f3c27b"),
    "u.item": (236_344, "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
    "u.occupation": (193, "cd5fbec9afe345d993a62fc7817df1a4a9079c4feb267b3118763b8fd942137d"),
    "u.user": (22_628, "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c"),
    "u1.base": (1_586_544, "ce253ec86c448b44fb3ba9a30d12dcfc2e9210cbde71efada3730c22e9ac212a"),
    "u1.test": (392_629, "18c6014a4b2c7324f250a63f8904a7b16b2b19f911129e346141507b0cbac950"),
    "u2.base": (1_583_948, "6c06f0b5df4b256da1a994f3ac66edc8da4d3f09bc9282df6b14d893366d703e"),
    "u2.test": (395_225, "4de658d1e04ed9104629509a2e2528fce833ac8e048280183f1df167632038c3"),
    "u3.base": (1_582_546, "afdc155c291c6edc41c0407e39d7462eb98d341e064f0b0a12175b80b3c4af5d"),
    "u3.test": (396_627, "0f548b51c78327de4c156461d3e430b7e5579fe2b5681586a59416e48fd35f6d"),
    "u4.base": (1_581_878, "219f0f4d40dfe9c5141d425f53fa91ee23ed275f14e280bbf1b50117afb064ca"),
    "u4.test": (397_295, "7c02ad0a1e7ab1083c8b9d4b627203a051dd7b5eab46d99fa44de33470de8db9"),
    "u5.base": (1_581_776, "a9574e59ce961eec2121627760b6e9b0974ce1637b3fe69ac32cb14a4bfab485"),
    "u5.test": (397_397, "351cc52e0d15b6c721466276fc24671d40936899e3d01fadeaf312915b8c5634"),
    "ua.base": (1_792_501, "67b5bcdb380c29f85d56a012ecd88612ae020f30a6730d117a334ee8203b91f2"),
    "ua.test": (186_672, "d0497e202417720f57a184ec8c66be2d1afa4ff41bb53787c57b28d6bf79bc42"),
    "ub.base": (1_792_476, "237254d253b6ad7de84f919d041055428646254f34ed8f562703c899430cd881"),
    "ub.test": (186_697, "d54a72d05730d5892062734b2bec73e976f9b713d18c828a18b968d6cce442da"),
}

ARCHIVES = {
    archive.name: archive
    for archive in (
        Published(
            "ml-100k",
            "MovieLens 100K",
            "ml-100k",
            U_FILES,
            md5="0e33842e24a9c977be4e0107933c0723",
            bytes=4_924_029,
            members=_ML_100K_MEMBERS,
        ),
        Published(
            "ml-latest-small", "MovieLens Latest (small)", "ml-latest-small", _CSV_FILES, md5=None
        ),
        Published("ml-1m", "MovieLens 1M", "ml-1m", _ML_1M, md5="c4d9eecfca2ab87c1945afe126590906"),
        Published(
            "ml-10m",
            "MovieLens 10M",
            "ml-10M100K",
            _ML_10M,
            md5="ce571fd55effeba0271552578f2648bd",
        ),
        Published(
            "ml-20m", "MovieLens 20M", "ml-20m", _CSV_FILES, md5="cd245b17a1ae2cc31bb14903e1204af3"
        ),
        Published(
            "ml-25m", "MovieLens 25M", "ml-25m", _CSV_FILES, md5="6b51fb2759a8657d3bfcbfc42b592ada"
        ),
        Published(
            "ml-32m", "MovieLens 32M", "ml-32m", _CSV_FILES, md5="d472be332d4daa821edc399621853b57"
        ),
    )
}
"""By the name of the source."""
