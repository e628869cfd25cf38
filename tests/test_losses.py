"""Losses against published values, closed forms and torchmetrics."""

import math

import pytest
import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.losses.cells import content_loss, dice_loss, psnr
from fieldwise.losses.games import adversarial_loss, discriminator_loss
from fieldwise.losses.structure import structural_similarity, topographic_loss

ONES = torch.ones(2, 1, 12, 12, dtype=torch.float64)


def scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def draw_bed(*shape: int, elevation_m: float = 0.0, seed: int = 0) -> Tensor:
    """Return rough ground about an elevation, float64."""
    generator = torch.Generator().manual_seed(seed)
    return elevation_m + 30 * torch.randn(*shape, dtype=torch.float64, generator=generator)


def naive_similarity(x: Tensor, y: Tensor) -> float:
    """Loop over all windows of one image with textbook moments."""
    values = []
    for i in range(x.shape[0] - 8):
        for j in range(x.shape[1] - 8):
            a, b = x[i : i + 9, j : j + 9], y[i : i + 9, j : j + 9]
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            luminance = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
            variances = a.var(correction=0) + b.var(correction=0)
            values.append(luminance * (2 * covariance + 9e-4) / (variances + 9e-4))
    return torch.stack(values).mean().item()


def test_discriminator_loss_as_published() -> None:
    loss = discriminator_loss(scores(1.1, -0.5), scores(-0.3, 1.0))
    assert loss.item() == pytest.approx(1.56670504, abs=5e-9)


def test_discriminator_loss_is_a_sigmoid_cross_entropy() -> None:
    """Two real and two fake scores, by hand with the logistic function."""
    real, fake = (2.0, 0.0), (-1.0, -3.0)  # means 1 and -2
    sigmoid = [1 / (1 + math.exp(-x)) for x in (2 + 2, 0 + 2, -1 - 1, -3 - 1)]
    expected = -(math.log(sigmoid[0]) + math.log(sigmoid[1])) / 2
    expected -= (math.log(1 - sigmoid[2]) + math.log(1 - sigmoid[3])) / 2
    assert discriminator_loss(scores(*real), scores(*fake)).item() == pytest.approx(expected)
    assert adversarial_loss(scores(*fake), scores(*real)).item() == pytest.approx(expected)


def test_adversarial_loss_pulls_fakes_up() -> None:
    fake = scores(-1.0, -2.0).requires_grad_()
    adversarial_loss(scores(1.0, 2.0), fake).backward()
    assert fake.grad is not None
    assert (fake.grad < 0).all()


def test_scores_far_apart_stay_finite() -> None:
    assert discriminator_loss(scores(-1e4), scores(1e4)).item() == pytest.approx(4e4)


def test_content_loss_is_the_mean_absolute_difference() -> None:
    assert content_loss(torch.tensor([1.0, -2.0]), torch.tensor([4.0, -1.0])).item() == 2.0


def test_topographic_loss_compares_means_of_four_by_four_cells() -> None:
    prediction = torch.arange(64.0).view(1, 1, 8, 8)
    # mean of rows 0..3, columns 0..3 of 8 i + j: 8 * 1.5 + 1.5; four columns on +4, four rows on +32
    coarse = torch.tensor([[13.5, 17.5], [45.5, 49.5]])
    lowres = torch.full((1, 1, 4, 4), 1e6)
    lowres[..., 1:-1, 1:-1] = coarse + torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert topographic_loss(prediction, lowres).item() == 1.5


def test_topographic_loss_refuses_fields_that_do_not_cover_each_other() -> None:
    with pytest.raises(InputError, match=r"\(12, 12\) cells does not cover .* \(6, 6\)"):
        topographic_loss(ONES, torch.ones(2, 1, 6, 6))


def test_similarity_as_published() -> None:
    assert structural_similarity(ONES, 2 * ONES).item() == pytest.approx(4.0001 / 5.0001, abs=1e-12)


def test_similarity_agrees_with_a_loop_over_windows() -> None:
    truth, prediction = draw_bed(1, 1, 13, 15), draw_bed(1, 1, 13, 15, elevation_m=20, seed=1)
    prediction = prediction + 0.5 * truth
    expected = naive_similarity(prediction[0, 0], truth[0, 0])
    assert structural_similarity(prediction, truth).item() == pytest.approx(expected, rel=1e-9)


def test_similarity_keeps_its_digits_at_two_thousand_metres() -> None:
    """Ground that varies by centimetres at 2000 m; a variance in float32 would be off by 0.5 m2."""
    truth = 2000 + 0.002 * draw_bed(1, 1, 36, 36)
    prediction = 2000 + 0.002 * draw_bed(1, 1, 36, 36, seed=1) + 0.5 * (truth - 2000)
    single = truth.float(), prediction.float()  # 1/8192 m apart; compare with the same rounded numbers
    expected = naive_similarity(single[1][0, 0].double(), single[0][0, 0].double())
    assert 0.1 < expected < 0.9
    assert structural_similarity(single[1], single[0]).item() == pytest.approx(expected, abs=1e-5)


def test_similarity_agrees_with_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    truth, prediction = draw_bed(2, 1, 36, 36), draw_bed(2, 1, 36, 36, seed=1)
    prediction = prediction + truth
    theirs = functional.structural_similarity_index_measure(
        prediction, truth, gaussian_kernel=False, kernel_size=9, data_range=1.0, return_full_image=True
    )[1]
    inside = theirs[..., 4:-4, 4:-4]  # theirs also has windows over a mirrored margin
    assert structural_similarity(prediction, truth).item() == pytest.approx(inside.mean().item(), rel=1e-4)


def test_similarity_has_the_right_gradient() -> None:
    truth = draw_bed(1, 1, 10, 11)
    prediction = (draw_bed(1, 1, 10, 11, seed=1) + truth).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: structural_similarity(x, truth), prediction, fast_mode=True)


def test_similarity_refuses_tiles_smaller_than_its_window() -> None:
    with pytest.raises(InputError, match="holds no window of 9 x 9"):
        structural_similarity(torch.ones(1, 1, 8, 20), torch.ones(1, 1, 8, 20))


def test_psnr_as_published() -> None:
    assert psnr(ONES, 2 * ONES, data_range=2**32).item() == pytest.approx(192.65919722494797, abs=1e-12)


def test_psnr_falls_by_twenty_decibels_for_ten_times_the_error() -> None:
    assert (psnr(ONES, 2 * ONES, data_range=1) - psnr(ONES, 11 * ONES, data_range=1)).item() == pytest.approx(
        20
    )


def test_dice_is_the_mean_over_classes_of_each_sample() -> None:
    truth = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]])
    prediction = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]]])
    # All of the first; of the second 2 * 0.5 over 0.25 + 0.25 + 2; each with 1 added above and below.
    assert dice_loss(prediction, truth).item() == pytest.approx((0 + 1 - 2 / 3.5) / 2)
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])  # of the second class 0.25 is left where none is true
    assert dice_loss(prediction, truth, mask).item() == pytest.approx((0 + 1 - 1 / 1.25) / 2)


def test_dice_of_a_class_that_neither_has_is_zero() -> None:
    absent = torch.zeros(2, 1, 4, 4, 4)
    assert dice_loss(absent, absent).item() == 0
