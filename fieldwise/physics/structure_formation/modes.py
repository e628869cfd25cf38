"""Wavenumbers of periodic boxes, in the layout of ``torch.fft.rfftn`` over their trailing axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def wave_vector(shape: Sequence[int], spacing: float, like: torch.Tensor) -> list[torch.Tensor]:
    """Give the angular wavenumbers along each axis, each of a shape that broadcasts over the modes.

    Parameters
    ----------
    shape
        Cells along each axis of the box.
    spacing
        Cell size; wavenumbers are in radians per its unit.
    like
        A real tensor whose type and device they take.

    >>> [k.shape for k in wave_vector((4, 6), 1.0, torch.zeros(()))]
    [torch.Size([4, 1]), torch.Size([1, 4])]
    """
    last, vector = len(shape) - 1, []
    for axis, cells in enumerate(shape):
        frequencies = torch.fft.rfftfreq if axis == last else torch.fft.fftfreq
        k = 2 * torch.pi * frequencies(cells, spacing, dtype=like.dtype, device=like.device)
        vector.append(k.reshape([-1 if other == axis else 1 for other in range(len(shape))]))
    return vector


def odd_wave_vector(shape: Sequence[int], spacing: float, like: torch.Tensor) -> list[torch.Tensor]:
    """Give the same for an odd derivative: 0 at Nyquist, whose sign is unknown.

    >>> odd_wave_vector((4,), torch.pi / 2, torch.zeros(()))[0].tolist()
    [0.0, 1.0, 0.0]
    """
    nyquist = torch.pi / spacing
    return [torch.where(k.abs() > nyquist * (1 - 1e-4), 0, k) for k in wave_vector(shape, spacing, like)]


def inverse_square(shape: Sequence[int], spacing: float, like: torch.Tensor) -> torch.Tensor:
    """Give 1 / k^2 of every mode, and 0 for the mean: minus the inverse of the Laplacian.

    >>> inverse_square((4,), torch.pi / 2, torch.zeros(())).tolist()
    [0.0, 1.0, 0.25]
    """
    squared = sum(k**2 for k in wave_vector(shape, spacing, like))
    assert isinstance(squared, torch.Tensor)
    return torch.where(squared > 0, 1 / squared.clamp(min=torch.finfo(like.dtype).tiny), 0)


def to_modes(fields: torch.Tensor) -> torch.Tensor:
    """Transform (boxes, *cells) over all axes but the first, as ``torch.fft.rfftn`` does, box by box.

    The library rounds several at once in another way than one alone, on some processors.

    >>> to_modes(torch.ones(3, 4, 4)).shape
    torch.Size([3, 4, 3])
    """
    return torch.stack([torch.fft.rfftn(box) for box in fields])


def to_cells(modes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Transform back, box by box too.

    >>> to_cells(to_modes(torch.ones(3, 4, 4)), (4, 4)).sum().item()
    48.0
    """
    return torch.stack([torch.fft.irfftn(box, tuple(shape)) for box in modes])
