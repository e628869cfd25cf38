"""Super-resolution that draws from fields of several spacings: finer ones are folded into more channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.networks.channels import Channels, check_fields, read_channels, whole_ratio
from fieldwise.networks.valid.srgan import Noise
from fieldwise.networks.valid.superresolution import StochasticSuperResolver


class FoldingSuperResolver(StochasticSuperResolver):
    """Draw maps finer than the coarsest of the fields that are read.

    Parameters
    ----------
    inputs : sequence of Channels
        What is read, or dictionaries of name, channels and spacing_m; the coarsest spacing is a whole
        multiple of each.
    out_channels : int
        Fields drawn.
    scale_factor : int
        Cells drawn for one of the coarsest field, an axis; a power of two.
    options
        As of `fieldwise.networks.valid.superresolution.StochasticSuperResolver`, whose first convolution
        reads k x k cells of a field in one coarse cell as k x k channels.

    Raises
    ------
    InputError
        If spacings do not fit, or a batch lacks a field or has it in other cells.

    Examples
    --------
    A window of 15 x 15 coarse cells, of which 5 on every side are the margin:

    >>> fields = [Channels("bed_lowres", 1, 1000.0), Channels("radar", 2, 250.0)]
    >>> network = FoldingSuperResolver(fields, scale_factor=4, features=4, blocks=1)
    >>> network.in_channels, network.margin, network.surplus
    (33, 5, 2)
    >>> drawn = network({"bed_lowres": torch.zeros(1, 1, 15, 15), "radar": torch.zeros(1, 2, 60, 60)})
    >>> drawn.shape  # 4 x 5 cells, and the surplus
    torch.Size([1, 1, 24, 24])
    """

    def __init__(
        self,
        inputs: Sequence[Channels | Mapping[str, Any]],
        *,
        out_channels: int = 1,
        boundary: str = "valid",
        **options: Any,
    ) -> None:
        known = read_channels(inputs)
        coarsest = max(each.spacing_m for each in known)
        ratios = [whole_ratio(each, coarsest) for each in known]
        folded = sum(each.channels * ratio**2 for each, ratio in zip(known, ratios))
        super().__init__(folded, out_channels, dimensions=2, boundary=boundary, bypass=False, **options)
        self.inputs, self.ratios, self.coarsest_m = known, ratios, coarsest

    def forward(  # type: ignore[override]
        self, fields: Mapping[str, Tensor], noise: Noise | None = None, style: Tensor | None = None
    ) -> Tensor:
        """Map name to (batch, channel, y, x), over one window, to (batch, out_channels, *cells)."""
        check_fields(fields, self.inputs, self.coarsest_m, least=1)
        folded = [
            functional.pixel_unshuffle(fields[each.name], ratio)
            for each, ratio in zip(self.inputs, self.ratios)
        ]
        return super().forward(torch.cat(folded, dim=1), noise, style)
