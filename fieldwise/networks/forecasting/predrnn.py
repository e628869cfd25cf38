"""PredRNN: ConvLSTM with a second memory that goes through all layers of a frame, and on to the next frame.

After Wang et al. 2022, arXiv:2103.09504: spatiotemporal LSTM cells with a zigzag memory. Four layers of 128
features, kernels of 5 cells and patches of 4 have the 23.84 million parameters that OpenSTL lists
(arXiv:2306.11249).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import SequenceNetwork, roll_out
from fieldwise.networks.valid.periodic import put_channels_last

KEEPING = 1.0  # added to what the gates of forgetting are made of: at first memories are kept


class Memories(NamedTuple):
    """What is kept from frame to frame: of every layer cell and hidden features, of all one zigzag memory."""

    cells: list[Tensor]
    hidden: list[Tensor]
    zigzag: Tensor | None


class PredRNN(SequenceNetwork):
    """Reads the known frames one by one, then its own; what it makes is the change to the next.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`.
    features : int
        Of every layer.
    layers : int
        Cells, each of which reads the features of the one before.
    kernel_size : int
        Cells on a side of all kernels but those of one cell, odd.
    patch : int
        Cells on a side of squares that are one cell to the layers, their cells being channels; rows and
        columns are multiples of it.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network = PredRNN(1, features=128, layers=4, patch=4)
    >>> sum(parameter.numel() for parameter in network.parameters())
    23838720
    >>> PredRNN(2, features=8)(torch.zeros(1, 4, 2, 6, 7), horizon=3).shape
    torch.Size([1, 3, 2, 6, 7])
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 64,
        layers: int = 2,
        kernel_size: int = 5,
        patch: int = 1,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(features=features, layers=layers, patch=patch)
        self.patch, first = patch, (channels + 2 * forcing) * patch**2
        self.cells = nn.ModuleList(
            SpatiotemporalCell(features if number else first, features, kernel_size, padding=padding)
            for number in range(layers)
        )
        self.head = PaddedConvolution(features, channels * patch**2, 1, beyond=padding)
        store_channels_last(self)

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make frame after frame, each from all before it."""
        if any(size % self.patch for size in inputs.shape[3:]):
            raise InputError(
                f"maps of {tuple(inputs.shape[3:])} cells have no whole patches of {self.patch}; give patch 1"
            )
        return roll_out(self._advance, inputs, horizon=horizon, forcing=forcing, truth=truth, fed=fed)

    def _advance(self, frames: Tensor, memories: Memories | None, step: int) -> tuple[Tensor, Any]:
        for each in frames.unbind(1):
            features = put_channels_last(functional.pixel_unshuffle(each, self.patch))
            features, memories = self._pass(features, memories)
        made = functional.pixel_shuffle(self.head(features), self.patch)
        return frames[:, -1, : self.channels] + made, memories

    def _pass(self, features: Tensor, memories: Memories | None) -> tuple[Tensor, Memories]:
        """Pass one frame through all layers."""
        cells, hidden, zigzag = [], [], None if memories is None else memories.zigzag
        for number, layer in enumerate(self.cells):
            before = None if memories is None else (memories.cells[number], memories.hidden[number])
            features, cell, zigzag = layer(features, before, zigzag)
            cells.append(cell)
            hidden.append(features)
        return features, Memories(cells, hidden, zigzag)


class SpatiotemporalCell(nn.Module):
    """One layer: gates for its own memory and for that which goes through the layers; both are shown.

    >>> cell = SpatiotemporalCell(3, 8, 5, padding="circular")
    >>> [tuple(each.shape) for each in cell(torch.zeros(2, 3, 6, 7), None, None)]
    [(2, 8, 6, 7), (2, 8, 6, 7), (2, 8, 6, 7)]
    """

    def __init__(self, in_channels: int, features: int, kernel_size: int, *, padding: str) -> None:
        super().__init__()
        self.features = features

        def convolve(read: int, parts: int, size: int = kernel_size) -> PaddedConvolution:
            return PaddedConvolution(read, parts * features, size, beyond=padding)

        self.of_inputs = convolve(in_channels, 7)
        self.of_hidden = convolve(features, 4)
        self.of_zigzag = convolve(features, 3)
        self.of_memories = convolve(2 * features, 1)
        self.mix = convolve(2 * features, 1, 1)

    def forward(
        self, inputs: Tensor, before: tuple[Tensor, Tensor] | None, zigzag: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map (batch, in_channels, y, x) to hidden features, cell and zigzag memory, (batch, features, y, x).

        Parameters
        ----------
        before
            Cell and hidden features of the frame before.
        zigzag
            The memory of the layer below, in the first layer that of the last one, of the frame before.
        """
        width = self.features
        show, gates, zigzag_gates = self.of_inputs(inputs).split([width, 3 * width, 3 * width], dim=1)
        cell = None
        if before is not None:
            cell = before[0]
            shown, recalled = self.of_hidden(before[1]).split([width, 3 * width], dim=1)
            show, gates = show + shown, gates + recalled
        if zigzag is not None:
            zigzag_gates = zigzag_gates + self.of_zigzag(zigzag)
        cell, zigzag = _renew(gates, cell), _renew(zigzag_gates, zigzag)
        both = torch.cat([cell, zigzag], dim=1)
        hidden = torch.sigmoid(show + self.of_memories(both)) * torch.tanh(self.mix(both))
        return hidden, cell, zigzag


def _renew(gates: Tensor, memory: Tensor | None) -> Tensor:
    write, keep, made = gates.chunk(3, dim=1)
    new = torch.sigmoid(write) * torch.tanh(made)
    return new if memory is None else torch.addcmul(new, torch.sigmoid(keep + KEEPING), memory)
