"""How fast the answer of a network changes with its style: of a displacement, the velocity.

A `ResidualEmulator` is evaluated in dual numbers: each convolution, which is linear, is done once for the
values and once for their derivatives. ``torch.func.jvp``, which serves other networks, convolves a third time
(torch 2.13), with the derivative of the kernel, which is zero.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.networks.convnet import check_channels
from fieldwise.networks.valid.blocks import check_cells, crop
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.inference import can_filter, convolve_by_filtering
from fieldwise.networks.valid.periodic import put_channels_last
from fieldwise.networks.valid.styled import check_style, scale_of

CONVOLVE = {4: functional.conv2d, 5: functional.conv3d}


def differentiate_by_style(
    network: nn.Module, fields: Tensor, style: Tensor, tangent: Tensor, fields_tangent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Give the answer of a network and its derivative along a change of the style, and of the fields.

    Parameters
    ----------
    network : nn.Module
        Takes fields and style; batch norm must be in evaluation mode.
    fields : Tensor
        (batch, channel, *space).
    style, tangent : Tensor
        (batch, numbers): where, and in which direction, the derivative is taken.
    fields_tangent : Tensor, optional
        Direction of the fields, as these; by default they stay.

    Returns
    -------
    tuple of Tensor
        What ``network(fields, style)`` gives, and its derivative.

    Raises
    ------
    InputError
        As the network does, where fields or style are not those that it reads.

    Examples
    --------
    >>> network = ResidualEmulator(2, 2, dimensions=2, features=4, blocks=1, bypass=True, style_numbers=1)
    >>> fields, growth = torch.ones(1, 2, 4, 4), torch.ones(1, 1)
    >>> answer, rate = differentiate_by_style(network, fields, growth, growth, 3 * fields)
    >>> answer[0, 0, 0, 0].item(), rate[0, 0, 0, 0].item()  # untrained, it gives what it reads
    (1.0, 3.0)
    """
    if isinstance(network, ResidualEmulator):
        return _differentiate_emulator(network, fields, style, tangent, fields_tangent)
    still = torch.zeros_like(fields) if fields_tangent is None else fields_tangent
    graph = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(graph):  # which inference mode would not track
        fields, style, still, tangent = (each.clone() for each in (fields, style, still, tangent))
        made = torch.func.jvp(lambda x, s: network(x, style=s), (fields, style), (still, tangent))
    return cast("tuple[Tensor, Tensor]", made)


def _differentiate_emulator(
    network: ResidualEmulator, fields: Tensor, style: Tensor, tangent: Tensor, fields_tangent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Do what ``forward`` of the network does, with values and derivatives."""
    valid = network.boundary == "valid"
    check_channels(fields, network.in_channels, network.dimensions)
    check_cells(fields, 2 * network.margin + 1 if valid else 1)
    check_style(network, style, len(fields))
    check_style(network, tangent, len(fields))

    def convolve(layer: nn.Module, values: Tensor, rates: Tensor | None) -> tuple[Tensor, Tensor]:
        factors, slopes = scale_of(layer, values, style, tangent)
        moved = values * slopes if rates is None else values * slopes + rates * factors
        widen = (lambda features: features) if layer is network.last else network.widen
        bias = cast("Tensor", layer.bias)
        return _apply(layer, widen(values * factors), bias), _apply(layer, widen(moved))

    values, rates = convolve(network.first, put_channels_last(fields), fields_tangent)
    for block in network.blocks:
        first, second = block.children()
        made, moved = convolve(first, values, rates)
        moved = network.activate_tangent(moved, made)  # before the activation, which may be in place
        made, moved = convolve(second, network.activation(made), moved)
        values = made + (crop(values, 2) if valid else values)
        rates = moved + (crop(rates, 2) if valid else rates)
    values, rates = convolve(network.last, values, rates)
    if network.bypass:
        values = values + (crop(fields, network.margin) if valid else fields)
        if fields_tangent is not None:
            rates = rates + (crop(fields_tangent, network.margin) if valid else fields_tangent)
    return values, rates


def _apply(layer: nn.Module, features: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve; derivatives have no bias."""
    weight = cast("Tensor", layer.weight)
    predicting = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
    if predicting and can_filter(layer, features):
        return convolve_by_filtering(features, weight, weight.new_zeros(()) if bias is None else bias)
    return CONVOLVE[features.ndim](features, weight, bias)
