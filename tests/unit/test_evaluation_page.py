"""The two forms for people: the text table and the self-contained page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fmrec.evaluation import page, plots, ranking, report, table
from fmrec.evaluation.learning_curve import Point

VOID = {"meta", "link", "br", "img", "input", "hr"}


def first_unseen(train: pd.DataFrame, test: pd.DataFrame) -> ranking.Ranked:
    users = ranking.judged_users(train, test)
    lists = np.full((users.size, 10), -1)
    for row, user in enumerate(users):
        unseen = np.setdiff1d(train["item_id"], train.loc[train["user_id"] == user, "item_id"])
        lists[row, : unseen.size] = unseen[:10]
    return ranking.Ranked(users, lists, train)


def made(objective: str = "rating", *, users: int = 12, **run: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    size = 240
    events = pd.DataFrame(
        {
            "user_id": np.arange(size) % users + 1,
            "item_id": rng.integers(1, 25, size),
            "rating": rng.integers(1, 6, size).astype(np.float32),
        }
    )
    test = events[120:].reset_index(drop=True)
    scores = 0.5 * test["rating"].to_numpy(float) + 1 + rng.normal(0, 1.2, 120)
    metric, ranked = "rmse", None
    if objective != "rating":
        scores, metric = np.clip(scores / 5, 0.01, 0.99), "cross_entropy"
    if objective == "ranking":
        ranked = first_unseen(events[:120], test)
    facts = {
        "run_id": "scheduled__1998-03-08T00:00:00+00:00",
        "as_of": "1998-03-08T00:00:00+00:00",
        "source": "ml-100k",
        "source_note": "u.data of ml-100k.zip",
        "generated": False,
        "split": "time",
        "objective": objective,
        "seed": 1,
        "epochs": 3,
        "rating_scale": [1, 5],
        "features": "side",
        "hyperparameters": {"bias_lr": "0.02"},
    }
    return report.build(
        run=facts | run,
        train=events[:120],
        test=test,
        scores=scores,
        ranked=ranked,
        learning_curve=[Point("train", metric, e, 1.2 - e / 10) for e in range(3)]
        + [Point("test", metric, None, 1.1)],
        jobs=[{"name": "fmrec-train-1", "status": "Completed", "seconds": 31.46}],
        counts={"validation": 17, "refused": 5},
        refused_by_check={"range": 4, "<id>": 1},
        data_notes=["The landing day 1998-03-07 was <empty>."],
        recommendations={
            "user_id": 3,
            "items": [{"rank": 1, "item_id": 5, "title": "Vertigo (1958)", "score": 4.321}],
        },
    )


class Checker(HTMLParser):
    """Collects text and attributes, and fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


@pytest.mark.parametrize("objective", ["rating", "like", "ranking"])
def test_the_page_is_whole_by_itself(objective: str) -> None:
    html = page.render(made(objective))
    checker = checked(html)
    names = {tag for tag, _ in checker.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "base"}
    for _, attributes in checker.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"@import|url\((?!#)", html)


@pytest.mark.parametrize("objective", ["rating", "like", "ranking"])
def test_the_page_shows_verdict_table_plots_data_jobs_and_parameters(objective: str) -> None:
    content = made(objective)
    checker = checked(page.render(content))
    text = " ".join(" ".join(checker.text).split())
    assert content["verdict"]["headline"] in text
    assert content["verdict"]["sentence"] in text
    for values in (content["metrics"], *content["baselines"].values()):
        for name in table.metric_names(content):
            assert f"{values[name]:.4f}" in text
    drawn = [dict(a)["aria-label"] for tag, a in checker.tags if tag == "svg"]
    # Calibration and residuals are figures of single predictions.
    assert len(drawn) == (2 if objective == "ranking" else 4)
    assert any("Learning curve" in label for label in drawn)
    for shown in (
        "u.data of ml-100k.zip",
        "1998-03-08T00:00:00+00:00",
        "fmrec-train-1",
        "31.5",
        "hyperparameters.bias_lr",
        "Vertigo (1958)",
        "with an unknown user",
        "validation events",
        "features side",
        "rows refused (quarantine) 5",
        "Data health",
        "The landing day 1998-03-07 was <empty>.",
        "range 4",
        "<id> 1",
    ):
        assert shown in text


def test_the_headline_stands_before_everything_else() -> None:
    html = page.render(made())
    assert html.index("<h1") < html.index("<table") < html.index("<svg")


def test_markup_in_ids_titles_and_parameters_is_shown_not_obeyed() -> None:
    evil = "<script>alert('x')</script><b title=\"y\">&amp;"
    content = made(run_id=evil, source_note=evil, split=evil, **{evil: evil})
    content["recommendations"]["items"][0]["title"] = evil
    content["recommendations"]["user_id"] = evil
    content["jobs"][0]["name"] = evil
    checker = checked(page.render(content))
    assert not {"script", "b"} & {tag for tag, _ in checker.tags}
    assert "".join(checker.text).count(evil) >= 8


def test_the_same_report_gives_the_same_page() -> None:
    assert page.render(made()) == page.render(made())


@pytest.mark.parametrize("objective", ["rating", "like", "ranking"])
def test_a_report_read_back_from_its_json_gives_the_same_page_and_table(objective) -> None:
    content = made(objective)
    read = json.loads(report.to_json(content))
    assert page.render(read) == page.render(content)
    assert table.render(read) == table.render(content)


def test_generated_ratings_are_named_on_page_and_table() -> None:
    content = made(generated=True, source="sample")
    assert "On generated data" in page.render(content)
    text = table.render(content)
    assert text.startswith("On generated data")
    assert "source sample (generated ratings)" in text


def test_a_page_without_curve_jobs_recommendations_and_interval() -> None:
    content = made(users=1)
    content |= {"learning_curve": [], "jobs": [], "recommendations": None}
    checker = checked(page.render(content))
    assert sum(tag == "svg" for tag, _ in checker.tags) == 2
    assert "Recommended" not in "".join(checker.text)


def test_an_undefined_metric_and_a_job_without_a_time_are_shown_as_such() -> None:
    content = made("like")
    content["metrics"]["auc"] = None
    content["notes"] = ["AUC is undefined: all test events have the same label"]
    content["jobs"][0]["seconds"] = None
    text = " ".join(checked(page.render(content)).text)
    assert text.count("n/a") == 2
    assert "AUC is undefined" in text
    assert "note: AUC is undefined" in table.render(content)


def test_plots_are_well_formed_and_take_their_colours_from_the_page() -> None:
    content = made()
    drawings = [
        plots.learning_curve(content["learning_curve"], "rmse", "RMSE", "test"),
        plots.calibration(content["calibration"], "rating"),
        plots.residuals(content["residuals"], "rating"),
        plots.interval(-0.02, -0.01, 0.003, "RMSE", better="less"),
    ]
    ids: list[str] = []
    for svg in drawings:
        root = ElementTree.fromstring(svg)  # noqa: S314 - made by the line above
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert not re.search(r"#[0-9a-fA-F]{6}|font-family|<style|<metadata", svg)
        assert "var(--accent)" in svg
        found = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(found)
        ids += found
    assert len(ids) == len(set(ids))


def test_a_curve_is_drawn_epoch_by_epoch_with_gaps_left_out() -> None:
    rows = [
        {"channel": "train", "metric": "rmse", "epoch": 0, "value": 1.5},
        {"channel": "train", "metric": "rmse", "epoch": 1, "value": None},
        {"channel": "train", "metric": "mae", "epoch": 2, "value": 1.0},
    ]
    assert plots.learning_curve(rows[1:], "rmse", "RMSE", "test") == ""
    one = plots.learning_curve(rows, "rmse", "RMSE", "validation")
    assert "finished model" not in one
    rows.append({"channel": "test", "metric": "rmse", "epoch": None, "value": 1.2})
    assert "validation, finished model" in plots.learning_curve(rows, "rmse", "RMSE", "validation")


def test_the_better_side_of_an_interval_is_where_the_metric_is_better() -> None:
    less = plots.interval(-0.02, -0.01, 0.003, "RMSE", better="less")
    more = plots.interval(-0.02, -0.01, 0.003, "NDCG@10", better="more")
    assert less.index("model better") < less.index("baseline better")
    assert more.index("baseline better") < more.index("model better")


def test_nothing_to_draw_draws_nothing() -> None:
    assert plots.calibration([], "rating") == plots.residuals([], "rating") == ""


def test_a_page_without_anything_to_say_of_the_data() -> None:
    content = made()
    content["data"] = {"notes": [], "refused_by_check": {}}
    assert "Data health" not in page.render(content)


def test_the_table_of_a_ranking_fits_a_terminal_too() -> None:
    content = made("ranking")
    lines = table.render(content).splitlines()
    assert all(len(line) <= 88 for line in lines[:-4])
    head = next(line for line in lines if line.lstrip().startswith("ndcg@10"))
    assert head.split() == ["ndcg@10", "precision@10", "recall@10", "map@10", "auc"]
    rows = lines[lines.index(head) + 1 :][:2]
    assert [row[:18].strip() for row in rows] == ["model", "popularity"]
    assert "data: The landing day 1998-03-07 was <empty>." in lines
    assert any(re.fullmatch(r"  refused: range +4", line) for line in lines)
    assert lines[-2] == "features side"


def test_a_constant_predictor_can_be_drawn() -> None:
    svg = plots.calibration([{"count": 9, "predicted": 3.0, "actual": 3.0}], "rating")
    assert "perfect calibration" in svg


def test_the_table_is_aligned_and_fits_a_terminal() -> None:
    content = made("like")
    lines = table.render(content).splitlines()
    assert all(len(line) <= 88 for line in lines[:-4])
    head = next(i for i, line in enumerate(lines) if line.lstrip().startswith("cross_entropy"))
    rows = lines[head + 1 : head + 4]
    assert [row[:18].strip() for row in rows] == ["model", "user + item bias", "global mean"]
    ends = [match.end() for match in re.finditer(r"\S+", lines[head])]
    for row, key in zip(rows, ("model", "user_item_bias", "global_mean"), strict=True):
        values = content["metrics"] if key == "model" else content["baselines"][key]
        names = lines[head].split()
        assert row[18:].split() == [f"{values[name]:.4f}" for name in names]
        assert [match.end() + 18 for match in re.finditer(r"\S+", row[18:])] == ends


def test_the_table_in_full() -> None:
    content = made()
    content["verdict"] |= {"headline": "The model wins", "sentence": "By a nose."}
    content["metrics"] |= {"rmse": 0.92, "mae": 0.72, "rmse_unclipped": 0.93}
    content["baselines"] = {
        "global_mean": {"rmse": 1.15, "mae": 0.97},
        "user_item_bias": {"rmse": 0.955, "mae": 0.755},
    }
    content["counts"] = {"train": 80000, "validation": 0, "events": 20000, "predictions": 20000}
    content["counts"] |= {"clipped": 1249, "unknown_item": 32, "refused": 3}
    content["data"] = {"notes": ["All is well."], "refused_by_check": {"range": 2, "clock": 1}}
    content["run"]["rating_scale"] = [0.5, 5]
    assert table.render(content) == (
        "The model wins\n"
        "By a nose.\n"
        "\n"
        "                             rmse            mae\n"
        "model                      0.9200         0.7200\n"
        "user + item bias           0.9550         0.7550\n"
        "global mean                1.1500         0.9700\n"
        "\n"
        "training events                      80,000\n"
        "validation events                         0\n"
        "test events                          20,000\n"
        "predictions                          20,000\n"
        "with an unknown item                     32\n"
        "rows refused (quarantine)                 3\n"
        "  refused: clock                          1\n"
        "  refused: range                          2\n"
        "note: 1,249 predictions outside 0.5..5 were clipped; unclipped, RMSE is 0.9300\n"
        "data: All is well.\n"
        "\n"
        "source ml-100k · split time · objective rating · as of 1998-03-08T00:00:00+00:00\n"
        "features side\n"
        "run scheduled__1998-03-08T00:00:00+00:00\n"
    )
