"""Tiles as batches of tensors: the one seam between fields and torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

Nested = dict[str, Any]  # arrays, or further dictionaries of arrays


def to_tensors(arrays: Nested) -> Nested:
    """Turn a nested dictionary of arrays into float32 tensors, without a copy where that is possible.

    >>> to_tensors({"inputs": {"bed": np.zeros((2, 1, 3, 3))}})["inputs"]["bed"].dtype
    torch.float32
    """
    return {
        name: to_tensors(value)
        if isinstance(value, dict)
        else torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for name, value in arrays.items()
    }


def _take(tensors: Nested, indices: torch.Tensor) -> Nested:
    return {
        name: _take(value, indices) if isinstance(value, dict) else value[indices]
        for name, value in tensors.items()
    }


class Samples(Dataset):
    """Samples held in memory; a whole batch is gathered at once.

    >>> samples = Samples({"bed": np.arange(6.0).reshape(3, 2)})
    >>> samples.__getitems__([2, 0])["bed"].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, arrays: Nested) -> None:
        self.tensors = to_tensors(arrays)
        first: Any = self.tensors
        while isinstance(first, dict):
            first = next(iter(first.values()))
        self._length: int = len(first)

    def __len__(self) -> int:
        """Count the samples."""
        return self._length

    def __getitem__(self, index: int) -> Nested:
        """Give one sample as a batch of one."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Nested:
        """Give the samples of these indices as one batch."""
        return _take(self.tensors, torch.as_tensor(indices))


class EpochSampler(Sampler[int]):
    """Shuffle as a function of seed and epoch alone, so that a resumed run sees the same order.

    >>> sampler = EpochSampler(4, seed=1)
    >>> first = list(sampler); sampler.set_epoch(1); second = list(sampler); sampler.set_epoch(0)
    >>> first == list(sampler), sorted(second)
    (True, [0, 1, 2, 3])
    """

    def __init__(self, length: int, *, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the samples of an epoch."""
        return self.length

    def __iter__(self) -> Iterator[int]:
        """Yield every index once, in the order of this epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.length, generator=generator).tolist())


def make_loader(arrays: Nested, *, batch_size: int, shuffle_seed: int | None = None) -> DataLoader:
    """Serve batches of samples, shuffled where a seed is given.

    >>> loader = make_loader({"bed": np.arange(5.0)}, batch_size=2)
    >>> [batch["bed"].tolist() for batch in loader]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """
    samples = Samples(arrays)
    sampler = EpochSampler(len(samples), seed=shuffle_seed) if shuffle_seed is not None else None
    return DataLoader(samples, batch_size=batch_size, sampler=sampler, collate_fn=lambda batch: batch)
