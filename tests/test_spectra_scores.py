import numpy as np
import pytest

from fieldwise import scores
from fieldwise.errors import InputError
from fieldwise.scores.spectra import Modes


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def shells_one_by_one(shape):
    """Number of the shell of each mode of the full transform, counted without any layout of rfftn."""
    longest = max(shape)
    axes = [np.fft.fftfreq(count, 1 / longest) for count in shape]
    squares = sum(along**2 for along in np.meshgrid(*axes, indexing="ij"))
    return np.ceil(np.sqrt(np.round(squares, 6)))


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (12, 8), (8, 8, 8), (7, 7, 7), (8, 6, 4)])
def test_shells_agree_with_those_of_the_full_transform(shape):
    field, spacing = noise(2, *shape), 3.0
    power = np.abs(np.fft.fftn(field, axes=range(1, field.ndim))) ** 2
    shell = shells_one_by_one(shape)
    length = np.sqrt(sum(k**2 for k in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")))
    wavenumber, found = scores.power_spectrum(field, spacing=spacing)
    assert len(found) == max(shape) // 2
    for number, (k, value) in enumerate(zip(wavenumber, found), start=1):
        inside = shell == number
        expected = power.sum(axis=0)[inside].mean() * spacing ** len(shape) / np.prod(shape)
        assert value == pytest.approx(expected, rel=1e-12)
        assert k == pytest.approx(2 * np.pi / spacing * length[inside].mean(), rel=1e-12)


def test_modes_by_hand():
    # Lattice points in a ball: 7, 33, 123 and 257 up to radii of 1 to 4 (Gauss); without the centre.
    assert Modes((16, 16, 16), 1.0).count[:4].tolist() == [6, 26, 90, 134]
    assert Modes((16, 16), 1.0).count[:5].tolist() == [4, 8, 16, 20, 32]  # 5, 13, 29, 49, 81 in a disk
    assert Modes((16, 16), 0.5).nyquist == pytest.approx(2 * np.pi)
    assert Modes((16, 16), 0.5).fundamental == pytest.approx(2 * np.pi / 8)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_power_of_a_plane_wave_lies_in_one_shell(dimensions):
    cells, spacing, amplitude = 16, 4.0, 1.5
    x = spacing * np.arange(cells)
    wave = amplitude * np.cos(2 * np.pi * 3 * x / (cells * spacing) + 0.7)
    field = np.broadcast_to(wave, (1, *[cells] * dimensions))
    _, power = scores.power_spectrum(field, spacing=spacing)
    modes = {2: 16, 3: 90}[dimensions]  # in the third shell
    expected = np.zeros(8)
    expected[2] = amplitude**2 / 2 * (cells * spacing) ** dimensions / modes
    np.testing.assert_allclose(power, expected, atol=1e-10 * expected[2])


def test_white_noise_has_the_volume_of_a_cell_as_power_everywhere():
    _, power = scores.power_spectrum(2 * noise(3, 32, 32, 32), spacing=2.0)
    # Variance 4 of three channels, 8 a cell; the relative scatter of a shell is sqrt(2 / 3 / modes).
    modes = Modes((32, 32, 32), 2.0).count
    assert np.all(np.abs(power / (3 * 4 * 8) - 1) < 4 * np.sqrt(2 / 3 / modes))


def test_parseval():
    """A field without waves in the corners has all of its variance in the shells."""
    modes = Modes((16, 16, 16), 2.0)
    transform = np.fft.rfftn(noise(16, 16, 16))
    transform[(modes.shell > modes.shells) | (modes.shell == 0)] = 0
    field = np.fft.irfftn(transform, modes.shape)
    _, power = scores.power_spectrum(field[None], spacing=2.0)
    assert np.sum(power * modes.count) / 32.0**3 == pytest.approx(field.var(), rel=1e-12)


def test_scaled_field():
    truth = noise(3, 16, 16, 16)
    sums = scores.SpectrumSums(spacing=4.0)
    sums.add(-1.1 * truth, truth)
    np.testing.assert_allclose(sums.transfer, 1.1)
    np.testing.assert_allclose(sums.power_ratio, 1.21)
    np.testing.assert_allclose(sums.cross_correlation, -1.0)


def test_shifted_field_loses_phase():
    cells = 32
    truth = np.cos(2 * np.pi * 5 * np.arange(cells) / cells)[None, None, :] + np.zeros((1, cells, 1))
    sums = scores.SpectrumSums(spacing=1.0)
    sums.add(np.roll(truth, 2, axis=2), truth)
    assert sums.cross_correlation[4] == pytest.approx(np.cos(2 * np.pi * 5 * 2 / cells))
    assert sums.transfer[4] == pytest.approx(1)


def test_independent_fields_do_not_correlate():
    sums = scores.SpectrumSums(spacing=1.0)
    for seed in range(4):
        sums.add(noise(1, 32, 32, seed=seed), noise(1, 32, 32, seed=100 + seed))
    # Scatter of a mean over independent modes: each counts with its mirror image as one, over four boxes.
    scatter = 1 / np.sqrt(4 * Modes((32, 32), 1.0).count / 2)
    assert np.all(np.abs(sums.cross_correlation) < 4 * scatter)
    assert np.abs(sums.cross_correlation[-1]) < 0.2


def test_boxes_are_averaged_by_power():
    truth = noise(1, 8, 8)
    sums = scores.SpectrumSums(spacing=1.0)
    sums.add(truth, truth)
    sums.add(0 * truth, 3 * truth)
    np.testing.assert_allclose(sums.power_ratio, 1 / 10)
    np.testing.assert_allclose(sums.cross_correlation, 1 / np.sqrt(10))  # 1 / sqrt(1 * 10)
    _, power = scores.power_spectrum(truth, spacing=1.0)
    np.testing.assert_allclose(sums.true_power, 5 * power)


def test_scores_at_a_share_of_the_nyquist_wavenumber():
    modes = Modes((32, 32), 4.0)
    truth = noise(32, 32)
    transform = np.fft.rfft2(truth)
    filtered = np.fft.irfft2(transform * (1 - modes.shell / 20), truth.shape)
    sums = scores.SpectrumSums(spacing=4.0)
    sums.add(filtered[None], truth[None])
    for share, shell in ((0.25, 4), (0.5, 8), (0.501, 9), (1.0, 16), (0.01, 1)):
        at = sums.at(share)
        assert at["transfer"] == pytest.approx(1 - shell / 20)
        assert at["power_ratio"] == pytest.approx((1 - shell / 20) ** 2)
        assert (shell - 1) * modes.fundamental < at["wavenumber"] <= shell * modes.fundamental
    for share in (0, 1.1, np.nan):
        with pytest.raises(InputError, match="share"):
            sums.at(share)


def test_what_has_no_power_has_no_ratio():
    wave = np.cos(2 * np.pi * np.arange(8) / 8) + np.zeros((1, 8, 1))
    sums = scores.SpectrumSums(spacing=1.0)
    sums.add(np.zeros((1, 8, 8)), wave * 0)
    assert np.isnan(sums.power_ratio).all()
    assert np.isnan(sums.cross_correlation).all()


@pytest.mark.parametrize(("dimensions", "shells"), [(2, slice(8, None)), (3, slice(5, None))])
def test_multipoles_after_kaiser(dimensions, shells):
    """Linear theory: power times (1 + beta mu^2)^2 has known multipoles, on a sphere and on a circle."""
    cells, beta = 64 if dimensions == 2 else 32, 0.5
    shape, axis = (cells,) * dimensions, 0
    modes = Modes(shape, 1.0)
    cosine_squared = modes.axes[axis] ** 2 / np.maximum(modes.length, 1e-9) ** 2
    flat = np.fft.rfftn(noise(*shape))
    flat /= np.abs(flat)  # unit power in each mode, so that nothing scatters
    seen = np.fft.irfftn(flat * (1 + beta * cosine_squared), shape)
    _, monopole, quadrupole = scores.power_multipoles(seen, spacing=1.0, axis=axis)
    if dimensions == 3:  # Kaiser 1987, Hamilton 1998
        expected = 1 + 2 * beta / 3 + beta**2 / 5, 4 * beta / 3 + 4 * beta**2 / 7
    else:  # mu^2 = (1 + cos 2t) / 2 and mu^4 = (3 + 4 cos 2t + cos 4t) / 8
        expected = 1 + beta + 3 * beta**2 / 8, beta + beta**2 / 2
    # What is left is that a shell holds a finite number of directions, so take some shells together.
    for found, theory in zip((monopole, quadrupole), expected):
        mean = np.average(found[shells], weights=modes.count[shells]) * cells**dimensions
        assert mean == pytest.approx(theory, rel=0.01)
    _, same = scores.power_spectrum(seen[None], spacing=1.0)
    np.testing.assert_allclose(monopole, same)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.ones((1, 8, 8)), np.ones((1, 8, 9)), "differ"),
        (np.ones((8, 8)), np.ones((8, 8)), "channel"),
        (np.ones((1, 2, 8)), np.ones((1, 2, 8)), "no box"),
        (np.full((1, 8, 8), np.nan), np.ones((1, 8, 8)), "prediction misses 64"),
    ],
)
def test_bad_boxes(prediction, truth, message):
    with pytest.raises(InputError, match=message):
        scores.SpectrumSums(spacing=1.0).add(prediction, truth)


def test_boxes_of_other_shapes_and_no_box():
    sums = scores.SpectrumSums(spacing=1.0)
    with pytest.raises(InputError, match="no box was added"):
        _ = sums.power
    sums.add(noise(1, 8, 8), noise(1, 8, 8))
    with pytest.raises(InputError, match="differs from"):
        sums.add(noise(1, 9, 9), noise(1, 9, 9))
    with pytest.raises(InputError, match="axis 2"):
        scores.power_multipoles(noise(8, 8), spacing=1.0, axis=2)


def test_relative_l2():
    truth = noise(3, 4, 4, 4)
    error = noise(3, 4, 4, 4, seed=1)
    expected = np.linalg.norm(error.ravel()) / np.linalg.norm(truth.ravel())
    assert scores.relative_l2(truth + error, truth) == pytest.approx(expected)
    sums = scores.ErrorSums()
    for box in range(3):
        sums.add(truth[box] + error[box], truth[box])
    assert sums.relative_l2 == pytest.approx(expected)
    assert np.isnan(scores.relative_l2([1.0], [0.0]))
    with pytest.raises(InputError, match="share no point"):
        scores.relative_l2([np.nan], [0.0])
