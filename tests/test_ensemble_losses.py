"""Scores of ensembles: by hand, fair in expectation by closed forms, and with gradients that are numbers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.losses.ensembles import (
    block_mean_crps,
    difference_crps,
    fair_crps,
    patch_energy_score,
    power_crps,
    proper_score,
    wave_crps,
)
from fieldwise.recipes.bed_topography.members.drawer import levelled_score

SPACES = [(12,), (8, 12), (4, 8, 8)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def crps_by_pairs(members: Tensor, truth: Tensor) -> float:
    """Over all ordered pairs of different members, as the score is defined."""
    count = len(members)
    off = sum((member - truth).abs().mean() for member in members) / count
    apart = sum((one - other).abs().mean() for one in members for other in members)
    return float(off - apart / (2 * count * (count - 1)))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_differences_are_scored_as_fields_of_their_own(space, order):
    members, truth = draw(3, 2, 1, *space), draw(2, 1, *space, seed=1)
    axes = range(2, truth.ndim)
    expected = sum(crps_by_pairs(members.diff(order, axis + 1), truth.diff(order, axis)) for axis in axes)
    assert difference_crps(members, truth, order=order).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_block_means_are_scored_as_coarse_fields(space):
    members, truth = draw(3, 2, 1, *space), draw(2, 1, *space, seed=1)

    def coarsen(fields: Tensor) -> Tensor:
        for axis in range(fields.ndim - len(space), fields.ndim):
            fields = fields.unflatten(axis, (-1, 4)).mean(axis + 1)
        return fields

    expected = crps_by_pairs(coarsen(members), coarsen(truth))
    assert block_mean_crps(members, truth, size=4).item() == pytest.approx(expected, rel=1e-12)


def test_patches_of_two_members_by_hand():
    """Two patches of 2 x 2 cells and two channels, and a column that fills none."""
    truth = torch.zeros(1, 2, 2, 5)
    one, other = torch.zeros_like(truth), torch.zeros_like(truth)
    one[0, :, 0, 0] = torch.tensor([3.0, 4.0])  # sqrt(25 / 8) from both others in the first patch
    other[0, 1, :, 2:4] = 2.0  # sqrt(16 / 8) in the second
    one[..., 4] = 99.0
    score = patch_energy_score(torch.stack([one, other]), truth, size=2)
    # Each is off in one patch, by as much as the two are apart there: d / 2 - d / 2.
    assert score.item() == pytest.approx(0.0, abs=1e-6)
    both = patch_energy_score(torch.stack([one, one]), truth, size=2)
    assert both.item() == pytest.approx(math.sqrt(25 / 8) / 2)


def test_patches_of_one_cell_and_channel_give_the_crps():
    members, truth = draw(4, 2, 1, 5, 6), draw(2, 1, 5, 6, seed=1)
    expected = crps_by_pairs(members, truth)
    assert patch_energy_score(members, truth, size=1).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_two_members_score_in_expectation_as_many_would(spread):
    """Truth from N(0, 1), members from N(0, spread^2): (sqrt(2 (1 + s^2)) - s) / sqrt(pi), least at 1."""
    count = 200_000
    members, truth = spread * draw(2, 1, 1, count), draw(1, 1, count, seed=1)
    expected = (math.sqrt(2 * (1 + spread**2)) - spread) / math.sqrt(math.pi)
    assert fair_crps(members, truth).item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_two_members_are_fair_in_patches(spread):
    """Distances of n numbers of N(0, v) are those of chi with n degrees of freedom, times sqrt(v / n)."""
    cells, count = 16, 20_000
    members, truth = spread * draw(2, count, 1, 4, 4), draw(count, 1, 4, 4, seed=1)
    chi = math.sqrt(2 / cells) * math.exp(math.lgamma((cells + 1) / 2) - math.lgamma(cells / 2))
    expected = chi * (math.sqrt(1 + spread**2) - math.sqrt(2) * spread / 2)
    assert patch_energy_score(members, truth, size=4).item() == pytest.approx(expected, abs=0.01)


def test_patches_tell_ensembles_apart_that_cells_cannot():
    """Members whose cells go together, of a truth whose cells do not: alike cell by cell only."""
    truth, alone = draw(500, 1, 4, 4), draw(2, 500, 1, 4, 4, seed=1)
    together = draw(2, 500, 1, 1, 1, seed=2).expand_as(alone)
    assert fair_crps(together, truth).item() == pytest.approx(fair_crps(alone, truth).item(), abs=0.05)
    assert patch_energy_score(alone, truth, size=4) + 0.05 < patch_energy_score(together, truth, size=4)
    assert difference_crps(alone, truth) + 0.05 < difference_crps(together, truth)


@pytest.mark.parametrize(
    ("score", "columns"),
    [
        (difference_crps, 5),
        (lambda *fields: difference_crps(*fields, order=2), 5),
        (lambda *fields: block_mean_crps(*fields, size=2), 5),
        (lambda *fields: patch_energy_score(*fields, size=2), 5),
        (lambda *fields: wave_crps(*fields, size=4), 5),
        (lambda *fields: power_crps(*fields, size=4), 5),
        (proper_score, 17),
    ],
)
def test_what_a_mask_hides_does_not_count(score: Callable[..., Tensor], columns: int):
    """An odd number of columns counts: blocks and differences that reach beyond do not."""
    members, truth = draw(2, 1, 2, 16, 24), draw(1, 2, 16, 24, seed=1)
    mask = (torch.arange(24) < columns).expand(1, 1, 16, 24)
    spoilt = torch.where(mask, members, 1e3), torch.where(mask, truth, -1e3)
    expected = score(members[..., :columns], truth[..., :columns])
    torch.testing.assert_close(score(*spoilt, mask), expected)


def test_a_weighted_sum_has_the_terms_that_are_named():
    members, truth = draw(3, 1, 1, 16, 16), draw(1, 1, 16, 16, seed=1)
    nothing: dict[str, Any] = {"values": 0, "differences": 0, "curvatures": 0, "means": {}, "waves": {}}
    only_power = proper_score(members, truth, **nothing, patches={}, powers={8: 0.5})
    assert only_power.item() == pytest.approx(0.5 * power_crps(members, truth, size=8).item())
    only_patches = proper_score(members, truth, **nothing, patches={4: 0.5})
    assert only_patches.item() == pytest.approx(0.5 * patch_energy_score(members, truth, size=4).item())
    expected = (
        0.1 * wave_crps(members, truth, size=16)
        + fair_crps(members, truth)
        + difference_crps(members, truth)
        + difference_crps(members, truth, order=2)
        + sum(block_mean_crps(members, truth, size=size) for size in (2, 4, 8))
        + sum(patch_energy_score(members, truth, size=size) for size in (4, 16))
    )
    assert proper_score(members, truth).item() == pytest.approx(expected.item())


def test_power_is_that_of_rings_of_a_full_transform():
    """Windows of 8 cells that begin 4 apart, after Hann's window; roots, in units of the truth's mean."""
    members, truth = draw(3, 2, 1, 16, 12), draw(2, 1, 16, 12, seed=1)
    taper = np.hanning(9)[:8]
    across = np.fft.fftfreq(8, 1 / 8)
    ring = np.round(np.hypot(across[:, None], across))

    def power(fields: np.ndarray) -> np.ndarray:
        windows = [fields[..., y : y + 8, x : x + 8] for y in (0, 4, 8) for x in (0, 4)]
        squares = np.abs(np.fft.fft2(np.stack(windows) * taper[:, None] * taper)) ** 2
        return np.stack([squares[..., ring == number].sum(-1) for number in range(1, 5)])

    known, found = power(truth.numpy()), power(members.numpy())
    usual = known.mean(axis=(1, 2, 3))[:, None, None, None]
    expected = crps_by_pairs(
        torch.as_tensor(np.moveaxis(np.sqrt(found / usual[..., None]), 2, 0)),
        torch.as_tensor(np.sqrt(known / usual)),
    )
    assert power_crps(members, truth, size=8).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("space", [(16, 16), (16, 16, 16)], ids=str)
def test_gradients_are_numbers_where_members_coincide(space):
    truth = draw(1, 2, *space)
    for members in (truth.expand(3, *truth.shape), draw(1, 1, 2, *space, seed=1).expand(3, *truth.shape)):
        members = members.clone().requires_grad_()
        proper_score(members, truth).backward()
        assert members.grad is not None
        assert torch.isfinite(members.grad).all()


def test_the_gradient_is_that_of_finite_differences():
    members, truth = draw(3, 1, 1, 4, 4).requires_grad_(), draw(1, 1, 4, 4, seed=1)
    sizes = {"means": {2: 0.7}, "patches": {4: 1.3}, "waves": {4: 0.9}, "powers": {4: 0.8}}
    assert torch.autograd.gradcheck(lambda x: proper_score(x, truth, **sizes), members, fast_mode=True)


def test_half_precision_is_scored_in_the_precision_of_the_truth():
    members, truth = draw(2, 1, 1, 16, 16).bfloat16(), draw(1, 1, 16, 16, seed=1).float()
    score = proper_score(members, truth)
    assert score.dtype == torch.float32
    assert torch.equal(score, proper_score(members.float(), truth))


def test_what_cannot_be_scored_is_refused():
    members, truth = draw(2, 1, 1, 8, 12), draw(1, 1, 8, 12)
    with pytest.raises(InputError, match=r"blocks of 16 cells a side: a field of \(8, 12\) cells holds none"):
        proper_score(members, truth)
    for score in (fair_crps, lambda *fields: patch_energy_score(*fields, size=2)):
        with pytest.raises(InputError, match="--members: is 1; an ensemble is judged from 2 on"):
            score(members[:1], truth)


@pytest.mark.parametrize(
    ("cells", "large", "powers"),
    [(32, {16: 1.0, 32: 1.0}, {16: 0.2}), (64, {16: 1.0, 32: 1.0}, {16: 0.2, 64: 0.2})],
)
def test_long_waves_and_the_power_of_windows_are_learnt_from_whole_targets_alone(cells, large, powers):
    """Flights fill few blocks and windows, and with the radar's noise; a small target holds no large ones."""
    drawn = torch.randn(3, 1, 1, cells, cells, generator=torch.Generator().manual_seed(1))
    members, truth, batch = drawn[:2], drawn[2], {"inputs": {}}
    whole = levelled_score(members, batch | {"targets": truth}, {})
    means = {2: 1.0, 4: 1.0, 8: 1.0} | large
    assert whole.item() == pytest.approx(proper_score(members, truth, means=means, powers=powers).item())
    flown = truth.clone()
    flown[..., 5, 7] = torch.nan
    seen = levelled_score(members, batch | {"targets": flown}, {})
    assert seen.item() == pytest.approx(proper_score(members, truth, torch.isfinite(flown).float()).item())
