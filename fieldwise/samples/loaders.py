"""Tiles as batches of tensors: the one seam between fields and torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fieldwise.errors import InputError
from fieldwise.symmetries import ORDER, inverse, turn_channels

# Which symmetries tiles are shown in: as they are, mirrored north to south too, or turned in every way.
SYMMETRIES = {"none": (0,), "north_south": (0, 6), "all": tuple(range(ORDER))}

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


# Name to the channels that are components of vectors: to the east, to the north, and maybe upward.
Vectors = Mapping[str, Sequence[tuple[int, ...]]]
NO_VECTORS: Vectors = {}


def turn(tensors: Nested, symmetry: int, *, vectors: Vectors = NO_VECTORS) -> Nested:
    """Rotate or flip samples; the components of vectors turn along.

    Parameters
    ----------
    tensors
        Name to (batch, channel, y, x) or (batch, channel, z, y, x), rows from north to south; or further
        dictionaries of such.
    symmetry
        0 to 7: quarter turns counter-clockwise (0 to 3), after mirroring west and east (4 to 7).
    vectors
        Name to the channels that are components of a vector to the east and to the north, for each vector
        in it. A third, upward, stays what it is. See :meth:`fieldwise.samples.signatures.Signature.vectors`.

    >>> flow = {"flow": torch.tensor([[[[2.0]], [[1.0]]]])}  # two eastward, one northward
    >>> turn(flow, 1, vectors={"flow": [(0, 1)]})["flow"].ravel().tolist()  # a quarter turn
    [-1.0, 2.0]
    >>> turn(flow, 4, vectors={"flow": [(0, 1)]})["flow"].ravel().tolist()  # mirrored
    [-2.0, 1.0]
    >>> rising = {"flow": torch.tensor([[[[7.0]], [[2.0]], [[1.0]]]])}  # upward, eastward, northward
    >>> turn(rising, 1, vectors={"flow": [(1, 2)]})["flow"].ravel().tolist()
    [7.0, -1.0, 2.0]
    """
    turned: Nested = {}
    for name, value in tensors.items():
        if isinstance(value, dict):
            turned[name] = turn(value, symmetry, vectors=vectors)
            continue
        turned[name] = turn_channels(value, symmetry, [each[:2] for each in vectors.get(name, ())])
    return turned


def turn_back(tensors: Nested, symmetry: int, *, vectors: Vectors = NO_VECTORS) -> Nested:
    """Undo :func:`turn`: a mirror image is its own inverse, a turn is undone by its complement.

    >>> flow, vectors = {"flow": torch.tensor([[[[2.0]], [[1.0]]]])}, {"flow": [(0, 1)]}
    >>> turn_back(turn(flow, 6, vectors=vectors), 6, vectors=vectors)["flow"].ravel().tolist()
    [2.0, 1.0]
    """
    return turn(tensors, inverse(symmetry), vectors=vectors)


class Samples(Dataset):
    """Samples held in memory; a whole batch is gathered at once, and turned where that is asked for.

    An index beyond the number of samples asks for a turned one: sample + number of samples x symmetry.

    >>> samples = Samples({"bed": np.arange(6.0).reshape(3, 2)})
    >>> samples.__getitems__([2, 0])["bed"].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, arrays: Nested, *, vectors: Vectors = NO_VECTORS) -> None:
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


class ResumableLoader(DataLoader):
    """A loader that goes on within an epoch: Lightning keeps in a checkpoint how many batches it has given.

    Those are read again, and passed over, once a run goes on.

    >>> loader = ResumableLoader([1.0, 2.0, 3.0], batch_size=None)
    >>> loader.load_state_dict({"given": 2})
    >>> list(loader), list(loader)
    ([3.0], [1.0, 2.0, 3.0])
    """

    given, passed_over = 0, 0

    def state_dict(self) -> dict[str, int]:
        """Tell how many batches of the epoch have been given."""
        return {"given": self.given % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after so many."""
        self.passed_over = state["given"]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches that are left of an epoch."""
        first, self.passed_over = self.passed_over, 0
        for self.given, batch in enumerate(super().__iter__(), start=1):
            if self.given > first:
                yield batch


def make_loader(
    arrays: Nested,
    *,
    batch_size: int,
    shuffle_seed: int | None = None,
    symmetries: Sequence[int] = (0,),
    vectors: Vectors = NO_VECTORS,
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
    options: Any = {"sampler": sampler, "collate_fn": lambda batch: batch}
    pinned = torch.cuda.is_available()  # a GPU then takes a batch while it learns from the last
    return ResumableLoader(samples, batch_size=batch_size, pin_memory=pinned, **options)


Cut = tuple[int, int, int, int]  # frame, first row, first column, symmetry
Frame = Callable[[slice, slice], Nested]  # name to (channel, y, x) of these rows and columns


class Patches(Dataset):
    """Patches cut out of frames, which may differ in size and need not be in memory.

    Parameters
    ----------
    frames
        A reader for each frame: rows and columns to name -> (channel, y, x).
    cells
        Edge of a patch; None stands for whole frames, which then come one at a time.
    vectors
        As for :func:`turn`.

    >>> values = np.arange(16.0).reshape(1, 4, 4)
    >>> patches = Patches([lambda rows, columns: {"bed": values[:, rows, columns]}], cells=2)
    >>> patches.__getitems__([(0, 1, 2, 0)])["bed"].tolist()
    [[[[6.0, 7.0], [10.0, 11.0]]]]
    """

    def __init__(self, frames: Sequence[Frame], *, cells: int | None, vectors: Vectors = NO_VECTORS) -> None:
        self.frames, self.cells, self.vectors = frames, cells, vectors

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.frames)

    def __getitem__(self, cut: Cut) -> Nested:
        """Give one patch as a batch of one."""
        return self.__getitems__([cut])

    def __getitems__(self, cuts: Sequence[Cut]) -> Nested:
        """Give patches as one batch, those of one symmetry beside each other."""
        by_symmetry: dict[int, list[Nested]] = {}
        for frame, top, left, symmetry in cuts:
            end = (None, None) if self.cells is None else (top + self.cells, left + self.cells)
            arrays = self.frames[frame](slice(top, end[0]), slice(left, end[1]))
            by_symmetry.setdefault(symmetry, []).append(arrays)
        parts = []
        for symmetry, patches in sorted(by_symmetry.items()):
            part = to_tensors(_stack(patches))
            parts.append(turn(part, symmetry, vectors=self.vectors) if symmetry else part)
        return _join(parts)


def _stack(patches: Sequence[Nested]) -> Nested:
    return {
        name: _stack([patch[name] for patch in patches])
        if isinstance(value, dict)
        else np.stack([patch[name] for patch in patches])
        if len(patches) > 1
        else value[None]  # large ones come alone, and need not be copied
        for name, value in patches[0].items()
    }


class PatchSampler(Sampler[Cut]):
    """Draw places of patches as a function of seed and epoch alone, so that a resumed run sees the same.

    A patch is centred on a drawn candidate cell, or moved by as little as keeps it inside its frame: every
    candidate may be drawn, also beside an edge, and a patch as large as its frame is the frame.

    Parameters
    ----------
    candidates
        For each frame the cells that a patch may be drawn around, as an array (y, x) that is not 0 there.
    cells
        Edge of a patch.
    patches_per_tile
        Patches drawn in an epoch for each time that a patch would fit into the frame, at least one a frame.
    symmetries
        Of :func:`turn`; one is drawn for each patch.

    Raises
    ------
    InputError
        Where a frame is smaller than a patch, or has no candidate.

    >>> ice = np.zeros((6, 8)); ice[1, 7] = 1
    >>> list(PatchSampler([ice], cells=4, patches_per_tile=1, seed=0))  # three tiles of 4 x 4
    [(0, 0, 4, 0), (0, 0, 4, 0), (0, 0, 4, 0)]
    """

    def __init__(
        self,
        candidates: Sequence[np.ndarray],
        *,
        cells: int,
        patches_per_tile: int = 5,
        seed: int,
        symmetries: Sequence[int] = (0,),
    ) -> None:
        self.places, counts = [], []
        for frame, mask in enumerate(candidates):
            rows, columns = mask.shape
            centres = np.argwhere(mask)
            if min(rows, columns) < cells:
                raise InputError(f"a patch of {cells} cells does not fit into {rows} x {columns} cells")
            if not len(centres):
                raise InputError(f"frame {frame} has no cell to draw a patch around")
            last = np.array([rows - cells, columns - cells])
            self.places.append(np.clip(centres - cells // 2, 0, last).astype(np.int32))
            counts.append(max(1, round(patches_per_tile * rows * columns / cells**2)))
        self.frames = np.repeat(np.arange(len(counts)), counts)
        self.seed, self.symmetries, self.epoch = seed, symmetries, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the patches of an epoch."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Cut]:
        """Yield the patches of this epoch, frames in disorder."""
        random = np.random.default_rng([self.seed, self.epoch])
        for frame in random.permutation(self.frames):
            top, left = random.choice(self.places[frame])
            yield int(frame), int(top), int(left), int(random.choice(self.symmetries))


class FrameSampler(EpochSampler):
    """Shuffle whole frames of one size for :class:`Patches`, as :class:`EpochSampler` does samples.

    >>> sorted(FrameSampler(3, seed=1))
    [(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0)]
    """

    def __iter__(self) -> Iterator[Any]:
        """Yield every frame once, in the order of this epoch."""
        for number in super().__iter__():
            yield number % self.length, 0, 0, number // self.length


def make_patch_loader(
    frames: Sequence[Frame],
    *,
    batch_size: int = 1,
    cells: int | None = None,
    sampler: PatchSampler | FrameSampler | None = None,
    vectors: Vectors = NO_VECTORS,
) -> DataLoader:
    """Serve batches of patches as a sampler draws them; without one, whole frames one after the other.

    >>> ones = np.ones((1, 4, 6))
    >>> loader = make_patch_loader([lambda rows, columns: {"bed": ones[:, rows, columns]}])
    >>> [batch["bed"].shape for batch in loader]
    [torch.Size([1, 1, 4, 6])]
    """
    patches = Patches(frames, cells=cells, vectors=vectors)
    order: Any = sampler or [(frame, 0, 0, 0) for frame in range(len(frames))]
    return ResumableLoader(patches, batch_size=batch_size, sampler=order, collate_fn=lambda batch: batch)
