"""Super-resolution that draws from fields of several spacings: finer ones are folded into more channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.channels import Channels, check_fields, read_channels, whole_ratio
from fieldwise.networks.valid.blocks import crop
from fieldwise.networks.valid.srgan import Noise
from fieldwise.networks.valid.superresolution import StochasticSuperResolver

LEAST = 1e-6  # of what is divided by: it is 0 where it is missing


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
    level_by : str, optional
        One of the coarsest fields, above 0, that tells how high the relief is around a cell. What is drawn is
        a multiple of it, and it is read as its logarithm: a land of relief twice as high is drawn as another.
    levelled : sequence of str
        Fields that are read as multiples of it.
    departs_from : str, optional
        One of the coarsest fields, a first estimate of what is drawn and scaled as this is: it is made finer
        by cubic interpolation, and added.
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

    Where the bed is ten times as high, so is what is drawn on it:

    >>> fields = [Channels("bed_lowres", 1, 1000.0), Channels("bed_spread", 1, 1000.0)]
    >>> options = {"level_by": "bed_spread", "levelled": ["bed_lowres"], "scale_factor": 4}
    >>> FoldingSuperResolver(fields, **options, features=4, blocks=1).levelled
    ('bed_lowres',)

    A new network draws what it departs from:

    >>> options = {"departs_from": "bed_lowres", "scale_factor": 4, "features": 4, "blocks": 1}
    >>> network = FoldingSuperResolver(fields, **options)
    >>> fields = {"bed_lowres": torch.full((1, 1, 15, 15), 7.0), "bed_spread": torch.ones(1, 1, 15, 15)}
    >>> network(fields).unique()
    tensor([7.], grad_fn=<Unique2Backward0>)
    """

    def __init__(
        self,
        inputs: Sequence[Channels | Mapping[str, Any]],
        *,
        out_channels: int = 1,
        level_by: str | None = None,
        levelled: Sequence[str] = (),
        departs_from: str | None = None,
        boundary: str = "valid",
        **options: Any,
    ) -> None:
        known = read_channels(inputs)
        coarsest = max(each.spacing_m for each in known)
        ratios = [whole_ratio(each, coarsest) for each in known]
        folded = sum(each.channels * ratio**2 for each, ratio in zip(known, ratios))
        super().__init__(folded, out_channels, dimensions=2, boundary=boundary, bypass=False, **options)
        self.inputs, self.ratios, self.coarsest_m = known, ratios, coarsest
        self.level_by, self.levelled, self.departs_from = level_by, tuple(levelled), departs_from
        for option, name in (("level_by", level_by), ("departs_from", departs_from)):
            if name is not None and (name, 1, coarsest) not in map(astuple, known):
                raise InputError(f"{option} is {name!r}; name an input of one channel at {coarsest:g} m")

    def forward(  # type: ignore[override]
        self, fields: Mapping[str, Tensor], noise: Noise | None = None, style: Tensor | None = None
    ) -> Tensor:
        """Map name to (batch, channel, y, x), over one window, to (batch, out_channels, *cells)."""
        check_fields(fields, self.inputs, self.coarsest_m, least=1)
        level = None if self.level_by is None else fields[self.level_by].clamp_min(LEAST)
        folded = []
        for each, ratio in zip(self.inputs, self.ratios):
            field = fields[each.name]
            if level is not None:
                if each.name == self.level_by:
                    field = level.log()
                elif each.name in self.levelled:
                    field = field / functional.interpolate(level, scale_factor=ratio)
            folded.append(functional.pixel_unshuffle(field, ratio))
        drawn = super().forward(torch.cat(folded, dim=1), noise, style)
        if level is not None:
            drawn = drawn * self._make_finer(level, "bilinear")
        if self.departs_from is not None:
            drawn = drawn + self._make_finer(fields[self.departs_from], "bicubic")
        return drawn

    def _make_finer(self, field: Tensor, mode: str) -> Tensor:
        """Make one of the coarsest fields finer, in the cells of the output."""
        finer = functional.interpolate(field, scale_factor=self.scale_factor, mode=mode)
        return crop(finer, self.cut) if self.boundary == "valid" else finer
