"""The champions of a lane: a history in S3 that is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fmrec.errors import ConflictError
from fmrec.layout import Layout
from fmrec.release import histories
from fmrec.store import Store

PROMOTION, ROLLBACK = "promotion", "rollback"
GATE = "gate"


class NotPromotedError(ConflictError):
    """A model does not become the champion: it was overtaken, or describes the future."""


@dataclass(frozen=True)
class Champion:
    """An entry of the history: since `at`, `run` is the champion of `lane`, in place of `replaces`.

    `sequence` counts from 1; `kind` is "promotion", or "rollback" to a run that was the champion
    before. The run describes the moment `as_of`, its manifest.json is the object `manifest`, and
    `artifact` is the URI of the model that was judged. `decision` is what the gate said, None where
    it was not asked. `by` is who decided, "gate" or a person's name, None for a person without one;
    `reason` is what that person said, and `dag_run` the Airflow run that did it for them, None
    without one. Moments are aware, in UTC.
    """

    sequence: int
    kind: str
    lane: str
    run: str
    as_of: datetime
    manifest: str
    artifact: str
    decision: Mapping[str, Any] | None
    at: datetime
    replaces: str | None
    by: str | None = None
    reason: str | None = None
    dag_run: str | None = None


def lanes(store: Store, layout: Layout) -> list[str]:
    """The lanes that have had a champion, by name."""
    prefix = layout.champions("")[:-1]
    return sorted({key.removeprefix(prefix).partition("/")[0] for key in store.list(prefix)} - {""})


def history(store: Store, layout: Layout, lane: str) -> list[Champion]:
    """The entries of a lane in their order; empty where there was no champion yet.

    Raises DataError for an object that is no entry, a gap, or an entry that does not follow from
    the one before, and StoreError for one that was altered; each names its key.
    """
    return histories.read(
        store,
        layout.champions(lane),
        f"the champions of {lane}",
        lambda content, before: _entry(content, lane, before),
    )


def _entry(content: dict[str, Any], lane: str, before: Sequence[Champion]) -> Champion:
    """Read the entry that follows `before`; errors of Python's own kinds say what is wrong."""
    current = before[-1].run if before else None
    histories.require(content, {"lane": lane, "sequence": len(before) + 1, "replaces": current})
    if content["kind"] not in {PROMOTION, ROLLBACK}:
        raise ValueError(f"kind is {content['kind']!r}")
    for name in ("run", "manifest", "artifact"):
        if not isinstance(content[name], str) or not content[name]:
            raise ValueError(f"{name} is {content[name]!r}")
    later: dict[str, Any] = {name: content.get(name) for name in ("reason", "dag_run")}
    # Entries from before it was noted who decided: without the gate, only a person could.
    later["by"] = content.get("by", None if content["decision"] is None else GATE)
    for name, value in later.items():
        if not isinstance(value, str | None):
            raise ValueError(f"{name} is {value!r}")
    names = ("sequence", "kind", "lane", "run", "manifest", "artifact", "decision", "replaces")
    return Champion(
        **histories.moments(content),
        **later,
        **{name: content[name] for name in names},
    )


def current(history: Sequence[Champion]) -> Champion | None:
    """The champion in place; None where there is none yet."""
    return history[-1] if history else None


def before(history: Sequence[Champion], run: str) -> Champion | None:
    """The champion in place when `run` was promoted first; the current one if it never was."""
    return current(_without(history, run))


def reference(history: Sequence[Champion], run: str, as_of: datetime) -> Champion | None:
    """The champion that `run`, which describes `as_of`, is compared with; None without one.

    It is the newest champion in force that describes no later moment: a run of a past day (a
    backfill) meets the champion of that day. A rollback takes everything out of force that came
    after the promotion that it goes back to. What the history holds since the run's own promotion
    does not count, so that a finished run that is repeated gives the same report.
    """
    in_force: list[Champion] = []
    for entry in _without(history, run):
        if entry.kind == ROLLBACK:
            runs = [each.run for each in in_force]
            # One that goes forward again, to a run out of force, takes the place of the last.
            del in_force[runs.index(entry.run) if entry.run in runs else -1 :]
        in_force.append(entry)
    return next((each for each in reversed(in_force) if each.as_of <= as_of), None)


def _without(history: Sequence[Champion], run: str) -> Sequence[Champion]:
    """The history before the first entry of `run`."""
    runs = [each.run for each in history]
    return history[: runs.index(run)] if run in runs else history


def promote(
    store: Store,
    layout: Layout,
    lane: str,
    *,
    run: str,
    as_of: datetime,
    manifest: str,
    artifact: str,
    decision: Mapping[str, Any] | None,
    compared_with: str | None,
    at: datetime,
    approved_by: str | None = None,
) -> Champion:
    """Make `run` the champion of `lane`, and return the entry that says so.

    `compared_with` is the champion that its report compares it with, None without one.
    `approved_by` is the person whom the gate asked, None where it decided alone or the person has
    no name. For the champion in place nothing is written. `as_of` and `at`, the time now, are
    aware.

    Raises NotPromotedError when `as_of` is after `at`, when the run was promoted before and is not
    the champion any more, and when the current champion describes a later moment than `as_of` or is
    another one than the run was compared with; also when that one was promoted at the same time,
    for each number of the history is written once. DataError and StoreError as `history`.
    """
    asked = decision is not None and decision.get("decision") == "ask"
    proposed = Champion(
        sequence=0,
        kind=PROMOTION,
        lane=lane,
        run=run,
        as_of=as_of,
        manifest=manifest,
        artifact=artifact,
        decision=decision,
        at=at,
        replaces=None,
        by=approved_by if asked else GATE,
    )
    while True:
        past = history(store, layout, lane)
        champion = current(past)
        if champion is not None and champion.run == run:
            return champion
        _check(past, proposed, compared_with)
        entry = _following(past, proposed)
        # What someone else wrote in between counts like the rest.
        if histories.add(store, layout.champions(lane), entry):
            return entry


def appoint(
    store: Store,
    layout: Layout,
    lane: str,
    *,
    run: str,
    as_of: datetime,
    manifest: str,
    artifact: str,
    at: datetime,
    by: str | None = None,
    reason: str | None = None,
    after: int | None = None,
    dag_run: str | None = None,
) -> Champion:
    """Make `run` the champion of `lane` because a person says so, whatever the gate said.

    It is a rollback when the run was the champion before, else a promotion without a decision. An
    earlier moment than the champion's is allowed. The champion in place keeps its entry; where its
    run was trained again, so that `artifact` is another, that one is promoted. `dag_run` appoints
    once: what it has written is given back, also when another champion came since.

    Raises ConflictError when the last entry is not number `after`, if that is given, and when
    another entry was written at the same moment; DataError and StoreError as `history`.
    """
    past = history(store, layout, lane)
    champion, done = current(past), appointed_by(past, dag_run)
    if done is not None:
        return done
    if champion is not None and (champion.run, champion.artifact) == (run, artifact):
        return champion
    in_place = champion is not None and champion.run == run
    if after not in {None, len(past)}:
        raise ConflictError(
            f"{run} does not become the champion of {lane}: another has become it meanwhile (entry "
            f"{after} of the history was the last, and there are {len(past)} now). Nothing was "
            "changed; look again, and decide again."
        )
    proposed = Champion(
        sequence=0,
        kind=ROLLBACK if not in_place and any(each.run == run for each in past) else PROMOTION,
        lane=lane,
        run=run,
        as_of=as_of,
        manifest=manifest,
        artifact=artifact,
        decision=None,
        at=at,
        replaces=None,
        by=by,
        reason=reason,
        dag_run=dag_run,
    )
    entry = _following(past, proposed)
    key = histories.key_of(layout.champions(lane), entry.sequence)
    store.put(key, histories.to_json(entry))
    return entry


def appointed_by(history: Sequence[Champion], dag_run: str | None) -> Champion | None:
    """The entry that an Airflow run has written; None where it has written none."""
    return next((each for each in history if dag_run and each.dag_run == dag_run), None)


def _following(past: Sequence[Champion], proposed: Champion) -> Champion:
    """What is proposed as the entry that follows `past`; moments in UTC, now to the second."""
    return replace(
        proposed,
        sequence=len(past) + 1,
        as_of=proposed.as_of.astimezone(UTC),
        at=proposed.at.astimezone(UTC).replace(microsecond=0),
        replaces=past[-1].run if past else None,
    )


def _check(past: Sequence[Champion], proposed: Champion, compared_with: str | None) -> None:
    """Raise NotPromotedError unless what is proposed may follow `past`."""
    champion = current(past)
    refused = f"{proposed.run} does not become the champion of {proposed.lane}"
    if champion is not None and any(each.run == proposed.run for each in past):
        raise NotPromotedError(
            f"{refused}: it was promoted before, and is not the champion any more: {champion.run} "
            "is. Nothing was changed; a person can go back to it."
        )
    if proposed.as_of > proposed.at:
        raise NotPromotedError(
            f"{refused}: it describes {proposed.as_of.isoformat()}, which is yet to come, and "
            "until then no model could take its place. Give the Param as_of a moment that is over."
        )
    if champion is not None and champion.as_of > proposed.as_of:
        raise NotPromotedError(
            f"{refused}: it describes {proposed.as_of.isoformat()}, and the champion "
            f"{champion.run} the later moment {champion.as_of.isoformat()}. Nothing was changed; "
            "run evaluate again, and the report says so."
        )
    found = champion.run if champion else None
    if found != compared_with:
        raise NotPromotedError(
            f"{refused}: its report compares it with {compared_with or 'no champion'}, and "
            f"{found or 'no champion'} is in place now. Nothing was changed; run evaluate again "
            "(clear that task), which compares it with the champion in place."
        )
