"""Reports of every shape that report.json can have, made by hand: for tests of what shows them."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

CUTOFFS = [1, 2, 3, 5, 10, 20, 50]
LIST_METRICS = (
    "ndcg@10",
    "precision@10",
    "recall@10",
    "map@10",
    "mrr@10",
    "hit_rate@10",
    "coverage@10",
    "gini@10",
    "novelty@10",
    "popularity@10",
)
AS_OF = "1998-03-08T00:00:00+00:00"


@cache
def schema() -> dict[str, Any]:
    """The schema of report.json as it is published."""
    text = files("fmrec.evaluation").joinpath("report.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def assert_valid(report: Any) -> None:
    """Fail unless the report keeps what the schema promises; the failure says where it does not."""
    errors = Draft202012Validator(schema()).iter_errors(report)
    told = [f"{error.json_path}: {error.message[:300]}" for error in errors]
    assert not told, "\n".join(told)


def listed(*values: float) -> dict[str, float]:
    """Figures of lists, in the order of `LIST_METRICS`."""
    return dict(zip(LIST_METRICS, values, strict=True))


MODEL = listed(0.4943, 0.4107, 0.2495, 0.3580, 0.6912, 0.9101, 0.1812, 0.9312, 2.1103, 214.6)
CHAMPION = listed(0.4878, 0.4046, 0.2440, 0.3512, 0.6840, 0.9079, 0.1690, 0.9371, 2.0812, 220.1)
POPULAR = listed(0.2606, 0.2226, 0.1148, 0.1493, 0.4302, 0.7105, 0.0303, 0.9861, 1.3012, 351.9)
BIASED = listed(0.1103, 0.0901, 0.0391, 0.0471, 0.2204, 0.4605, 0.0212, 0.9893, 4.4511, 60.2)
WEAK = listed(0.1529, 0.1460, 0.0520, 0.0790, 0.2952, 0.6101, 0.0912, 0.9641, 3.6012, 112.5)
EASE = listed(0.4675, 0.3900, 0.2360, 0.3300, 0.6601, 0.8991, 0.1502, 0.9412, 2.0321, 226.4)
ALS = listed(0.4660, 0.3902, 0.2361, 0.3261, 0.6582, 0.8969, 0.1511, 0.9391, 2.0401, 224.0)
KNN = listed(0.4360, 0.3690, 0.2260, 0.2990, 0.6310, 0.8772, 0.1301, 0.9502, 1.9302, 241.8)


def curve(ndcg: float) -> dict[str, list[float]]:
    """Precision and recall that fall and rise with the length of the list."""
    return {
        "precision": [round(ndcg * 1.25 / k**0.27, 4) for k in CUTOFFS],
        "recall": [round(ndcg * 0.12 * k**0.62, 4) for k in CUTOFFS],
    }


def compared(
    use: str,
    metric: str,
    against: str,
    candidate: float,
    reference: float,
    half: float,
    **more: Any,
) -> dict[str, Any]:
    """A comparison whose interval is the difference plus and minus `half`."""
    better = "less" if metric in ("rmse", "cross_entropy") else "more"
    difference = round(candidate - reference, 6)
    low, high = round(difference - half, 6), round(difference + half, 6)
    if low <= 0 <= high:
        outcome, probability = "undecided", 0.7
    else:
        good = (high < 0) == (better == "less")
        outcome, probability = ("better", 1.0) if good else ("worse", 0.0)
    return {
        "use": use,
        "metric": metric,
        "against": against,
        "better": better,
        "candidate": candidate,
        "reference": reference,
        "difference": difference,
        "standard_error": half / 2,
        "low": low,
        "high": high,
        "probability": probability,
        "users": 456,
        "outcome": outcome,
        **more,
    }


def _verdict(row: dict[str, Any], headline: str, *, generated: bool = False) -> dict[str, Any]:
    facts = {key: value for key, value in row.items() if key != "users"}
    return {
        **facts,
        "headline": headline,
        "sentence": f"The model's {row['metric']} is {row['candidate']:.4f}, the baseline's "
        f"{row['reference']:.4f}; 95% interval of the difference {row['low']:+.4f} to "
        f"{row['high']:+.4f} (paired, resampling {row['users']} users).",
        "generated": generated,
        "confidence": 0.95,
        "resamples": 2000,
        "users": row["users"],
    }


def _slice(
    by: str, name: str, metric: str, model: float, reference: float, champion: float | None, n: int
) -> dict[str, Any]:
    half = 0.6 / n**0.5
    difference = model - reference
    users = max(1, n // 7)
    return {
        "by": by,
        "slice": name,
        "metric": metric,
        "better": "less" if metric == "rmse" else "more",
        "over": "users" if metric == "ndcg@10" else "events",
        "events": n,
        "users": users,
        "model": model,
        "reference": reference,
        "low": round(difference - half, 4),
        "high": round(difference + half, 4),
        "champion": champion,
        "champion_events": None if champion is None else n,
        "small": users < 30 or n < 100,
    }


_GENRES = [
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi"),
    *("Thriller", "War", "Western"),
]


def _slices(metric: str, model: float, reference: float, champion: float | None) -> list[dict]:
    kinds = {
        "known and new": ["known user, known film", "known user, new film", "new user, known film"],
        "user activity": ["1 to 20 ratings", "21 to 50 ratings", "51 to 150 ratings", "over 150"],
        "film popularity": ["1 to 10 ratings", "11 to 50 ratings", "51 to 200 ratings", "over 200"],
        "genre": _GENRES,
        "age": [
            "under 18",
            "18 to 24",
            "25 to 34",
            "35 to 44",
            "45 to 49",
            "50 to 55",
            "56 and up",
        ],
    }
    rows = []
    for by, names in kinds.items():
        for i, name in enumerate(names):
            shift = ((i * 37) % 11 - 5) / 60
            n = 40 if name in ("known user, new film", "under 18", "Documentary") else 400 + 310 * i
            old = None if champion is None else round(champion + shift * 0.9, 4)
            own = round(model + shift + (0.06 if name == "Horror" else 0), 4)
            rows.append(_slice(by, name, metric, own, round(reference + shift, 4), old, n))
    return rows


def _base(objective: str, use: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "run": {
            "run_id": "scheduled__1998-03-08T00:00:00+00:00",
            "run": "19980308T000000Z-853f0c24",
            "as_of": AS_OF,
            "source": "ml-100k",
            "source_note": "ml-100k: MovieLens 100K, real ratings collected by GroupLens Research",
            "generated": False,
            "split": "time",
            "objective": objective,
            "use": use,
            "lane": f"{use}-ml-100k-time",
            "seed": 1,
            "rating_scale": [1.0, 5.0],
            "features": "profile",
            "watched": "test",
            "epochs": "35",
            "hyperparameters": {"factors_lr": "0.002"},
        },
        "metrics": {},
        "baselines": {},
        "peers": {},
        "verdict": {},
        "comparisons": [],
        "champion": None,
        "gate": {},
        "lists": None,
        "slices": [],
        "changes": None,
        "cost": {
            "currency": "USD",
            "total": 0.0033,
            "prices": {"date": "2026-08-20", "region": "us-east-1", "source": "AWS price list"},
            "jobs": [
                {
                    "kind": "training",
                    "name": "fmrec-train-1",
                    "instance_type": "ml.m5.large",
                    "instances": 1,
                    "billable_seconds": 84,
                    "hourly": 0.115,
                    "amount": 0.0027,
                },
                {
                    "kind": "batch transform",
                    "name": "fmrec-score-1",
                    "instance_type": "ml.m5.large",
                    "instances": 1,
                    "billable_seconds": 18.2,
                    "hourly": 0.115,
                    "amount": 0.0006,
                },
            ],
            "notes": [],
        },
        "counts": {
            "train": 80000,
            "validation": 0,
            "events": 20000,
            "predictions": 20000,
            "train_users": 943,
            "train_items": 1650,
            "test_users": 459,
            "test_items": 1410,
            "ranked_users": 456,
            "users_without_likes": 3,
            "users_without_history": 0,
            "unknown_user": 0,
            "unknown_item": 32,
            "unknown_both": 0,
            "refused": 0,
        },
        "notes": [],
        "data": {"notes": [], "refused_by_check": {}},
        "calibration": [],
        "residuals": [],
        "learning_curve": [],
        "jobs": [
            {
                "kind": "training",
                "name": "fmrec-train-19980308T000000Z-853f0c24-1",
                "status": "Completed",
                "seconds": 83.7,
                "billable_seconds": 84,
            },
            {
                "kind": "batch transform",
                "name": "fmrec-score-19980308T000000Z-853f0c24-1",
                "status": "Completed",
                "seconds": None,
            },
        ],
        "recommendations": {
            "user_id": 729,
            "items": [
                {"rank": 1, "item_id": 258, "title": "Contact (1997)", "score": 4.94},
                {"rank": 2, "item_id": 302, "title": "L.A. Confidential (1997)", "score": 4.81},
                {"rank": 3, "item_id": 286, "title": "English Patient, The (1996)", "score": 4.6},
            ],
        },
    }


def _curve(metric: str, epochs: int, start: float, final: float) -> list[dict[str, Any]]:
    rows = [
        {
            "channel": "train",
            "metric": metric,
            "epoch": e,
            "value": round(start * (0.72 + 0.28 / (1 + e)), 5),
        }
        for e in range(epochs)
    ]
    return [*rows, {"channel": "test", "metric": metric, "epoch": None, "value": final}]


def _bins(low: float, high: float) -> list[dict[str, Any]]:
    step = (high - low) / 9
    return [
        {
            "count": 2000,
            "predicted": round(low + i * step, 4),
            "actual": round(low + i * step + 0.05 * (high - low) * ((i % 3) - 1), 4),
        }
        for i in range(10)
    ]


def _residuals(span: float) -> list[dict[str, Any]]:
    rows = []
    for rating in range(1, 6):
        middle = span * (3.4 - rating) / 4
        places = {"mean": 0.01, "q05": -0.3, "q25": -0.1, "median": 0, "q75": 0.12, "q95": 0.33}
        row = {name: round(middle + span * by, 4) for name, by in places.items()}
        rows.append({"rating": float(rating), "count": 800 * rating, **row})
    return rows


def _gate(use: str, metric: str, decision: str, headline: str, *reasons: str) -> dict[str, Any]:
    return {
        "use": use,
        "metric": metric,
        "decision": decision,
        "headline": headline,
        "reasons": list(reasons),
    }


_POLICY = {"tolerance": 0.0, "ask_from": 0.8, "baselines": "refuse"}


def rating() -> dict[str, Any]:
    """A model on ratings, better than the champion, and refused as a ranking."""
    report = _base("rating", "rating")
    scores = {"rmse": 0.9217, "mae": 0.7256, "calibration_error": 0.021}
    report["metrics"] = scores | {"rmse_unclipped": 0.9220} | WEAK
    report["baselines"] = {
        "global_mean": {"rmse": 1.1537, "mae": 0.9680, "calibration_error": 0.031},
        "user_item_bias": {"rmse": 0.9550, "mae": 0.7550, "calibration_error": 0.028} | BIASED,
        "popularity": dict(POPULAR),
        "champion": {"rmse": 0.9254, "mae": 0.7281, "calibration_error": 0.023}
        | WEAK
        | {"ndcg@10": 0.1491, "coverage@10": 0.0881},
    }
    rows = [
        compared("rating", "rmse", "user_item_bias", 0.9217, 0.9550, 0.0054),
        compared("rating", "rmse", "global_mean", 0.9217, 1.1537, 0.0121),
        compared("rating", "rmse", "champion", 0.9216, 0.9254, 0.0021, users=451),
        compared("ranking", "ndcg@10", "user_item_bias", 0.1529, 0.1103, 0.011),
        compared("ranking", "ndcg@10", "popularity", 0.1529, 0.2606, 0.0152),
        compared("ranking", "ndcg@10", "champion", 0.1530, 0.1491, 0.0071, users=451),
    ]
    report["comparisons"] = rows
    report["verdict"] = _verdict(rows[0], "The model beats the user + item bias baseline")
    report["champion"] = {
        "run": "19980301T000000Z-77aa01bc",
        "as_of": "1998-03-01T00:00:00+00:00",
        "objective": "rating",
        "features": "ids",
        "left_out_events": 212,
        "left_out_users": 5,
        "problem": None,
        "newest": {"run": "19980301T000000Z-77aa01bc", "as_of": "1998-03-01T00:00:00+00:00"},
    }
    report["gate"] = {
        **_gate(
            "rating",
            "rmse",
            "promote",
            "Promote: better than the champion of 1 March 1998",
            "RMSE is 0.0038 lower than the champion's 0.9254; 95% interval -0.0059 to -0.0017.",
            "It beats the user + item bias baseline by 0.0333.",
        ),
        "policy": dict(_POLICY),
        "others": [
            _gate(
                "ranking",
                "ndcg@10",
                "keep",
                "Would be refused: loses to popularity",
                "NDCG@10 is 0.1077 lower than the 0.2606 of popularity; 95% interval -0.1229 to "
                "-0.0925.",
            )
        ],
    }
    report["lists"] = {
        "users": 456,
        "depth": 50,
        "cutoffs": CUTOFFS,
        "curves": {
            "model": curve(0.1529),
            "popularity": curve(0.2606),
            "user_item_bias": curve(0.1103),
            "champion": curve(0.1491),
        },
    }
    report["slices"] = _slices("rmse", 0.9217, 0.9550, 0.9254) + [
        row
        for row in _slices("ndcg@10", 0.1529, 0.2606, 0.1491)
        if row["by"] in ("user activity", "age")
    ]
    report["calibration"] = _bins(2.1, 4.6)
    report["residuals"] = _residuals(2)
    report["learning_curve"] = _curve("rmse", 59, 1.09, 0.9217)
    report["counts"] |= {"clipped": 85}
    return report


def ranking() -> dict[str, Any]:
    """A ranking with peers, a champion and what changed; a matter for a person."""
    report = _base("ranking", "ranking")
    report["metrics"] = MODEL | {"auc": 0.6859}
    report["baselines"] = {
        "popularity": POPULAR | {"auc": 0.6735},
        "user_item_bias": BIASED | {"auc": 0.7011},
        "champion": dict(CHAMPION),
    }
    report["peers"] = {"ease": dict(EASE), "implicit_als": dict(ALS), "item_knn": dict(KNN)}
    rivals = {
        "popularity": (0.2606, 0.0202),
        "user_item_bias": (0.1103, 0.0241),
        "champion": (0.4878, 0.0078),
        "ease": (0.4675, 0.0081),
        "implicit_als": (0.4660, 0.0077),
        "item_knn": (0.4360, 0.0092),
    }
    rows = [
        compared("ranking", "ndcg@10", name, 0.4943, value, half)
        for name, (value, half) in rivals.items()
    ]
    report["comparisons"] = rows
    report["verdict"] = _verdict(rows[0], "The model beats the popularity baseline")
    report["champion"] = {
        "run": "19980301T000000Z-77aa01bc",
        "as_of": "1998-03-01T12:30:00+00:00",
        "objective": "ranking",
        "features": "profile",
        "left_out_events": 0,
        "left_out_users": 0,
        "problem": None,
        "newest": {"run": "19980315T000000Z-1f2e3d4c", "as_of": "1998-03-15T00:00:00+00:00"},
    }
    report["gate"] = {
        **_gate(
            "ranking",
            "ndcg@10",
            "ask",
            "Ask a person: better with probability 0.95 than the champion, which is no proof",
            "NDCG@10 is 0.0065 higher than the champion's 0.4878; 95% interval -0.0013 to +0.0143.",
            "It is better with a probability of 95%, and 80% is enough to ask.",
        ),
        "policy": dict(_POLICY),
        "others": [],
    }
    report["lists"] = {
        "users": 456,
        "depth": 50,
        "cutoffs": CUTOFFS,
        "curves": {
            "model": curve(0.4943),
            "popularity": curve(0.2606),
            "user_item_bias": curve(0.1103),
            "champion": curve(0.4878),
            "ease": curve(0.4675),
            "implicit_als": curve(0.4660),
            "item_knn": curve(0.4360),
        },
    }
    report["slices"] = [
        row
        for row in _slices("ndcg@10", 0.4943, 0.2606, 0.4878)
        if row["by"] in ("user activity", "age")
    ]
    report["changes"] = {
        "users": 456,
        "jaccard": {
            "mean": 0.61,
            "q05": 0.25,
            "q25": 0.43,
            "median": 0.67,
            "q75": 0.82,
            "q95": 1.0,
        },
        "same": 31,
        "disjoint": 2,
        "risers": [
            {"item_id": 258, "title": "Contact (1997)", "lists": 210, "lists_before": 151},
            {
                "item_id": 515,
                "title": "Boot, Das (1981): the long version of a long title",
                "lists": 77,
                "lists_before": 31,
            },
        ],
        "fallers": [
            {"item_id": 300, "title": "Air Force One (1997)", "lists": 12, "lists_before": 80}
        ],
    }
    report["learning_curve"] = _curve("rmse", 35, 0.153, 0.46)
    return report


def first() -> dict[str, Any]:
    """The first run on ratings: no champion, no lists to judge, no price."""
    report = rating()
    for name in ("champion", "lists"):
        report[name] = None
    scores = ("rmse", "mae", "calibration_error", "rmse_unclipped")
    report["metrics"] = {name: report["metrics"][name] for name in scores}
    report["baselines"] = {
        key: {name: value for name, value in report["baselines"][key].items() if name in scores}
        for key in ("global_mean", "user_item_bias")
    }
    report["comparisons"] = report["comparisons"][:2]
    report["slices"] = []
    report["gate"] |= {
        "headline": "Promote: the first champion of this lane",
        "reasons": ["There is no champion yet, and the model beats the user + item bias baseline."],
        "others": [],
    }
    report["notes"] = ["There are no lists: no test user likes anything"]
    report["cost"] |= {"total": None, "notes": ["The price of ml.x9.large is not known here."]}
    report["cost"]["jobs"][0] |= {"instance_type": "ml.x9.large", "hourly": None, "amount": None}
    return report


def like() -> dict[str, Any]:
    """A model of likes that cannot be told apart from its champion."""
    report = _base("like", "like")
    names = ("cross_entropy", "accuracy", "f1", "auc", "calibration_error")
    report["metrics"] = dict(zip(names, (0.5801, 0.7011, None, 0.7702, 0.018), strict=True)) | WEAK
    report["baselines"] = {
        "global_mean": dict(zip(names, (0.6870, 0.5531, 0.7122, 0.5, 0.01), strict=True)),
        "user_item_bias": dict(zip(names, (0.6021, 0.6821, 0.7310, 0.7422, 0.04), strict=True))
        | BIASED,
        "popularity": dict(POPULAR),
        "champion": dict(zip(names, (0.5811, 0.7009, 0.7420, 0.7699, 0.017), strict=True)) | WEAK,
    }
    rows = [
        compared("like", "cross_entropy", "user_item_bias", 0.5801, 0.6021, 0.006),
        compared("like", "cross_entropy", "champion", 0.5801, 0.5811, 0.004),
        compared("ranking", "ndcg@10", "popularity", 0.1529, 0.2606, 0.0152),
    ]
    report["comparisons"] = rows
    report["verdict"] = _verdict(rows[0], "The model beats the user + item bias baseline")
    report["champion"] = deepcopy(rating()["champion"]) | {
        "objective": "like",
        "left_out_events": 0,
        "left_out_users": 0,
    }
    report["gate"] = {
        **_gate(
            "like",
            "cross_entropy",
            "keep",
            "Keep the champion: not shown to be better than the champion of 1 March 1998",
            "Cross-entropy is 0.0010 lower; 95% interval -0.0050 to +0.0030.",
        ),
        "policy": dict(_POLICY),
        "others": deepcopy(rating()["gate"]["others"]),
    }
    report["lists"] = deepcopy(rating()["lists"])
    report["calibration"] = _bins(0.2, 0.9)
    report["residuals"] = _residuals(0.5)
    report["notes"] = ["F1 is undefined: no test event is positive and none is predicted to be"]
    return report


def generated() -> dict[str, Any]:
    """Invented ratings with ailing data, and a single user to compare by."""
    report = first()
    report["run"] |= {"generated": True, "source": "sample", "source_note": "made by fmrec"}
    for row in (*report["comparisons"], report["verdict"]):
        row |= {"low": None, "high": None, "standard_error": None, "probability": None}
        row |= {"outcome": "undecided", "users": 1}
    report["verdict"] |= {
        "generated": True,
        "headline": "On generated data: the model cannot be told apart from the baseline",
        "sentence": "With a single user there is no interval to judge the difference by.",
    }
    report["gate"] |= {
        "decision": "ask",
        "headline": "Ask a person: no champion yet, and nothing is shown",
        "reasons": ["With a single user there is no interval to decide by."],
    }
    report["data"] = {
        "notes": [
            "The landing day 1998-03-07 was empty.",
            "Ratings of 1998-03-08 are lower than before: 3.1 on average after 3.5.",
        ],
        "refused_by_check": {"range": 4, "clock": 1, "<id>": 2},
    }
    report["counts"] |= {"refused": 7}
    report["cost"]["total"] = 12.5
    report["learning_curve"] = []
    report["recommendations"] = None
    report["jobs"] = []
    return report


def problem() -> dict[str, Any]:
    """A champion that cannot be asked: a matter for a person."""
    report = ranking()
    report["champion"] |= {
        "objective": None,
        "features": None,
        "left_out_events": None,
        "left_out_users": None,
        "problem": "the champion 19980301T000000Z-77aa01bc cannot be asked: its model is gone from "
        "s3://fmrec/models/19980301T000000Z-77aa01bc/model.tar.gz",
    }
    del report["baselines"]["champion"], report["lists"]["curves"]["champion"]
    report["comparisons"] = [row for row in report["comparisons"] if row["against"] != "champion"]
    for row in report["slices"]:
        row |= {"champion": None, "champion_events": None}
    report["changes"] = None
    report["gate"] |= {
        "headline": "Ask a person: the champion cannot be compared with",
        "reasons": [f"No comparison with the champion: {report['champion']['problem']}."],
    }
    return report


def bare() -> dict[str, Any]:
    """The least that a report may hold."""
    report = first()
    report |= {"peers": {}, "slices": [], "changes": None, "calibration": [], "residuals": []}
    report |= {"learning_curve": [], "jobs": [], "recommendations": None, "comparisons": []}
    report["cost"] = {**report["cost"], "total": None, "jobs": [], "notes": []}
    report["notes"] = []
    return report


SAMPLES = {
    "rating": rating,
    "ranking": ranking,
    "first": first,
    "like": like,
    "generated": generated,
    "problem": problem,
    "bare": bare,
}
"""Every sample by its name; each call makes a new one."""
