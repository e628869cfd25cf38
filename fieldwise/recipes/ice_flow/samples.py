"""Prepared cases as an emulator takes them: scaled, masked, and described."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.recipes.ice_flow.frames import FLOWING_M
from fieldwise.recipes.ice_flow.mapping import UNITS, FieldMap, pair_channels, suggest_scales
from fieldwise.recipes.ice_flow.prepared import PreparedCase
from fieldwise.samples.loaders import Frame

PHYSICS = ("thk", "usurf", "arrhenius", "slidingco")  # what the energy reads


def list_frames(
    cases: Iterable[PreparedCase], fields: FieldMap, *, with_physics: bool = False, margin: int = 0
) -> list[Frame]:
    """Give a reader for every frame: scaled inputs and targets, the mask of the ice, what physics reads.

    The mask leaves out a margin of so many cells where a patch is cut out of a frame: no network can tell
    how the ice goes on there.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> np.save(folder / "ubar.npy", [[[0.0, 20.0, 80.0]]])
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk", "ubar"))
    >>> (read,) = list_frames([case], FieldMap({"thk": 100.0}, {"ubar": 1000.0}))
    >>> sample = read(slice(0, 1), slice(0, 3))
    >>> {name: values.ravel().tolist() for name, values in sample.items()}
    {'inputs': [0.0, 0.5, 0.9], 'targets': [0.0, 0.02, 0.08], 'mask': [0.0, 1.0, 1.0]}
    """
    return [
        partial(_read_sample, case, frame, fields, with_physics, margin)
        for case in cases
        for frame in range(case.frames)
    ]


def _read_sample(
    case: PreparedCase,
    frame: int,
    fields: FieldMap,
    with_physics: bool,
    margin: int,
    rows: slice,
    columns: slice,
) -> dict[str, np.ndarray]:
    sample = {}
    for name, scales in (("inputs", fields.inputs), ("targets", fields.outputs)):
        divisors = np.array(list(scales.values()), dtype=np.float32)[:, None, None]
        sample[name] = case.read(scales, frame, rows, columns) / divisors
    judged = np.outer(*(_judge(cut, size, margin) for cut, size in zip((rows, columns), case.shape)))
    sample["mask"] = (flowing(case, frame)[rows, columns] & judged)[None].astype(np.float32)
    if with_physics:
        sample["physics"] = case.read(PHYSICS, frame, rows, columns)
        sample["spacing_m"] = np.full((1, 1, 1), case.spacing_m, dtype=np.float32)
    return sample


def _judge(cut: slice, size: int, margin: int) -> np.ndarray:
    """Tell which cells of a cut along an axis are judged: not those beside an end within the frame.

    >>> _judge(slice(0, 6), 10, 2).tolist()
    [True, True, True, True, False, False]
    """
    cells = np.arange(size)[cut]
    first, last = cells[0] + margin * (cells[0] > 0), cells[-1] - margin * (cells[-1] < size - 1)
    return (cells >= first) & (cells <= last)


def flowing(case: PreparedCase, frame: int) -> np.ndarray:
    """Tell where the ice can flow, (y, x) bool.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 0.5, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> flowing(case, 0).tolist()
    [[False, False, True]]
    """
    return case.ice(frame, thicker_than_m=FLOWING_M)


def find_centres(cases: Iterable[PreparedCase], *, thicker_than_m: float) -> list[np.ndarray]:
    """Mark for every frame the cells that a patch may be drawn around.

    Raises
    ------
    InputError
        Where a whole case has none.

    Examples
    --------
    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> find_centres([case], thicker_than_m=60)[0].tolist()
    [[False, False, True]]
    """
    masks = []
    for case in cases:
        found = [case.ice(frame, thicker_than_m=thicker_than_m) for frame in range(case.frames)]
        if not any(mask.any() for mask in found):
            raise InputError(
                f"case {case}: has no cell with more than {thicker_than_m:g} m of ice; lower --thrice, "
                "or leave the case out"
            )
        masks += found
    return masks


def choose_patch(asked: int, cases: Sequence[PreparedCase]) -> int:
    """Give the edge of patches: what is asked for, or, of a negative number, the largest 2^k that fits.

    Raises
    ------
    InputError
        Where a frame is smaller.

    Examples
    --------
    >>> from pathlib import Path
    >>> case = PreparedCase("made", "train", Path(), 1, (40, 60), 100.0, None, ("thk",))
    >>> choose_patch(-1, [case]), choose_patch(24, [case])
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


def find_vectors(fields: FieldMap) -> dict[str, list[tuple[int, int]]]:
    """Tell which channels of a sample are components of vectors.

    >>> from fieldwise.recipes.ice_flow.mapping import read_map
    >>> find_vectors(read_map("f12"))  # the slopes; mean and surface velocity
    {'inputs': [(1, 2)], 'targets': [(0, 1), (2, 3)]}
    """
    return {"inputs": pair_channels(fields.inputs), "targets": pair_channels(fields.outputs)}


def measure_ranges(cases: Iterable[PreparedCase], names: Iterable[str]) -> dict[str, list[float]]:
    """Find the least and the largest value of each variable on the ice.

    Components of a vector share the length of the longest: an emulator that has seen a slope to the north
    is not to be warned of one to the east.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> measure_ranges([case], ["thk", "dX"])  # rock has no say
    {'thk': [50.0, 90.0], 'dX': [100.0, 100.0]}
    """
    names = list(names)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for case in cases:
        for frame in range(case.frames):
            mask = flowing(case, frame)
            if mask.any():
                values = case.read(names, frame)[:, mask]
                low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    for east, north in pair_channels(names):
        both = [east, north]
        high[both] = max(-low[both].min(), high[both].max())
        low[both] = -high[both]
    return {name: [float(a), float(b)] for name, a, b in zip(names, low, high, strict=True)}


def fit_map(fields: FieldMap, cases: Sequence[PreparedCase]) -> FieldMap:
    """Put scales that the data suggest in the place of those of the map type.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> fit_map(FieldMap({"thk": 2000.0}, {}), [case]).inputs  # 1, 2 or 5 times a power of ten
    {'thk': 100.0}
    """
    ranges = measure_ranges(cases, [*fields.inputs, *fields.outputs])
    scales = suggest_scales({name: max(abs(low), abs(high)) for name, (low, high) in ranges.items()})
    return FieldMap(
        {name: scales[name] for name in fields.inputs}, {name: scales[name] for name in fields.outputs}
    )


def describe(fields: FieldMap, cases: Sequence[PreparedCase]) -> dict[str, Any]:
    """Say what an emulator reads and gives: the contract that travels with its weights.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> describe(FieldMap({"thk": 2000.0}, {"ubar": 1000.0}), [case])["inputs"]
    {'thk': {'scale': 2000.0, 'units': 'm', 'range': [50.0, 90.0]}}
    """
    ranges = measure_ranges(cases, fields.inputs)
    return {
        "recipe": "ice_flow",
        "version": 1,
        "rows": "north to south",
        "inputs": {
            name: {"scale": scale, "units": UNITS.get(name, ""), "range": ranges[name]}
            for name, scale in fields.inputs.items()
        },
        "outputs": {
            name: {"scale": scale, "units": UNITS.get(name, "")} for name, scale in fields.outputs.items()
        },
        "spacing_m": sorted({case.spacing_m for case in cases}),
    }
