"""Crops of boxes as batches, in two or three dimensions."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from fieldwise.errors import InputError, require_at_least, times
from fieldwise.samples.cases import Case
from fieldwise.samples.loaders import Nested, to_tensors
from fieldwise.samples.signatures import Signature
from fieldwise.symmetries import AxisSymmetry, list_axis_symmetries, turn_axes

Place = tuple[int, ...]  # first cell of a crop along each axis, in cells of the inputs
Draw = tuple[int, int | None]  # number of a crop, and the epoch that it is changed for; None for as it is


@dataclass(frozen=True)
class Cutting:
    """Where crops lie in a box, in cells of its inputs, and how far samples reach beyond them.

    Parameters
    ----------
    size
        Cells of a crop: one number for all axes, or one an axis; none for the whole box.
    start, stop, step
        Of the first cells of the crops along each axis; by default from 0 to the end, without overlap.
    input_padding, target_padding
        Cells, of the inputs and of the targets, read around a crop: 1 number, one an axis, or two an axis
        (before, after). Beyond the box a periodic one goes on at its other side.

    >>> Cutting(size=[16], step=[8]).places((32, 16))
    [(0, 0), (0, 8), (8, 0), (8, 8), (16, 0), (16, 8), (24, 0), (24, 8)]
    >>> Cutting(input_padding=[1, 0, 2, 2]).paddings("input", 2)
    [(1, 0), (2, 2)]
    """

    size: Sequence[int] = ()
    start: Sequence[int] = ()
    stop: Sequence[int] = ()
    step: Sequence[int] = ()
    input_padding: Sequence[int] = (0,)
    target_padding: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        """Refuse negative numbers and steps of nothing."""
        for name in ("size", "step"):
            for value in getattr(self, name):
                require_at_least(1, **{"crop" if name == "size" else f"crop_{name}": value})
        for name, option in (
            ("start", "crop_start"),
            ("input_padding", "in_pad"),
            ("target_padding", "tgt_pad"),
        ):
            for value in getattr(self, name):
                require_at_least(0, **{option: value})

    def sizes(self, shape: Sequence[int]) -> list[int]:
        """Give the cells of a crop of a box along each axis; one larger than the box is refused."""
        sizes = _spread("crop", self.size, len(shape)) or list(shape)
        if any(size > room for size, room in zip(sizes, shape)):
            raise InputError(
                f"--crop: {times(sizes)} cells are more than a box of {times(shape)}; give fewer, or none"
            )
        return sizes

    def places(self, shape: Sequence[int]) -> list[Place]:
        """List the first cells of all crops of a box of so many cells."""
        sizes, axes = self.sizes(shape), len(shape)
        starts = _spread("crop_start", self.start, axes) or [0] * axes
        stops = _spread("crop_stop", self.stop, axes) or list(shape)
        steps = _spread("crop_step", self.step, axes) or sizes
        ranges = [
            range(start, min(stop, room), step)
            for start, stop, step, room in zip(starts, stops, steps, shape)
        ]
        places = list(itertools.product(*ranges))
        if not places:
            raise InputError(f"--crop_start: {starts} to --crop_stop {stops} leaves no crop; widen it")
        return places

    def paddings(self, side: str, axes: int) -> list[tuple[int, int]]:
        """Give the padding (before, after) of each axis, of `input` or `target`."""
        given = list(getattr(self, f"{side}_padding")) or [0]
        if len(given) == 2 * axes:
            return list(zip(given[::2], given[1::2]))
        name = "in_pad" if side == "input" else "tgt_pad"
        return [(each, each) for each in _spread(name, given, axes, others=f", {axes} or {2 * axes}")]


def _spread(name: str, values: Sequence[int], axes: int, *, others: str = "") -> list[int]:
    """Give one value for each axis."""
    if len(values) not in (0, 1, axes):
        others = others or f" or {axes}"
        raise InputError(f"--{name}: has {len(values)} numbers for {axes} axes; give 1{others}")
    return list(values) * (axes if len(values) == 1 else 1)


@dataclass(frozen=True)
class Augmentation:
    """How samples are changed anew in each epoch, inputs and targets alike.

    Parameters
    ----------
    symmetries
        Whether they are turned in the 8 or 48 ways of square or cube, vectors along; crops whose sides differ
        in those that leave their sides as they are.
    shift
        Crops begin less than so many cells later, 1 number or one an axis, in periodic boxes.
    offset
        Standard deviation of what is added, in scaled units: along each axis one number for all vectors, and
        one for all scalars.
    factor
        Standard deviation of the logarithm of what everything is multiplied by.
    seed
        Of all draws, beside epoch and sample.
    """

    symmetries: bool = False
    shift: Sequence[int] = ()
    offset: float = 0.0
    factor: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        for cells in self.shift:
            require_at_least(0, aug_shift=cells)
        require_at_least(0, aug_add=self.offset, aug_mul=self.factor)

    def shifts(self, axes: int) -> list[int]:
        """Give how far crops may be moved along each axis.

        >>> Augmentation(shift=[4]).shifts(2), Augmentation().shifts(2)
        ([4, 4], [0, 0])
        """
        return _spread("aug_shift", self.shift, axes) or [0] * axes


AS_IT_IS = Augmentation()


class Crops(Dataset):
    """Crops of periodic or other boxes, scaled; their files are opened as they are wanted and closed again.

    Parameters
    ----------
    cases
        Boxes of as many dimensions as the signature's.
    signature
        Which inputs and outputs, and how they are scaled; all inputs have one spacing. Where its facts name
        `style`, these numbers of the cases come with each sample.
    cutting
        Where crops lie.
    augmentation
        How those of a training epoch are changed.
    open_cases
        How many boxes may be open at a time.

    Raises
    ------
    InputError
        Where crops or paddings do not fit a box, or it lacks a number.

    >>> from fieldwise.samples.examples import make_box
    >>> from fieldwise.samples.frames import fit_signature
    >>> fields = {"density": np.arange(16.0).reshape(1, 4, 4), "mass": np.ones((1, 4, 4))}
    >>> cases = make_box(fields, split="training").cases()
    >>> signature = fit_signature("own", cases, inputs=["density"], outputs=["mass"])
    >>> crops = Crops(cases, signature, Cutting(size=[2], input_padding=[1]))
    >>> len(crops), crops.__getitems__([(0, None)])["inputs"].shape
    (4, torch.Size([1, 1, 4, 4]))
    """

    def __init__(
        self,
        cases: Sequence[Case],
        signature: Signature,
        cutting: Cutting = Cutting(),
        *,
        augmentation: Augmentation = AS_IT_IS,
        open_cases: int = 8,
    ) -> None:
        self.cases, self.signature, self.cutting, self.augmentation = cases, signature, cutting, augmentation
        self.open_cases, self._open = open_cases, OrderedDict[int, None]()
        self.crops = [
            (number, place)
            for number, case in enumerate(cases)
            for place in cutting.places(self._input_shape(case))
        ]
        self.counts = np.bincount([number for number, _ in self.crops], minlength=len(cases)).tolist()
        for case in cases:
            self._check_edges(case)
            case.check_numbers(signature.facts.get("style", ()))

    def check_batches(self, batch_size: int) -> None:
        """Refuse to join crops in batches where those of one box have other cells than those of another."""
        sizes = {tuple(self.cutting.sizes(self._input_shape(case))) for case in self.cases}
        if len(sizes) > 1 and batch_size > 1:
            told = " and ".join(map(times, sorted(sizes)[:2]))
            raise InputError(f"boxes of {told} cells make no batch; give a --crop, or --batch_size 1")

    def shapes(self) -> dict[str, list[int]]:
        """Give the cells of `inputs` and `targets` in a sample."""
        case = self.cases[0]
        shape, cells = self._input_shape(case), {"inputs": 1, "targets": self._factor(case)}
        return {
            name: [size * factor + sum(sides) for size, sides in zip(self.cutting.sizes(shape), padding)]
            for name, factor in cells.items()
            for padding in [self.cutting.paddings(name[:-1], len(shape))]
        }

    def __len__(self) -> int:
        """Count the crops."""
        return len(self.crops)

    def __getitem__(self, draw: Draw) -> Nested:
        """Give one crop as a batch of one."""
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> Nested:
        """Give crops as one batch."""
        samples = [self._read(*draw) for draw in draws]
        return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}

    def _read(self, index: int, epoch: int | None) -> Nested:
        number, place = self.crops[index]
        case, changes = self._take(number), self.augmentation
        random = np.random.default_rng([changes.seed, epoch or 0, index])
        ways = self._ways(case)
        symmetry = ways[0 if epoch is None else random.integers(len(ways))]
        if epoch is not None and changes.shift:
            moved = random.integers(np.maximum(changes.shifts(len(place)), 1))
            place = tuple(first + int(cells) for first, cells in zip(place, moved))
        arrays = self._cut(case, place, symmetry)
        if epoch is not None and (changes.offset or changes.factor):
            self._change(arrays, random)
        tensors = to_tensors({name: values[None] for name, values in arrays.items()})
        vectors = self.signature.vectors()
        turned = {name: turn_axes(each, symmetry, vectors[name]) for name, each in tensors.items()}
        if names := self.signature.facts.get("style", ()):
            turned["style"] = torch.tensor([[case.numbers[name] for name in names]], dtype=torch.float32)
        return turned

    def _cut(self, case: Case, place: Place, symmetry: AxisSymmetry) -> dict[str, np.ndarray]:
        """Read inputs and targets around a crop, as they must lie for the turned ones to fit each other."""
        axes, factor = len(case.shape), self._factor(case)
        sizes = symmetry.before(self.cutting.sizes(self._input_shape(case)))
        arrays = {}
        for name, side, cells in (("inputs", "inputs", factor), ("targets", "outputs", 1)):
            padding = symmetry.before(self.cutting.paddings(name[:-1], axes))
            window = tuple(
                slice(first * factor - before * cells, (first + size) * factor + after * cells)
                for first, size, (before, after) in zip(place, sizes, padding)
            )
            read = case.read(getattr(self.signature, side), window=window)
            arrays[name] = self.signature.stack(self.signature.apply(read, side), side)  # type: ignore[arg-type]
        return arrays

    def _change(self, arrays: dict[str, np.ndarray], random: np.random.Generator) -> None:
        """Add one draw to all components along an axis, one to all scalars, and multiply all by another."""
        changes, axes = self.augmentation, self.signature.dimensions
        offsets = changes.offset * random.standard_normal(axes + 1)
        factor = np.exp(changes.factor * random.standard_normal())
        for name, side in (("inputs", self.signature.inputs), ("targets", self.signature.outputs)):
            added = [
                value
                for each in side
                for value in (offsets[:axes] if each.vector else offsets[axes:].repeat(each.channels))
            ]
            arrays[name] = (arrays[name] + np.reshape(added, (-1, *(1,) * axes))) * factor

    def _ways(self, case: Case) -> list[AxisSymmetry]:
        """List the ways to turn a crop, that which changes nothing first."""
        sizes = self.cutting.sizes(self._input_shape(case))
        every = list_axis_symmetries(len(sizes))
        if not self.augmentation.symmetries:
            return [every[0]]
        return [each for each in every if each.before(sizes) == sizes]

    def _take(self, number: int) -> Case:
        """Give a case, and close those that were not wanted for longest."""
        self._open[number] = None
        self._open.move_to_end(number)
        while len(self._open) > self.open_cases:
            self.cases[self._open.popitem(last=False)[0]].close()
        return self.cases[number]

    def _factor(self, case: Case) -> int:
        """Give the cells of the case on the edge of one of the inputs."""
        return round((self.signature.inputs[0].spacing or case.spacing) / case.spacing)

    def _input_shape(self, case: Case) -> list[int]:
        return [size // self._factor(case) for size in case.shape]

    def _check_edges(self, case: Case) -> None:
        """Refuse what reaches beyond a box that does not go on there, turned or not."""
        shape, factor = self._input_shape(case), self._factor(case)
        sizes, shifts = self.cutting.sizes(shape), self.augmentation.shifts(len(shape))
        places = np.array(self.cutting.places(shape))
        firsts, ends = places.min(axis=0), places.max(axis=0) + sizes + np.maximum(np.subtract(shifts, 1), 0)
        for side, cells in (("input", 1), ("target", factor)):
            padding = self.cutting.paddings(side, len(shape))
            if case.periodic:
                continue
            for turned in {tuple(way.before(padding)) for way in self._ways(case)}:
                before, after = np.array(turned).T
                if (before > firsts * cells).any() or (
                    ends * cells + after > np.multiply(shape, cells)
                ).any():
                    raise InputError(
                        f"case {case}: is not periodic, and crops with their {side} padding reach beyond it; "
                        "give a smaller crop, or a --crop_start and --crop_stop that leave room"
                    )
