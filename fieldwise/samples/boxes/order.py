"""The order of crops: shuffled, with few files open at a time, shared among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from fieldwise.errors import require_at_least
from fieldwise.samples.boxes.crops import Crops, Draw
from fieldwise.samples.loaders import Nested, ResumableLoader


class FileSampler(Sampler[Draw]):
    """Shuffle crops so that those of one box stay near each other: a function of seed and epoch alone.

    Parameters
    ----------
    counts
        Crops of each box.
    seed
        Of the order.
    distance
        How many boxes a crop may be moved away from its own: 0 goes through one box after the other; with N,
        at most N + 1 boxes are in use at a time.
    share_files
        Whether each of several processes takes boxes of its own, the same in every epoch, instead of every
        so-many-th crop.

    >>> sampler = FileSampler([2, 2, 2], seed=1, distance=0)
    >>> order = [crop // 2 for crop, epoch in sampler]
    >>> sorted(order), order[::2] == order[1::2]  # every box whole, before the next
    ([0, 0, 1, 1, 2, 2], True)
    """

    shares_samples = True  # among processes that train together, which so need no one else to do it

    def __init__(
        self, counts: Sequence[int], *, seed: int, distance: int = 1, share_files: bool = False
    ) -> None:
        require_at_least(0, shuffle_distance=distance)
        self.counts, self.seed, self.distance, self.share_files = list(counts), seed, distance, share_files
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the crops of an epoch of one process."""
        _, processes = _find_process()
        if not self.share_files:
            return -(-sum(self.counts) // processes)
        boxes = -(-len(self.counts) // processes)
        return boxes * max(self.counts) if processes > 1 else sum(self.counts)

    def __iter__(self) -> Iterator[Draw]:
        """Yield the crops of this epoch, of this process; of several each has as many."""
        process, processes = _find_process()
        random = np.random.default_rng([self.seed, self.epoch])
        boxes = np.arange(len(self.counts))
        if self.share_files and processes > 1:
            dealt = np.random.default_rng([self.seed]).permutation(boxes)
            boxes = np.resize(dealt, -(-len(dealt) // processes) * processes)[process::processes]
        firsts = np.concatenate([[0], np.cumsum(self.counts)])
        ranks = random.permutation(len(boxes))
        crops = np.concatenate([np.arange(firsts[box], firsts[box + 1]) for box in boxes])
        keys = np.repeat(ranks, [self.counts[box] for box in boxes]).astype(float)
        keys += random.random(len(keys)) * (self.distance + 1)
        order = crops[np.argsort(keys)]
        if self.share_files:
            order = np.resize(order, len(self))
        elif processes > 1:
            order = np.resize(order, len(self) * processes)[process::processes]
        return iter([(int(crop), self.epoch) for crop in order])


def _find_process() -> tuple[int, int]:
    """Tell which of how many processes that train together this one is."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def make_crop_loaders(
    learnt: Crops,
    judged: Crops,
    *,
    batch_size: int,
    seed: int,
    distance: int = 1,
    share_files: bool = False,
    workers: int = 0,
) -> tuple[DataLoader, DataLoader]:
    """Serve crops to learn from, shuffled, and those to judge by, in their order.

    Parameters
    ----------
    batch_size, seed, distance, share_files
        As for :class:`FileSampler`.
    workers
        Processes that read ahead; 0 reads in this one.

    Raises
    ------
    InputError
        Where crops differ in their cells, so that they make no batch.

    >>> from fieldwise.samples.boxes.crops import Cutting
    >>> from fieldwise.samples.examples import make_box
    >>> from fieldwise.samples.frames import fit_signature
    >>> cases = make_box({"density": np.arange(16.0).reshape(1, 4, 4)}, split="training").cases()
    >>> signature = fit_signature("own", cases, inputs=["density"], outputs=["density"])
    >>> crops = Crops(cases, signature, Cutting(size=[2]))
    >>> training, validation = make_crop_loaders(crops, crops, batch_size=4, seed=7)
    >>> [batch["targets"].shape for batch in training]
    [torch.Size([4, 1, 2, 2])]
    """
    for crops in (learnt, judged):
        crops.check_batches(batch_size)
    sampler = FileSampler(learnt.counts, seed=seed, distance=distance, share_files=share_files)
    options: Any = {"batch_size": batch_size, "collate_fn": _as_it_is, "num_workers": workers}
    options |= {"persistent_workers": workers > 0}
    every: Any = [(crop, None) for crop in range(len(judged))]
    return ResumableLoader(learnt, sampler=sampler, **options), DataLoader(judged, sampler=every, **options)


def _as_it_is(batch: Nested) -> Nested:
    return batch
