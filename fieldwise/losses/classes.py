"""How well scores of classes, (batch, class, *space), tell which class each cell has, (batch, *space).

Scores come as a network gives them, before any softmax; labels are whole numbers from 0. A mask, (batch, 1,
*space) or what broadcasts to it, tells how much a cell counts: 0 not at all, otherwise as its value, such as
its area. Without one all cells of a globe count alike, as in the published losses of DeepCAM and ClimateNet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.losses.cells import dice_loss

POWER = -0.125  # of frequencies, as of DeepCAM
LEAST = 1e-7  # cells added to overlap and union


def class_weights(frequencies: Sequence[float], power: float = POWER) -> Tensor:
    """Weigh rare classes more: each by a power of its share of all cells.

    A class that never occurs weighs as much as the rarest that does.

    Parameters
    ----------
    frequencies
        Shares, or counts of cells, class by class.
    power
        0 weighs all alike, -1 lets all have the same say.

    Raises
    ------
    InputError
        Where a frequency is negative or no number, or none is above 0.

    Examples
    --------
    Background, cyclones and rivers of DeepCAM, as published:

    >>> class_weights([0.986268, 0.00045787, 0.0132743]).tolist()
    [1.0017..., 2.6146..., 1.7164...]
    >>> class_weights([3, 1, 0], power=-1).tolist()
    [1.333..., 4.0, 4.0]
    """
    known = [float(frequency) for frequency in frequencies]
    if not all(0 <= frequency < math.inf for frequency in known) or not any(known):
        raise InputError(f"frequencies are {known}; give each class the share of cells that have it")
    rarest = min(frequency for frequency in known if frequency)
    return torch.tensor([((frequency or rarest) / sum(known)) ** power for frequency in known])


def balance_cells(labels: Tensor, classes: int) -> Tensor:
    """Draw cells so that each class in a batch has about as many as the rarest there: a mask, 1 where drawn.

    Parameters
    ----------
    labels : Tensor
        (batch, *space), see the module.
    classes : int
        How many there are.

    Returns
    -------
    Tensor
        (batch, 1, *space).

    Examples
    --------
    >>> labels = torch.tensor([[0] * 9000 + [1] * 300])
    >>> mask = balance_cells(labels, 3)[:, 0]
    >>> int(mask[labels == 1].sum()), 200 < int(mask[labels == 0].sum()) < 400
    (300, True)
    """
    counts = labels.flatten().bincount(minlength=classes)
    share = counts[counts > 0].min() / counts.clamp(min=1)
    return (torch.rand(labels.shape, device=labels.device) < share[labels])[:, None].float()


def cross_entropy(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    weights: Tensor | Sequence[float] | None = None,
) -> Tensor:
    """Return the mean over cells of how improbable their classes were held, times the weight of the class.

    The mean is that of DeepCAM, by the number of cells and not by the sum of their weights, so that the rarer
    classes there are in a batch, the more it counts.

    Parameters
    ----------
    scores, labels, mask : Tensor
        See the module.
    weights : Tensor or sequence of float, optional
        Of the classes, see :func:`class_weights`.

    Raises
    ------
    InputError
        If scores, labels and weights do not fit each other.

    Examples
    --------
    Two cells of class 0 and 1, held for it with probabilities of 3/4 and 1/2:

    >>> scores = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]]).log()
    >>> labels = torch.tensor([[0, 1]])
    >>> print(f"{cross_entropy(scores, labels, weights=[1.0, 4.0]).item():.4f}")  # (ln 4/3 + 4 ln 2) / 2
    1.5301
    """
    return focal_loss(scores, labels, mask, weights=weights, focus=0.0)


def focal_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    weights: Tensor | Sequence[float] | None = None,
    focus: float = 2.0,
) -> Tensor:
    """Return the cross-entropy in which cells that are told with ease hardly count (Lin et al. 2017).

    After arXiv:1708.02002: of each cell times (1 - p) to a power, p being the probability of its class.

    Parameters
    ----------
    scores, labels, mask, weights
        As of :func:`cross_entropy`.
    focus : float
        The power; 0 is the cross-entropy.

    Examples
    --------
    >>> scores = torch.tensor([[[3.0], [1.0]]]).log()  # held for class 0 with a probability of 3/4
    >>> print(f"{focal_loss(scores, torch.tensor([[0]])).item():.4f}")  # (1/4) squared times ln 4/3
    0.0180
    """
    _check(scores, labels, mask)
    if not focus >= 0:
        raise InputError(f"focus is {focus}; give a power of at least 0")
    values = functional.cross_entropy(scores, labels.long(), reduction="none")  # (batch, *space)
    if focus:
        values = values * (-torch.expm1(-values)) ** focus
    if weights is not None:
        weights = torch.as_tensor(weights, dtype=values.dtype, device=values.device)
        if weights.shape != scores.shape[1:2]:
            raise InputError(
                f"{weights.numel()} weights are not those of {scores.shape[1]} classes; give each one"
            )
        values = values * weights[labels.long()]
    if mask is None:
        return values.mean()
    counts = mask[:, 0].to(values.dtype).expand_as(values)
    return (values * counts).sum() / counts.sum().clamp(min=torch.finfo(values.dtype).tiny)


def jaccard_loss(scores: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return how little predicted and true classes overlap: 1 less the mean of their Jaccard indices.

    As of ClimateNet: overlap over union of class probabilities and labels, both summed over batch and space;
    all classes count alike. A class that no cell has is missed by whatever probability it is given.

    Parameters
    ----------
    scores, labels, mask : Tensor
        See the module.

    Examples
    --------
    Two cells of class 0 and 1, held for it with probabilities of 3/4 and 1/2. Of class 0 the overlap is 3/4
    and the union 3/4 + 1/2 + 1 - 3/4; of class 1 they are 1/2 and 1/4 + 1/2 + 1 - 1/2.

    >>> scores = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]]).log()
    >>> print(f"{jaccard_loss(scores, torch.tensor([[0, 1]])).item():.4f}")  # 1 - (1/2 + 2/5) / 2
    0.5500
    """
    shares, truth = _shares(scores, labels, mask)
    counts = 1.0 if mask is None else mask.to(shares.dtype)
    axes = (0, *range(2, scores.ndim))
    overlap = (counts * shares * truth).sum(axes)
    union = (counts * (shares + truth)).sum(axes) - overlap
    return 1 - ((overlap + LEAST) / (union + LEAST)).mean()


def class_dice_loss(
    scores: Tensor, labels: Tensor, mask: Tensor | None = None, *, smoothing: float = 1.0
) -> Tensor:
    """Return how little predicted and true classes overlap, as :func:`fieldwise.losses.cells.dice_loss` does.

    Parameters
    ----------
    scores, labels, mask : Tensor
        See the module.
    smoothing : float
        Cells added to overlap and union: a class that neither has is predicted well.

    Examples
    --------
    A cell of class 0, held for it with a probability of 3/4: 1 - 2 (3/4) / (9/16 + 1), and 1 for class 1.

    >>> scores = torch.tensor([[[3.0], [1.0]]]).log()
    >>> print(f"{class_dice_loss(scores, torch.tensor([[0]]), smoothing=0).item():.4f}")  # (0.04 + 1) / 2
    0.5200
    """
    shares, truth = _shares(scores, labels, mask)
    if mask is not None:  # products of two fields count as the mask does
        shares, truth = (mask.to(shares.dtype).sqrt() * field for field in (shares, truth))
    return dice_loss(shares, truth, smoothing=smoothing)


def _shares(scores: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give the probabilities of classes, and 1 for that which a cell has: both (batch, class, *space)."""
    _check(scores, labels, mask)
    shares = scores.softmax(1)
    return shares, functional.one_hot(labels.long(), scores.shape[1]).movedim(-1, 1).to(shares.dtype)


def _check(scores: Tensor, labels: Tensor, mask: Tensor | None) -> None:
    wanted = (len(scores), *scores.shape[2:])
    if labels.shape != wanted or labels.is_floating_point():
        raise InputError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} do not fit scores of shape "
            f"{tuple(scores.shape)}; give whole numbers of shape {wanted}"
        )
    if mask is not None and (mask.ndim != scores.ndim or mask.shape[1] != 1):
        raise InputError(
            f"a mask of shape {tuple(mask.shape)} does not tell of cells of {wanted}; give (batch, 1, *space)"
        )
