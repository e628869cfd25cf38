"""How well an ensemble tells what may be: proper scores, least where members are drawn as the truth is."""

import torch
from torch import Tensor

from fieldwise.losses.cells import masked_mean


def fair_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the fair continuous ranked probability score of an ensemble, the mean over cells that count.

    Mean distance of the members from the truth, less half their mean distance from each other (Ferro 2014,
    doi 10.1002/qj.2270): least where members are drawn as the truth is, however few they are.

    Parameters
    ----------
    members : Tensor
        (member, batch, channel, y, x), two members at least.
    truth, mask : Tensor
        As for :func:`fieldwise.losses.cells.masked_mae`.

    Examples
    --------
    Distances from the truth: 1 and 3; of the two from each other: 4.

    >>> members = torch.tensor([1.0, -3.0]).view(2, 1, 1, 1, 1)
    >>> fair_crps(members, torch.zeros(1, 1, 1, 1)).item()  # (1 + 3) / 2 - 4 / 2
    0.0
    """
    count = len(members)
    ordered = members.sort(dim=0).values
    # Of the k-th of n in order, k lie below and n - 1 - k above: sum |a - b| over pairs without n^2 memory.
    rank = torch.arange(count, device=members.device, dtype=members.dtype)
    weights = (2 * rank - (count - 1)).view(-1, *(1,) * (members.ndim - 1))
    apart = (weights * ordered).sum(0) / (count * (count - 1))
    return masked_mean((members - truth).abs().mean(0) - apart, mask)
