import numpy as np
import pytest
from matplotlib.colors import LogNorm

from fieldwise import figures, scores
from fieldwise.errors import InputError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def panels_of(figure):
    """The panels of a figure, without its colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def bars_of(figure):
    return [axes.get_xlabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]


def fits_the_sheet(figure, *, dpi=100):
    """No ink at the edges: nothing is cut off, and no label was pushed over the rim."""
    picture = figure.to_pixels(dpi=dpi)
    rims = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    return all((rim == 255).all() for rim in rims) and (picture < 255).any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_slices_share_limits_and_show_the_middle(dimensions):
    truth = noise(*[16] * dimensions)
    prediction, coarse = truth + 0.1, truth[(slice(None, None, 2),) * dimensions]
    figure = figures.draw_slices(
        coarse, prediction, truth, spacing=4.0, label="displacement along x", units="Mpc/h"
    )
    images = [axes.images[0] for axes in panels_of(figure)]
    middle = truth[8] if dimensions == 3 else truth
    np.testing.assert_allclose(images[1].get_array(), middle + 0.1)
    np.testing.assert_allclose(images[2].get_array(), middle)
    np.testing.assert_allclose(images[3].get_array(), 0.1)
    assert images[0].get_array().shape == (8, 8)
    assert images[0].get_clim() == images[1].get_clim() == images[2].get_clim()
    low, high = images[3].get_clim()
    assert low == -high
    for image in images:  # the box is 64 Mpc/h, with the first row below
        assert list(image.get_extent()) == [0, 64, 0, 64]
        assert image.origin == "lower"
    assert [axes.get_xlabel() for axes in panels_of(figure)] == 4 * ["x (Mpc/h)"]
    assert bars_of(figure) == ["Displacement along x (Mpc/h)", "Output − truth (Mpc/h)"]
    assert fits_the_sheet(figure)


def test_densities_are_projected_on_one_logarithmic_scale():
    density = np.exp(noise(8, 16, 12))
    density[:, 3, 4] = 0  # an empty line of sight
    figure = figures.draw_densities({"truth": density, "second_order": density[:, ::-1]}, spacing=2.0)
    first, second = panels_of(figure)
    mean = density.mean(axis=0)
    drawn = np.asarray(first.images[0].get_array())
    filled = mean > first.images[0].get_clim()[0]
    np.testing.assert_allclose(drawn[filled], mean[filled])
    assert drawn[3, 4] == first.images[0].get_clim()[0]  # the least colour, not a hole
    assert isinstance(first.images[0].norm, LogNorm)
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert list(first.images[0].get_extent()) == [0, 24, 0, 32]
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["(a) Truth", "(b) Second order"]
    assert bars_of(figure) == ["Density over its mean, mean along the line of sight"]
    assert fits_the_sheet(figure)


def spectra_of(*factors):
    truth = noise(1, 32, 32)
    spectra = {}
    for index, factor in enumerate(factors):
        spectra[f"way_{index}"] = scores.SpectrumSums(spacing=4.0)
        spectra[f"way_{index}"].add(factor * truth + 0.1 * noise(1, 32, 32, seed=1), truth)
    return spectra


def test_spectra_and_what_is_aimed_at():
    spectra = spectra_of(1.0, 0.8)
    figure = figures.draw_spectra(
        spectra, power_within=[(0.5, 0.02), (1.0, 0.05)], correlation_at_least=[(0.5, 0.997), (1.0, 0.97)]
    )
    upper, middle, lower = figure.axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["Truth", "Way 0", "Way 1"]
    np.testing.assert_allclose(upper.lines[0].get_ydata(), spectra["way_0"].true_power)
    np.testing.assert_allclose(upper.lines[2].get_ydata(), spectra["way_1"].power)
    np.testing.assert_allclose(middle.lines[2].get_ydata(), spectra["way_1"].transfer)
    np.testing.assert_allclose(lower.lines[0].get_ydata(), 1 - spectra["way_0"].cross_correlation)
    nyquist = np.pi / 4
    corners = [band.get_paths()[0].vertices for band in middle.collections]
    assert [float(edge[:, 0].max()) for edge in corners] == pytest.approx([nyquist / 2, nyquist])
    assert [float(edge[:, 1].max()) for edge in corners] == pytest.approx([1.02**0.5, 1.05**0.5])
    least = [band.get_paths()[0].vertices[:, 1].max() for band in lower.collections]
    assert least == pytest.approx([0.003, 0.03])
    assert upper.lines[1].get_color() == lower.lines[0].get_color()  # one colour a name
    assert fits_the_sheet(figure)
    labels = [tick.get_text() for axes in (upper, lower) for tick in axes.get_yticklabels()]
    assert labels
    assert not any("$" in label or "{" in label for label in labels)


def test_a_perfect_prediction_can_be_drawn():
    truth = noise(3, 8, 8, 8)
    spectra = scores.SpectrumSums(spacing=4.0)
    spectra.add(truth, truth)
    _, middle, lower = figures.draw_spectra({"prediction": spectra}).axes
    assert (lower.lines[0].get_ydata() > 0).all()
    low, high = middle.get_ylim()
    assert low < 0.95 < 1.05 < high
    _, middle, _ = figures.draw_spectra({"prediction": spectra}, transfer_limits=(0.9, 1.2)).axes
    assert middle.get_ylim() == (0.9, 1.2)


def test_members():
    members, truth = noise(19, 16, 16), noise(16, 16, seed=1)
    sums = scores.EnsembleSums()
    sums.add(members, truth)
    spread, error = scores.spread_and_error(members, truth, bins=4)
    wavenumber, ratios = scores.member_power_ratios(members[:, None], truth[None], spacing=4.0)
    figure = figures.draw_members(
        members,
        truth,
        spacing=4.0,
        ranks=sums.rank_counts,
        spread=spread,
        error=error,
        wavenumber=wavenumber,
        power_ratios=ratios,
        label="displacement along x",
        units="Mpc/h",
        power_within=[(0.5, 0.1), (1.0, 0.15)],
    )
    fan, histogram, scatter, power = figure.axes
    np.testing.assert_allclose(fan.lines[-1].get_ydata(), truth[8])
    np.testing.assert_allclose(fan.lines[0].get_ydata(), np.median(members[:, 8], axis=0))
    np.testing.assert_allclose(fan.lines[0].get_xdata()[[0, -1]], [2, 62])  # centres of cells
    band = fan.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(np.quantile(members[:, 8], 0.95, axis=0).max())
    bars = histogram.patches[0].get_data().values
    np.testing.assert_allclose(bars, sums.rank_counts * 20 / 256)
    np.testing.assert_allclose(scatter.lines[-1].get_xydata(), np.column_stack([spread, error]))
    np.testing.assert_allclose(power.lines[-1].get_ydata(), ratios.mean(axis=0))
    assert len(power.lines) == 1 + 19 + 1
    assert fits_the_sheet(figure)


def test_what_cannot_be_drawn():
    box = np.ones((8, 8))
    with pytest.raises(InputError, match="differ"):
        figures.draw_slices(box, box, np.ones((8, 9)), spacing=1.0, label="density")
    with pytest.raises(InputError, match="cannot be drawn"):
        figures.draw_slices(np.ones(8), box, box, spacing=1.0, label="density")
    with pytest.raises(InputError, match="no densities"):
        figures.draw_densities({}, spacing=1.0)
    with pytest.raises(InputError, match="nowhere above zero"):
        figures.draw_densities({"truth": 0 * box}, spacing=1.0)
    with pytest.raises(InputError, match="densities 5"):
        figures.draw_densities({str(index): box for index in range(5)}, spacing=1.0)
    with pytest.raises(InputError, match="no spectra"):
        figures.draw_spectra({})
    kept = {"ranks": [1, 1, 1], "spread": box[0], "error": box[0], "wavenumber": box[0], "power_ratios": box}
    with pytest.raises(InputError, match="members"):
        figures.draw_members(np.ones((2, 8, 9)), box, spacing=1.0, label="density", **kept)
