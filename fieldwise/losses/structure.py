"""Whether a drawn field, (batch, channel, y, x), has the structure and the coarse means of the truth.

Both are compared as in DeepBedMap (Leong & Horgan 2020, doi 10.5194/tc-14-3687-2020), where fields are beds
in metres.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError

WINDOW = 9  # cells on a side of the sliding window of the structural similarity
LUMINANCE_CONSTANT = 0.01**2
CONTRAST_CONSTANT = 0.03**2


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
