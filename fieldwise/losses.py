"""What a drawn field is held to: cell by cell, in structure, in its coarse means, and by a discriminator.

Fields are (batch, channel, y, x). Those of a bed have one channel, in metres; their terms and weights are
those of DeepBedMap (Leong & Horgan 2020, doi 10.5194/tc-14-3687-2020).
"""

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError

WINDOW = 9  # cells on a side of the sliding window of the structural similarity
LUMINANCE_CONSTANT = 0.01**2
CONTRAST_CONSTANT = 0.03**2


def content_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute difference.

    >>> content_loss(torch.ones(2, 1, 12, 12), torch.full((2, 1, 12, 12), 10.0)).item()
    9.0
    """
    return functional.l1_loss(prediction, truth)


def masked_mae(prediction: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute error over the cells where a mask, (batch, 1, y, x), is not 0.

    All channels count alike. Without a cell that counts it is 0.

    >>> truth = torch.tensor([[[[0.0, 8.0]], [[0.0, 8.0]]]])  # two channels, two cells
    >>> masked_mae(truth + 3, torch.zeros_like(truth), torch.tensor([[[[1.0, 0.0]]]])).item()
    3.0
    """
    return _masked_mean((prediction - truth).abs(), mask)


def masked_mse(prediction: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared error over the cells where a mask, (batch, 1, y, x), is not 0.

    >>> masked_mse(torch.full((1, 2, 1, 2), 3.0), torch.zeros(1, 2, 1, 2)).item()
    9.0
    """
    return _masked_mean((prediction - truth).square(), mask)


def _masked_mean(errors: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return errors.mean()
    weights = (mask != 0).to(errors.dtype)
    return (errors * weights).sum() / (weights.sum() * errors.shape[1]).clamp(min=1)


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return how badly scores tell real from fake, each side against the mean of the other.

    The relativistic average GAN of Jolicoeur-Martineau (2018, arXiv:1807.00734): sigmoid cross-entropy of
    "real ones look realer than the average fake" plus that of "fakes look less real than the average real".

    Parameters
    ----------
    real_scores, fake_scores : Tensor
        (batch, 1), before the sigmoid.

    Examples
    --------
    >>> loss = discriminator_loss(torch.tensor([[1.1], [-0.5]]), torch.tensor([[-0.3], [1.0]]))
    >>> print(f"{loss.item():.7f}")  # published: 1.56670504
    1.5667050
    """
    realer = functional.softplus(fake_scores.mean() - real_scores).mean()
    faker = functional.softplus(fake_scores - real_scores.mean()).mean()
    return realer + faker


def adversarial_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return how badly the fakes pass for real: the discriminator's loss with the sides exchanged.

    >>> indistinguishable = torch.zeros(2, 1)
    >>> print(f"{adversarial_loss(indistinguishable, indistinguishable).item():.4f}")  # 2 ln 2
    1.3863
    """
    return discriminator_loss(fake_scores, real_scores)


def topographic_loss(prediction: Tensor, lowres: Tensor, *, factor: int = 4) -> Tensor:
    """Return the mean absolute difference of the prediction's coarse means from the low-resolution field.

    Parameters
    ----------
    prediction : Tensor
        (batch, 1, factor * (Y - 2), factor * (X - 2)).
    lowres : Tensor
        (batch, 1, Y, X), its outermost cells being padding that the prediction does not cover.
    factor : int
        Cells of the prediction on a side of a low-resolution cell.

    Raises
    ------
    InputError
        If the two do not cover each other.

    Examples
    --------
    >>> topographic_loss(torch.ones(2, 1, 12, 12), torch.full((2, 1, 5, 5), 9.0)).item()
    8.0
    """
    inner = lowres[..., 1:-1, 1:-1]
    if tuple(prediction.shape[-2:]) != (factor * inner.shape[-2], factor * inner.shape[-1]):
        raise InputError(
            f"a prediction of {tuple(prediction.shape[-2:])} cells does not cover a low-resolution field of "
            f"{tuple(lowres.shape[-2:])} cells less its border {factor} to 1; cut both on one window"
        )
    return functional.l1_loss(functional.avg_pool2d(prediction, factor), inner)


def structural_similarity(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean structural similarity (Wang et al. 2004) over all 9 x 9 windows inside the field.

    1 where both agree in mean, contrast and pattern. The constants (0.01 squared, 0.03 squared) are in the
    fields' own units squared, as in DeepBedMap.

    Examples
    --------
    >>> ones = torch.ones(2, 1, 12, 12)
    >>> print(f"{structural_similarity(ones, 2 * ones).item():.6f}")  # published: 0.800004
    0.800004

    An offset hardly matters far from zero elevation, a pattern does:

    >>> bed = torch.rand(1, 1, 36, 36, generator=torch.Generator().manual_seed(0)) * 100 - 2000
    >>> print(f"{structural_similarity(bed + 5, bed).item():.3f}")
    1.000
    >>> structural_similarity(bed.flip(-1), bed).item() < 0.1
    True
    """
    if min(truth.shape[-2:]) < WINDOW:
        raise InputError(
            f"a field of {tuple(truth.shape[-2:])} cells holds no window of {WINDOW} x {WINDOW}; "
            f"make the tiles at least {WINDOW} cells a side"
        )
    # Variances are small differences of large squares: at 2000 m float32 would lose some 0.5 m2 of each.
    precision = torch.float32 if truth.device.type == "mps" else torch.float64  # Apple's GPUs lack float64
    shift = truth.detach().mean(dim=(-2, -1), keepdim=True).to(precision)
    x, y = prediction.to(precision) - shift, truth.to(precision) - shift
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window_means(torch.stack((x, y, x * x, y * y, x * y)))
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    # Same as (2 m n + c) / (m2 + n2 + c) of the true means m, n, but exact where they are close.
    difference = (mean_x - mean_y) ** 2
    luminance = 1 - difference / ((mean_x + shift) ** 2 + (mean_y + shift) ** 2 + LUMINANCE_CONSTANT)
    contrast = (2 * covariance + CONTRAST_CONSTANT) / (variances + CONTRAST_CONSTANT)
    return (luminance * contrast).mean().to(truth.dtype)


def _window_means(fields: Tensor) -> Tensor:
    """Return the means of all windows, along y and then along x: 18 additions a cell instead of 81."""
    flat = fields.flatten(0, 2)
    means = functional.avg_pool2d(functional.avg_pool2d(flat, (WINDOW, 1), stride=1), (1, WINDOW), stride=1)
    return means.view(*fields.shape[:3], *means.shape[-2:])


def generator_loss(
    prediction: Tensor,
    truth: Tensor,
    lowres: Tensor,
    scores: tuple[Tensor, Tensor] | None = None,
    *,
    content_weight: float = 1e-2,
    adversarial_weight: float = 2e-2,
    topographic_weight: float = 2e-3,
    structural_weight: float = 5.25,
) -> Tensor:
    """Return the weighted sum of the four terms.

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, 1, y, x) in metres.
    lowres : Tensor
        (batch, 1, y / 4 + 2, x / 4 + 2): the low-resolution field with a border of one cell.
    scores : tuple of Tensor, optional
        The discriminator's scores of the real and of the fake tiles, (batch, 1) each; without them there is
        no adversarial term.

    Examples
    --------
    >>> ones = torch.ones(2, 1, 12, 12)
    >>> scores = torch.tensor([[0.5], [-0.8]]), torch.tensor([[-1.2], [0.5]])  # of real, of fake
    >>> loss = generator_loss(ones, 10 * ones, torch.full((2, 1, 5, 5), 9.0), scores)
    >>> print(f"{loss.item():.6f}")  # published: 4.35108415
    4.351084
    """
    loss = content_weight * content_loss(prediction, truth)
    loss = loss + topographic_weight * topographic_loss(prediction, lowres)
    loss = loss + structural_weight * (1 - structural_similarity(prediction, truth))
    if scores is not None:
        loss = loss + adversarial_weight * adversarial_loss(*scores)
    return loss


def psnr(prediction: Tensor, truth: Tensor, *, data_range: float = 2.0**32) -> Tensor:
    """Return the peak signal-to-noise ratio in dB: 20 lg(data_range / RMSE), over all cells of the batch.

    The data range of 32-bit integers is DeepBedMap's choice; it only shifts the scale.

    >>> ones = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    >>> print(f"{psnr(ones, 2 * ones).item():.10f}")  # published: 192.65919722494797
    192.6591972249
    """
    rmse = functional.mse_loss(prediction, truth).sqrt()
    return 20 * torch.log10(data_range / rmse)
