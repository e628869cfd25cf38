"""How the velocity of ice changes from bed to surface, and the layers between the nodes where it is known.

Between two nodes, velocity has the shape that it has in a slab, 1 - (1 - z)^(n + 1). A slab is exact with any
number of nodes, and two nodes are enough for a network that gives bed and surface velocity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError

GLEN_EXPONENT = 3.0


@dataclass(frozen=True)
class Layers:
    """How the depth of the ice is cut into layers between nodes, from the bed up; shares of the thickness."""

    levels: Tensor  # (node,): 0 at the bed, 1 at the surface
    depth: Tensor  # (layer,)
    upper: Tensor  # (layer,): share of the upper node in the mean of a layer
    weights: Tensor  # (node,): share of each node in the mean of the column
    shear: Tensor  # (layer,): what makes the shear of a slab exact

    @classmethod
    def between(cls, nodes: int, *, like: Tensor) -> Layers:
        """Cut even layers between nodes, of the dtype and on the device of a tensor."""
        if nodes < 2:
            raise InputError(f"nodes is {nodes}; ice needs at least 2, one at the bed and one at the surface")
        levels = torch.linspace(0, 1, nodes, dtype=torch.float64)
        depth, below, above = levels.diff(), 1 - levels[:-1], 1 - levels[1:]
        power = GLEN_EXPONENT + 1
        risen = (below**power - above**power) / power  # integral of (1 - z)^n over the layer
        upper = (depth * below**power - (below ** (power + 1) - above ** (power + 1)) / (power + 1)) / (
            depth * power * risen
        )
        weights = functional.pad(depth * upper, (1, 0)) + functional.pad(depth * (1 - upper), (0, 1))
        burden = weights.flip(0).cumsum(0).flip(0)[1:]  # what each layer carries
        shear = (burden**GLEN_EXPONENT * depth / risen) ** (1 / (GLEN_EXPONENT + 1))
        return cls(*(part.to(like) for part in (levels, depth, upper, weights, shear)))


def profile_nodes(at_bed: Tensor, at_surface: Tensor, *, nodes: int = 2) -> Tensor:
    """Spread velocity from bed to surface over nodes, by the profile of a slab.

    u(z) = u_bed + (u_surface - u_bed) (1 - (1 - z)^(n + 1)), z from 0 at the bed to 1 at the surface.
    This is the exact profile of a slab, and near that of glaciers; its mean over depth, which a network
    may give as well, is `profile_mean`.

    Parameters
    ----------
    at_bed, at_surface
        One component of velocity, (batch, y, x).
    nodes
        How many, 2 or more.

    Returns
    -------
    torch.Tensor
        (batch, node, y, x), from the bed up.

    >>> profile_nodes(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), nodes=3).flatten().tolist()
    [0.0, 0.9375, 1.0]
    """
    levels = Layers.between(nodes, like=at_surface).levels[:, None, None]
    share = 1 - (1 - levels) ** (GLEN_EXPONENT + 1)
    return at_bed[:, None] + (at_surface - at_bed)[:, None] * share


def profile_mean(at_bed: Tensor, at_surface: Tensor) -> Tensor:
    """Average velocity over depth, by the profile of a slab: (u_bed + (n + 1) u_surface) / (n + 2).

    >>> profile_mean(torch.tensor(0.0), torch.tensor(1.0)).item()
    0.8...
    """
    return (at_bed + (GLEN_EXPONENT + 1) * at_surface) / (GLEN_EXPONENT + 2)


def find_ends(known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Give velocity at the bed and at the surface from any two of `bed`, `mean` and `surface`.

    >>> known = {"mean": torch.tensor(26.0), "surface": torch.tensor(30.0)}
    >>> [end.item() for end in find_ends(known)]
    [10.0, 30.0]
    """
    if "bed" not in known:
        return 5 * known["mean"] - 4 * known["surface"], known["surface"]  # the inverse of `profile_mean`
    if "surface" not in known:
        return known["bed"], profile_surface(known["bed"], known["mean"])
    return known["bed"], known["surface"]


def profile_surface(at_bed: Tensor, mean: Tensor) -> Tensor:
    """Give the surface velocity that goes with a velocity at the bed and a mean over depth.

    The inverse of `profile_mean`, for a network that gives bed and mean velocity only.

    >>> profile_surface(torch.tensor(0.0), torch.tensor(0.8)).item()
    1.0
    """
    return mean + (mean - at_bed) / (GLEN_EXPONENT + 1)
