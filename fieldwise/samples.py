"""Tiles as batches of tensors: the one seam between fields and torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

# Which symmetries tiles are shown in: as they are, mirrored north to south too, or turned in every way.
SYMMETRIES = {"none": (0,), "north_south": (0, 6), "all": tuple(range(8))}

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


def turn(tensors: Nested, symmetry: int, *, vectors: Collection[str] = ()) -> Nested:
    """Rotate or flip samples; the components of vectors turn along.

    Parameters
    ----------
    tensors
        Name to (batch, channel, y, x), rows from north to south; or further dictionaries of such.
    symmetry
        0 to 7: quarter turns counter-clockwise (0 to 3), after mirroring west and east (4 to 7).
    vectors
        Names of those whose two channels are components to the east and to the north.

    >>> flow = {"flow": torch.tensor([[[[2.0]], [[1.0]]]])}  # two eastward, one northward
    >>> turn(flow, 1, vectors=["flow"])["flow"].ravel().tolist()  # a quarter turn
    [-1.0, 2.0]
    >>> turn(flow, 4, vectors=["flow"])["flow"].ravel().tolist()  # mirrored
    [-2.0, 1.0]
    """
    turned: Nested = {}
    for name, value in tensors.items():
        if isinstance(value, dict):
            turned[name] = turn(value, symmetry, vectors=vectors)
            continue
        if symmetry >= 4:
            value = value.flip(-1)
            if name in vectors:
                value = torch.stack([-value[:, 0], value[:, 1]], dim=1)
        for _ in range(symmetry % 4):
            value = torch.rot90(value, dims=(-2, -1))
            if name in vectors:
                value = torch.stack([-value[:, 1], value[:, 0]], dim=1)
        turned[name] = value
    return turned


class Samples(Dataset):
    """Samples held in memory; a whole batch is gathered at once, and turned where that is asked for.

    An index beyond the number of samples asks for a turned one: sample + number of samples x symmetry.

    >>> samples = Samples({"bed": np.arange(6.0).reshape(3, 2)})
    >>> samples.__getitems__([2, 0])["bed"].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, arrays: Nested, *, vectors: Collection[str] = ()) -> None:
        self.tensors = to_tensors(arrays)
        self.vectors = vectors
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
        """Give the samples of these indices as one batch, those of one symmetry beside each other."""
        symmetries, members = np.divmod(np.asarray(indices), self._length)
        parts = []
        for symmetry in np.unique(symmetries):
            part = _take(self.tensors, torch.from_numpy(members[symmetries == symmetry]))
            parts.append(turn(part, int(symmetry), vectors=self.vectors) if symmetry else part)
        return _join(parts)


def _join(parts: list[Nested]) -> Nested:
    if len(parts) == 1:
        return parts[0]
    return {
        name: _join([part[name] for part in parts])
        if isinstance(value, dict)
        else torch.cat([part[name] for part in parts])
        for name, value in parts[0].items()
    }


class EpochSampler(Sampler[int]):
    """Shuffle as a function of seed and epoch alone, so that a resumed run sees the same order.

    Each sample comes in one of the symmetries of :func:`turn`, drawn anew each epoch.

    >>> sampler = EpochSampler(4, seed=1)
    >>> first = list(sampler); sampler.set_epoch(1); second = list(sampler); sampler.set_epoch(0)
    >>> first == list(sampler), sorted(second)
    (True, [0, 1, 2, 3])
    """

    def __init__(self, length: int, *, seed: int, symmetries: Sequence[int] = (0,)) -> None:
        self.length, self.seed, self.symmetries, self.epoch = length, seed, symmetries, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the samples of an epoch."""
        return self.length

    def __iter__(self) -> Iterator[int]:
        """Yield every sample once, in the order of this epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator)
        drawn = torch.randint(len(self.symmetries), (self.length,), generator=generator)
        return iter((order + self.length * torch.tensor(self.symmetries)[drawn]).tolist())


def make_loader(
    arrays: Nested,
    *,
    batch_size: int,
    shuffle_seed: int | None = None,
    symmetries: Sequence[int] = (0,),
    vectors: Collection[str] = (),
) -> DataLoader:
    """Serve batches of samples, shuffled and turned by symmetries where a seed is given.

    >>> loader = make_loader({"bed": np.arange(5.0)}, batch_size=2)
    >>> [batch["bed"].tolist() for batch in loader]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """
    samples = Samples(arrays, vectors=vectors)
    sampler = None
    if shuffle_seed is not None:
        sampler = EpochSampler(len(samples), seed=shuffle_seed, symmetries=symmetries)
    return DataLoader(samples, batch_size=batch_size, sampler=sampler, collate_fn=lambda batch: batch)
