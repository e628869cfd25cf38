"""A plain stack of convolutions from some fields to others, at one resolution: the ice-flow emulator's.

``ConvNet(in_channels, out_channels, *, layers=16, filters=32, kernel_size=3, activation="leaky_relu",
dropout=0.0, residual=False, dilations=(1,), dimensions=2)`` maps (batch, in_channels, y, x) to (batch,
out_channels, y, x), frames of any size. ``square_kernels(network)`` is the L2 term of a loss.

The architecture is that of Jouvet et al. 2021, J. Glaciol. 68(270): layers of convolution, leaky rectifier
and dropout, then one linear convolution of a single cell. What lies beyond the frame counts as zero. A grid
spacing, or any other number that holds for the whole frame, is one more channel of constant value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.networks.cells import Everywhere, Packed, choose_cells

LEAKY_SLOPE = 0.01  # of the rectifier below zero
CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
KERNELS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class ConvNet(nn.Module):
    """Convolutions with a rectifier each, same extent out as in, then a linear mix of the last features.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and written, scaled to order one.
    layers : int
        Convolutions before the last, linear one.
    filters : int
        Features that each of them makes.
    kernel_size : int
        Cells on a side of their kernels, odd.
    activation : str
        "leaky_relu" (slope of 0.01 below zero) or "relu".
    dropout : float
        Share of features set to zero at random while training.
    residual : bool
        Whether each layer adds to the features of the one before, instead of replacing them.
    dilations : sequence of int
        Steps in cells from tap to tap of the kernels, layer by layer, and again from the first: how far the
        network sees at the same cost.
    dimensions : int
        2 for maps, 3 for volumes.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels than the network reads.

    Examples
    --------
    From thickness, two slopes and a flow factor to two velocities of two components (map type f12), with as
    many parameters as the released emulator has:

    >>> network = ConvNet(4, 4)
    >>> sum(parameter.numel() for parameter in network.parameters())
    140036
    >>> network(torch.zeros(1, 4, 50, 37)).shape
    torch.Size([1, 4, 50, 37])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        layers: int = 16,
        filters: int = 32,
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        dropout: float = 0.0,
        residual: bool = False,
        dilations: Sequence[int] = (1,),
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, layers=layers, filters=filters)
        convolution = choose_convolution(dimensions, kernel_size)
        self.in_channels, self.residual, self.dimensions = in_channels, residual, dimensions
        self.convolutions = nn.ModuleList(
            convolution(
                filters if number else in_channels,
                filters,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
            )
            for number, dilation in enumerate(repeat_dilations(dilations, layers))
        )
        self.activation = make_activation(activation)
        self.dropout = make_dropout(dropout)
        self.output = convolution(filters, out_channels, 1)
        draw_glorot_weights(self)
        if residual:
            soften(self.convolutions[1:])

    def forward(self, fields: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x).

        With a mask (batch, 1, y, x) the map ends where it is 0, and the result is 0 there.
        """
        check_channels(fields, self.in_channels, self.dimensions)
        return pass_fields(self, fields, mask)


def pass_layers(network: Any, cells: Everywhere | Packed, features: Tensor) -> Tensor:
    """Pass features of picked cells through `convolutions`, with rectifier and dropout, and `output`.

    >>> from fieldwise.networks.cells import Everywhere
    >>> network, fields = ConvNet(2, 1, layers=2), torch.ones(1, 2, 4, 4)
    >>> torch.allclose(pass_layers(network, Everywhere(), fields), network(fields), atol=1e-6)
    True
    """
    features = cells.begin(features)
    for number, convolution in enumerate(network.convolutions):
        made = network.activation(cells.apply(convolution, features))
        if network.training:
            made = network.dropout(made)
        if network.residual and number:
            made = made + features if torch.is_grad_enabled() else made.add_(features)
        features = made
    return cells.end(network.output, features)


def pass_fields(network: Any, fields: Tensor, mask: Tensor | None = None) -> Tensor:
    """Pass fields (batch, channel, y, x) through the layers, everywhere or where a mask is not 0.

    >>> network = ConvNet(1, 1, layers=3)
    >>> frame = torch.ones(1, 1, 5, 5)
    >>> wider = nn.functional.pad(frame, (2, 2, 2, 2))
    >>> inner = pass_fields(network, wider, mask=wider)[:, :, 2:-2, 2:-2]  # what lies around has no say
    >>> torch.allclose(inner, network(frame), atol=1e-6)
    True
    """
    cells = choose_cells(fields, mask, network.convolutions)
    return cells.spread(pass_layers(network, cells, cells.pick(fields)))


def square_kernels(network: nn.Module) -> Tensor:
    """Sum the squares of all kernels, without the biases; times a factor, the L2 term of a loss.

    >>> network = ConvNet(1, 1, layers=1, filters=1)
    >>> with torch.no_grad():
    ...     for parameter in network.parameters():
    ...         _ = parameter.fill_(2)
    >>> square_kernels(network).item()  # 9 + 1 weights of 2; the biases do not count
    40.0
    """
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    return torch.stack([kernel.square().sum() for kernel in kernels]).sum()


def draw_glorot_weights(network: nn.Module) -> None:
    """Draw all kernels as Glorot and Bengio (2010) do, uniformly, and set the biases to zero.

    >>> layer = nn.Conv2d(100, 200, 3)
    >>> draw_glorot_weights(layer)
    >>> round(layer.weight.abs().max().item() / (6 / (9 * 100 + 9 * 200)) ** 0.5, 3)
    1.0
    """
    for module in network.modules():
        if isinstance(module, KERNELS):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_he_weights(network: nn.Module) -> None:
    """Draw all kernels as He et al. (2015) do for rectifiers, normally, and set the biases to zero.

    >>> layer = nn.Conv2d(50, 200, 3)
    >>> draw_he_weights(layer)
    >>> round(layer.weight.std().item() / (2 / (9 * 50)) ** 0.5, 1)
    1.0
    """
    for module in network.modules():
        if isinstance(module, KERNELS):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def soften(convolutions: nn.ModuleList) -> None:
    """Shrink first kernels by the root of half the layers, so that a sum over all of them is of order one.

    >>> layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(7))  # the eighth comes before these
    >>> before = layers[0].weight.item()
    >>> soften(layers)
    >>> round(layers[0].weight.item() / before, 6)
    0.5
    """
    with torch.no_grad():
        for convolution in convolutions:
            for parameter in convolution.parameters():
                parameter.mul_((2 / (len(convolutions) + 1)) ** 0.5)


def make_activation(name: str) -> nn.Module:
    """Make a rectifier that overwrites its input, which saves a pass over memory.

    >>> make_activation("leaky_relu")(torch.tensor([-100.0, 1.0])).tolist()
    [-1.0, 1.0]
    """
    if name == "leaky_relu":
        return nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
    if name == "relu":
        return nn.ReLU(inplace=True)
    raise InputError(f"activation is {name!r}; take leaky_relu or relu")


def repeat_dilations(dilations: Sequence[int], layers: int) -> list[int]:
    """Give each layer its dilation, from the first again where there are more layers.

    >>> repeat_dilations([1, 2, 4], 5)
    [1, 2, 4, 1, 2]
    """
    if not dilations or min(dilations) < 1:
        raise InputError(f"dilations are {list(dilations)}; give whole numbers of at least 1")
    return [dilations[number % len(dilations)] for number in range(layers)]


def make_dropout(share: float) -> nn.Module:
    """Make a layer that sets this share of its input to zero while training.

    >>> make_dropout(0.1), make_dropout(0.0)
    (Dropout(p=0.1, inplace=False), Identity())
    """
    if not 0 <= share < 1:
        raise InputError(f"dropout is {share}; give a share of at least 0 and below 1")
    return nn.Dropout(share) if share else nn.Identity()


def choose_convolution(dimensions: int, kernel_size: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Choose the convolution for maps or volumes; its kernel must have a cell in the middle.

    >>> choose_convolution(2, 4)
    Traceback (most recent call last):
    fieldwise.errors.InputError: kernel_size is 4; give an odd number, so that a cell is in the middle
    """
    if dimensions not in CONVOLUTIONS:
        raise InputError(f"dimensions is {dimensions}; take 2 for maps or 3 for volumes")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size is {kernel_size}; give an odd number, so that a cell is in the middle")
    return CONVOLUTIONS[dimensions]


def check_sizes(**sizes: int) -> None:
    """Raise an error where a number of channels, layers or filters is below one.

    >>> check_sizes(filters=32, layers=0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: layers is 0; give at least 1
    """
    for name, value in sizes.items():
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")


def check_channels(fields: Tensor, channels: int, dimensions: int) -> None:
    """Raise an error where a batch has not the shape (batch, channels, [z,] y, x).

    >>> check_channels(torch.zeros(8, 2, 16, 16), 3, 2)
    Traceback (most recent call last):
    fieldwise.errors.InputError: the network reads (batch, 3, y, x), not (8, 2, 16, 16); give the inputs ...
    """
    if fields.ndim != dimensions + 2 or fields.shape[1] != channels:
        axes = f"(batch, {channels}, {'z, ' if dimensions == 3 else ''}y, x)"
        raise InputError(
            f"the network reads {axes}, not {tuple(fields.shape)}; give the inputs that it was trained on"
        )
