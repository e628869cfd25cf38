"""Classes learnt from fields, cell by cell: scores of classes out of a network, whole numbers as targets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.losses.classes import balance_cells
from fieldwise.tasks.field import FieldTask, meet, parse_sum

HOME = "fieldwise.losses.classes"
CLASS_LOSSES = {
    "cross_entropy": f"{HOME}.cross_entropy",
    "focal": f"{HOME}.focal_loss",
    "jaccard": f"{HOME}.jaccard_loss",
    "dice": f"{HOME}.class_dice_loss",
}
MONITOR = "val_jaccard_distance"  # 1 less the mean IoU of validation: the least is the best


class ClassTask(FieldTask):
    """Train a network that tells which class each cell has.

    The network gives scores of classes, (batch, class, *cells), before any softmax; targets, (batch, 1,
    *cells), hold the numbers of classes. Validation logs `val_iou`, the mean over images of
    :func:`iou_of_images`, and beside it what it is short of 1, `val_jaccard_distance`.

    Parameters
    ----------
    losses : dict, optional
        Name to weight: `cross_entropy`, `focal`, `jaccard`, `dice`, or the import path of a function of
        scores, labels (batch, *cells), mask, and if it takes them `weights` of the classes. By default the
        cross-entropy alone.
    class_weights : sequence of float, optional
        How much each class counts, see :func:`fieldwise.losses.classes.class_weights`.
    balanced : bool
        Whether to learn from as many cells of each class as the rarest has, drawn anew in each step:
        :func:`fieldwise.losses.classes.balance_cells`.
    options
        As of :class:`fieldwise.tasks.FieldTask`.

    Examples
    --------
    >>> task = ClassTask(network="torch.nn.Identity", class_weights=[1.0, 3.0])
    >>> scores, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[[0.0, 1.0]]]])
    >>> total, terms = task.add_up(scores, {"targets": truth})
    >>> print(f"{total.item():.4f}")  # (1 + 3) ln 2 / 2
    1.3863
    """

    lone_samples = True  # a batch norm sees the thousands of cells of a map

    def __init__(
        self,
        *,
        losses: dict[str, float] | None = None,
        class_weights: Sequence[float] | None = None,
        balanced: bool = False,
        **options: Any,
    ) -> None:
        named = {CLASS_LOSSES.get(name, name): weight for name, weight in (losses or {}).items()}
        super().__init__(losses=named or {CLASS_LOSSES["cross_entropy"]: 1.0}, **options)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.balanced = balanced
        self.scores: Tensor | None = None  # of the batch before, for who asks how well it was told
        for name, term in self.terms.items():
            if weights is not None and "weights" in inspect.signature(term).parameters:
                self.terms[name] = functools.partial(_weighted, term, self)

    def measure_terms(self, prediction: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return each loss by name, without its weight."""
        labels = batch["targets"][:, 0].long()
        scores = prediction.float()  # what is rare has probabilities that half precision cannot tell
        mask, self.scores = batch.get("mask"), prediction.detach()
        if self.balanced and self.training:
            drawn = balance_cells(labels, scores.shape[1])
            mask = drawn if mask is None else drawn * mask
        return {name: term(scores, labels, mask) for name, term in self.terms.items()}

    def measure_overlap(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the IoU of each image of the batch that the task has just learnt from."""
        assert self.scores is not None
        prediction, known = meet(self.scores, batch)
        return iou_of_images(prediction.argmax(1), known["targets"][:, 0].long(), prediction.shape[1])

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Judge one batch: its loss, and how predicted and true classes overlap."""
        prediction, known = meet(self.draw(batch), batch)
        self.log_mean("val_loss", self.add_up(prediction, known)[0], batch)
        overlap = iou_of_images(prediction.argmax(1), known["targets"][:, 0].long(), prediction.shape[1])
        self.log_mean("val_iou", overlap.mean(), batch)
        self.log_mean(MONITOR, 1 - overlap.mean(), batch)


def _weighted(term: Any, task: ClassTask, scores: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
    return term(scores, labels, mask, weights=task.class_weights)


def iou_of_images(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the intersection over union of each image, mean over classes; 1 of a class that neither has.

    As DeepCAM judges. Both are whole numbers, (batch, *cells).

    >>> predicted, labels = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
    >>> print(f"{iou_of_images(predicted, labels, 3).item():.4f}")  # (1/2 + 2/3 + 1) / 3
    0.7222
    """
    found, true = (functional.one_hot(each.flatten(1), classes).bool() for each in (predicted, labels))
    both, either = (found & true).sum(1), (found | true).sum(1)  # (batch, class)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean(1)


def parse_class_losses(text: str) -> dict[str, float]:
    """Read a sum of losses of classes: names, each with a weight before it or not.

    >>> parse_class_losses("cross_entropy + 0.5*jaccard")
    {'cross_entropy': 1.0, 'jaccard': 0.5}
    >>> parse_class_losses("mae")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: 'mae' is no loss of classes; give cross_entropy, focal, jaccard, ...
    """
    offered = (
        f"no loss of classes; give {', '.join(CLASS_LOSSES)}, an import path, or a sum such as "
        "cross_entropy+0.5*jaccard"
    )
    return parse_sum(text, dict(zip(CLASS_LOSSES, CLASS_LOSSES)), offered)
