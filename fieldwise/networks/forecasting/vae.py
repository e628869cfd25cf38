"""A variational autoencoder of single frames that forecasts: a frame's code is decoded as what changes.

Frame after frame, from its own; of the future only what is known ahead is read. Where AMBS has one code for a
map of fixed size, here every eighth cell along both axes has one, so that maps of any size can be read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution, PaddedEnlargement
from fieldwise.networks.forecasting.frames import (
    DrawingNetwork,
    draw_plane,
    fold_time,
    roll_out,
    unfold_time,
)
from fieldwise.networks.valid.srgan import Noise

HALVINGS = 3
WIDEST = 10.0  # that the logarithm of a variance may be from 0


class VAE(DrawingNetwork):
    """Encode a frame, draw a code, decode it.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`; of the context only the last frame is read.
    features : int
        Of all layers.
    code : int
        Numbers drawn for each coarse cell.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network, known = VAE(2), torch.zeros(1, 12, 2, 17, 16)
    >>> network(known).shape
    torch.Size([1, 12, 2, 17, 16])
    >>> mean, log_variance = network.encode(known)
    >>> mean.shape
    torch.Size([1, 12, 16, 3, 2])
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 8,
        code: int = 16,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(features=features, code=code)
        self.code = code
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for number in range(HALVINGS):
            read = features if number else channels
            encoder.append(PaddedConvolution(read, features, 3, stride=2, beyond=padding, bias=True))
            read = features if number else code
            decoder.append(PaddedEnlargement(read, features, beyond=padding, bias=True))
            for layers in (encoder, decoder):
                layers.append(nn.LeakyReLU())
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.moments = PaddedConvolution(features, 2 * code, 1, beyond=padding, bias=True)
        self.head = PaddedConvolution(features + 2 * forcing, channels, 3, beyond=padding, bias=True)
        store_channels_last(self)

    def draw(
        self,
        inputs: Tensor,
        horizon: int,
        forcing: Tensor | None,
        truth: Tensor | None,
        fed: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        """Make frame after frame, each drawn from the one before."""

        def advance(frames: Tensor, state: None, step: int) -> tuple[Tensor, None]:
            return self._advance(frames[:, -1], step, noise), None

        return roll_out(advance, inputs, horizon=horizon, forcing=forcing, truth=truth, fed=fed)

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of each frame's code, (batch, time, code, y / 8, x / 8)."""
        moments = self.moments(self.encoder(fold_time(frames)))
        mean, log_variance = unfold_time(moments, frames.shape[1]).chunk(2, dim=2)
        return mean, log_variance.clamp(-WIDEST, WIDEST)

    def _advance(self, frame: Tensor, step: int, noise: Noise) -> Tensor:
        """Make the frame after one, (batch, channels + 2 forcing, y, x)."""
        fields, known = frame[:, : self.channels], frame[:, self.channels :]
        rows, columns = fields.shape[-2:]
        mean, log_variance = (each[:, 0] for each in self.encode(fields[:, None]))
        planes = [
            draw_plane(noise, step * self.code + number, fields, (rows, columns), 2**HALVINGS)
            for number in range(self.code)
        ]
        drawn = torch.addcmul(mean, torch.exp(log_variance / 2), torch.cat(planes, dim=1).to(mean.dtype))
        made = self.decoder(drawn)[..., :rows, :columns]
        return fields + self.head(torch.cat([made, known.to(made.dtype)], dim=1))
