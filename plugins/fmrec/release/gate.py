"""May a new model take the champion's place? Decided from what the report says, in words.

`decide` reads three fields of a report and nothing else, so anyone who has a published report.json
can decide again, also by another policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation.uses import CHAMPION
from fmrec.release.evidence import REQUIRED, Row, day, get, moment, rows, signed

Report = Mapping[str, Any]
Decision = Literal["promote", "keep", "ask"]
Verb = Literal["promote", "keep", "ask", "refuse"]

# From the most careful decision to the least.
_ORDER: tuple[Decision, ...] = ("keep", "ask", "promote")
_OWN: Mapping[Verb, str] = {
    "promote": "Promote",
    "keep": "Keep the champion",
    "ask": "Ask a person",
    "refuse": "Refused",
}
_OTHER: Mapping[Verb, str] = {
    "promote": "Would be promoted",
    "keep": "Would not be promoted",
    "ask": "A person would be asked",
    "refuse": "Would be refused",
}


@dataclass(frozen=True)
class Policy:
    """How much proof the gate wants.

    `tolerance` is the share of the champion's figure by which a candidate may be worse. A candidate
    in doubt is brought to a person when it is better with probability `ask_from`. `baselines` says
    what becomes of a model that loses to the baseline of its use: "refuse" it, or "report" that.

    Raises ConfigurationError for other values.
    """

    tolerance: float = 0.0
    ask_from: float = 0.8
    baselines: str = "refuse"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1 or not 0 <= self.ask_from <= 1:
            raise ConfigurationError(
                f"policy of the gate: tolerance {self.tolerance} and ask_from {self.ask_from} are "
                "shares, from 0 to 1"
            )
        if self.baselines not in {"refuse", "report"}:
            raise ConfigurationError(
                f"policy of the gate: baselines is {self.baselines!r}; it takes 'refuse', 'report'"
            )


@dataclass(frozen=True)
class _Finding:
    """What one rule says: the most that may be done, why in a few words, and a sentence."""

    verb: Verb
    headline: str
    reason: str

    @property
    def decision(self) -> Decision:
        return "keep" if self.verb == "refuse" else self.verb


def decide(report: Report, policy: Policy) -> dict[str, Any]:
    """The `gate` object of report.json, from `run`, `comparisons` and `champion` of the report.

    Of these rules the most careful answer counts. A model that loses to the baseline of its use is
    refused, and one that does not beat it beyond doubt is at best brought to a person. Nothing
    displaces a champion that describes a later moment. A champion that cannot be compared with is
    a matter for a person. Without a champion a model that beats the baseline becomes the first.
    Against the champion the whole interval of the gain has to lie above minus the tolerance: a test
    for superiority, or with a tolerance for non-inferiority, at a level of 2.5 %. What is in doubt
    is for a person when it is likely enough to be better; else the champion stays. So is whatever
    rests on fewer than thirty users.

    Source: Wellek, "Testing Statistical Hypotheses of Equivalence and Noninferiority", 2010.

    Raises EvaluationError when the report lacks something or contradicts itself.
    """
    run = get(report, "run", "report")
    use = get(run, "use", "report.run")
    found = rows(get(report, "comparisons", "report"))
    if use not in REQUIRED:
        raise EvaluationError(
            f"report.run.use is {use!r}, which the gate does not know: {', '.join(REQUIRED)}"
        )
    if (use, REQUIRED[use]) not in found:
        raise EvaluationError(
            f"report.comparisons does not compare with {REQUIRED[use]} for use {use!r}, without "
            "which the gate cannot decide: evaluate the run again"
        )
    champion = get(report, "champion", "report")
    own, against = found[use, REQUIRED[use]], found.get((use, CHAMPION))
    if champion is None and any(rival == CHAMPION for _, rival in found):
        raise EvaluationError(
            "report.comparisons compares with the champion, and report.champion knows of none"
        )
    findings = [_baseline(own, policy)]
    if champion is None:
        findings.append(_first(own, findings[0]))
    else:
        findings += _champion(against, champion, moment(run, "as_of", "report.run"), policy)
    return {
        "use": use,
        "metric": own.metric,
        **_settled(findings, _OWN),
        "policy": asdict(policy),
        "others": [
            {"use": other, "metric": found[other, baseline].metric}
            | _settled(list(_other(found, other, champion, policy)), _OTHER)
            for other, baseline in REQUIRED.items()
            if other != use and (other, baseline) in found
        ],
    }


def _settled(findings: list[_Finding], verbs: Mapping[Verb, str]) -> dict[str, Any]:
    """The most careful decision, with the headline of the rule that was the first to come to it."""
    decision = min((each.decision for each in findings), key=_ORDER.index)
    # That a baseline is beaten is asked of every model: where all agree, the last rule says more.
    first = -1 if decision == "promote" else 0
    deciding = [each for each in findings if each.decision == decision][first]
    return {
        "decision": decision,
        "headline": f"{verbs[deciding.verb]}: {deciding.headline}",
        "reasons": [each.reason for each in findings],
    }


def _other(
    found: Mapping[tuple[str, str], Row], use: str, champion: Report | None, policy: Policy
) -> Iterator[_Finding]:
    """What speaks for a model, and against it, in a use that it is not promoted for.

    Often only the baseline can be asked here, so it decides whatever the policy.
    """
    yield _baseline(found[use, REQUIRED[use]], replace(policy, baselines="refuse"))
    if champion is not None and (use, CHAMPION) in found:
        yield _compared(found[use, CHAMPION], champion, policy)


def _baseline(row: Row, policy: Policy) -> _Finding:
    name = row.rival
    if row.surely_better:
        return _Finding("promote", f"better than {name}", f"Baseline: {row.figures}.")
    verb: Verb = "refuse"
    if row.gain > 0:
        verb, headline = "ask", f"not shown to be better than {name}"
    else:
        headline = f"loses to {name}" if row.gain < 0 else f"no better than {name}"
    if policy.baselines == "report":
        reason = f"Baseline, which the policy only reports: {headline}; {row.figures}."
        return _Finding("promote", headline, reason)
    return _Finding(verb, headline, f"Baseline: {headline}; {row.figures}.")


def _first(row: Row, baseline: _Finding) -> _Finding:
    """What becomes of a model that has no champion before it."""
    if row.surely_better:
        return _Finding("promote", "the first champion of this lane", "There is no champion yet.")
    return _Finding(
        "ask",
        f"no champion to compare with, and {baseline.headline}",
        "There is no champion yet, so that nothing shows this model to be good.",
    )


def _champion(
    row: Row | None, champion: Report, as_of: datetime, policy: Policy
) -> Iterator[_Finding]:
    newest = get(champion, "newest", "report.champion")
    in_place = moment(newest, "as_of", "report.champion.newest")
    if in_place > as_of:
        yield _Finding(
            "keep",
            f"it describes a later moment, {day(in_place)}",
            f"The champion in place, {get(newest, 'run', 'report.champion.newest')}, describes "
            f"{day(in_place)} and this run {day(as_of)}: no model displaces a fresher one.",
        )
    problem = get(champion, "problem", "report.champion")
    if row is not None:
        if problem is not None:
            raise EvaluationError(
                f"report.champion.problem is {problem!r}, and report.comparisons compares with the "
                "champion all the same"
            )
        yield _compared(row, champion, policy)
    elif problem is not None:
        yield _Finding(
            "ask",
            "the champion cannot be compared with",
            f"No comparison with the champion: {problem.rstrip('.')}.",
        )
    elif in_place <= as_of or get(champion, "run", "report.champion") is not None:
        raise EvaluationError(
            f"report.comparisons does not compare with the champion {champion.get('run')!r} for "
            "the use of the run, and report.champion.problem does not say why: evaluate the run "
            "again"
        )


def _compared(row: Row, champion: Report, policy: Policy) -> _Finding:
    name = f"the champion of {day(moment(champion, 'as_of', 'report.champion'))}"
    told = f"Champion: {row.figures}"
    if row.few or row.low is None or row.high is None or row.probability is None:
        who = "a single user" if row.users == 1 else f"{row.users} users"
        return _Finding("ask", f"{who} cannot tell it from {name}", f"{told}.")
    margin = policy.tolerance * abs(row.reference)
    bar = f"the tolerated {signed(-margin)}" if margin else "zero"
    if row.same and not margin:
        return _Finding(
            "keep", f"the same predictions as {name}", f"{told}: no user's differ but by rounding."
        )
    if row.low > -margin:
        better = "better than" if row.low > 0 else "within the tolerance of"
        return _Finding("promote", f"{better} {name}", f"{told}: all of it lies above {bar}.")
    if row.high < -margin:
        return _Finding("keep", f"worse than {name}", f"{told}: all of it lies below {bar}.")
    chance = f"better with probability {row.probability:.2f}"
    doubt = f"{told}: not all of it lies above {bar}. It is {chance}; a person is asked from"
    if row.probability >= policy.ask_from:
        headline = f"{chance} than {name}, which is no proof"
        return _Finding("ask", headline, f"{doubt} {policy.ask_from:.2f}.")
    return _Finding(
        "keep", f"not shown to be better than {name}", f"{doubt} {policy.ask_from:.2f}."
    )
