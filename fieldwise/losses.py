"""What a drawn field is held to: cell by cell, in structure, in its coarse means, and by a discriminator.

Fields are (batch, channel, y, x). Contents, structure and coarse means are compared as in DeepBedMap (Leong &
Horgan 2020, doi 10.5194/tc-14-3687-2020), where fields are beds in metres.
"""

from collections.abc import Callable

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


def fair_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the fair continuous ranked probability score of an ensemble, the mean over cells that count.

    Mean distance of the members from the truth, less half their mean distance from each other (Ferro 2014,
    doi 10.1002/qj.2270): least where members are drawn as the truth is, however few they are.

    Parameters
    ----------
    members : Tensor
        (member, batch, channel, y, x), two members at least.
    truth, mask : Tensor
        As for :func:`masked_mae`.

    Examples
    --------
    Distances from the truth: 1 and 3; of the two from each other: 4.

    >>> members = torch.tensor([1.0, -3.0]).view(2, 1, 1, 1, 1)
    >>> fair_crps(members, torch.zeros(1, 1, 1, 1)).item()  # (1 + 3) / 2 - 4 / 2
    0.0
    """
    count = len(members)
    ordered = members.sort(dim=0).values
    # Of the k-th of n in order, k lie below and n - 1 - k above: sum |a - b| over pairs without n^2 memory.
    rank = torch.arange(count, device=members.device, dtype=members.dtype)
    weights = (2 * rank - (count - 1)).view(-1, *(1,) * (members.ndim - 1))
    apart = (weights * ordered).sum(0) / (count * (count - 1))
    return _masked_mean((members - truth).abs().mean(0) - apart, mask)


GAMES = ("relativistic", "bce", "least_squares", "wasserstein")


def discriminator_loss(
    real_scores: Tensor, fake_scores: Tensor, *, game: str = "relativistic", smoothing: float = 0.0
) -> Tensor:
    """Return how badly scores tell real from fake; by default each side against the mean of the other.

    Parameters
    ----------
    real_scores, fake_scores : Tensor
        (batch, 1) or (batch, 1, y, x), before any sigmoid.
    game : str
        `relativistic`: the relativistic average GAN of Jolicoeur-Martineau (2018, arXiv:1807.00734), sigmoid
        cross-entropy of "real ones look realer than the average fake" plus that of "fakes look less real
        than the average real"; `bce`: cross-entropy of each on its own (Goodfellow et al. 2014);
        `least_squares`: half the squares of what scores miss 1 and 0 by (Mao et al. 2017, arXiv:1611.04076);
        `wasserstein`: by how much fakes score higher (Arjovsky et al. 2017, arXiv:1701.07875).
    smoothing : float
        What the label of real ones is short of 1.

    Examples
    --------
    >>> real, fake = torch.tensor([[1.1], [-0.5]]), torch.tensor([[-0.3], [1.0]])
    >>> print(f"{discriminator_loss(real, fake).item():.7f}")  # published: 1.56670504
    1.5667050
    >>> print(f"{discriminator_loss(0 * real, 0 * fake, game='bce').item():.4f}")  # 2 ln 2
    1.3863
    >>> one, half = torch.ones(1, 1), torch.full((1, 1), 0.5)
    >>> discriminator_loss(half, one, game="least_squares").item()  # (0.5 squared + 1 squared) / 2
    0.625
    >>> discriminator_loss(half, one, game="wasserstein").item()
    0.5
    """
    if game == "wasserstein":
        return fake_scores.mean() - real_scores.mean()
    if game == "least_squares":
        label = 1 - smoothing
        return ((real_scores - label).square().mean() + fake_scores.square().mean()) / 2
    if game == "bce":
        return _call_real(real_scores, smoothing) + functional.softplus(fake_scores).mean()
    if smoothing:
        realer = _call_real(real_scores - fake_scores.mean(), smoothing)
    else:
        realer = functional.softplus(fake_scores.mean() - real_scores).mean()
    faker = functional.softplus(fake_scores - real_scores.mean()).mean()
    return realer + faker


def _call_real(scores: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sigmoid cross-entropy with the label of real ones: softplus(-x) + s x for a label of 1 - s."""
    return (functional.softplus(-scores) + smoothing * scores).mean()


def adversarial_loss(real_scores: Tensor, fake_scores: Tensor, *, game: str = "relativistic") -> Tensor:
    """Return how badly the fakes pass for real: in the relativistic game, the sides exchanged.

    >>> indistinguishable = torch.zeros(2, 1)
    >>> print(f"{adversarial_loss(indistinguishable, indistinguishable).item():.4f}")  # 2 ln 2
    1.3863
    >>> half = torch.full((1, 1), 0.5)
    >>> [adversarial_loss(half, half, game=game).item() for game in ("least_squares", "wasserstein")]
    [0.125, -0.5]
    >>> print(f"{adversarial_loss(half, 0 * half, game='bce').item():.4f}")  # ln 2, whatever the real ones
    0.6931
    """
    if game == "wasserstein":
        return -fake_scores.mean()
    if game == "least_squares":
        return (fake_scores - 1).square().mean() / 2
    if game == "bce":
        return _call_real(fake_scores)
    return discriminator_loss(fake_scores, real_scores)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Return half the mean squared gradient of scores in the real fields (Mescheder et al. 2018, R1).

    >>> slopes = torch.tensor([[3.0, 4.0]])
    >>> r1_penalty(lambda fields: (slopes * fields).sum(1), torch.rand(5, 2)).item()  # 25 / 2
    12.5
    """
    return _slopes(discriminator, real).square().sum(1).mean() / 2


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor | None = None
) -> Tensor:
    """Return by how much slopes of scores between real and fake differ from 1, squared (WGAN-GP).

    Gulrajani et al. (2017, arXiv:1704.00028). Each pair is judged at one place between its two.

    Parameters
    ----------
    discriminator
        Fields to scores.
    real, fake : Tensor
        As the discriminator takes them.
    share : Tensor, optional
        (batch,), of the real one in each pair; by default drawn from 0 to 1.

    Examples
    --------
    >>> slopes = torch.tensor([[3.0, 4.0]])
    >>> gradient_penalty(lambda fields: (slopes * fields).sum(1), torch.rand(2, 2), torch.rand(2, 2)).item()
    16.0
    """
    share = torch.rand(len(real), device=real.device) if share is None else share
    between = torch.lerp(fake, real, share.to(real.dtype).view(-1, *(1,) * (real.ndim - 1)))
    return (_slopes(discriminator, between).norm(dim=1) - 1).square().mean()


def _slopes(discriminator: Callable[[Tensor], Tensor], fields: Tensor) -> Tensor:
    """Return the gradient of each field's score, (batch, cells), itself open to gradients."""
    fields = fields.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(discriminator(fields).sum(), fields, create_graph=True)
    return slopes.flatten(1)


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


def psnr(prediction: Tensor, truth: Tensor, *, data_range: float) -> Tensor:
    """Return the peak signal-to-noise ratio in dB: 20 lg(data_range / RMSE), over all cells of the batch.

    The data range only shifts the scale.

    >>> ones = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    >>> print(f"{psnr(ones, 2 * ones, data_range=2**32).item():.10f}")  # published: 192.65919722494797
    192.6591972249
    """
    rmse = functional.mse_loss(prediction, truth).sqrt()
    return 20 * torch.log10(data_range / rmse)
