"""Samples shown on coarser grids too, so that one network learns to read several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from fieldwise.errors import InputError, require_at_least, times
from fieldwise.samples.cases import Case
from fieldwise.samples.loaders import (
    NO_VECTORS,
    Frame,
    FrameSampler,
    Nested,
    Patches,
    PatchSampler,
    ResumableLoader,
    Vectors,
)


def coarsen_classes(classes: Tensor, factor: int) -> Tensor:
    """Give the class that covers most of each block of `factor` x `factor` cells of (batch, 1, y, x).

    Of classes that cover as much the first counts, but the background, 0, last: a cell half covered by a
    storm is one of it, as those of the sandbox are.

    >>> import torch
    >>> halves = torch.tensor([[[[0.0, 2.0, 2.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 2.0, 0.0, 2.0]]]])
    >>> coarsen_classes(halves, 2).tolist()
    [[[[2.0, 1.0, 0.0]]]]
    """
    one_hot = functional.one_hot(classes[:, 0].long()).movedim(-1, 1).float()
    shares = functional.avg_pool2d(one_hot, factor).roll(-1, 1)  # the background is the last
    return ((shares.argmax(1, keepdim=True) + 1) % shares.shape[1]).to(classes.dtype)


class MixedPatches(Patches):
    """Patches of which each batch is shown on a grid coarser by the factor that comes with its first one.

    Fields become means over blocks of cells, classes what :func:`coarsen_classes` gives.

    >>> ones = np.ones((1, 4, 8), dtype=np.float32)
    >>> patches = MixedPatches([lambda rows, columns: {"inputs": ones, "targets": ones}], cells=None)
    >>> [tuple(values.shape) for values in patches.__getitems__([(0, 0, 0, 0, 2)]).values()]
    [(1, 1, 2, 4), (1, 1, 2, 4)]
    """

    classes: Sequence[str] = ("targets",)  # of a sample; everything else holds fields

    def __getitems__(self, cuts: Sequence[Any]) -> Nested:
        """Give patches as one batch."""
        factor = cuts[0][-1]
        batch = super().__getitems__([cut[:-1] for cut in cuts])
        if factor == 1:
            return batch
        told = {name: coarsen_classes(batch[name], factor) for name in self.classes}
        return {name: functional.avg_pool2d(each, factor) for name, each in batch.items()} | told


class MixedSampler(Sampler[Any]):
    """Add to each patch that a sampler draws by which factor it is coarsened, drawn anew each epoch.

    >>> sampler = MixedSampler(FrameSampler(3, seed=1), [1, 4])
    >>> first = list(sampler); sampler.set_epoch(1); second = list(sampler); sampler.set_epoch(0)
    >>> first == list(sampler), sorted({factor for *_, factor in first + second})
    (True, [1, 4])
    """

    def __init__(self, sampler: PatchSampler | FrameSampler, factors: Sequence[int]) -> None:
        self.sampler, self.factors = sampler, factors

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls this."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Count the patches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Yield the patches of this epoch, each with its factor."""
        random = np.random.default_rng([self.sampler.seed, self.sampler.epoch])
        for cut, factor in zip(self.sampler, random.choice(self.factors, len(self))):
            yield (*cut, int(factor))


def make_mixed_loader(
    frames: Sequence[Frame],
    sampler: PatchSampler | FrameSampler,
    factors: Sequence[int],
    *,
    batch_size: int = 1,
    cells: int | None = None,
    vectors: Vectors = NO_VECTORS,
) -> DataLoader:
    """Serve batches of patches as a sampler draws them, each batch coarsened by one of some factors.

    Parameters
    ----------
    factors
        Cells along each axis that become one; 1 leaves a batch as it is. One that occurs twice is drawn
        twice as often.
    batch_size, cells, vectors
        As of :func:`fieldwise.samples.loaders.make_patch_loader`.

    >>> frame = {"inputs": np.ones((2, 4, 8)), "targets": np.zeros((1, 4, 8))}
    >>> loader = make_mixed_loader([lambda rows, columns: frame] * 6, FrameSampler(6, seed=1), [1, 2])
    >>> sorted({tuple(batch["inputs"].shape) for batch in loader})
    [(1, 2, 2, 4), (1, 2, 4, 8)]
    """
    patches = MixedPatches(frames, cells=cells, vectors=vectors)
    order = MixedSampler(sampler, factors)
    return ResumableLoader(patches, batch_size=batch_size, sampler=order, collate_fn=lambda batch: batch)


def check_factors(factors: Sequence[int], cases: Sequence[Case]) -> None:
    """Refuse factors, of an option --coarsen, that do not divide the cells of all cases.

    >>> from fieldwise.samples.examples import make_prepared
    >>> check_factors([1, 4], make_prepared({"TMQ": np.zeros((1, 6, 8))}).cases())
    Traceback (most recent call last):
    fieldwise.errors.InputError: --coarsen: case region has 6 x 8 cells, which 4 does not divide
    """
    for factor in factors:
        require_at_least(1, coarsen=factor)
        for case in cases:
            if any(size % factor for size in case.shape):
                cells = times(case.shape)
                raise InputError(f"--coarsen: case {case} has {cells} cells, which {factor} does not divide")
