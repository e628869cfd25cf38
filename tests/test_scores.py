import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise import scores
from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, make_field


def field_of(values, *, spacing=100.0, west=0.0, south=0.0):
    values = np.asarray(values, dtype=float)
    ny, nx = values.shape
    grid = Grid(west, south, west + nx * spacing, south + ny * spacing, spacing, "EPSG:3031")
    return make_field(values, grid, name="bed")


def test_sampling_reads_a_plane_exactly():
    grid = Grid(-1000.0, 2000.0, 0.0, 2800.0, 100.0, "EPSG:3031")
    plane = make_field(3 * grid.x - 2 * grid.y[:, None] + 7, grid, name="bed")
    random = np.random.default_rng(1)
    x, y = random.uniform(-950, -50, 50), random.uniform(2050, 2750, 50)
    np.testing.assert_allclose(scores.sample_at_points(plane, x, y), 3 * x - 2 * y + 7, rtol=1e-12)


def test_sampling_by_hand():
    bed = field_of([[0, 8], [16, 40]])
    # A quarter to the right and half way down: left column 8, right column 24, 8 + 16 / 4 = 12.
    assert scores.sample_at_points(bed, [75], [100]).tolist() == [12]
    assert scores.sample_at_points(bed, [99, 101], [199, 1], method="nearest").tolist() == [0, 40]


def test_sampling_takes_a_missing_neighbour_only_where_it_has_weight():
    bed = field_of([[1, 2, np.nan], [3, 4, 5], [6, 7, 8]])
    x = [150, 150.0000001, 151, 250, 250]
    y = [250, 250, 250, 150, 151]
    np.testing.assert_array_equal(scores.sample_at_points(bed, x, y), [2, 2, np.nan, 5, np.nan])


def test_sampling_outside_is_missing():
    bed = field_of(np.ones((4, 4)))
    x = [50, 49, 350, 351, 200, -1e9, np.nan]
    y = [350, 350, 50, 50, 0, 200, 200]
    expected = [1, np.nan, 1, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(scores.sample_at_points(bed, x, y), expected)
    assert np.isnan(scores.sample_at_points(bed, [1e6], [1e6])).all()


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_sampling_agrees_with_xarray_and_is_lazy(method):
    random = np.random.default_rng(2)
    bed = field_of(random.normal(size=(40, 60)), spacing=250.0, west=-1.5e6, south=-5e5)
    x = random.uniform(bed.x.values[0], bed.x.values[-1], 200)
    y = random.uniform(bed.y.values[-1], bed.y.values[0], 200)
    expected = bed.interp(x=("point", x), y=("point", y), method=method).values
    lazy = bed.chunk({"x": 16, "y": 16})
    np.testing.assert_allclose(scores.sample_at_points(lazy, x, y, method=method), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "method"), [([1, 2], [1], "linear"), ([[1]], [[1]], "linear"), ([1], [1], "spline")]
)
def test_sampling_rejects_bad_points(x, y, method):
    with pytest.raises(InputError):
        scores.sample_at_points(field_of(np.ones((3, 3))), x, y, method=method)


def test_errors_by_hand():
    prediction = [10, 12, np.nan, 20, 5]
    truth = [11, 10, 3, np.nan, 5]  # complete pairs: -1, +2, 0
    assert scores.rmse(prediction, truth) == pytest.approx(np.sqrt(5 / 3))
    assert scores.mae(prediction, truth) == 1
    assert scores.bias(prediction, truth) == pytest.approx(1 / 3)


@pytest.mark.parametrize("score", [scores.rmse, scores.mae, scores.bias])
def test_no_pair_or_unequal_shapes_are_errors(score):
    with pytest.raises(InputError, match="share no point"):
        score([np.nan, 1], [1, np.nan])
    with pytest.raises(InputError, match="share no point"):
        score([], [])
    with pytest.raises(InputError, match="differ"):
        score([1, 2], [1])


def test_errors_of_float32_do_not_lose_digits():
    prediction = np.full(1_000_000, 4000.1, dtype=np.float32)
    assert scores.bias(prediction, np.full(1_000_000, 4000.0)) == pytest.approx(0.1, abs=2e-4)


def test_roughness_by_hand():
    values = np.zeros((7, 7))
    values[3, 3] = 25.0  # in each window of 25 cells: mean 1, mean of squares 25, so sqrt(24)
    rough = scores.roughness(field_of(values))
    inner = rough.values[2:5, 2:5]
    np.testing.assert_allclose(inner, np.sqrt(24), rtol=1e-6)
    assert np.isnan(rough.values).sum() == 49 - 9
    assert rough.attrs["units"] == "m"
    assert rough.rio.crs.to_epsg() == 3031


def test_roughness_far_from_zero_and_next_to_a_gap():
    random = np.random.default_rng(3)
    values = 4000 + random.normal(size=(60, 50))
    values[30, 20] = np.nan
    rough = scores.roughness(field_of(values), cells=5).values
    windows = np.lib.stride_tricks.sliding_window_view(values, (5, 5))
    expected = windows.std(axis=(-1, -2))  # NaN in exactly the 25 windows that hold the gap
    np.testing.assert_allclose(rough[2:-2, 2:-2], expected, rtol=1e-6)
    assert np.isnan(expected).sum() == 25


def test_roughness_of_nothing_is_nothing():
    assert np.isnan(scores.roughness(field_of(np.full((8, 8), np.nan))).values).all()


@pytest.mark.parametrize("cells", [0, 1, 4, -3])
def test_roughness_rejects_windows_without_a_centre(cells):
    with pytest.raises(InputError, match="odd"):
        scores.roughness(field_of(np.ones((8, 8))), cells=cells)
    with pytest.raises(InputError, match="odd"):
        scores.roughness_along_track(np.ones(8), window=cells)


def test_roughness_ratio_counts_only_common_cells():
    truth = np.random.default_rng(4).normal(size=(30, 30))
    prediction = truth * 0.25
    prediction[:10] = 1000 * truth[:10]
    truth = truth.copy()
    truth[:10] = np.nan
    assert scores.roughness_ratio(field_of(prediction), field_of(truth)) == pytest.approx(0.25, rel=1e-6)


def test_roughness_ratio_rejects_what_cannot_be_compared():
    bed = field_of(np.random.default_rng(5).normal(size=(9, 9)))
    with pytest.raises(InputError, match="one grid"):
        scores.roughness_ratio(bed, field_of(np.ones((9, 9)), west=100.0))
    with pytest.raises(InputError, match="flat"):
        scores.roughness_ratio(bed, field_of(np.ones((9, 9))))
    with pytest.raises(InputError, match="share no full window"):
        scores.roughness_ratio(bed, field_of(np.full((9, 9), np.nan)))


def test_roughness_along_track_by_hand():
    values = [0, 0, 5, 0, 0, 0, 0, np.nan, 0]
    # A single 5 among five points: mean 1, mean of squares 5, so 2.
    expected = [np.nan, np.nan, 2, 2, 2, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(scores.roughness_along_track(values), expected)
    with pytest.raises(InputError, match="one row"):
        scores.roughness_along_track(np.ones((3, 3)))


@pytest.mark.parametrize("cells_a_wave", [4, 8, 16])
def test_spectrum_of_a_plane_wave_peaks_at_its_wavelength(cells_a_wave):
    number = np.arange(128)
    wave = 3 * np.sin(2 * np.pi * number / cells_a_wave) + np.zeros((128, 1))
    for values in (wave, wave.T):
        wavelength_m, power = scores.radial_spectrum(field_of(values, spacing=250.0))
        assert wavelength_m[power.argmax()] == 250 * cells_a_wave
    assert wavelength_m[0] == 128 * 250
    assert wavelength_m[-1] == 500


def test_spectrum_of_a_plane_wave_holds_its_variance():
    cells, spacing = 128, 250.0
    wave = 3 * np.sin(2 * np.pi * np.arange(cells) / 8) + np.zeros((cells, 1))
    _, power = scores.radial_spectrum(field_of(wave, spacing=spacing))
    number = np.minimum(np.arange(cells), cells - np.arange(cells))
    in_ring = np.bincount(np.round(np.hypot(number, number[:, None])).astype(int).ravel())[1 : cells // 2 + 1]
    # The integral of the density over all frequencies is the variance, 3^2 / 2.
    assert np.sum(power * in_ring) / (cells * spacing) ** 2 == pytest.approx(4.5, rel=0.005)


def test_spectrum_of_white_noise_is_variance_times_cell_area():
    values = np.random.default_rng(6).normal(scale=2.0, size=(256, 200))
    wavelength_m, power = scores.radial_spectrum(field_of(values, spacing=100.0))
    np.testing.assert_allclose(power[50:], 4.0 * 100**2, rtol=0.4)  # few modes a ring, each chi-squared
    assert power[10:].mean() == pytest.approx(4.0 * 100**2, rel=0.03)
    assert (np.diff(wavelength_m) < 0).all()


def test_spectrum_does_not_see_a_plane():
    row, column = np.mgrid[:32, :32]
    _, power = scores.radial_spectrum(field_of(1000 + 5.0 * row - 3.0 * column))
    assert power.max() < 1e-12


def test_spectrum_slope_of_a_power_law_field():
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij"))
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(np.random.default_rng(7).normal(size=(256, 256)))
    values = np.fft.ifft2(noise * frequency ** (-3.2 / 2)).real
    wavelength_m, power = scores.radial_spectrum(field_of(values))
    band = (wavelength_m > 400) & (wavelength_m < 6400)
    slope = np.polyfit(np.log(1 / wavelength_m[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-3.2, abs=0.15)


def test_spectrum_rejects_gaps_and_scraps():
    values = np.ones((16, 16))
    with pytest.raises(InputError, match="8 cells"):
        scores.radial_spectrum(field_of(values[:7]))
    values[3, 3] = np.nan
    with pytest.raises(InputError, match="1 are missing"):
        scores.radial_spectrum(field_of(values))


def test_bootstrap_of_independent_errors_agrees_with_the_normal_interval():
    errors = np.random.default_rng(8).normal(loc=1.0, size=2000)
    low, high = scores.bootstrap_interval(errors, np.arange(2000), statistic=np.mean)
    half = 1.96 * errors.std() / np.sqrt(2000)
    assert low == pytest.approx(errors.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(errors.mean() + half, abs=0.2 * half)


def test_bootstrap_of_flights_is_wider_than_of_picks():
    random = np.random.default_rng(9)
    flight = np.repeat(np.arange(20), 100)
    errors = random.normal(size=20)[flight] + 0.1 * random.normal(size=2000)
    by_flight = scores.bootstrap_interval(errors, flight, n=200)
    by_pick = scores.bootstrap_interval(errors, np.arange(2000), n=200)
    assert np.diff(by_flight) > 4 * np.diff(by_pick)
    assert by_flight == scores.bootstrap_interval(errors, flight, n=200)
    assert by_flight != scores.bootstrap_interval(errors, flight, n=200, seed=1)


def test_bootstrap_leaves_missing_errors_out():
    errors = np.array([1.0, np.nan, 1.0, np.nan, np.nan])
    assert scores.bootstrap_interval(errors, ["a", "a", "b", "b", "c"], n=20) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("errors", "groups", "level"),
    [
        ([1.0, 2.0], ["a", "a"], 0.95),
        ([1.0, np.nan], ["a", "b"], 0.95),
        ([1.0, 2.0], ["a"], 0.95),
        ([1.0, 2.0], ["a", "b"], 95),
    ],
)
def test_bootstrap_rejects_bad_input(errors, groups, level):
    with pytest.raises(InputError):
        scores.bootstrap_interval(errors, groups, level=level)


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 15), st.integers(5, 15), st.floats(-5000, 5000), st.floats(0.01, 100))
def test_roughness_ignores_level_and_follows_scale(ny, nx, level, scale):
    values = np.random.default_rng(ny * nx).normal(size=(ny, nx))
    expected = scores.roughness(field_of(values)).values * scale
    np.testing.assert_allclose(scores.roughness(field_of(values * scale + level)).values, expected, rtol=1e-4)
