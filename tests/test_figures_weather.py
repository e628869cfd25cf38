"""Maps of the globe: coasts, masks over the seam, tracks by strength."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection

from fieldwise.errors import InputError
from fieldwise.figures import draw_class_maps, draw_frequency_maps
from fieldwise.physics.extreme_weather.sphere import GlobalGrid

GRID = GlobalGrid.regular(31, 60)
CLASSES = ["background", "tropical cyclone", "atmospheric river"]
BLUE = (0, 114, 178)  # of rivers, as others of Okabe and Ito


def field(values=0.0, **words):
    values = np.broadcast_to(np.asarray(values, dtype=float), GRID.shape)
    return xr.DataArray(values, {"lat": GRID.latitude, "lon": GRID.longitude}, ("lat", "lon"), attrs=words)


def ways(**columns):
    """From 170 degrees east over the date line to 170 west."""
    places = {"longitude": [170.0, 176.0, -178.0, -170.0], "latitude": [10.0, 12.0, 14.0, 16.0]}
    return pd.DataFrame({"track": 1, "hour": [0.0, 6.0, 12.0, 18.0], **places, **columns})


def edges_of(panel):
    """Give the pictures of the first and the last columns within a frame."""
    picture = panel.figure.to_pixels(dpi=200).astype(int)
    box = panel.get_window_extent().transformed(panel.figure.dpi_scale_trans.inverted()).extents * 200
    left, right = int(box[0]) + 4, int(box[2]) - 5
    return picture[:, left], picture[:, right]


def close_to(picture, colour, tolerance=40):
    return (np.abs(picture - np.array(colour)) <= tolerance).all(axis=-1)


def test_a_mask_over_the_seam_reaches_both_edges():
    mask = np.zeros(GRID.shape)
    mask[8:12, [58, 59, 0, 1]] = 2
    figure = draw_class_maps(field(np.linspace(0, 1, 60), units="1"), {"true": mask}, CLASSES)
    for edge in edges_of(figure.axes[0]):
        assert close_to(edge, BLUE).any()
    inland = np.roll(mask, 30, axis=1)
    for edge in edges_of(draw_class_maps(field(np.linspace(0, 1, 60)), {"true": inland}, CLASSES).axes[0]):
        assert not close_to(edge, BLUE).any()


def test_the_legend_names_the_classes_that_are_there():
    mask = np.zeros(GRID.shape)
    mask[10, 10] = 2
    (legend,) = draw_class_maps(field(), {"true": mask, "predicted": 0 * mask}, CLASSES).legends
    assert [text.get_text() for text in legend.get_texts()] == ["Atmospheric river"]


def test_tracks_are_coloured_by_the_stronger_end_of_a_step():
    figure = draw_frequency_maps({"true": field()}, tracks=ways(wind_m_s=[15.0, 42.0, np.nan, 33.0]))
    coloured = [
        each for each in figure.axes[0].collections
        if isinstance(each, LineCollection) and each.get_array() is not None
    ]  # fmt: skip
    (lines,) = coloured
    assert lines.get_array().tolist() == 3 * [42.0, 42.0, 33.0]
    assert lines.get_clim() == (10.0, 50.0)
    longest = max(np.abs(np.diff(segment[:, 0])).max() for segment in lines.get_segments())
    assert longest == pytest.approx(8.0)  # none goes all around the map
    assert [axes.get_xlabel() for axes in figure.axes[1:]] == [
        "Strongest wind at 850 hPa along tracks (m s⁻¹)",
        "Value",
    ]


def test_tracks_of_no_known_strength_are_black():
    figure = draw_frequency_maps({"true": field()}, tracks={"true": ways()})
    lines = figure.axes[0].collections[-1]
    assert lines.get_array() is None
    assert lines.get_colors()[0].tolist() == [0, 0, 0, 1]
    assert len(figure.axes) == 2  # the map and one bar


def test_frequencies_share_their_limits_and_begin_at_0():
    maps = {
        "true": field(np.linspace(0, 20, 60), units="%"),
        "predicted": field(np.linspace(10, 60, 60), units="%"),
    }
    figure = draw_frequency_maps(maps)
    assert {axes.collections[0].get_clim() for axes in figure.axes[:2]} == {(0.0, 60.0)}


def test_every_lowest_panel_says_where_it_is():
    maps = {name: field() for name in ("planted", "labeller", "prediction")}
    figure = draw_frequency_maps(maps)
    figure.draw_without_rendering()
    shown = [
        any(each.label1.get_visible() for each in axes.xaxis.get_major_ticks()) for axes in figure.axes[:3]
    ]
    assert shown == [False, True, True]


def test_another_grid_is_refused():
    with pytest.raises(InputError, match=r"true has \(4, 4\) cells"):
        draw_class_maps(field(), {"true": np.zeros((4, 4))}, CLASSES)
