"""What lies beyond the edge of a map: nothing, its other side, or on the globe what lies over the pole.

A map of the globe has rows of latitude and columns of longitude, all around. To the east of the last column
lies the first. A pole lies on the outer edge of the outermost row; beyond it the meridian goes on, southward
again, as the one 180 degrees away. What is continued so must be scalar: components of vectors would change
their sign over a pole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError, times
from fieldwise.networks.valid.periodic import wrap_around

PADDINGS = ("published", "zonal")


def choose_beyond(padding: str, published: str) -> str:
    """Tell what a network takes to lie beyond a map: what the published one does, or the globe.

    Parameters
    ----------
    padding
        "published" or "zonal", as a user names it.
    published
        "zeros", or "circular" for what lies at the other side in both axes, even over the poles.

    >>> choose_beyond("published", "zeros"), choose_beyond("zonal", "zeros")
    ('zeros', 'zonal')
    """
    if padding not in PADDINGS:
        raise InputError(f"padding is {padding!r}; take {' or '.join(PADDINGS)}")
    return published if padding == "published" else padding


def continue_map(fields: Tensor, cells: int, beyond: str) -> Tensor:
    """Continue (batch, channel, y, x) by so many cells a side: "zeros", "reflect", "circular" or "zonal".

    "reflect" mirrors the map at the centres of its outermost cells, as is done with maps of a region.

    >>> continue_map(torch.ones(1, 1, 1, 2), 1, "zeros")[0, 0].tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    >>> continue_map(torch.arange(9.0).view(1, 1, 3, 3), 1, "reflect")[0, 0, 0].tolist()
    [4.0, 3.0, 4.0, 5.0, 4.0]
    """
    if not cells:
        return fields
    if beyond == "zonal":
        return continue_globe(fields, cells)
    if beyond != "zeros" and cells >= min(fields.shape[-2:]):
        return _continue_far(fields, cells, beyond)
    if beyond == "circular":
        return wrap_around(fields, cells)
    return functional.pad(fields, (cells,) * 4, mode="reflect" if beyond == "reflect" else "constant")


def _continue_far(fields: Tensor, cells: int, beyond: str) -> Tensor:
    """Continue a map by more cells than it has, by mirrors of mirrors or around it several times."""
    for axis in (-2, -1):
        size = fields.shape[axis]
        index = torch.arange(-cells, size + cells, device=fields.device)
        if beyond == "reflect":
            index = index % max(2 * size - 2, 1)
            index = torch.minimum(index, 2 * size - 2 - index)
        fields = fields.index_select(axis, index % size)
    return fields


def continue_globe(fields: Tensor, cells: int) -> Tensor:
    """Continue a map of the globe, (batch, channel, latitude, longitude), by any number of cells a side.

    Raises
    ------
    InputError
        Where longitudes are odd in number: none lies 180 degrees from another.

    Examples
    --------
    Four longitudes; beyond the upper edge stands the same row, half around:

    >>> globe = torch.tensor([[[[1, 2, 3, 4], [5, 6, 7, 8]]]])
    >>> for row in continue_globe(globe, 1)[0, 0].tolist():
    ...     print(row)
    [2, 3, 4, 1, 2, 3]
    [4, 1, 2, 3, 4, 1]
    [8, 5, 6, 7, 8, 5]
    [6, 7, 8, 5, 6, 7]
    """
    if fields.shape[-1] % 2:
        raise InputError(
            f"a globe of {fields.shape[-1]} longitudes has none 180 degrees from another; give an even number"
        )
    return _go_around(_go_over_poles(fields, cells), cells)


def _go_over_poles(fields: Tensor, cells: int) -> Tensor:
    rows, longitudes = fields.shape[-2:]
    near = min(cells, rows)  # to the other pole, from where the rest goes on likewise
    ends = (fields.narrow(-2, first, near) for first in (0, rows - near))
    north, south = (end.flip(-2).roll(longitudes // 2, -1) for end in ends)
    fields = torch.cat([north, fields, south], -2)
    return _go_over_poles(fields, cells - near) if near < cells else fields


def _go_around(fields: Tensor, cells: int) -> Tensor:
    longitudes = fields.shape[-1]
    near = min(cells, longitudes)
    fields = torch.cat([fields[..., longitudes - near :], fields, fields[..., :near]], -1)
    return _go_around(fields, cells - near) if near < cells else fields


def apply_to_globe(network: Callable[[Tensor], Tensor], fields: Tensor, step: int) -> Tensor:
    """Apply what makes a globe coarser by a factor, for which its rows need not be a multiple of that.

    Rows that are wanting, half of them at each pole, are taken from beyond it, and cut off again: to the
    network a few rows at the poles occur twice. A grid of ERA5, 721 x 1440 cells, is so read as 728 or 736
    rows. Longitudes have no end at which any could be added.

    >>> seen = []
    >>> def network(fields):
    ...     seen.append(tuple(fields.shape[2:]))
    ...     return 2 * fields
    >>> globe = torch.rand(1, 1, 721, 1440)
    >>> bool((apply_to_globe(network, globe, step=16) == 2 * globe).all()), seen
    (True, [(736, 1440)])
    """
    check_globe(fields, step)
    rows = fields.shape[-2]
    more = -rows % step
    if not more:
        return network(fields)
    north = more // 2
    widened = _go_over_poles(fields, more - north)[..., more % 2 :, :]
    return network(widened)[..., north : north + rows, :]


def check_globe(fields: Tensor, step: int) -> None:
    """Refuse a map of the globe whose columns cannot be made coarser by a factor and remain a globe's.

    >>> check_globe(torch.zeros(1, 1, 181, 360), step=8)
    Traceback (most recent call last):
    fieldwise.errors.InputError: a globe of 181 x 360 cells does not become 8 times coarser; give ...
    """
    rows, longitudes = fields.shape[-2:]
    if longitudes % (2 * step):
        raise InputError(
            f"a globe of {times((rows, longitudes))} cells does not become {step} times coarser; give "
            f"longitudes in multiples of {2 * step}, or take padding published"
        )


class PaddedConvolution(nn.Conv2d):
    """A convolution that gives as many cells as it reads, or with a stride so many times fewer.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, dilation, groups, bias
        As of `torch.nn.Conv2d`; the kernel is odd.
    beyond : str
        What lies beyond the map: "zeros", "reflect", "circular" or "zonal".

    Raises
    ------
    InputError
        If the kernel has no cell in the middle.

    Examples
    --------
    >>> PaddedConvolution(4, 8, 3, beyond="zonal", dilation=6)(torch.zeros(1, 4, 6, 8)).shape
    torch.Size([1, 8, 6, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        beyond: str,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(
                f"a kernel has {kernel_size} cells a side; give an odd number, with one in the middle"
            )
        margin = dilation * (kernel_size // 2)
        own = margin if beyond == "zeros" else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, own, dilation, groups, bias)
        self.beyond, self.margin = beyond, margin - own

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y / stride, x / stride), rounded up."""
        widened = continue_map(features, self.margin, self.beyond)
        if self.groups == 1 or self.dilation == (1, 1) or widened.device.type != "cpu":
            return super().forward(widened)
        # In bf16 the gradient of such weights holds what the memory did before (PyTorch 2.13, channels last).
        with torch.autocast("cpu", enabled=False):
            return super().forward(widened.to(self.weight.dtype))


class PaddedEnlargement(nn.ConvTranspose2d):
    """A transposed convolution of 3 cells, to exactly so many times as many cells as it reads.

    Parameters
    ----------
    in_channels, out_channels, bias
        As of `torch.nn.ConvTranspose2d`.
    factor : int
        1 or 2.
    beyond : str
        What lies beyond the map: "zeros", "reflect", "circular" or "zonal".

    Examples
    --------
    >>> PaddedEnlargement(4, 8, beyond="zonal")(torch.zeros(1, 4, 6, 8)).shape
    torch.Size([1, 8, 12, 16])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, beyond: str, factor: int = 2, bias: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, 3, factor, 1, factor - 1, bias=bias)
        self.beyond, self.factor = beyond, factor

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, factor y, factor x)."""
        if self.beyond == "zeros":
            return super().forward(features, output_size)
        return _cut(super().forward(continue_map(features, 1, self.beyond)), self.factor)


def spread(features: Tensor, cells: Sequence[int], *, beyond: str, to_corners: bool = False) -> Tensor:
    """Spread (batch, channel, y, x) bilinearly to more cells; on the globe to a whole multiple of them.

    Parameters
    ----------
    cells
        Rows and columns of the result.
    beyond
        What lies beyond the map; with "zonal" it has a say, otherwise the outermost cells go on.
    to_corners
        Whether the centres of the outermost cells stay where they are, except with "zonal", where none is.

    >>> spread(torch.tensor([[[[0.0, 4.0]]]]), (1, 4), beyond="zeros").flatten().tolist()
    [0.0, 1.0, 3.0, 4.0]
    >>> spread(torch.tensor([[[[0.0, 4.0]]]]), (2, 4), beyond="zonal")[0, 0, 0].tolist()  # pole: half mixed
    [1.5, 1.5, 2.5, 2.5]
    """
    if beyond != "zonal":
        return functional.interpolate(features, list(cells), mode="bilinear", align_corners=to_corners)
    factor = cells[0] // features.shape[-2]
    widened = continue_map(features, 1, beyond)
    return _cut(functional.interpolate(widened, scale_factor=factor, mode="bilinear"), factor)


def _cut(fields: Tensor, cells: int) -> Tensor:
    rows, columns = fields.shape[-2:]
    return fields[..., cells : rows - cells, cells : columns - cells]
