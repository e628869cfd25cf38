"""ConvLSTM: a long short-term memory whose products are convolutions.

After Shi et al. 2015, arXiv:1506.04214, without weights from the memory to the gates. Each gate is squashed
once:

    i, f, o = sigmoid, g = tanh of (inputs * W + hidden * U + bias);  c' = f c + i g;  h' = o tanh(c')

``ConvLSTM(channels, *, forcing=0, context=12, horizon=12, features=64, layers=1, kernel_size=5,
padding="reflect")``; see `fieldwise.networks.forecasting.frames` for what it reads and gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import (
    SequenceNetwork,
    fold_time,
    roll_out,
    unfold_time,
)


class Memory(NamedTuple):
    """What a cell keeps from frame to frame, each (batch, features, y, x)."""

    cell: Tensor
    hidden: Tensor


class ConvLSTM(SequenceNetwork):
    """Reads all known frames, then its own; a linear mix of the last features is the change to the next.

    Parameters
    ----------
    channels : int
        Fields read and given, scaled to order one.
    forcing : int
        Fields that are known for the future too; those of the hour read and of the next are read.
    context, horizon : int
        Frames that are known and that are made; any number of either can be asked for.
    features : int
        Of every layer.
    layers : int
        Cells, each of which reads the features of the one before.
    kernel_size : int
        Cells on a side of all kernels but the last, odd.
    padding : str
        What lies beyond the map: "reflect", "circular", "zeros" or "zonal" (the globe).

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    As many parameters as a single cell of 5 x 5 and 64 features has with three fields, and its head:

    >>> network = ConvLSTM(3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    429251
    >>> network(torch.zeros(2, 12, 3, 8, 9)).shape
    torch.Size([2, 12, 3, 8, 9])
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 64,
        layers: int = 1,
        kernel_size: int = 5,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        self.core = ConvLSTMStack(
            channels + 2 * forcing,
            channels,
            features=features,
            layers=layers,
            kernel_size=kernel_size,
            padding=padding,
        )

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make frame after frame, each from all before it."""
        return roll_out(self.advance, inputs, horizon=horizon, forcing=forcing, truth=truth, fed=fed)

    def advance(
        self, frames: Tensor, memories: list[Memory] | None, step: int
    ) -> tuple[Tensor, list[Memory]]:
        """Make the frame after the last of `frames`, (batch, time, channels + 2 forcing, y, x)."""
        change, memories = self.core(frames, memories)
        return frames[:, -1, : self.channels] + change, memories


class ConvLSTMStack(nn.Module):
    """Cells over cells, and a linear mix of the last features of the last one.

    >>> stack = ConvLSTMStack(4, 2, features=8, layers=2, kernel_size=3, padding="circular")
    >>> mix, memories = stack(torch.zeros(1, 5, 4, 6, 7))
    >>> mix.shape, len(memories), memories[0].hidden.shape
    (torch.Size([1, 2, 6, 7]), 2, torch.Size([1, 8, 6, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: int,
        layers: int,
        kernel_size: int,
        padding: str,
    ) -> None:
        super().__init__()
        check_sizes(features=features, layers=layers)
        self.cells = nn.ModuleList(
            ConvLSTMCell(features if number else in_channels, features, kernel_size, padding=padding)
            for number in range(layers)
        )
        self.head = PaddedConvolution(features, out_channels, 1, beyond=padding, bias=True)
        store_channels_last(self)

    def forward(
        self, frames: Tensor, memories: Sequence[Memory] | None = None
    ) -> tuple[Tensor, list[Memory]]:
        """Map (batch, time, in_channels, y, x) to (batch, out_channels, y, x), and what is kept."""
        kept = []
        for number, cell in enumerate(self.cells):
            frames, memory = cell(frames, None if memories is None else memories[number])
            kept.append(memory)
        return self.head(kept[-1].hidden), kept


class ConvLSTMCell(nn.Module):
    """One layer over all frames that it is given: what of the gates is of the inputs is convolved at once.

    Parameters
    ----------
    in_channels, features : int
        Read, and kept.
    kernel_size : int
        Cells on a side of both kernels, odd.
    padding : str
        What lies beyond the map.
    normed : bool
        Whether gates and memory are normed over the map, as SAVP does.

    Notes
    -----
    The gates are, in this order, i, f, o and g. The bias of f starts at 1: at first memories are kept.

    Examples
    --------
    >>> hidden, memory = ConvLSTMCell(3, 8, 5, padding="reflect")(torch.zeros(2, 12, 3, 6, 7))
    >>> hidden.shape, torch.equal(hidden[:, -1], memory.hidden)
    (torch.Size([2, 12, 8, 6, 7]), True)
    """

    def __init__(
        self, in_channels: int, features: int, kernel_size: int, *, padding: str, normed: bool = False
    ) -> None:
        super().__init__()
        self.features = features
        made = 4 * features
        self.of_inputs = PaddedConvolution(in_channels, made, kernel_size, beyond=padding, bias=not normed)
        self.of_hidden = PaddedConvolution(features, made, kernel_size, beyond=padding)
        self.norms = nn.ModuleList(
            nn.InstanceNorm2d(count, affine=True) for count in (made, features) if normed
        )
        of_gates: Any = self.norms[0] if normed else self.of_inputs
        nn.init.ones_(of_gates.bias.data[features : 2 * features])

    def forward(self, frames: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Map (batch, time, in_channels, y, x) to the hidden features, (batch, time, features, y, x)."""
        times = frames.shape[1]
        gates = self.of_inputs(fold_time(frames)).unflatten(0, (times, -1)).unbind(0)
        kept: list[Memory] = []
        for each in gates:
            if memory is not None:  # there is nothing to recall at first
                each = self.of_hidden(memory.hidden).add_(each)
            memory = self._remember(each, memory)
            kept.append(memory)
        return unfold_time(torch.cat([each.hidden for each in kept]), times), kept[-1]

    def _remember(self, gates: Tensor, memory: Memory | None) -> Memory:
        if self.norms:
            gates = self.norms[0](gates)
        cell, show = _Renewal.apply(gates, None if memory is None else memory.cell)
        if self.norms:
            cell = self.norms[1](cell)
        return Memory(cell, show * torch.tanh(cell))


class _Renewal(torch.autograd.Function):
    """Gates and cell to the new cell and what of it is shown; backward all gates' gradients fill one array.

    By functions of torch one by one, their parts would be joined again in the backward pass, which costs as
    much as all the rest of what is not convolved.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        features = gates.shape[1] // 4
        opened, made = torch.sigmoid(gates[:, : 3 * features]), torch.tanh(gates[:, 3 * features :])
        write, keep, show = opened.chunk(3, dim=1)
        cell = write * made
        if before is not None:
            cell.addcmul_(keep, before)
        ctx.save_for_backward(opened, made, before)
        return cell, show

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        of_cell, of_show = gradients
        opened, made, before = ctx.saved_tensors
        features, (write, keep, _) = made.shape[1], opened.chunk(3, dim=1)
        sizes = len(made), 4 * features, *made.shape[2:]
        all_gates = torch.empty(
            sizes, dtype=made.dtype, device=made.device, memory_format=torch.channels_last
        )
        of_gates = all_gates.split(features, dim=1)
        torch.mul(of_cell, made, out=of_gates[0])
        if before is None:
            of_gates[1].zero_()
        else:
            torch.mul(of_cell, before, out=of_gates[1])
        of_gates[2].copy_(of_show)
        of_opened = all_gates[:, : 3 * features]
        torch.ops.aten.sigmoid_backward.grad_input(of_opened, opened, grad_input=of_opened)
        torch.ops.aten.tanh_backward.grad_input(of_cell * write, made, grad_input=of_gates[3])
        return all_gates, None if before is None else of_cell * keep
