"""How matter lay in the beginning: Gaussian noise with the power spectrum of linear theory.

In two dimensions a box holds as much variance per octave of scale as in three,
k^2 P2 / 2 pi = k^3 P / 2 pi^2, so that its power spectrum is P2 = k P / pi: the length of displacements, the
contrasts and the scale that turns non-linear are those of three dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.physics.structure_formation.cosmology import Cosmology, power_spectrum
from fieldwise.physics.structure_formation.modes import to_cells, to_modes, wave_vector


def draw_white_noise(shape: Sequence[int], seeds: Sequence[int | Sequence[int]]) -> torch.Tensor:
    """Draw white noise of unit variance, a box a seed: the same box whatever boxes stand beside it.

    Parameters
    ----------
    shape
        Cells along each axis.
    seeds
        Of each box: what ``numpy.random.default_rng`` takes.

    Returns
    -------
    torch.Tensor
        (boxes, *shape) float32.

    >>> noise = draw_white_noise((2, 2), seeds=[1, 2])
    >>> noise.shape, torch.equal(noise[1], draw_white_noise((2, 2), seeds=[2])[0])
    (torch.Size([2, 2, 2]), True)
    """
    boxes = [np.random.default_rng(seed).standard_normal(tuple(shape), np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(boxes))


def mesh_power(shape: Sequence[int], spacing_mpc: float, cosmology: Cosmology) -> np.ndarray:
    """Give the linear power of every mode of a box, (Mpc/h)^dimensions, in the layout of ``rfftn``.

    >>> k = 2 * np.pi / 32
    >>> power = mesh_power((8, 8), 4.0, Cosmology())[0, 1]
    >>> bool(np.isclose(power, k * power_spectrum(k, Cosmology()) / np.pi))  # two dimensions
    True
    """
    if len(shape) not in (2, 3):
        raise InputError(f"--dimensions: is {len(shape)}; boxes have 2 or 3")
    vector = wave_vector(shape, spacing_mpc, torch.zeros((), dtype=torch.float64))
    k = np.sqrt(sum(np.asarray(component) ** 2 for component in vector))
    return power_spectrum(k, cosmology) * (k / np.pi if len(shape) == 2 else 1)


def colour_noise(
    noise: torch.Tensor, *, spacing_mpc: float, cosmology: Cosmology | Sequence[Cosmology]
) -> torch.Tensor:
    """Turn white noise into the linear density contrast of today.

    Parameters
    ----------
    noise
        (boxes, *cells) of unit variance.
    spacing_mpc
        Cell size in Mpc/h.
    cosmology
        One for all boxes, or one a box.

    Returns
    -------
    torch.Tensor
        (boxes, *cells): rho / mean - 1 as linear theory has it at a = 1; its mean is 0.

    >>> contrast = colour_noise(draw_white_noise((64, 64), [7]), spacing_mpc=4.0, cosmology=Cosmology())
    >>> round(float(contrast.std()), 1)  # cells of 4 Mpc/h
    1.7
    """
    shape = noise.shape[1:]
    each = [cosmology] if isinstance(cosmology, Cosmology) else list(cosmology)
    power = {one: mesh_power(shape, spacing_mpc, one) for one in set(each)}
    amplitude = np.stack([np.sqrt(power[one] / spacing_mpc ** len(shape)) for one in each])
    return to_cells(to_modes(noise) * torch.from_numpy(amplitude).to(noise), shape)


def truncate(contrast: torch.Tensor, factor: int) -> torch.Tensor:
    """Sample a fine field on a coarser mesh, without the waves that the mesh cannot hold.

    A coarse cell stands in the middle of its block of fine cells, (factor - 1) / 2 of them beyond the
    first: the phases of the waves are turned by as much. Waves at the coarse Nyquist are left out.

    Parameters
    ----------
    contrast
        (boxes, *cells).
    factor
        How many fine cells make a coarse one along each axis.

    Returns
    -------
    torch.Tensor
        (boxes, *cells / factor).

    >>> x = torch.arange(16) + 0.5  # middles of fine cells
    >>> fine = torch.cos(2 * torch.pi * x / 16)
    >>> coarse = torch.cos(2 * torch.pi * (2 * torch.arange(8) + 1) / 16)
    >>> torch.allclose(truncate(fine[None], 2)[0], coarse, atol=1e-6)
    True
    """
    shape = contrast.shape[1:]
    coarse = [cells // factor for cells in shape]
    if any(cells % (2 * factor) for cells in shape):
        raise InputError(
            f"--factor: is {factor}; give one that leaves an even number of {tuple(shape)} cells"
        )
    spectrum = to_modes(contrast) / factor ** len(shape)
    for axis, cells in enumerate(coarse, start=1):
        frequencies = torch.fft.fftfreq if axis < len(coarse) else torch.fft.rfftfreq
        modes = frequencies(cells, 1 / cells, dtype=contrast.dtype, device=contrast.device).round()
        turn = torch.exp(1j * torch.pi * (factor - 1) / (factor * cells) * modes) * (modes.abs() < cells / 2)
        kept = spectrum.index_select(axis, modes.long() % (factor * cells))
        spectrum = kept * turn.reshape([-1 if other == axis else 1 for other in range(contrast.dim())])
    return to_cells(spectrum, coarse)
