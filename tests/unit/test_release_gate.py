"""The gate: each rule on hand-made reports, its words, and how often chance gets past it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation.comparison import compare_all
from fmrec.release.gate import Policy, decide

AS_OF, BEFORE, AFTER = (f"1998-03-{day}T00:00:00+00:00" for day in ("08", "07", "15"))
SAYS = {
    "rating": ("rmse", "less"),
    "like": ("cross_entropy", "less"),
    "ranking": ("ndcg@10", "more"),
}
BASELINE = {"rating": "user_item_bias", "like": "user_item_bias", "ranking": "popularity"}
STRICT = Policy()


def row(use: str, against: str, candidate: float, reference: float, **more: Any) -> dict[str, Any]:
    """A comparison whose interval is the difference and 0.01 to both sides, unless told."""
    metric, better = SAYS[use]
    difference = candidate - reference
    return {
        "use": use,
        "metric": metric,
        "against": against,
        "better": better,
        "candidate": candidate,
        "reference": reference,
        "difference": difference,
        "standard_error": 0.005,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "probability": 0.5,
        "users": 459,
        "outcome": "undecided",
    } | more


def report(
    *comparisons: dict[str, Any], use: str = "rating", champion: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "run": {"use": use, "as_of": AS_OF, "run": "this"},
        "comparisons": list(comparisons),
        "champion": champion,
    }


def champion(**more: Any) -> dict[str, Any]:
    newest = {"run": "past", "as_of": BEFORE}
    return {"run": "past", "as_of": BEFORE, "problem": None, "newest": newest} | more


def beaten(use: str = "rating") -> dict[str, Any]:
    """The baseline beaten beyond doubt."""
    return row(use, BASELINE[use], *((0.88, 0.95) if use != "ranking" else (0.45, 0.26)))


def against(
    low: float, high: float, probability: float = 0.5, use: str = "rating"
) -> dict[str, Any]:
    """A comparison with the champion by the interval of the gain; the champion's figure is 0.9."""
    gain = (low + high) / 2
    sign = 1 if use == "ranking" else -1
    ends = sorted([sign * low, sign * high])
    return row(use, "champion", 0.9 + sign * gain, 0.9) | {
        "difference": sign * gain,
        "low": ends[0],
        "high": ends[1],
        "probability": probability,
    }


def said(found: dict[str, Any]) -> tuple[str, str]:
    return found["decision"], found["headline"]


# Against the baseline.


@pytest.mark.parametrize("use", SAYS)
def test_without_a_champion_the_baseline_decides_alone(use) -> None:
    found = decide(report(beaten(use), use=use), STRICT)
    assert said(found) == ("promote", "Promote: the first champion of this lane")
    assert (found["use"], found["metric"]) == (use, SAYS[use][0])
    assert found["others"] == []


def test_a_ranking_that_loses_to_popularity_is_refused_with_the_figures() -> None:
    found = decide(report(row("ranking", "popularity", 0.1532, 0.2602), use="ranking"), STRICT)
    assert said(found) == ("keep", "Refused: loses to popularity")
    assert found["reasons"][0] == (
        "Baseline: loses to popularity; NDCG@10 0.1532 is below the 0.2602 of popularity "
        "(95% interval of the gain -0.1170 to -0.0970, 459 users)."
    )


def test_ratings_that_lose_to_the_biases_are_refused_whatever_the_champion() -> None:
    loses = row("rating", "user_item_bias", 0.97, 0.95)
    found = decide(report(loses, against(0.1, 0.2), champion=champion()), STRICT)
    assert said(found) == ("keep", "Refused: loses to user + item bias")
    assert "RMSE 0.9700 is above the 0.9500 of user + item bias" in found["reasons"][0]
    assert "interval of the gain -0.0300 to -0.0100" in found["reasons"][0]


def test_a_figure_on_the_wrong_side_is_refused_also_when_in_doubt() -> None:
    loses = row("rating", "user_item_bias", 0.951, 0.95, probability=0.45)
    assert decide(report(loses), STRICT)["headline"] == "Refused: loses to user + item bias"


def test_equal_to_the_baseline_is_not_better() -> None:
    found = decide(report(row("rating", "user_item_bias", 0.95, 0.95)), STRICT)
    assert said(found) == ("keep", "Refused: no better than user + item bias")
    assert "RMSE 0.9500 is exactly the 0.9500 of user + item bias" in found["reasons"][0]


@pytest.mark.parametrize("low", [-0.001, 0.0])
def test_a_baseline_beaten_in_doubt_is_for_a_person(low) -> None:
    # RMSE: less is better, so a gain that reaches down to `low` is a difference up to `-low`.
    doubt = row("rating", "user_item_bias", 0.945, 0.95, low=-0.02, high=-low, probability=0.97)
    words = "Ask a person: not shown to be better than user + item bias"
    assert said(decide(report(doubt), STRICT)) == ("ask", words)
    better = against(0.01, 0.02, 1.0)
    assert said(decide(report(doubt, better, champion=champion()), STRICT)) == ("ask", words)
    worse = against(-0.02, -0.01, 0.0)
    found = decide(report(doubt, worse, champion=champion()), STRICT)
    assert said(found) == ("keep", "Keep the champion: worse than the champion of 7 March 1998")


def test_a_baseline_can_be_reported_only() -> None:
    loses = row("ranking", "popularity", 0.15, 0.26)
    policy = Policy(baselines="report")
    better = against(0.01, 0.02, 1.0, use="ranking")
    found = decide(report(loses, better, use="ranking", champion=champion()), policy)
    assert said(found) == ("promote", "Promote: better than the champion of 7 March 1998")
    assert found["reasons"][0].startswith(
        "Baseline, which the policy only reports: loses to popularity; NDCG@10 0.1500"
    )
    alone = decide(report(loses, use="ranking"), policy)
    words = "Ask a person: no champion to compare with, and loses to popularity"
    assert said(alone) == ("ask", words)
    assert said(decide(report(beaten("ranking"), use="ranking"), policy))[0] == "promote"


# Against the champion.


def test_a_better_model_takes_the_champions_place() -> None:
    found = decide(report(beaten(), against(0.002, 0.012, 0.999), champion=champion()), STRICT)
    assert said(found) == ("promote", "Promote: better than the champion of 7 March 1998")
    assert found["reasons"] == [
        "Baseline: RMSE 0.8800 is below the 0.9500 of user + item bias "
        "(95% interval of the gain +0.0600 to +0.0800, 459 users).",
        "Champion: RMSE 0.8930 is below the 0.9000 of the champion "
        "(95% interval of the gain +0.0020 to +0.0120, 459 users): all of it lies above zero.",
    ]


@pytest.mark.parametrize(
    ("low", "high", "probability", "decision", "words"),
    [
        (1e-6, 0.01, 0.98, "promote", "better than"),
        (0.0, 0.01, 0.97, "ask", "better with probability 0.97 than"),
        (-0.01, 0.02, 0.80, "ask", "better with probability 0.80 than"),
        (-0.01, 0.02, 0.79, "keep", "not shown to be better than"),
        (-0.02, 0.0, 0.03, "keep", "not shown to be better than"),
        (-0.02, -0.001, 0.0, "keep", "worse than"),
    ],
)
@pytest.mark.parametrize("use", ["rating", "ranking"])
def test_without_tolerance_the_whole_interval_must_lie_above_zero(
    use, low, high, probability, decision, words
) -> None:
    compared = against(low, high, probability, use)
    found = decide(report(beaten(use), compared, use=use, champion=champion()), STRICT)
    assert found["decision"] == decision
    assert f": {words} the champion of 7 March 1998" in found["headline"]


@pytest.mark.parametrize(
    ("low", "high", "decision", "words"),
    [
        (-0.0089, 0.001, "promote", "within the tolerance of"),
        (-0.0089, -0.001, "promote", "within the tolerance of"),
        (0.001, 0.002, "promote", "better than"),
        (-0.0091, 0.001, "keep", "not shown to be better than"),
        (-0.02, -0.0089, "keep", "not shown to be better than"),
        (-0.02, -0.0091, "keep", "worse than"),
    ],
)
def test_a_tolerance_moves_the_bar_by_its_share_of_the_champions_figure(
    low, high, decision, words
) -> None:
    # One per cent of 0.9.
    compared = report(beaten(), against(low, high), champion=champion())
    found = decide(compared, Policy(tolerance=0.01))
    assert found["decision"] == decision
    assert f": {words} the champion" in found["headline"]
    assert "the tolerated -0.0090" in found["reasons"][1]


def test_the_same_predictions_leave_the_champion_in_place() -> None:
    compared = report(beaten(), against(0.0, 0.0, 0.5), champion=champion())
    found = decide(compared, Policy(ask_from=0.5))
    words = "Keep the champion: the same predictions as the champion of 7 March 1998"
    assert said(found) == ("keep", words)
    assert "RMSE 0.9000 is exactly the 0.9000 of the champion" in found["reasons"][1]
    # With a tolerance a fresher model may follow one that it equals.
    assert decide(compared, Policy(tolerance=0.01))["decision"] == "promote"


def test_a_single_user_proves_nothing() -> None:
    nothing = {"low": None, "high": None, "standard_error": None, "probability": None, "users": 1}
    own = beaten() | nothing
    words = "Ask a person: not shown to be better than user + item bias"
    assert said(decide(report(own), STRICT)) == ("ask", words)
    assert "without an interval" in decide(report(own), STRICT)["reasons"][0]
    compared = against(0.01, 0.03) | nothing
    found = decide(report(beaten(), compared, champion=champion()), STRICT)
    words = "Ask a person: a single user cannot tell it from the champion of 7 March 1998"
    assert said(found) == ("ask", words)


def test_a_fresher_champion_is_not_displaced_by_the_model_of_a_past_day() -> None:
    later = champion(newest={"run": "fresh", "as_of": AFTER})
    found = decide(report(beaten(), against(0.01, 0.02), champion=later), STRICT)
    words = "Keep the champion: it describes a later moment, 15 March 1998"
    assert said(found) == ("keep", words)
    assert found["reasons"][1] == (
        "The champion in place, fresh, describes 15 March 1998 and this run 8 March 1998: no model "
        "displaces a fresher one."
    )
    # What it was compared with is told all the same.
    assert "all of it lies above zero" in found["reasons"][2]


def test_a_backfill_of_before_the_first_champion_has_nothing_to_compare_with() -> None:
    nobody = champion(run=None, as_of=None, newest={"run": "fresh", "as_of": AFTER})
    assert decide(report(beaten(), champion=nobody), STRICT)["decision"] == "keep"


def test_a_champion_of_the_same_moment_may_be_displaced() -> None:
    same = champion(as_of=AS_OF, newest={"run": "past", "as_of": "1998-03-08T02:00:00+02:00"})
    found = decide(report(beaten(), against(0.01, 0.02), champion=same), STRICT)
    assert said(found) == ("promote", "Promote: better than the champion of 8 March 1998")


def test_hours_are_told_when_there_are_any() -> None:
    noon = champion(as_of="1998-03-07T12:30:00Z")
    found = decide(report(beaten(), against(0.01, 0.02), champion=noon), STRICT)
    assert found["headline"] == "Promote: better than the champion of 7 March 1998, 12:30"


def test_a_champion_that_cannot_be_compared_with_is_for_a_person() -> None:
    problem = champion(problem="its model is gone: s3://b/k does not exist.")
    found = decide(report(beaten(), champion=problem), STRICT)
    assert said(found) == ("ask", "Ask a person: the champion cannot be compared with")
    assert found["reasons"][1] == (
        "No comparison with the champion: its model is gone: s3://b/k does not exist."
    )
    loses = row("rating", "user_item_bias", 0.97, 0.95)
    assert decide(report(loses, champion=problem), STRICT)["decision"] == "keep"


# Other uses.


def test_a_rating_model_is_judged_as_a_ranking_besides() -> None:
    comparisons = [
        beaten(),
        against(0.01, 0.02),
        row("ranking", "popularity", 0.1532, 0.2602),
        row("ranking", "ease", 0.1532, 0.45),
    ]
    found = decide(report(*comparisons, champion=champion()), STRICT)
    assert found["decision"] == "promote"
    assert found["others"] == [
        {
            "use": "ranking",
            "metric": "ndcg@10",
            "decision": "keep",
            "headline": "Would be refused: loses to popularity",
            "reasons": [
                "Baseline: loses to popularity; NDCG@10 0.1532 is below the 0.2602 of popularity "
                "(95% interval of the gain -0.1170 to -0.0970, 459 users)."
            ],
        }
    ]
    # Where only the baseline can be asked, no policy takes the decision from it.
    reported = decide(report(*comparisons, champion=champion()), Policy(baselines="report"))
    assert reported["others"] == found["others"]


@pytest.mark.parametrize(
    ("low", "high", "decision", "headline"),
    [
        (0.01, 0.02, "promote", "Would be promoted: better than the champion of 7 March 1998"),
        (-0.02, -0.01, "keep", "Would not be promoted: worse than the champion of 7 March 1998"),
    ],
)
def test_another_use_is_compared_with_the_champion_where_the_report_does(
    low, high, decision, headline
) -> None:
    both = against(low, high, use="ranking")
    comparisons = [beaten(), against(0.01, 0.02), beaten("ranking"), both]
    found = decide(report(*comparisons, champion=champion()), STRICT)["others"]
    assert [said(each) for each in found] == [(decision, headline)]


def test_another_use_without_a_champion_to_compare_with_has_the_baseline_alone() -> None:
    found = decide(
        report(beaten(), against(0.01, 0.02), beaten("ranking"), champion=champion()), STRICT
    )
    assert said(found["others"][0]) == ("promote", "Would be promoted: better than popularity")
    doubt = row("ranking", "popularity", 0.265, 0.26)
    found = decide(report(beaten(), doubt), STRICT)["others"][0]
    assert said(found) == ("ask", "A person would be asked: not shown to be better than popularity")


# What goes in and out.


def test_the_gate_decides_again_from_a_published_report() -> None:
    whole = report(beaten(), against(-0.01, 0.02, 0.9), champion=champion())
    found = decide(whole, Policy(ask_from=0.95))
    published = json.loads(json.dumps(whole | {"gate": found}))
    assert decide(published, Policy(**published["gate"]["policy"])) == found
    assert decide(published, Policy(ask_from=0.85))["decision"] == "ask"


def test_peers_and_the_mean_have_no_say() -> None:
    rivals = [row("rating", name, 0.88, 0.5) for name in ("global_mean", "ease", "popularity")]
    alone = decide(report(beaten()), STRICT)
    assert decide(report(*rivals, beaten()), STRICT) == alone


def changed(name: str, value: Any) -> dict[str, Any]:
    return report(beaten() | {name: value})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({}, "report lacks 'run'"),
        (report() | {"run": {"as_of": AS_OF}}, "report.run lacks 'use'"),
        (report(use="clicks"), "report.run.use is 'clicks'.*rating, like, ranking"),
        (report(), "does not compare with user_item_bias for use 'rating'.*evaluate the run again"),
        (report(beaten("ranking")), "does not compare with user_item_bias for use 'rating'"),
        (report(beaten(), beaten()), "compares with user_item_bias twice for use 'rating'"),
        (report(beaten(), against(0, 1)), "report.champion knows of none"),
        (report(beaten(), champion=champion()), "does not compare with the champion 'past'"),
        (
            report(beaten(), against(0, 1), champion=champion(problem="gone")),
            "problem is 'gone', and report.comparisons compares",
        ),
        (report(beaten(), champion=champion(newest={})), "newest lacks 'as_of'"),
        (
            report(beaten(), champion=champion(newest={"run": "x", "as_of": "soon"})),
            "as_of is 'soon', which is no moment",
        ),
        (
            report(beaten(), champion=champion(run=None)),
            "does not compare with the champion None",
        ),
        (
            report(beaten(), against(0, 1) | {"metric": "mae"}, champion=champion()),
            "judges use 'rating' by mae and rmse",
        ),
        (changed("better", "up"), "better is 'up'"),
        (changed("candidate", None), "candidate is None, which is no finite number"),
        (changed("reference", float("nan")), "reference is nan"),
        (changed("difference", "0.1"), "difference is '0.1'"),
        (changed("low", None), "low is None"),
        (changed("probability", None), "probability is None"),
        (changed("probability", 1.2), "with probability 1.2 is no interval"),
        (changed("low", 1.0), "1.0 to .* is no interval"),
    ],
)
def test_a_report_that_lacks_something_or_contradicts_itself_is_refused(wrong, text) -> None:
    with pytest.raises(EvaluationError, match=text):
        decide(wrong, STRICT)


def test_a_report_of_before_there_was_a_probability_is_named() -> None:
    old = beaten()
    del old["probability"]
    text = "the comparison with user_item_bias for use 'rating' lacks 'probability'"
    with pytest.raises(EvaluationError, match=text):
        decide(report(old), STRICT)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tolerance": -0.1}, "tolerance -0.1"),
        ({"ask_from": float("nan")}, "ask_from nan"),
        ({"baselines": "ignore"}, "baselines is 'ignore'"),
    ],
)
def test_a_policy_that_is_none_is_refused(given, text) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Policy(**given)


# How often chance gets past it: test sets of MovieLens 100K's sizes, a hundred seeds.

SEEDS = 100
SIZES = {"u1": (459, 20_000), "ua": (943, 9_430)}
# What each candidate's RMSE is worse by, and what errors of its own make it so.
CANDIDATES = {
    "equal": ("event", 0.0),
    "worse at events": ("event", 0.01),
    "worse at users": ("user", 0.01),
    "better": ("event", -0.008),
}
OWN_ERRORS, SHARED_ERRORS = {"event": 0.12, "user": 0.12}, 0.88


def owners(name: str, rng: np.random.Generator) -> np.ndarray:
    """Events of users as skewed as in u1 (from a few to several hundred), or ten of each in ua."""
    users, events = SIZES[name]
    if name == "ua":
        return np.repeat(np.arange(users), events // users)
    activity = rng.lognormal(0, 1.1, users)
    return np.sort(rng.choice(users, events, p=activity / activity.sum()))


def trial(name: str, seed: int) -> dict[str, str]:
    """What the gate says of each candidate, on a test set drawn by the seed.

    All models, the champion too, are right but for errors: those they share, of the events; their
    own at each event; and their own at each user, for a model is wrong about people. Errors of one
    kind are made larger or smaller until the candidate's expected RMSE is worse by its share.
    """
    rng = np.random.default_rng([seed, *map(ord, name)])
    owner = owners(name, rng)
    shared = rng.normal(0, SHARED_ERRORS, owner.size)
    variance = SHARED_ERRORS**2 + sum(size**2 for size in OWN_ERRORS.values())

    def squared_errors(kind: str, share: float) -> np.ndarray:
        size = dict(OWN_ERRORS)
        size[kind] = np.sqrt(size[kind] ** 2 + variance * ((1 + share) ** 2 - 1))
        people = rng.normal(0, size["user"], SIZES[name][0])[owner]
        return (shared + rng.normal(0, size["event"], owner.size) + people) ** 2

    champions = squared_errors("event", 0.0)
    rivals = {key: squared_errors(*each) for key, each in CANDIDATES.items()}
    # The champion against all candidates: these share resamples, and each is then turned over.
    found = compare_all(champions, rivals, owner, root=True, seed=seed)
    said = {}
    for key, each in found.items():
        turned = row("rating", "champion", each.reference, each.candidate) | {
            "low": -each.high,
            "high": -each.low,
            "probability": 1 - each.probability,
        }
        said[key] = decide(report(beaten(), turned, champion=champion()), STRICT)["decision"]
    return said


@pytest.fixture(scope="module", params=SIZES)
def trials(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    found = [trial(request.param, seed) for seed in range(SEEDS)]
    return {key: [each[key] for each in found] for key in CANDIDATES}


def test_a_model_that_is_one_per_cent_worse_is_kept_out(trials) -> None:
    for key in ("worse at events", "worse at users"):
        assert trials[key].count("promote") <= 5
        assert trials[key].count("keep") >= 90


def test_an_equal_model_is_promoted_by_chance_at_most_five_times_in_a_hundred(trials) -> None:
    assert trials["equal"].count("promote") <= 5
    # A gate that promotes nobody would pass, too.
    assert trials["better"].count("promote") >= 80


# What an interval cannot be trusted with.


@pytest.mark.parametrize("users", [2, 29])
def test_few_users_are_no_proof_of_anything(users: int) -> None:
    few = beaten() | {"users": users}
    assert said(decide(report(few), STRICT))[0] == "ask"
    better = against(0.01, 0.03, 1.0) | {"users": users}
    found = decide(report(beaten(), better, champion=champion()), STRICT)
    assert found["decision"] == "ask"
    assert f"{users} users cannot tell it" in found["headline"]
    assert "too few to trust it" in found["reasons"][-1]
    worse = row("rating", "user_item_bias", 0.97, 0.95, users=users)
    assert decide(report(worse), STRICT)["decision"] == "keep"


def test_thirty_users_are_enough() -> None:
    better = against(0.01, 0.03, 1.0) | {"users": 30}
    found = decide(report(beaten() | {"users": 30}, better, champion=champion()), STRICT)
    assert found["decision"] == "promote"


def test_what_differs_by_rounding_alone_is_the_same() -> None:
    """One model, asked in float32 by a container and in float64 here."""
    close = against(4.8e-10, 4.1e-9, 0.993)
    found = decide(report(beaten(), close, champion=champion()), STRICT)
    assert said(found) == ("keep", "Keep the champion: the same predictions as the champion of "
                           "7 March 1998")  # fmt: skip
    tolerant = decide(report(beaten(), close, champion=champion()), Policy(tolerance=0.01))
    assert tolerant["decision"] == "promote"
    apart = against(4e-6, 8e-6, 0.999)
    assert decide(report(beaten(), apart, champion=champion()), STRICT)["decision"] == "promote"
