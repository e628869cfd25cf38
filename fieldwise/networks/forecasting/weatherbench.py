"""The convolutions of WeatherBench: a plain stack from all known frames to all that are to be made.

After Rasp et al. 2020, doi 10.1029/2020MS002203: kernels of 5 cells, four layers of 64 features, leaky
rectifiers. The frames are made as changes to the last known one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import SequenceNetwork, roll_on
from fieldwise.networks.valid.periodic import put_channels_last


class WeatherBenchCNN(SequenceNetwork):
    """Layers of convolution and leaky rectifier on all frames as channels, and a last convolution.

    Parameters
    ----------
    channels, forcing, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`.
    context, horizon : int
        Frames that are read and made at once; for more frames it goes on from its own.
    features, layers : int
        Of every layer, and how many come before the last convolution.
    kernel_size : int
        Cells on a side of the kernels, odd.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network = WeatherBenchCNN(3, forcing=1)
    >>> network(torch.zeros(2, 12, 3, 8, 9), forcing=torch.zeros(2, 24, 1, 8, 9)).shape
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
        layers: int = 4,
        kernel_size: int = 5,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(features=features, layers=layers)
        first = context * channels + (context + horizon) * forcing
        stack: list[nn.Module] = []
        for read, given in pairwise([first, *[features] * layers, horizon * channels]):
            stack += [PaddedConvolution(read, given, kernel_size, beyond=padding, bias=True), nn.LeakyReLU()]
        self.layers = nn.Sequential(*stack[:-1])
        store_channels_last(self)

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make the frames in stretches, each at once; `truth` is not read."""
        return roll_on(self._answer, inputs, horizon=horizon, stretch=self.horizon, forcing=forcing)

    def _answer(self, inputs: Tensor, forcing: Tensor | None, number: int) -> Tensor:
        read = inputs.flatten(1, 2)
        if forcing is not None:
            read = torch.cat([read, forcing.flatten(1, 2)], dim=1)
        change = self.layers(put_channels_last(read))
        return inputs[:, -1:] + change.unflatten(1, (self.horizon, self.channels))
