"""The plots: well-formed, in the page's colours, readable without colour, and true."""

from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from fmrec.evaluation import plot_lists, plot_slices, plot_svg, plots
from fmrec.evaluation.wording import BASELINES, PEERS
from sample_reports import CUTOFFS, ranking, rating

MINUS = "\N{MINUS SIGN}"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)  # noqa: S314 - made by the package itself
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


def row(name: str, low: float | None, high: float | None, outcome: str) -> dict[str, Any]:
    middle = 0.1 if low is None or high is None else (low + high) / 2
    return {"name": name, "difference": middle, "low": low, "high": high, "outcome": outcome}


def all_plots() -> list[str]:
    scores, lists = rating(), ranking()
    names = {key: key for key in lists["lists"]["curves"]}
    genres = [each for each in scores["slices"] if each["by"] == "genre"]
    places = {"model": "model", "reference": "user_item_bias", "champion": "champion"}
    return [
        plots.learning_curve(scores["learning_curve"], "rmse", "RMSE", "test"),
        plots.calibration(scores["calibration"], "rating"),
        plots.residuals(scores["residuals"], "rating"),
        plots.forest([row("one", -0.2, 0.1, "undecided")], "RMSE", better="less"),
        plot_lists.precision_recall(lists["lists"]["curves"], CUTOFFS, names),
        plot_lists.coverage([("model", "model", 0.2, 0.4), ("ease", "EASE", 0.1, 0.3)], "NDCG"),
        plot_lists.overlap(lists["changes"]["jaccard"]),
        plot_slices.slices(genres, "RMSE", places, plot_slices.limits(genres), "events"),
    ]


@pytest.fixture(scope="module")
def every_plot() -> list[str]:
    return all_plots()


def test_plots_are_well_formed_and_take_colours_and_fonts_from_the_page(every_plot) -> None:
    ids: list[str] = []
    for svg in every_plot:
        root = ElementTree.fromstring(svg)  # noqa: S314 - made by the package itself
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert not re.search(r"#[0-9a-fA-F]{6}|font-family|<style|<metadata", svg)
        assert re.search(r"var\(--(accent|ink-soft)\)", svg)
        found = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(found)
        ids += found
    assert len(ids) == len(set(ids))


def test_the_same_figures_give_the_same_bytes(every_plot) -> None:
    assert all_plots() == every_plot


def test_nothing_to_draw_draws_nothing() -> None:
    assert plots.calibration([], "rating") == plots.residuals([], "rating") == ""
    assert plots.forest([], "RMSE", better="less") == ""
    assert plot_lists.precision_recall({}, CUTOFFS, {}) == plot_lists.coverage([], "NDCG") == ""
    undefined = {"model": {"precision": [None] * 7, "recall": [None] * 7}}
    assert plot_lists.precision_recall(undefined, CUTOFFS, {"model": "model"}) == ""
    assert plot_slices.slices([], "RMSE", {"model": "model"}, (0, 1), "events") == ""


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
    assert "finished model" not in plots.learning_curve(rows, "rmse", "RMSE", None)


def test_a_constant_predictor_can_be_drawn() -> None:
    svg = plots.calibration([{"count": 9, "predicted": 3.0, "actual": 3.0}], "rating")
    assert "perfect calibration" in svg


@pytest.mark.parametrize(
    ("better", "sides"),
    [("less", ["model better", "model worse"]), ("more", ["model worse", "model better"])],
)
def test_the_better_side_of_a_forest_is_where_the_metric_is_better(better, sides) -> None:
    svg = plots.forest([row("one", -0.2, 0.1, "undecided")], "RMSE", better=better)
    found = [text.strip("◂▸ ") for text in texts(svg) if "model" in text]
    assert found[:2] == sides


def test_a_forest_tells_each_rival_with_its_figures_from_the_top() -> None:
    rows = [row("champion", -0.0059, -0.0017, "better"), row("bias", None, None, "undecided")]
    told = texts(plots.forest(rows, "RMSE", better="less"))
    assert [text for text in told if text in ("champion", "bias")] == ["champion", "bias"]
    assert f"{MINUS}0.0038 ({MINUS}0.0059 to {MINUS}0.0017)" in told
    assert "+0.1000, no interval" in told


def test_the_outcome_of_a_comparison_is_seen_in_the_colour_and_in_the_dot() -> None:
    pictures = {
        outcome: plots.forest([row("one", 0.1, 0.2, outcome)], "RMSE", better="less")
        for outcome in ("better", "worse", "undecided")
    }
    assert "var(--good)" in pictures["better"]
    assert "var(--bad)" in pictures["worse"]
    assert "fill: var(--card)" in pictures["undecided"]
    assert "fill: var(--card)" not in pictures["better"] + pictures["worse"]


@pytest.mark.parametrize(
    ("intervals", "reach"),
    [
        # All fit: a tenth of room beyond the furthest end.
        ([(-0.2, 0.1)], 0.22),
        ([(-0.05, -0.03), (-0.02, 0.04)], 0.055),
        # The narrow one would be a hair: the wide one is drawn as an arrow.
        ([(-0.24, -0.22), (-0.002, 0.001)], 0.0022),
        # Nothing but the same: an axis all the same.
        ([(0.0, 0.0)], 1.0),
    ],
)
def test_a_forest_squeezes_no_interval_to_a_hair(intervals, reach: float) -> None:
    rows = [row("one", low, high, "better") for low, high in intervals]
    assert plots._reach(rows) == pytest.approx(reach)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+0.0123"), (-0.5, f"{MINUS}0.5000"), (-0.00001, "0.0000")]
)
def test_differences_have_a_sign_and_zero_has_none(value: float, text: str) -> None:
    assert plots.signed(value) == text


def test_predictors_can_be_told_apart_without_colour() -> None:
    looks = [plot_svg.look(key) for key in ("model", *BASELINES, *PEERS)]
    assert len({each.marker for each in looks}) == len(looks)
    assert len({str(each.dashes) for each in looks}) == len(looks)


def test_curves_are_named_and_the_lengths_of_the_models_lists_are_too() -> None:
    curves = ranking()["lists"]["curves"]
    names = {key: f"name of {key}" for key in curves}
    told = texts(plot_lists.precision_recall(curves, CUTOFFS, names))
    assert set(names.values()) <= set(told)
    assert {"1", "5", "10", "20", "50"} <= set(told)
    del curves["model"]
    assert "50" not in texts(plot_lists.precision_recall(curves, CUTOFFS, names))


def test_the_fall_of_a_curve_is_drawn_where_its_figures_are() -> None:
    curves = {"model": {"precision": [0.5, None, 0.2], "recall": [0.1, 0.2, 0.4]}}
    svg = plot_lists.precision_recall(curves, [1, 5, 50], {"model": "model"})
    told = texts(svg)
    # The undefined point has no place, so it has no name either.
    assert "1" in told
    assert "50" in told
    assert "5" not in told


def test_small_slices_are_hollow_and_each_says_how_many_it_holds() -> None:
    base = {"by": "age", "metric": "rmse", "users": 7, "model": 0.9, "reference": 1.0}
    base |= {"champion": None}
    names = {"model": "model", "reference": "user_item_bias"}

    def picture(*, small: bool) -> str:
        rows = [{**base, "slice": "all of them", "events": 1234, "small": small}]
        return plot_slices.slices(rows, "RMSE", names, (0.8, 1.1), "events")

    assert "fill: var(--card)" in picture(small=True)
    assert "fill: var(--card)" not in picture(small=False)
    assert {"all of them", "1,234", "RMSE"} <= set(texts(picture(small=True)))


def test_an_axis_of_slices_holds_every_figure_that_is_not_mostly_chance() -> None:
    rows = [
        {"model": 0.9, "reference": 1.0, "champion": None, "small": False},
        {"model": 0.7, "reference": 1.2, "champion": 0.6, "small": False},
        {"model": 9.0, "reference": 0.1, "champion": None, "small": True},
    ]
    low, high = plot_slices.limits(rows)
    assert 0.5 < low < 0.6
    assert 1.2 < high < 1.3
    low, high = plot_slices.limits(rows[2:])
    assert low < 0.1
    assert high > 9
    low, high = plot_slices.limits([rows[0] | {"reference": 0.9}])
    assert low < 0.9 < high


def test_a_figure_beyond_the_axis_is_an_arrow_at_its_edge(monkeypatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(
        plot_slices,
        "svg",
        lambda draw, *_, **__: figures.append(Figure()) or draw(figures[0].add_subplot()),
    )
    row = {"by": "age", "slice": "0-17", "metric": "rmse", "events": 3, "users": 2, "small": True}
    rows = [row | {"model": 5.0, "reference": 0.1, "champion": 1.0}]
    names = {"model": "model", "reference": "user_item_bias", "champion": "champion"}
    plot_slices.slices(rows, "RMSE", names, (0.5, 1.5), "events")
    marks = {line.get_marker(): list(line.get_xdata()) for line in figures[0].axes[0].lines}
    assert marks[">"] == [1.5]
    assert marks["<"] == [0.5]
    assert marks["s"] == [1.0]


def test_lengths_are_named_where_there_is_room() -> None:
    crowd = {"precision": [0.5, 0.499, 0.498, 0.497, 0.3, 0.2, 0.1]}
    crowd |= {"recall": [0.1, 0.1, 0.101, 0.102, 0.3, 0.4, 0.5]}
    told = texts(plot_lists.precision_recall({"model": crowd}, CUTOFFS, {"model": "model"}))
    assert [text for text in told if text in {"1", "2", "3", "5", "10", "20", "50"}] == [
        *("1", "50", "10", "20"),
    ]


def test_names_from_outside_stay_what_they_are() -> None:
    names = ["$x^2$ <b>&amp;", "喜劇 комедия", "two\nlines\x00\t", "x" * 60]
    rows = [
        {
            **{"by": 'by "&<x>', "slice": name, "metric": "rmse", "events": 5, "users": 5},
            **{"model": 1.0, "reference": 1.1, "champion": None, "small": False},
        }
        for name in names
    ]
    places = {"model": "model", "reference": "user_item_bias"}
    svg = plot_slices.slices(rows, "RMSE", places, (0.9, 1.2), "events")
    told = texts(svg)
    assert "$x^2$ <b>&amp;" in told
    assert "喜劇 комедия" in told
    assert "two lines" in told
    assert "x" * 25 + "…" in told
    label = ElementTree.fromstring(svg).attrib["aria-label"]  # noqa: S314 - made here
    assert label == 'RMSE by by "&<x>, slice by slice'


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0, 0.1),
)
def test_labels_are_spread_within_their_bounds_in_their_order(wanted, gap) -> None:
    placed = plot_svg.spread(wanted, gap, 0, 1)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for before, after in itertools.pairwise(order):
        assert placed[after] - placed[before] >= gap - 1e-9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in placed)


def test_labels_are_moved_no_more_than_they_must() -> None:
    assert plot_svg.spread([0.5, 0.1, 0.9], 0.2, 0, 1) == pytest.approx([0.5, 0.1, 0.9])
    # Two that want the same place give way to both sides; a third is not touched.
    assert plot_svg.spread([0.5, 0.5, 0.9], 0.2, 0, 1) == pytest.approx([0.4, 0.6, 0.9])
    assert plot_svg.spread([0.0, 0.0], 0.2, 0, 1) == pytest.approx([0.0, 0.2])
    assert plot_svg.spread([1.0, 1.0], 0.2, 0, 1) == pytest.approx([0.8, 1.0])
    assert plot_svg.spread([0.5, 0.5, 0.5], 0.6, 0, 1) == pytest.approx([0.0, 0.6, 1.2])


def test_points_that_lie_close_get_names_that_do_not_cover_each_other() -> None:
    points = [(0.5 + 0.01 * i, 0.5 + 0.007 * i, f"predictor {i}", "#010101") for i in range(6)]
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    plot_svg.label_points(axes, points)
    figure.draw_without_rendering()
    assert [each.get_text() for each in axes.texts] == [text for _, _, text, _ in points]
    boxes = [each.get_window_extent() for each in axes.texts]
    # An annotation's extent includes its arrow: the text alone is what must not be covered.
    for one, other in itertools.combinations(axes.texts, 2):
        a, b = (super(type(each), each).get_window_extent() for each in (one, other))
        assert not a.overlaps(b), (one.get_text(), other.get_text())
    assert len(boxes) == 6
