"""The members of a stochastic network as one predictor, and the noise of world cells that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.errors import InputError, require_at_least
from fieldwise.fields.grids import Bounds
from fieldwise.samples.cases import Cells
from fieldwise.verbs.domains.blocks import count_cells
from fieldwise.verbs.domains.contents import MEAN, MEMBER, QUANTILE, SPREAD, Output

if TYPE_CHECKING:
    from fieldwise.networks.noise import WorldNoise
    from fieldwise.samples.cases import Case
    from fieldwise.verbs.predictors import Arrays, Predictor

QUANTILES = (0.05, 0.5, 0.95)
WORLD, DRAW = "_world", "_draw"  # beside the fields of a window: its place, and the seed and member to draw


def find_place(case: Case, window: Bounds | Cells, padding_cells: int, refinement: int) -> np.ndarray:
    """Give first cell, number of cells and period (0: none) of what a network reads of a window, (3, axis).

    Parameters
    ----------
    case, window
        What is asked for; world cells are counted from the corner where the case begins.
    padding_cells
        Cells of the map that are read around the window.
    refinement
        Cells of the map along one that the network reads.

    >>> from types import SimpleNamespace
    >>> box = SimpleNamespace(shape=(32, 32), periodic=True)
    >>> find_place(box, (slice(0, 8), slice(8, 32)), 4, 2).tolist()
    [[-2, 2], [8, 16], [16, 16]]
    """
    starts, stops = map(np.array, count_cells(case, window))
    periods = [size if case.periodic else 0 for size in case.shape]
    return np.array([starts - padding_cells, stops - starts + 2 * padding_cells, periods]) // refinement


def make_noise(arrays: Arrays, network: Any) -> WorldNoise:
    """Give a network the noise of the place that was read, of the member asked for or the first of seed 0.

    Where the network states its planes (`noise_planes`), each begins with its cells along one that is read.

    >>> import torch
    >>> place = {WORLD: np.array([[0, 0], [4, 4], [4, 4]])}  # a whole periodic box of 4 x 4 cells
    >>> noise = make_noise(place, torch.nn.Identity())
    >>> noise(0, torch.Size([1, 1, 4, 4]), torch.zeros(())).shape
    torch.Size([1, 1, 4, 4])
    """
    from fieldwise.networks.noise import WorldNoise  # loads torch

    origin, window, period = arrays[WORLD].tolist()
    seed, member = arrays[DRAW].tolist() if DRAW in arrays else (0, 0)
    planes = getattr(network, "noise_planes", None)
    factors = None if planes is None else [factor for factor, _ in planes]
    return WorldNoise(seed, member, origin, window, [each or None for each in period], factors)


class Ensemble:
    """Draws the members of a window one by one; in `predict_to` it stands in the place of its predictor.

    A member depends on seed, number and place alone: on a map of its own or in blocks, and among however many
    others, it is the same.

    Parameters
    ----------
    predictor
        Of a network that takes noise.
    members
        How many; 0 and 1 stand for the first one alone, under the names of the predictor.
    seed
        Another one draws other members.
    quantiles
        Parts, from 0 to 1, of the members that lie below.
    keep_members
        Whether to give the members too.

    Raises
    ------
    InputError
        Where the network takes no noise, or an option is out of range.

    Examples
    --------
    >>> import torch
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> class Rough(torch.nn.Module):
    ...     def forward(self, fields, noise):
    ...         return fields + noise(0, fields.shape, fields)
    >>> (case,) = make_prepared({"bed": np.zeros((1, 40, 40))}).cases()
    >>> signature = Signature("own", (Variable("bed"),), (Variable("bed"),), stacked=True)
    >>> ensemble = Ensemble(Predictor(Rough(), signature), 50, quantiles=(0.5,))
    >>> [output.label for output in ensemble.outputs]
    ['bed', 'bed_spread', 'bed_q50']
    >>> float(ensemble(ensemble.read(case, case.bounds, 0))[1].mean().round(1))
    1.0
    """

    def __init__(
        self,
        predictor: Predictor,
        members: int,
        *,
        seed: int = 0,
        quantiles: Sequence[float] = QUANTILES,
        keep_members: bool = False,
    ) -> None:
        require_at_least(0, members=members, seed=seed)
        if not predictor.stochastic:
            raise InputError(
                "--members: the network takes no noise, so all would be the same; leave them out"
            )
        if keep_members:
            require_at_least(2, members=members)
        if any(not 0 <= part <= 1 for part in quantiles) or len(set(quantiles)) < len(quantiles):
            raise InputError(f"--quantiles: are {[*quantiles]}; give different parts from 0 to 1")
        self.predictor, self.members, self.seed = predictor, members, seed
        self.quantiles, self.kept = tuple(quantiles), range(members if keep_members else 0)
        self.fingerprint = predictor.fingerprint

    @property
    def outputs(self) -> list[Output]:
        """All means, all spreads, then by quantile, then by member; flags at the end."""
        if self.members < 2:
            return self.predictor.outputs
        given = [output for output in self.predictor.outputs if not output.flags]

        def describe(ending: str, *along: tuple[str, float], **changes: Any) -> list[Output]:
            long = {each.name: each.long_name and each.long_name + ending.replace("_", " ") for each in given}
            return [
                replace(
                    each,
                    name=each.name + ending,
                    long_name=long[each.name],
                    along=(*along, *each.along),
                    **changes,
                )
                for each in given
            ]

        outputs = describe("", cell_methods=MEAN) + describe("_spread", cell_methods=SPREAD)
        for part in self.quantiles:
            outputs += describe("_quantile", (QUANTILE, part))
        for member in self.kept:
            outputs += describe("_member", (MEMBER, member))
        return outputs + [output for output in self.predictor.outputs if output.flags]

    def read(self, case: Case, window: Any, frame: int) -> Arrays:
        """Read what the predictor needs of a window."""
        return self.predictor.read(case, window, frame)

    def stage(self, arrays: Arrays) -> Arrays:
        """Bring what was read to where the predictor works it out."""
        return self.predictor.stage(arrays)

    def draw(self, arrays: Arrays, member: int) -> np.ndarray:
        """Draw one member of what was read of a window, (channel, *cells)."""
        return self.predictor({**arrays, DRAW: np.array([self.seed, member])})

    def __call__(self, arrays: Arrays) -> np.ndarray:
        """Map what was read of a window to all outputs, (channel, *cells)."""
        if self.members < 2:
            return self.draw(arrays, 0)
        drawn = np.stack([self.draw(arrays, member) for member in range(self.members)])
        flagged = np.array([bool(output.flags) for output in self.predictor.outputs])
        members, flags, cells = drawn[:, ~flagged], drawn[0, flagged], drawn.shape[2:]
        quantiles = np.quantile(members, self.quantiles, axis=0).reshape(-1, *cells)
        kept = members[list(self.kept)].reshape(-1, *cells)
        parts = [members.mean(axis=0), members.std(axis=0, ddof=1), quantiles, kept, flags]
        return np.concatenate(parts, dtype=np.float32, casting="same_kind")
