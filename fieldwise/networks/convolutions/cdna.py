"""Maps that are moved: convolutional dynamic neural advection (CDNA).

After Finn et al. 2016, arXiv:1605.07157. A kernel says which share of a cell goes where, the same for all
cells of a map. The next map is made of several that were moved so, and of others, each with its mask.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.networks.convolutions.padding import continue_map

LEAST = 1e-12  # of what a share is made of


def make_kernels(numbers: Tensor, size: int) -> Tensor:
    """Make kernels of free numbers: shares above zero that add up to one; of zeros, what stays where it is.

    Parameters
    ----------
    numbers
        (batch, kernels * size * size).
    size
        Cells on a side of a kernel, odd.

    Returns
    -------
    Tensor
        (batch, kernels, size, size).

    Examples
    --------
    >>> make_kernels(torch.zeros(1, 9), 3)[0, 0].round(decimals=6).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    kernels = numbers.unflatten(1, (-1, size, size))
    staying = torch.zeros(size, size, dtype=numbers.dtype, device=numbers.device)
    staying[size // 2, size // 2] = 1
    shares = functional.relu(kernels + staying - LEAST) + LEAST
    return shares / shares.sum((-2, -1), keepdim=True)


def move(maps: Tensor, kernels: Tensor, *, beyond: str) -> Tensor:
    """Move maps by kernels: what a kernel has d cells from its middle is the share that goes d cells on.

    Parameters
    ----------
    maps
        (batch, channel, y, x).
    kernels
        (batch, kernels, size, size).
    beyond
        What comes in from beyond the map: "zeros", "reflect", "circular" or "zonal".

    Returns
    -------
    Tensor
        (batch, kernels, channel, y, x).

    Examples
    --------
    Three quarters go one cell to the right, one quarter stays:

    >>> kernel = torch.tensor([[[[0, 0, 0], [0, 0.25, 0.75], [0, 0, 0]]]])
    >>> move(torch.tensor([[[[4.0, 0.0, 0.0]]]]), kernel, beyond="zeros").flatten().tolist()
    [1.0, 3.0, 0.0]
    """
    batch, number, size, _ = kernels.shape
    with torch.autocast(maps.device.type, enabled=False):  # a map is to remain as exact as it is
        wide = continue_map(maps.float(), size // 2, beyond).transpose(0, 1)  # (channel, batch, y, x)
        weight = kernels.float().flip(-2, -1).reshape(batch * number, 1, size, size)
        moved = functional.conv2d(wide.contiguous(), weight, groups=batch)
    return moved.unflatten(1, (batch, number)).permute(1, 2, 0, 3, 4)


def compose(maps: Tensor, masks: Tensor) -> Tensor:
    """Add up maps, (batch, number, channel, y, x), each times its mask, (batch, number, y, x).

    >>> maps, masks = torch.tensor([1.0, 5.0]), torch.tensor([0.75, 0.25])
    >>> compose(maps.view(1, 2, 1, 1, 1), masks.view(1, 2, 1, 1)).item()
    2.0
    """
    return (maps * masks[:, :, None]).sum(1)
