"""Whether new landing days are like those before: the share refused, the volume, the stars.

Profiles are plain JSON, so that a run can keep them for the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fmrec.errors import DataError
from fmrec.ratings.event_rows import SCALE
from fmrec.ratings.landing import DayContent

Profile = dict[str, Any]

_STEPS = round((SCALE.high - SCALE.low) / SCALE.step)
_STARS = {f"{SCALE.low + SCALE.step * n:g}": SCALE.low + SCALE.step * n for n in range(_STEPS + 1)}
_REMEMBERED = 28  # days
_ENOUGH_DAYS = 3
_ENOUGH_RATINGS = 200


def profile(day: date, content: DayContent) -> Profile:
    """What `judge` must know of a landing day, as JSON.

    `day` (ISO), `counts` as in DayContent, `stars` (stars → ratings; "withdrawn" besides), and
    `worst`: check, file, reason and number of the most frequent kind of refusal, or None.
    """
    return {
        "day": day.isoformat(),
        "counts": dict(content.counts),
        "stars": _histogram(content.ratings["rating"]),
        "worst": _worst(content.quarantine),
    }


def accept(days: Sequence[Profile], accepted: Profile | None) -> Profile:
    """The profile of a run that accepted `days`, to be the measure of the next.

    `accepted` is that of the last accepted run. It remembers the latest 28 days that held
    ratings, in order, and the last day of all.
    """
    known = {each["day"]: each for each in (accepted or {"days": []})["days"]}
    known |= {each["day"]: each for each in days if each["counts"]["rows"]}
    last = max([each["day"] for each in days] + [accepted["last"] if accepted else ""])
    return {"last": last, "days": [known[day] for day in sorted(known)][-_REMEMBERED:]}


def judge(
    days: Sequence[Profile],
    accepted: Profile | None,
    *,
    max_refused: float,
    max_day_ratio: float,
    max_drift: float,
) -> list[str]:
    """Compare days not accepted yet, in order, with the last accepted run; gives warnings.

    Each day is measured by the accepted days before it and by the earlier ones of `days`.
    `max_refused`: the largest share of a day's rows, or of its files, that may be refused.
    `max_day_ratio`: how many times the median of the last 28 days a day may hold (asked when
    there are at least 3). `max_drift`: the largest total variation distance (0 to 1) between the
    stars of a day with at least 200 ratings and those of the last 28 days.

    Raises DataError with every figure beyond its limit, and what to do.
    """
    warnings: list[str] = []
    faults: list[str] = []
    measure = accepted
    for each in days:
        warnings.extend(_gap(each, measure))
        faults.extend(_refused(each, max_refused))
        faults.extend(_volume(each, measure, max_day_ratio))
        faults.extend(_drift(each, measure, max_drift))
        measure = accept([each], measure)
    if faults:
        more = [f"and {len(faults) - 5} more"] if len(faults) > 5 else []
        raise DataError("\n".join([*faults[:5], *more]))
    return warnings


def _histogram(ratings: pa.ChunkedArray) -> dict[str, int]:
    values = ratings.to_numpy()
    given = values[~np.isnan(values)]
    stars = {name: int((given == worth).sum()) for name, worth in _STARS.items()}
    return stars | {"withdrawn": int(values.size - given.size)}


def _worst(quarantine: pa.Table) -> Profile | None:
    refused = quarantine.filter(pc.greater(quarantine["row"], 0))
    refused = refused if refused.num_rows else quarantine
    if not refused.num_rows:
        return None
    kinds = refused.group_by(["check", "file"], use_threads=False).aggregate([([], "count_all")])
    [top] = kinds.sort_by([("count_all", "descending"), ("file", "ascending")])[:1].to_pylist()
    of_kind = pc.and_(
        pc.equal(refused["check"], top["check"]), pc.equal(refused["file"], top["file"])
    )
    reason = refused.filter(of_kind)["reason"][0].as_py()
    return {
        "check": top["check"],
        "file": top["file"],
        "reason": reason,
        "number": top["count_all"],
    }


def _gap(day: Profile, measure: Profile | None) -> list[str]:
    said = []
    here = date.fromisoformat(day["day"])
    if measure is not None:
        first = date.fromisoformat(measure["last"]) + timedelta(days=1)
        last = here - timedelta(days=1)
        if first <= last:
            between = f"on {first}" if first == last else f"from {first} to {last}"
            said.append(f"Nothing landed {between}.")
    if not day["counts"]["rows"]:
        said.append(f"The landing day {here} is empty: its files hold no rows.")
    return said


def _refused(day: Profile, most: float) -> list[str]:
    counts, said = day["counts"], []
    for refused, whole, what in (("refused", "rows", "rows"), ("files_refused", "files", "files")):
        if counts[whole] and counts[refused] / counts[whole] > most:
            said.append(
                f"Landing day {day['day']}: {counts[refused]:,} of {counts[whole]:,} {what} were "
                f"refused ({counts[refused] / counts[whole]:.1%}, the limit is {most:.1%}), "
                f"{_told(day['worst'])}. Correct them and land them again, or raise max_refused."
            )
    return said


def _told(worst: Profile | None) -> str:
    if worst is None:
        return "for no reason that was kept"
    return f"most often in {worst['file']} ({worst['check']}, e.g. {worst['reason']})"


def _volume(day: Profile, measure: Profile | None, most: float) -> list[str]:
    before = [each["counts"]["rows"] for each in (measure or {"days": []})["days"]]
    rows = day["counts"]["rows"]
    if len(before) < _ENOUGH_DAYS or rows <= most * median(before):
        return []
    return [
        f"Landing day {day['day']} holds {rows:,} rows, {rows / median(before):.1f} times the "
        f"median of the {len(before)} days before ({median(before):,.0f}); the limit is "
        f"{most:g} times. Remove what landed twice or by mistake, or raise max_day_ratio."
    ]


def _drift(day: Profile, measure: Profile | None, most: float) -> list[str]:
    here, before = _stars([day]), _stars((measure or {"days": []})["days"])
    if min(here.sum(), before.sum()) < _ENOUGH_RATINGS:
        return []
    distance = float(np.abs(here / here.sum() - before / before.sum()).sum() / 2)
    if distance <= most:
        return []
    gap = here / here.sum() - before / before.sum()
    widest = int(np.abs(gap).argmax())
    name = list(_STARS)[widest]
    return [
        f"Landing day {day['day']}: its stars are unlike those of the days before (distance "
        f"{distance:.3f}, the limit is {most:g}); {name} stars are "
        f"{here[widest] / here.sum():.0%} of them, were {before[widest] / before.sum():.0%} "
        "before. Correct them and land them again, or raise max_drift."
    ]


def _stars(days: Sequence[Profile]) -> NDArray[np.int64]:
    rows = [[each["stars"][name] for name in _STARS] for each in days]
    summed: NDArray[np.int64] = np.array(rows, np.int64).reshape(-1, len(_STARS)).sum(axis=0)
    return summed
