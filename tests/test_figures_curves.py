"""Figures of flights, errors and losses, and how they come to Jupyter."""

import io
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
import pytest
from drawn_fields import save_picture
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from fieldwise import figures
from fieldwise.errors import InputError
from fieldwise.figures import curves


@pytest.fixture
def save(tmp_path):
    return partial(save_picture, tmp_path)


def test_flight(save):
    distance_km = np.arange(0, 50, 0.25)
    truth = 100 * np.sin(distance_km)
    truth[50:60] = np.nan
    profiles = {"truth": truth, "cubic": truth + 5}
    save(figures.draw_flight(distance_km, profiles, roughness={"truth": abs(truth)}))


def test_flight_rejects_unequal_lengths_and_unknown_names():
    with pytest.raises(InputError, match="differ"):
        figures.draw_flight([0, 1, 2], {"truth": [1, 2]}, roughness={"truth": [1, 2, 3]})
    with pytest.raises(InputError, match="'cubic' has no profile"):
        figures.draw_flight([0, 1], {"truth": [1, 2]}, roughness={"cubic": [1, 2]})
    with pytest.raises(InputError, match="no value"):
        figures.draw_flight([0, 1], {"truth": [np.nan, np.nan]}, roughness={"truth": [1, 2]})


def test_members_along_a_flight(save):
    """Of 19 members the band of 90 % reaches from the lowest to the highest, of 39 to the last but one."""
    distance_km = np.arange(0, 50, 0.5)
    random = np.random.default_rng(0)
    for count, left_out in ((19, 0), (39, 1)):
        members = random.normal(size=(count, 100))
        lines = {"mean": members.mean(axis=0), "cubic": np.zeros(100)}
        figure = figures.draw_flight_members(
            distance_km, members, lines, picks=(distance_km[::2], members[0, ::2]), ends=("A", "B")
        )
        save(figure)
        (axes,) = figure.axes
        ordered = np.sort(members, axis=0)
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (ordered[left_out].min(), ordered[-1 - left_out].max())
        dots, mean, cubic = axes.lines
        np.testing.assert_array_equal(dots.get_ydata(), members[0, ::2])
        np.testing.assert_array_equal(mean.get_ydata(), lines["mean"])
        np.testing.assert_array_equal(cubic.get_ydata(), lines["cubic"])
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == ["90 % interval", "Radar", "Mean", "Cubic"]
    with pytest.raises(InputError, match="differ"):
        figures.draw_flight_members(distance_km[1:], members, lines, picks=([0.0], [0.0]))


def test_error_histogram(save):
    random = np.random.default_rng(0)
    errors = {"prediction": random.normal(0, 20, 500), "cubic": np.append(random.normal(5, 40, 500), np.nan)}
    save(figures.draw_error_histogram(errors))
    save(figures.draw_error_histogram({"perfect": np.zeros(10)}))
    with pytest.raises(InputError, match="cubic has no errors"):
        figures.draw_error_histogram({"prediction": [1.0], "cubic": [np.nan]})


def test_loss_curves_of_everything_and_of_little(save):
    metrics = pd.DataFrame(
        {
            "epoch": [0, 0, 1, 1],
            "step": [3, 3, 7, 7],
            "loss_generator": [0.9, np.nan, 0.5, np.nan],
            "loss_discriminator": [np.nan] * 4,
            "val_loss": [np.nan, 0.8, np.nan, 0.6],
            "rmse_m": [90.0, np.nan, 40.0, np.nan],
            "val_rmse_m": [np.nan, 80.0, np.nan, 50.0],
            "val_psnr": [np.nan, 20.0, np.nan, 22.0],
            "val_psnr_published": [np.nan, 160.0, np.nan, 162.0],
        }
    )
    figure = figures.draw_loss_curves(metrics)
    save(figure)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.lines]
    assert labels == ["Loss", "RMSE (m)", "PSNR (dB)"]
    assert figure.axes[2].lines[0].get_ydata().tolist() == [20.0, 22.0]
    save(figures.draw_loss_curves(metrics.loc[:1, ["epoch", "rmse_m"]]))


def test_loss_panels_group_by_quantity_and_average_an_epoch():
    metrics = pd.DataFrame(
        {
            "epoch": [0, 0, 1],
            "step": [1, 2, 3],
            "loss_generator": [1.0, 3.0, np.nan],
            "val_loss": [np.nan, np.nan, 5.0],
            "loss_discriminator_step": [1.0, 1.0, 1.0],
            "loss_discriminator_epoch": [np.nan, 4.0, 6.0],
            "val_ssim": [np.nan] * 3,
            "val_rmse_m": [np.nan, 7.0, 8.0],
        }
    )
    found = curves._panels_of(metrics)
    assert list(found) == ["Loss", "RMSE (m)"]
    assert list(found["Loss"]) == ["generator", "validation", "discriminator"]
    assert found["Loss"]["generator"][0] == 2
    assert found["Loss"]["discriminator"].tolist() == [4, 6]


def test_loss_curves_need_an_epoch_and_a_value():
    with pytest.raises(InputError, match="'epoch'"):
        figures.draw_loss_curves(pd.DataFrame({"loss": [1.0]}))
    with pytest.raises(InputError, match="nothing to draw"):
        figures.draw_loss_curves(pd.DataFrame({"epoch": [0], "loss": [np.nan]}))


# --- faults met with ------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [3e-7, 0.0])
def test_a_series_that_hardly_changes_is_a_level_line(spread, save):
    """GMT never came back from such a series: it looked for ticks finer than numbers are."""
    series = pd.DataFrame({"epoch": [0, 1], "val_psnr": [162.0, 162.0 + spread]})
    figure = figures.draw_loss_curves(series)
    save(figure)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((153.9, 170.1), abs=1e-3)  # a twentieth to both sides
    assert 3 <= len(axes.get_yticks()) <= 12


def test_no_legend_covers_a_curve():
    epochs = np.arange(6)
    series = pd.DataFrame({"epoch": epochs, "val_rmse_m": 2.0 + epochs, "rmse_m": epochs})
    series["val_ssim"] = epochs / 6
    for part in ("generator", "discriminator", "perceptual", "content_of_the_patches", "penalty"):
        series[f"loss_{part}"] = epochs * 1.0
    figure = figures.draw_loss_curves(series)
    figure.savefig(io.BytesIO(), format="png")  # lays the figure out
    width = figure.bbox.width
    drawn = [axes for axes in figure.axes if axes.lines]
    assert len(drawn) == 3  # one in a second row
    for axes in drawn:
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= axes.bbox.y1
        assert legend.x1 <= width
        assert legend.y1 <= figure.bbox.height
        assert not any(legend.overlaps(other.get_tightbbox()) for other in drawn if other is not axes)


def test_a_figure_that_fails_holds_nothing_up(tmp_path):
    with pytest.warns(
        UserWarning, match=r"^curves: not drawn; no fields to draw; give at least one, by name$"
    ):
        assert figures.try_to_draw(tmp_path / "curves", lambda: figures.draw_inputs({})) == []
    assert list(tmp_path.iterdir()) == []
    paths = figures.try_to_draw(tmp_path / "curves", lambda: figures.draw_error_histogram({"cubic": [1.0]}))
    assert paths == [tmp_path / "curves.png"]


# --- Jupyter --------------------------------------------------------------------------------------


def test_jupyter_shows_what_matplotlib_draws():
    shown, _ = DisplayFormatter().format(figures.draw_error_histogram({"cubic": [1.0, 2.0]}))
    with Image.open(io.BytesIO(shown["image/png"])) as picture:
        assert picture.width == pytest.approx(8.3 / 2.54 * 150, abs=1)


def test_the_style_is_left_at_the_door():
    before = dict(matplotlib.rcParams)
    figures.draw_error_histogram({"cubic": [1.0, 2.0]})
    assert dict(matplotlib.rcParams) == before
