"""Cases as samples to learn from: a signature fitted to them, and a reader for each of their frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.loaders import SYMMETRIES, Frame, PatchSampler, make_patch_loader
from fieldwise.samples.scales import AnyScale, Scale
from fieldwise.samples.signatures import Signature, Variable

Mask = Callable[..., np.ndarray]  # of a case, the number of a frame and maybe `cells=`, a part of it
NOTHING: Mapping[str, Sequence[str]] = {}
UNKNOWN: Mapping[str, AnyScale] = {}
SLAB_CELLS = 2**24  # of a box in memory


def fit_signature(
    recipe: str,
    cases: Sequence[Case],
    *,
    inputs: Iterable[str | Variable],
    outputs: Iterable[str | Variable],
    stacked: bool = True,
    scales: Mapping[str, AnyScale] = UNKNOWN,
    **facts: Any,
) -> Signature:
    """Describe what a network reads and gives, with scales and ranges as training cases have them.

    Parameters
    ----------
    recipe
        Whose network it is.
    cases
        To learn from; no other may have a say in the scales.
    inputs, outputs
        Variables of the prepared folder by name, or as they are to be read: at another spacing, say.
    stacked
        Read all inputs at the cells of the case, in boxes all at their own, as one tensor of channels;
        otherwise by name, each at its own spacing.
    scales
        Of variables that are not to be fitted.
    facts
        Whatever else shall travel with the network.

    Returns
    -------
    Signature
        Its variables are brought to mean 0 and spread 1, vectors to a root mean square length of 1.

    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"thk": np.array([[[0.0, 4.0]]]), "speed": np.ones((1, 1, 2))}  # one frame of one row
    >>> prepared = make_prepared(fields, split="training")
    >>> signature = fit_signature("own", prepared.cases(), inputs=["thk"], outputs=["speed"])
    >>> signature.inputs[0].scale, signature.inputs[0].range, signature.outputs[0].scale
    (Scale(mean=2.0, spread=2.0), (0.0, 4.0), Scale(mean=1.0, spread=1.0))
    """
    if not cases:
        raise InputError("there is no case to learn from; prepare some for training")

    box, dimensions = cases[0].bounds is None, len(cases[0].shape)

    def fit(wanted: Iterable[str | Variable]) -> tuple[Variable, ...]:
        chosen = [cases[0].variables[each] if isinstance(each, str) else each for each in wanted]
        known = [replace(each, spacing=None) if stacked and not box else each for each in chosen]
        fitted = (_fit(each, cases) for each in known)
        return tuple(replace(each, scale=scales.get(each.name, each.scale)) for each in fitted)

    options: Any = {"spacings": tuple(sorted({case.spacing for case in cases})), "dimensions": dimensions}
    return Signature(recipe, fit(inputs), fit(outputs), stacked=stacked, facts=facts, **options)


def _fit(wanted: Variable, cases: Sequence[Case]) -> Variable:
    """Fit scale and range of a variable, reading one frame, or one slab of a box, at a time."""
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for case in cases:
        for frame, slab in itertools.product(range(case.frames), _slabs(case, wanted)):
            values = case.read([wanted], window=slab, frame=frame)[wanted.name].astype(np.float64)
            valid = values[np.isfinite(values)]
            if valid.size:
                count, total, squares = count + valid.size, total + valid.sum(), squares + (valid**2).sum()
                low, high = min(low, valid.min()), max(high, valid.max())
        if case.bounds is None:
            case.close()
    if not count:
        raise InputError(f"{wanted.name}: all values are missing; there is nothing to learn from")
    if wanted.vector:
        length, longest = float((squares / count * wanted.channels) ** 0.5), float(max(-low, high))
        return replace(wanted, scale=Scale(0.0, length or 1.0), range=(-longest, longest))
    mean = total / count
    spread = max(squares / count - mean**2, 0.0) ** 0.5
    constant = spread <= 1e-6 * abs(mean)  # what rounding leaves of a spread is none
    scale = Scale(float(mean), 1.0 if constant or not spread else float(spread))
    return replace(wanted, scale=scale, range=(float(low), float(high)))


def _slabs(case: Case, wanted: Variable) -> list[Cells | None]:
    """Part a box along its first axis; a map is read whole."""
    if case.bounds is not None:
        return [None]
    ratio = round((wanted.spacing or case.spacing) / case.spacing)
    step = ratio * max(1, SLAB_CELLS // (math.prod(case.shape[1:]) * ratio))
    rest = (slice(None),) * (len(case.shape) - 1)
    size = case.shape[0]
    return [(slice(first, min(first + step, size)), *rest) for first in range(0, size, step)]


def fit_ranges(signature: Signature, cases: Sequence[Case], *, where: Mask) -> Signature:
    """Note the ranges that the variables of a signature have, and the spacings of cells; scales stay.

    The components of a vector share the length of the longest: a network that has seen a slope to the
    north is not to be warned of one to the east.

    Parameters
    ----------
    where
        Tells the cells that count, of a case and the number of a frame: bool (*cells).

    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.array([[[0.0, 50.0, 90.0]]])}).cases()
    >>> signature = Signature("own", (Variable("thk"),), ())
    >>> fit_ranges(signature, [case], where=lambda case, frame: case.stack(["thk"])[0] > 0).inputs[0].range
    (50.0, 90.0)
    """
    fields = [*signature.fields("inputs"), *signature.fields("outputs")]
    low, high = np.full(len(fields), np.inf), np.full(len(fields), -np.inf)
    for case in cases:
        for frame in range(case.frames):
            mask = where(case, frame)
            if mask.any():
                values = case.stack(fields, frame=frame)[:, mask]
                low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    ranges = dict(zip(fields, zip(low.tolist(), high.tolist())))

    def fit(variable: Variable) -> Variable:
        ends = [end for name in variable.fields for end in ranges[name]]
        longest = max(map(abs, ends))
        return replace(variable, range=(-longest, longest) if variable.vector else (min(ends), max(ends)))

    inputs, outputs = (tuple(map(fit, side)) for side in (signature.inputs, signature.outputs))
    spacings = tuple(sorted({case.spacing for case in cases}))
    return replace(signature, inputs=inputs, outputs=outputs, spacings=spacings)


def round_scales(signature: Signature) -> Signature:
    """Take scales from the ranges of the variables: 1, 2 or 5 times a power of ten, not below them.

    >>> signature = Signature("own", (Variable("thk", range=(0.0, 310.0)),), ())
    >>> round_scales(signature).inputs[0].scale
    Scale(mean=0.0, spread=500.0)
    """

    def round_scale(variable: Variable) -> Variable:
        return replace(variable, scale=Scale(0.0, _round_up(max(map(abs, variable.range or (0.0,))))))

    inputs, outputs = (tuple(map(round_scale, side)) for side in (signature.inputs, signature.outputs))
    return replace(signature, inputs=inputs, outputs=outputs)


def _round_up(value: float) -> float:
    if not 0 < value < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return max(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)), 1e-6)


def list_frames(
    cases: Iterable[Case],
    signature: Signature,
    *,
    where: Mask | None = None,
    margin: int = 0,
    padding: int = 0,
    besides: Mapping[str, Sequence[str]] = NOTHING,
) -> list[Frame]:
    """Give a reader for every frame: its cells, one slice an axis, to scaled inputs and targets.

    Inputs of a signature that does not stack them come by name, each at its own spacing.

    Parameters
    ----------
    where
        Tells the cells that are judged, of a case, the number of a frame and `cells`, slices of an axis
        each: bool (*cells). They become the `mask` of the sample.
    margin
        Cells beside the edges that cut a patch out of a frame that are not judged: no network can tell how
        the fields go on there.
    padding
        Cells of the case by which inputs reach beyond a patch on every side.
    besides
        What else a loss reads, by its name in the sample: fields, as they are.

    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"thk": np.array([[[0.0, 4.0]]]), "speed": np.ones((1, 1, 2))}  # one frame of one row
    >>> prepared = make_prepared(fields, split="training")
    >>> signature = fit_signature("own", prepared.cases(), inputs=["thk"], outputs=["speed"])
    >>> (read,) = list_frames(prepared.cases(), signature)
    >>> {name: values.tolist() for name, values in read(slice(0, 1), slice(0, 2)).items()}
    {'inputs': [[[-1.0, 1.0]]], 'targets': [[[0.0, 0.0]]]}
    >>> def judge_all(case, frame, cells=()):
    ...     return np.ones(case.shape, dtype=bool)[cells]
    >>> (read,) = list_frames(prepared.cases(), signature, where=judge_all, margin=1)
    >>> read(slice(0, 1), slice(0, 1))["mask"].tolist()  # the frame goes on to the east
    [[[0.0]]]
    """
    mask = None if where is None else partial(_read_mask, where, margin)
    reader = partial(_read, signature, mask, padding, dict(besides))
    return [partial(reader, case, frame) for case in cases for frame in range(case.frames)]


def _read(
    signature: Signature,
    mask: Callable[..., np.ndarray] | None,
    padding: int,
    besides: Mapping[str, Sequence[str]],
    case: Case,
    frame: int,
    *cells: slice,
) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    for name, side in (("inputs", signature.inputs), ("targets", signature.outputs)):
        window = _widen(cells, case.shape, padding) if name == "inputs" else cells
        if name == "inputs" and not signature.stacked:
            scaled = signature.apply(case.read(side, window=window, frame=frame), "inputs")
            sample[name] = {each: np.float32(values) for each, values in scaled.items()}
        else:
            sample[name] = _read_scaled(case, side, window, frame)
    if mask is not None:
        sample["mask"] = mask(case, frame, cells)
    return sample | {name: case.stack(fields, cells=cells, frame=frame) for name, fields in besides.items()}


def _read_scaled(case: Case, side: Sequence[Variable], window: tuple[slice, ...], frame: int) -> np.ndarray:
    """Read and scale one variable after the other: what is under way stays in the cache."""
    channels, scaled, first = sum(each.channels for each in side), np.empty(0), 0
    for each in side:
        values = each.scale.apply(case.read([each], window=window, frame=frame)[each.name])
        if not first:
            scaled = np.empty((channels, *values.shape[1:]), dtype=np.float32)
        scaled[first : first + len(values)] = values
        first += len(values)
    return scaled


def _widen(cells: Sequence[slice], shape: Sequence[int], padding: int) -> tuple[slice, ...]:
    """Widen slices by some cells on either side, beyond the case too."""
    spans = (each.indices(size) for each, size in zip(cells, shape, strict=True))
    return tuple(slice(first - padding, end + padding) for first, end, _ in spans)


def _read_mask(where: Mask, margin: int, case: Case, frame: int, cells: Sequence[slice]) -> np.ndarray:
    mask = where(case, frame, cells=tuple(cells)).astype(bool)
    for axis, (cut, size) in enumerate(zip(cells, case.shape)):
        judged = _judge(cut, size, margin)
        mask = mask & judged.reshape([-1 if each == axis else 1 for each in range(mask.ndim)])
    return mask[None].astype(np.float32)


def _judge(cut: slice, size: int, margin: int) -> np.ndarray:
    """Tell which cells of a cut along an axis are judged: not those beside an end within the frame.

    >>> _judge(slice(0, 6), 10, 2).tolist()
    [True, True, True, True, False, False]
    """
    cells = np.arange(size)[cut]
    first, last = cells[0] + margin * (cells[0] > 0), cells[-1] - margin * (cells[-1] < size - 1)
    return (cells >= first) & (cells <= last)


def make_loaders(
    learnt: Sequence[Case],
    judged: Sequence[Case],
    signature: Signature,
    *,
    cells: int,
    batch_size: int,
    seed: int,
    patches_per_tile: int = 2,
    augment: str = "none",
    padding: int = 0,
    step: int = 1,
) -> tuple[DataLoader, DataLoader]:
    """Serve random patches of the cases to learn from, and whole frames of those to judge by.

    Parameters
    ----------
    cells
        Edge of a patch.
    patches_per_tile
        Patches drawn in an epoch for each time that one fits into a frame.
    augment
        Of `SYMMETRIES`: none, north_south or all; vectors turn along.
    padding
        As of :func:`list_frames`.
    step
        Patches begin at whole multiples of so many cells, and frames have such edges.

    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"thk": np.zeros((2, 8, 8)), "speed": np.ones((2, 8, 8))}
    >>> cases = make_prepared(fields, split="training").cases()
    >>> signature = fit_signature("own", cases, inputs=["thk"], outputs=["speed"])
    >>> training, validation = make_loaders(cases, cases, signature, cells=4, batch_size=16, seed=7)
    >>> [len(batch["inputs"]) for batch in training], [batch["inputs"].shape[2:] for batch in validation]
    ([16], [torch.Size([8, 8]), torch.Size([8, 8])])
    """
    anywhere = [_mark_centres(case.shape, cells, step) for case in learnt for _ in range(case.frames)]
    symmetries = SYMMETRIES[augment]
    patches = PatchSampler(
        anywhere, cells=cells, patches_per_tile=patches_per_tile, seed=seed, symmetries=symmetries
    )
    options: Any = {"batch_size": batch_size, "cells": cells, "vectors": signature.vectors()}
    return (
        make_patch_loader(list_frames(learnt, signature, padding=padding), sampler=patches, **options),
        make_patch_loader(list_frames(judged, signature, padding=padding)),
    )


def _mark_centres(shape: Sequence[int], cells: int, step: int) -> np.ndarray:
    """Mark the cells in the middle of patches that begin at multiples of a step.

    >>> _mark_centres((8, 8), 4, 4)[2].tolist()
    [False, False, True, False, False, False, True, False]
    """
    rows, columns = ((np.arange(size) - cells // 2) % step == 0 for size in shape)
    return rows[:, None] & columns


def choose_patch(asked: int, cases: Sequence[Case]) -> int:
    """Give the edge of patches: what is asked for, or, of a negative number, the largest 2^k that fits.

    Raises
    ------
    InputError
        Where a frame is smaller.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> cases = make_prepared({"thk": 80.0}, shape=(40, 60)).cases()
    >>> choose_patch(-1, cases), choose_patch(24, cases)
    (32, 24)
    """
    smallest = min(cases, key=lambda case: min(case.shape))
    room = min(smallest.shape)
    if asked < 0:
        return 2 ** (room.bit_length() - 1)
    if not 1 <= asked <= room:
        raise InputError(
            f"--patch_size: {asked} cells do not fit into case {smallest}, {smallest.shape[0]} x "
            f"{smallest.shape[1]} cells; give at most {room}, or -1 for the largest power of two"
        )
    return asked
