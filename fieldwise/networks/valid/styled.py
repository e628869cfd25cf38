"""Numbers beside the fields, such as the matter density or the growth factor: the style of a sample.

``add_styles(network, numbers)`` gives every convolution of a network a linear map from the style to one
factor a channel that it reads; ``convolve(layer, features, style)`` applies it. The maps start at zero, the
factors at one: the network begins as the plain one. After Jamieson et al. 2024, arXiv:2408.07699.

The networks of this folder do so themselves where they are made with ``style_numbers``; their ``forward``
then takes ``style`` (batch, numbers), best scaled to order one. It can be differentiated forward, networks
with batch norm in evaluation mode: the velocity is the derivative of a displacement in the growth factor,
times the rate of growth.

>>> import torch
>>> from fieldwise.networks.valid.unet import UNet
>>> network = UNet(2, 2, dimensions=2, features=4, style_numbers=1).eval()
>>> fields, growth = torch.zeros(1, 2, 44, 44), torch.ones(1, 1)
>>> displacement, derivative = torch.func.jvp(lambda d: network(fields, d), (growth,), (growth,))
>>> displacement.shape == derivative.shape
True
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.valid.inference import compute, pair_norms
from fieldwise.networks.valid.periodic import wrap_around

WEIGHTED = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def add_styles(network: nn.Module, numbers: int) -> None:
    """Give every convolution of a network its map from the style to factors, which start at one.

    >>> layer = nn.Conv2d(3, 8, 3)
    >>> add_styles(layer, 2)
    >>> [tuple(parameter.shape) for parameter in layer.style.parameters()]
    [(3, 2), (3,)]
    """
    if numbers < 0:
        raise InputError(f"style_numbers is {numbers}; give at least 0")
    if numbers:
        for layer in [layer for layer in network.modules() if isinstance(layer, WEIGHTED)]:
            affine = nn.Linear(numbers, layer.in_channels)
            for parameter in affine.parameters():
                nn.init.zeros_(parameter)
            layer.add_module("style", affine)


def check_style(network: nn.Module, style: Tensor | None, batch: int) -> None:
    """Raise an error where a network is given no style but needs one, or the other way round.

    >>> import torch
    >>> layer = nn.Conv2d(3, 8, 3)
    >>> add_styles(layer, 2)
    >>> check_style(layer, torch.zeros(4, 3), batch=4)
    Traceback (most recent call last):
    fieldwise.errors.InputError: the network takes a style of (4, 2), not (4, 3); give the numbers that ...
    """
    affine = next(filter(None, map(style_map, network.modules())), None)
    wanted = None if affine is None else (batch, affine.in_features)
    given = None if style is None else tuple(style.shape)
    if given != wanted:
        raise InputError(
            f"the network takes {f'a style of {wanted}' if wanted else 'no style'}, not {given}; "
            "give the numbers that it was trained with"
        )


def convolve(
    layer: nn.Module, features: Tensor, style: Tensor | None, norm: nn.Module | None = None
) -> Tensor:
    """Apply a layer to features (batch, channel, *space), whose channels the style (batch, numbers) scales.

    A layer without a map of styles, an activation for one, ignores the style. Only in inference mode may the
    batch norm after a layer be given, to be applied with it.

    >>> import torch
    >>> layer = nn.Conv2d(1, 1, 1, bias=False)
    >>> add_styles(layer, 1)
    >>> _ = nn.init.ones_(layer.style.weight)
    >>> fields = torch.ones(1, 1, 1, 1)
    >>> torch.allclose(convolve(layer, fields, torch.tensor([[2.0]])), (1 + 2) * layer(fields))
    True
    """
    if style is not None and (affine := style_map(layer)) is not None:
        features = features * _beside(features, 1 + affine(style.to(affine.weight.dtype)))
    return compute(layer, features, norm) if torch.is_inference_mode_enabled() else layer(features)


def scale_of(layer: nn.Module, features: Tensor, style: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """Give what `convolve` multiplies the channels of features by, and how it changes along a tangent.

    >>> import torch
    >>> layer = nn.Conv2d(1, 1, 1)
    >>> add_styles(layer, 1)
    >>> _ = nn.init.ones_(layer.style.weight)
    >>> style, tangent = torch.tensor([[[2.0]], [[5.0]]])
    >>> [factor.item() for factor in scale_of(layer, torch.ones(1, 1, 1, 1), style, tangent)]
    [3.0, 5.0]
    """
    affine = style_map(layer)
    if affine is None:
        raise InputError("a layer without a map of styles does not change with the style; give it one")
    factors = 1 + affine(style.to(affine.weight.dtype))
    slopes = functional.linear(tangent.to(affine.weight.dtype), affine.weight)
    return _beside(features, factors), _beside(features, slopes)


def _beside(features: Tensor, factors: Tensor) -> Tensor:
    """Shape factors (batch, channel) so that they multiply features (batch, channel, *space)."""
    return factors.to(features.dtype).view(*factors.shape, *[1] * (features.ndim - 2))


def style_map(layer: nn.Module) -> nn.Linear | None:
    """Give the map from the style to the factors of a layer, if it has one.

    >>> style_map(nn.Conv2d(1, 1, 3)) is None
    True
    """
    found = getattr(layer, "style", None)
    return found if isinstance(found, nn.Linear) else None


class Chain(nn.Sequential):
    """Layers one after the other, each of which may have a map of styles.

    >>> import torch
    >>> Chain(nn.Conv2d(1, 4, 3), nn.LeakyReLU())(torch.zeros(1, 1, 5, 5), None).shape
    torch.Size([1, 4, 3, 3])
    """

    def forward(self, features: Tensor, style: Tensor | None = None, periodic: bool = False) -> Tensor:
        """Pass features (batch, channel, *space) through all layers.

        In a periodic box convolutions of 3 cells read around its sides, and so keep the number of cells.
        """
        together = torch.is_inference_mode_enabled()
        for layer, norm in pair_norms(self) if together else ((layer, None) for layer in self):
            if periodic and getattr(layer, "kernel_size", ())[:1] == (3,):
                features = wrap_around(features, 1)
            features = convolve(layer, features, style, norm)
        return features
