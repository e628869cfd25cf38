from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from fieldwise import scores
from fieldwise.errors import InputError
from fieldwise.losses.spectra import isotropic_power
from fieldwise.physics.structure_formation.deposit import displacement_to_density


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def density_one_by_one(displacement, spacing):
    """Cloud-in-cell by the overlap of cubes, particle after particle."""
    shape = displacement.shape[1:]
    density = np.zeros(shape)
    for site in np.ndindex(shape):
        place = [along[site] / spacing + start for along, start in zip(displacement, site)]
        for cell in product(*[(int(np.floor(x)), int(np.floor(x)) + 1) for x in place]):
            share = np.prod([1 - abs(x - centre) for x, centre in zip(place, cell)])
            density[tuple(np.mod(cell, shape))] += share
    return density


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_density_is_the_overlap_of_cubes(shape):
    displacement = 20 * noise(len(shape), *shape)  # up to several boxes away
    density = scores.density_of(displacement, spacing=2.5)
    np.testing.assert_allclose(density, density_one_by_one(displacement, 2.5), atol=1e-12)
    assert density.mean() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_density_of_a_small_plane_wave_and_of_the_same_in_redshift_space(axis):
    """δ = −∇·ψ; along the line of sight velocities f ψ (in Mpc/h) make it 1 + f, after Kaiser (1987)."""
    cells, spacing, amplitude, growth_rate = 16, 4.0, 1e-4, 0.5
    phase = np.moveaxis(2 * np.pi * np.arange(cells) / cells + np.zeros((cells, cells, 1)), 2, axis)
    displacement = np.zeros((3, cells, cells, cells))
    displacement[axis] = amplitude * np.sin(phase)
    velocity = growth_rate * 150.0 / 2 * displacement  # f a H ψ at z = 1, H = 150 km/s a Mpc/h
    density = scores.density_of(displacement, spacing=spacing) - 1
    # To each side a site gives what lies beyond: of a wave that is |ψ| / spacing, as a one-sided difference.
    right, left = np.maximum(displacement[axis], 0) / spacing, np.maximum(-displacement[axis], 0) / spacing
    expected = np.roll(right, 1, axis) + np.roll(left, -1, axis) - right - left
    np.testing.assert_allclose(density, expected, atol=1e-12)
    slope = -amplitude / spacing * 2 * np.pi / cells * np.cos(phase)
    assert np.sum(density * slope) / np.sum(slope**2) == pytest.approx(1, abs=0.03)
    for sight in (0, 1, 2):
        seen = scores.into_redshift_space(displacement, velocity, axis=sight, redshift=1, expansion_rate=150)
        factor = 1 + growth_rate if sight == axis else 1
        np.testing.assert_allclose(seen[axis], factor * displacement[axis], rtol=1e-12)
        ratio = np.sum(density * (scores.density_of(seen, spacing=spacing) - 1)) / np.sum(density**2)
        assert ratio == pytest.approx(factor, rel=1e-9)


def bispectrum_one_by_one(field, triangle, spacing):
    """Sum the product of three modes over all triangles, one after the other."""
    modes = np.fft.fftn(field)
    frequencies = list(product(*[np.fft.fftfreq(count, 1 / count).astype(int) for count in field.shape]))
    shells = [[k for k in frequencies if side - 1 < np.sqrt(np.dot(k, k)) <= side] for side in triangle]
    third = set(shells[2])
    total, count = 0, 0
    for first in shells[0]:
        for second in shells[1]:
            last = tuple(-np.add(first, second))
            if last in third:
                total += modes[first] * modes[second] * modes[last]
                count += 1
    volume_of_cell = spacing**field.ndim
    return (total.real * volume_of_cell**2 / field.size) / count if count else np.nan


@pytest.mark.parametrize(
    ("shape", "triangles"),
    [
        ((12, 12), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (2, 4, 4), (4, 2, 4), (1, 2, 3), (1, 1, 4)]),
        ((8, 8, 8), [(1, 1, 1), (2, 2, 2), (1, 3, 3), (2, 2, 3)]),
    ],
)
def test_bispectrum_is_the_sum_over_triangles(shape, triangles):
    field = np.exp(0.7 * noise(*shape))  # skewed
    found = scores.bispectrum(field, triangles, spacing=3.0)
    expected = [bispectrum_one_by_one(field, triangle, 3.0) for triangle in triangles]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_bispectrum_of_three_waves_by_hand():
    """Waves (2, 0), (0, 2) and (2, 2) of amplitude 1: two closed triples of modes, each in 6 orders."""
    cells, spacing = 16, 2.0
    x, y = np.meshgrid(*[2 * np.pi * np.arange(cells) / cells] * 2)
    waves = np.cos(2 * x) + np.cos(2 * y) + np.cos(2 * x + 2 * y)
    (found,) = scores.bispectrum(waves, [(2, 2, 3)], spacing=spacing)
    # A mode is cells² / 2; sides (2, 2, 3) take 2 of the orders, and there are two triples, k and −k.
    total = 4 * (cells**2 / 2) ** 3 * spacing**4 / cells**2
    shells = {side: [] for side in (2, 3)}
    for k in product(range(-7, 8), repeat=2):
        shells.get(int(np.ceil(np.hypot(*k))), []).append(k)
    count = sum((-a[0] - b[0], -a[1] - b[1]) in shells[3] for a in shells[2] for b in shells[2])
    assert found == pytest.approx(total / count, rel=1e-9)


def test_bispectrum_scales_with_the_cube_of_the_field():
    field = noise(32, 32)
    skewed = field + 0.5 * field**2
    triangles = scores.equilateral_triangles(32) + scores.squeezed_triangles(32)
    found = scores.bispectrum(skewed, triangles, spacing=1.0)
    np.testing.assert_allclose(scores.bispectrum(2 * skewed, triangles, spacing=1.0), 8 * found, rtol=1e-9)
    np.testing.assert_allclose(scores.bispectrum(-skewed, triangles, spacing=1.0), -found, rtol=1e-9)
    assert all(sum(triangle) < 32 for triangle in triangles)


def test_density_pdf():
    density = np.exp(0.5 * noise(256, 256) - 0.125)
    edges = scores.density_bins()
    pdf = scores.density_pdf(density)
    assert np.sum(pdf * np.diff(np.log10(edges))) == pytest.approx(1)
    assert len(edges) == 51
    expected = np.histogram(np.log10(density), np.log10(edges), density=True)[0]
    np.testing.assert_allclose(pdf, expected, rtol=1e-9)
    # Log-normal: a Gaussian of ln density, of mean -1/8 and deviation 1/2.
    centre = np.sqrt(edges[1:] * edges[:-1])
    normal = np.log(10) * stats.norm.pdf(np.log(centre), -0.125, 0.5)
    np.testing.assert_allclose(pdf, normal, atol=0.08)  # five times the scatter at the peak


def test_density_distance_is_that_of_scipy():
    prediction, truth = np.exp(noise(8, 8, 8)), np.exp(1.2 * noise(8, 8, 8, seed=1))
    expected = stats.wasserstein_distance(prediction.ravel(), truth.ravel())
    assert scores.density_distance(prediction, truth) == pytest.approx(expected)
    assert scores.density_distance(truth + 0.25, truth) == pytest.approx(0.25)


def test_bad_input():
    box = np.ones((8, 8))
    for wrong in (np.ones((3, 8, 8)), np.ones((2, 8)), np.ones((2, 8, 8, 8))):
        with pytest.raises(InputError, match="one component an axis"):
            scores.density_of(wrong, spacing=1.0)
    with pytest.raises(InputError, match="misses 64"):
        scores.density_of(np.full((2, 8, 8), np.nan), spacing=1.0)
    with pytest.raises(InputError, match="differ"):
        scores.into_redshift_space(np.ones((2, 8, 8)), np.ones((2, 8, 9)), axis=0)
    with pytest.raises(InputError, match="axis 2"):
        scores.into_redshift_space(np.ones((2, 8, 8)), np.ones((2, 8, 8)), axis=2)
    with pytest.raises(InputError, match="expansion rate 0"):
        scores.into_redshift_space(np.ones((2, 8, 8)), np.ones((2, 8, 8)), axis=0, expansion_rate=0)
    with pytest.raises(InputError, match="unequal sides"):
        scores.bispectrum(np.ones((8, 9)), [(1, 1, 1)], spacing=1.0)
    for triangle in ((0, 1, 1), (2, 3, 3)):
        with pytest.raises(InputError, match="together below 8"):
            scores.bispectrum(box, [triangle], spacing=1.0)
    for edges in ([0, 1, 2], [1, 1], [3]):
        with pytest.raises(InputError, match="ascend"):
            scores.density_pdf(box, edges=np.array(edges))
    with pytest.raises(InputError, match="density misses 1"):
        scores.density_pdf([np.nan, 1])
    with pytest.raises(InputError, match="64 cells and truth 63"):
        scores.density_distance(box, np.ones(63))


@pytest.mark.parametrize("shape", [(8, 8), (6, 6, 6)])
def test_what_judges_is_what_losses_measure(shape):
    """Scores know nothing of torch, so density and power stand twice: both must say the same."""
    moved = np.random.default_rng(3).normal(scale=5, size=(len(shape), *shape))
    still = torch.zeros(1, len(shape), dtype=torch.float64)
    density = displacement_to_density(torch.from_numpy(moved)[None], spacing=4.0, mean=still)[0]
    np.testing.assert_allclose(scores.density_of(moved, spacing=4.0), density.squeeze(), atol=1e-12)
    _, power = scores.power_spectrum(moved, spacing=4.0)
    volume = np.prod(shape) * 4.0 ** len(shape)  # squares of amplitudes are a density of power times this
    np.testing.assert_allclose(power, volume * isotropic_power(torch.from_numpy(moved)[None])[0], rtol=1e-9)
