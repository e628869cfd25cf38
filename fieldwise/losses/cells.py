"""How far a field is from the truth, cell by cell; fields are (batch, channel, *space).

Contents are compared as in DeepBedMap (Leong & Horgan 2020, doi 10.5194/tc-14-3687-2020).
"""

import torch
from torch import Tensor
from torch.nn import functional


def content_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute difference.

    >>> content_loss(torch.ones(2, 1, 12, 12), torch.full((2, 1, 12, 12), 10.0)).item()
    9.0
    """
    return functional.l1_loss(prediction, truth)


def masked_mae(prediction: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute error over the cells where a mask, (batch, 1, *space), is not 0.

    All channels count alike. Without a cell that counts it is 0.

    >>> truth = torch.tensor([[[[0.0, 8.0]], [[0.0, 8.0]]]])  # two channels, two cells
    >>> masked_mae(truth + 3, torch.zeros_like(truth), torch.tensor([[[[1.0, 0.0]]]])).item()
    3.0
    """
    return masked_mean((prediction - truth).abs(), mask)


def masked_mse(prediction: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared error over the cells where a mask, (batch, 1, *space), is not 0.

    >>> masked_mse(torch.full((1, 2, 1, 2), 3.0), torch.zeros(1, 2, 1, 2)).item()
    9.0
    """
    return masked_mean((prediction - truth).square(), mask)


def dice_loss(
    prediction: Tensor, truth: Tensor, mask: Tensor | None = None, *, smoothing: float = 1.0
) -> Tensor:
    """Return how little a predicted class overlaps the true one: 1 less Dice's coefficient.

    With squares in the denominator (Milletari et al. 2016, arXiv:1606.04797); the mean over samples and
    channels, each a class.

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, channel, *space), from 0 to 1.
    mask : Tensor, optional
        (batch, 1, *space), 0 in cells that do not count.
    smoothing : float
        Cells added to overlap and union: a class that neither has is predicted well.

    Examples
    --------
    >>> truth = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    >>> dice_loss(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), truth, smoothing=0).item()  # 1 - 2 x 1 / (1 + 3)
    0.5
    """
    if mask is not None:
        prediction, truth = ((mask != 0) * field for field in (prediction, truth))
    overlap = 2 * (prediction * truth).flatten(2).sum(2)
    union = (prediction.square() + truth.square()).flatten(2).sum(2)
    return (1 - (overlap + smoothing) / (union + smoothing)).mean()


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of values, (batch, channel, *space), over the cells where a mask is not 0.

    >>> masked_mean(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[1.0, 0.0]]])).item()
    1.0
    """
    if mask is None:
        return values.mean()
    weights = (mask != 0).to(values.dtype)
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp(min=1)


def psnr(prediction: Tensor, truth: Tensor, *, data_range: float) -> Tensor:
    """Return the peak signal-to-noise ratio in dB: 20 lg(data_range / RMSE), over all cells of the batch.

    The data range, the largest value of the truth less its least, only shifts the scale: with that of
    integers of 32 bits, which DeepBedMap takes, any map of a bed seems good.

    >>> truth = torch.tensor([[[[-900.0, 100.0]]]])
    >>> print(f"{psnr(truth + 10, truth, data_range=1000.0).item():.1f}")  # 20 lg(1000 / 10)
    40.0
    >>> ones = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    >>> print(f"{psnr(ones, 2 * ones, data_range=2**32).item():.10f}")  # published: 192.65919722494797
    192.6591972249
    """
    rmse = functional.mse_loss(prediction, truth).sqrt()
    return 20 * torch.log10(data_range / rmse)
