"""What the networks of valid convolutions are made of: blocks named by letters, crops, and resampling.

A letter is a layer: C a convolution of 3 cells, B a batch norm, A a leaky rectifier of slope 0.01, U and D a
convolution of 2 cells that doubles or halves the resolution. Each C takes a cell off every side.

After map2map (Li et al. 2021, PNAS 118(19)), with whose names in the state.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convnet import CONVOLUTIONS, check_sizes, choose_convolution
from fieldwise.networks.unet import ENLARGEMENTS
from fieldwise.networks.valid.styled import WEIGHTED, Chain, convolve

BATCH_NORMS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
SLOPE = 0.01  # of the rectifier below zero


class ConvBlock(nn.Module):
    """Layers named by letters.

    Parameters
    ----------
    in_channels, out_channels : int
        Read by the first convolution and given by the last; between them it is the larger of the two.
    letters : str
        Such as "CBACBA".
    dimensions : int
        2 for maps, 3 for volumes.

    Examples
    --------
    >>> import torch
    >>> ConvBlock(3, 8, "CACBA")(torch.zeros(1, 3, 9, 9, 9)).shape
    torch.Size([1, 8, 5, 5, 5])
    >>> ConvBlock(8, 8, "UBA", dimensions=2)(torch.zeros(1, 8, 4, 4)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, letters: str, *, dimensions: int = 3) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        choose_convolution(dimensions, 3)  # refuses other dimensions
        if not letters or (unknown := set(letters) - set("CBAUD")):
            raise InputError(
                f"letters are {letters!r}{f', of which {min(unknown)}' if letters else ''}; "
                "take C, B, A, U and D"
            )
        last = max((place for place, letter in enumerate(letters) if letter in "CUD"), default=-1)
        layers: list[nn.Module] = []
        width = in_channels
        for place, letter in enumerate(letters):
            following = out_channels if place == last else max(in_channels, out_channels)
            layer = make_layer(letter, width, following, dimensions)
            if isinstance(layer, nn.LeakyReLU):  # not into the input of the block, nor what a rectifier keeps
                layer.inplace = letters[:place][-1:] not in ("", "A")
            layers.append(layer)
            width = following if letter in "CUD" else width
        self.convs = Chain(*layers)

    def forward(self, features: Tensor, style: Tensor | None = None, periodic: bool = False) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space)."""
        return self.convs(features, style, periodic)


class ResidualBlock(ConvBlock):
    """Layers named by letters, to which a 1-cell convolution of the middle of the input is added.

    A rectifier at the end comes after the sum.

    >>> import torch
    >>> ResidualBlock(3, 8, "CBACBA", dimensions=2)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, letters: str, *, dimensions: int = 3) -> None:
        super().__init__(in_channels, out_channels, letters.removesuffix("A"), dimensions=dimensions)
        self.skip = CONVOLUTIONS[dimensions](in_channels, out_channels, 1)
        self.act = nn.LeakyReLU(SLOPE, inplace=True) if letters.endswith("A") else nn.Identity()
        self.cut = letters.count("C")

    def forward(self, features: Tensor, style: Tensor | None = None, periodic: bool = False) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space)."""
        direct = convolve(self.skip, features if periodic else crop(features, self.cut), style)
        return self.act(self.convs(features, style, periodic) + direct)


def make_layer(letter: str, in_channels: int, out_channels: int, dimensions: int) -> nn.Module:
    """Make the layer of a letter; B and A keep the channels that they read.

    >>> make_layer("D", 4, 8, 2)
    Conv2d(4, 8, kernel_size=(2, 2), stride=(2, 2))
    """
    if letter == "C":
        return CONVOLUTIONS[dimensions](in_channels, out_channels, 3)
    if letter == "D":
        return CONVOLUTIONS[dimensions](in_channels, out_channels, 2, stride=2)
    if letter == "U":
        return ENLARGEMENTS[dimensions](in_channels, out_channels, 2, stride=2)
    if letter == "B":
        return BATCH_NORMS[dimensions](in_channels)
    return nn.LeakyReLU(SLOPE)


def crop(fields: Tensor, cells: int) -> Tensor:
    """Cut cells off every side of (batch, channel, *space).

    >>> import torch
    >>> crop(torch.arange(25).view(1, 1, 5, 5), 2).tolist()
    [[[[12]]]]
    """
    return narrow(fields, [size - 2 * cells for size in fields.shape[2:]])


def narrow(fields: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cut (..., *space) to the middle of these sizes; a single cell too many goes at the far side.

    It is a view where no slope is asked for. Where one is, a copy: the slope of a view comes without the
    memory format of all the rest, and everything on the way back would take longer.

    >>> import torch
    >>> narrow(torch.arange(5).view(1, 1, 1, 5), (1, 2)).tolist()
    [[[[1, 2]]]]
    """
    room = tuple(fields.shape[-len(sizes) :])
    if any(size > own for size, own in zip(sizes, room, strict=True)):
        raise InputError(f"{room} cells cannot be narrowed to {tuple(sizes)}; give fewer")
    before = [(own - size) // 2 for size, own in zip(sizes, room, strict=True)]
    if fields.requires_grad:
        after = [own - size - start for size, own, start in zip(sizes, room, before, strict=True)]
        cut = [-cells for pair in zip(before[::-1], after[::-1], strict=True) for cells in pair]
        return functional.pad(fields, cut)
    for axis, (size, start) in enumerate(zip(sizes, before, strict=True), start=fields.ndim - len(sizes)):
        fields = fields.narrow(axis, start, size)
    return fields


def double(fields: Tensor) -> Tensor:
    """Double the resolution of (batch, channel, *space) linearly: n cells give 2 n - 2.

    A cell off every side is left out: it would need a neighbour beyond the edge.

    >>> import torch
    >>> double(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]])).tolist()
    [[[[1.0, 3.0], [1.0, 3.0]]]]
    """
    return crop(functional.interpolate(fields, scale_factor=2, mode=LINEAR[fields.ndim - 2]), 1)


def halve(fields: Tensor) -> Tensor:
    """Halve the resolution of (batch, channel, *space) linearly, which is the mean of 2 cells an axis.

    >>> import torch
    >>> halve(torch.tensor([[[[0.0, 4.0, 9.0], [0.0, 4.0, 9.0]]]])).tolist()
    [[[[2.0]]]]
    """
    return (functional.avg_pool2d if fields.ndim == 4 else functional.avg_pool3d)(fields, 2)


def check_cells(fields: Tensor, least: int, step: int = 1) -> None:
    """Raise an error where fields (batch, channel, *space) are too small, or no multiple of a step.

    >>> import torch
    >>> check_cells(torch.zeros(1, 1, 44, 46), least=44, step=4)
    Traceback (most recent call last):
    fieldwise.errors.InputError: the network reads at least 44 cells an axis, multiples of 4, not (44, 46)...
    """
    sizes = tuple(fields.shape[2:])
    if any(size < least or size % step for size in sizes):
        multiples = f", multiples of {step}" if step > 1 else ""
        raise InputError(
            f"the network reads at least {least} cells an axis{multiples}, not {sizes}; "
            "choose another crop or padding"
        )


def check_bypass(bypass: bool | None, in_channels: int, out_channels: int) -> bool:
    """Tell whether the input is to be added to the output: as told, or where their channels agree.

    >>> check_bypass(None, 3, 3), check_bypass(False, 3, 3), check_bypass(None, 6, 3)
    (True, False, False)
    >>> check_bypass(True, 6, 3)
    Traceback (most recent call last):
    fieldwise.errors.InputError: bypass adds 6 channels to 3; leave it out, or let the channels agree
    """
    if bypass and in_channels != out_channels:
        raise InputError(
            f"bypass adds {in_channels} channels to {out_channels}; leave it out, or let the channels agree"
        )
    return in_channels == out_channels if bypass is None else bypass


def draw_normal_weights(network: nn.Module, std: float | None) -> None:
    """Draw the weights of all convolutions normally, with this standard deviation; None leaves them.

    >>> layer = nn.Conv3d(16, 64, 3)
    >>> draw_normal_weights(layer, 0.02)
    >>> round(layer.weight.std().item(), 3)
    0.02
    """
    if std is None:
        return
    if not 0 < std < float("inf"):
        raise InputError(f"init_std is {std}; give a standard deviation above 0")
    for layer in network.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.normal_(layer.weight, std=std)
