"""Whether a field has the truth's power at every scale; fields are periodic, (batch, channel, *space)."""

import torch
from torch import Tensor


def isotropic_power(fields: Tensor) -> Tensor:
    """Return the mean power of modes by wavenumber, summed over channels.

    A bin holds the modes whose wavenumber, in units of the shortest axis' fundamental, rounds up to the same
    whole number; the mean of the field is left out, and so is what lies beyond the shortest axis' Nyquist
    wavenumber.

    Parameters
    ----------
    fields : Tensor
        (batch, channel, *space), of one to three axes, in cells of equal sides.

    Returns
    -------
    Tensor
        (batch, cells of the shortest axis // 2): squares of Fourier amplitudes, that sum to a field's mean
        square over all modes.

    Examples
    --------
    A wave of amplitude 2 and variance 2, twice along an axis of 8 cells, in 2 of the 8 modes of its bin:

    >>> wave = 2 * torch.cos(2 * torch.pi * 2 * torch.arange(8) / 8).expand(1, 1, 8, 8)
    >>> (8 * isotropic_power(wave)).round(decimals=4).tolist()
    [[0.0, 2.0, 0.0, 0.0]]
    """
    fields = fields if fields.dtype == torch.float64 else fields.float()
    space = fields.shape[2:]
    modes = torch.fft.rfftn(fields, dim=tuple(range(2, fields.ndim)), norm="forward")
    power = (modes.real.square() + modes.imag.square()).sum(1).flatten(1)
    bins, counts = (part.to(fields.device) for part in _bin_modes(space))
    total = power.new_zeros(len(power), int(bins.max()) + 1).index_add(1, bins, power * counts.to(power))
    size = torch.bincount(bins, weights=counts.double()).to(power)
    return (total / size.clamp(min=1))[:, 1 : min(space) // 2 + 1]


def power_loss(prediction: Tensor, truth: Tensor, *, relative: bool = False) -> Tensor:
    """Return how far the power of a periodic field is from the truth's, the mean over all scales.

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, channel, *space).
    relative : bool
        The square of what the ratio of powers misses 1 by, in place of the square of its logarithm, which
        minds too little power as much as too much.

    Examples
    --------
    >>> truth = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> print(f"{power_loss(torch.e * truth, truth).item():.4f}")  # (2 ln e) squared
    4.0000
    >>> print(f"{power_loss(2 * truth, truth, relative=True).item():.4f}")  # (4 - 1) squared
    9.0000
    """
    drawn, true = isotropic_power(prediction), isotropic_power(truth)
    least = torch.finfo(true.dtype).tiny  # a field without power has a finite loss
    if relative:
        return (drawn / true.clamp(min=least) - 1).square().mean()
    return (drawn.clamp(min=least).log() - true.clamp(min=least).log()).square().mean()


def _bin_modes(space: torch.Size) -> tuple[Tensor, Tensor]:
    """Return, for each mode of the real transform, its bin, and how many modes of the whole it stands for."""
    least, last = min(space), space[-1]
    squares = torch.zeros((), dtype=torch.float64)
    for axis, cells in enumerate(space):
        frequencies = torch.fft.rfftfreq if axis == len(space) - 1 else torch.fft.fftfreq
        along = frequencies(cells, 1 / cells, dtype=torch.float64) * (least / cells)  # of the fundamental
        squares = squares[..., None] + along.square()
    bins = (squares.sqrt() - 1e-9).ceil().long()  # whole numbers are their own bin
    counts = torch.full((last // 2 + 1,), 2)
    counts[0] = 1
    if last % 2 == 0:
        counts[-1] = 1
    return bins.flatten(), counts.expand(bins.shape).flatten()
