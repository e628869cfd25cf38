"""Figures of forecasts show the numbers that they are given, a name alike everywhere, with units."""

import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.figures.forecasts import (
    draw_cases,
    draw_conditional_quantiles,
    draw_hours,
    draw_latency,
    draw_leads,
    draw_ranks,
)

LEADS = np.arange(1, 13)


def lines_of(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_scores_over_the_lead_have_bands_and_one_look_for_a_name():
    error = np.linspace(0.3, 3, 12)
    scores = {"prediction": np.stack([error, 0.9 * error, 1.1 * error]), "best_possible": 0.8 * error}
    figure = draw_leads({"MSE (K2)": scores, "ACC": {"prediction": 1 - 0.05 * LEADS}}, LEADS)
    left, right = figure.axes
    assert (left.get_ylabel(), left.get_xlabel(), right.get_ylabel()) == ("MSE (K²)", "Lead (h)", "ACC")
    np.testing.assert_allclose(lines_of(left)["Prediction"], error)
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.27)
    assert band[:, 1].max() == pytest.approx(3.3)
    colours = [{line.get_label(): line.get_color() for line in axes.lines} for axes in figure.axes]
    assert colours[0]["Prediction"] == colours[1]["Prediction"]
    assert colours[0]["Best possible"] == "#000000"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Prediction", "Best possible"]


def test_scores_that_differ_by_far_are_on_a_logarithm():
    far = draw_leads(
        {"MSE (K2)": {"prediction": 0.1 * LEADS, "persistence": 20 + 0 * LEADS}},
        LEADS,
        logarithmic=["MSE (K2)"],
    )
    below_zero = draw_leads({"Bias (K)": {"prediction": 0.1 * LEADS - 0.2}}, LEADS, logarithmic=["Bias (K)"])
    assert far.axes[0].get_yscale() == "log"
    assert below_zero.axes[0].get_yscale() == "linear"


def test_hours_are_drawn_in_order_and_in_one_scale():
    day = {23: 2.0, 0: 1.0, 12: 4.0}
    figure = draw_hours({f"{lead} h ahead": {"prediction": day} for lead in (1, 12)}, label="MSE (K2)")
    assert lines_of(figure.axes[0])["Prediction"].tolist() == [1.0, 4.0, 2.0]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_conditional_quantiles_stand_over_their_marginal():
    middle = np.arange(270.5, 280.5)
    table = {"middle": middle, "count": np.arange(1, 11), "quantiles": np.add(middle, [[-2], [0], [2]])}
    figure = draw_conditional_quantiles(table, table, quantity="2 m temperature (K)", lead_h=6)
    upper, _, lower, _ = figure.axes
    np.testing.assert_allclose(lines_of(upper)["5 % quantile"], middle - 2)
    assert upper.get_xlim() == upper.get_ylim()
    assert upper.get_ylabel() == "2 m temperature (K), observed"
    assert lower.get_xlabel() == "2 m temperature (K), forecast, 6 h ahead"
    assert sum(bar.get_height() for bar in lower.patches) == pytest.approx(100)


def test_ranks_are_level_at_one():
    figure = draw_ranks({"1 h": [30, 30, 30], "12 h": [60, 15, 15]})
    even, uneven = (stairs.get_data().values for stairs in figure.axes[0].patches)
    assert even.tolist() == [1, 1, 1]
    assert uneven.tolist() == [2, 0.5, 0.5]


def test_cases_share_colours_and_lie_on_the_map():
    observed = np.random.default_rng(0).normal(280, 5, (5, 7))
    globe = {"latitude": [54, 53, 52, 51, 50], "longitude": [0, 1, 2, 3, 4, 5, 6]}
    cases = {"10 %": ("MSE 1", observed, observed + 1), "50 %": ("MSE 9", observed, observed - 3)}
    figure = draw_cases(cases, quantity="2 m temperature (K)", globe=globe)
    maps = [axes.images[0] for axes in figure.axes if axes.images]
    np.testing.assert_allclose(maps[4].get_array(), 1)
    np.testing.assert_allclose(maps[5].get_array(), -3)
    assert len({each.get_clim() for each in maps[:4]}) == 1
    assert maps[4].get_clim()[0] == -maps[4].get_clim()[1]
    assert list(maps[0].get_extent()) == [-0.5, 6.5, 49.5, 54.5]
    labels = {axes.get_xlabel() for axes in figure.axes}
    assert labels >= {"2 m temperature (K)", "Forecast less observed (K)", "Longitude (°E)"}


def test_latency_is_drawn_beside_the_error():
    figure = draw_latency({"simvp": (0.05, 2.9)}, {"best_possible": 2.5}, label="MSE (K2) at 12 h")
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[0.05, 2.9]]
    assert axes.get_xlabel() == "Time of a forecast (s)"
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: draw_leads({}, LEADS), "no panels to draw"),
        (lambda: draw_leads({"MSE": {"prediction": [1.0, 2.0]}}, LEADS), "for 12 leads; give one a lead"),
        (lambda: draw_latency({"simvp": (0.0, 2.9)}, label="MSE"), "takes 0 s a forecast"),
        (lambda: draw_ranks({"1 h": [0, 0]}), "no rank was counted"),
        (lambda: draw_cases({"a": ("", np.ones((2, 2)), np.ones((2, 3)))}, quantity="x"), "give one grid"),
    ],
)
def test_nothing_is_not_drawn(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
