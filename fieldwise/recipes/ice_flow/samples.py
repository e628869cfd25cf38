"""Prepared cases as an emulator takes them: scaled, masked, and the ranges that it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow.slopes import FLOWING_M
from fieldwise.recipes.ice_flow.signatures import THICKNESS, suggest_scales
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.loaders import Frame
from fieldwise.samples.signatures import Signature, Variable, group_fields

PHYSICS = ("thk", "usurf", "arrhenius", "slidingco")  # what the energy reads


def find_ice(case: Case, frame: int, *, thicker_than_m: float = FLOWING_M, cells: Cells = ()) -> np.ndarray:
    """Tell where ice can flow, or is thicker than that: (y, x) bool; without a known thickness everywhere.

    Parameters
    ----------
    cells
        Rows and columns of a part of the case.

    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.array([[[0.0, 0.5, 90.0]]])}).cases()  # one frame of one row
    >>> find_ice(case, 0).tolist(), find_ice(case, 0, thicker_than_m=0).tolist()
    ([[False, False, True]], [[False, True, True]])
    """
    if THICKNESS not in case.files:
        return np.ones(case.shape, dtype=bool)[cells]
    return case.stack([THICKNESS], cells=cells, frame=frame)[0] > thicker_than_m


def list_frames(
    cases: Iterable[Case], signature: Signature, *, with_physics: bool = False, margin: int = 0
) -> list[Frame]:
    """Give a reader for every frame: scaled inputs and targets, the mask of the ice, what physics reads.

    The mask leaves out a margin of so many cells where a patch is cut out of a frame: no network can tell
    how the ice goes on there.

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"thk": np.array([[[0.0, 50.0, 75.0]]]), "ubar": np.array([[[0.0, 250.0, 500.0]]])}
    >>> prepared = make_prepared(fields)
    >>> (read,) = list_frames(prepared.cases(), make_signature({"thk": 100.0}, {"ubar": 1000.0}))
    >>> sample = read(slice(0, 1), slice(0, 3))
    >>> {name: values.ravel().tolist() for name, values in sample.items()}
    {'inputs': [0.0, 0.5, 0.75], 'targets': [0.0, 0.25, 0.5], 'mask': [0.0, 1.0, 1.0]}
    """
    return [
        partial(_read_sample, case, frame, signature, with_physics, margin)
        for case in cases
        for frame in range(case.frames)
    ]


def _read_sample(
    case: Case,
    frame: int,
    signature: Signature,
    with_physics: bool,
    margin: int,
    rows: slice,
    columns: slice,
) -> dict[str, np.ndarray]:
    cells = (rows, columns)
    sample = {
        "inputs": signature.apply(case.stack(signature.fields("inputs"), cells=cells, frame=frame), "inputs"),
        "targets": signature.apply(
            case.stack(signature.fields("outputs"), cells=cells, frame=frame), "outputs"
        ),
    }
    judged = np.outer(*(_judge(cut, size, margin) for cut, size in zip(cells, case.shape)))
    sample["mask"] = (find_ice(case, frame, cells=cells) & judged)[None].astype(np.float32)
    if with_physics:
        sample["physics"] = case.stack(PHYSICS, cells=cells, frame=frame)
        sample["spacing_m"] = np.full((1, 1, 1), case.spacing, dtype=np.float32)
    return sample


def _judge(cut: slice, size: int, margin: int) -> np.ndarray:
    """Tell which cells of a cut along an axis are judged: not those beside an end within the frame.

    >>> _judge(slice(0, 6), 10, 2).tolist()
    [True, True, True, True, False, False]
    """
    cells = np.arange(size)[cut]
    first, last = cells[0] + margin * (cells[0] > 0), cells[-1] - margin * (cells[-1] < size - 1)
    return (cells >= first) & (cells <= last)


def find_centres(cases: Iterable[Case], *, thicker_than_m: float) -> list[np.ndarray]:
    """Mark for every frame the cells that a patch may be drawn around.

    Raises
    ------
    InputError
        Where a whole case has none.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({"thk": np.array([[[0.0, 50.0, 90.0]]])})
    >>> find_centres(prepared.cases(), thicker_than_m=60)[0].tolist()
    [[False, False, True]]
    """
    masks = []
    for case in cases:
        found = [find_ice(case, frame, thicker_than_m=thicker_than_m) for frame in range(case.frames)]
        if not any(mask.any() for mask in found):
            raise InputError(
                f"case {case}: has no cell with more than {thicker_than_m:g} m of ice; lower --thrice, "
                "or leave the case out"
            )
        masks += found
    return masks


def fit_ranges(signature: Signature, cases: Sequence[Case], *, rescale: bool = False) -> Signature:
    """Note the ranges that variables have on the ice and the spacings of cells, and take scales from them.

    The components of a vector share the length of the longest: an emulator that has seen a slope to the
    north is not to be warned of one to the east.

    Parameters
    ----------
    rescale
        Whether scales are to come from the ranges; by default they stay.

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"thk": np.array([[[0.0, 50.0, 90.0]]]), "ubar": np.array([[[7.0, 20.0, 80.0]]])}
    >>> prepared = make_prepared(fields)
    >>> fitted = fit_ranges(make_signature({"thk": 2000.0}, {"ubar": 1000.0}), prepared.cases())
    >>> [each.range for each in (*fitted.inputs, *fitted.outputs)]  # rock has no say
    [(50.0, 90.0), (20.0, 80.0)]
    """
    fields = [*signature.fields("inputs"), *signature.fields("outputs")]
    low, high = np.full(len(fields), np.inf), np.full(len(fields), -np.inf)
    for case in cases:
        for frame in range(case.frames):
            mask = find_ice(case, frame)
            if mask.any():
                values = case.stack(fields, frame=frame)[:, mask]
                low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    ranges = dict(zip(fields, zip(low.tolist(), high.tolist())))
    sides = [
        tuple(_with_range(each, ranges) for each in side) for side in (signature.inputs, signature.outputs)
    ]
    spacings = tuple(sorted({case.spacing for case in cases}))
    fitted = replace(signature, inputs=sides[0], outputs=sides[1], spacings=spacings)
    return suggest_scales(fitted) if rescale else fitted


def _with_range(variable: Variable, ranges: dict[str, tuple[float, float]]) -> Variable:
    ends = [end for name in variable.fields for end in ranges[name]]
    longest = max(map(abs, ends))
    return replace(variable, range=(-longest, longest) if variable.vector else (min(ends), max(ends)))


def check_directions(signature: Signature) -> None:
    """Refuse to turn maps where fields that are components by their names are not known as a vector.

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> check_directions(make_signature({"slopsurfx": 1.5, "slopsurfy": 1.0}, {}))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --maptype: slopsurfx and slopsurfy do not stand side by side ...
    """
    for side in (signature.inputs, signature.outputs):
        for each in group_fields((each.name for each in side if not each.vector), units={}):
            if each.vector:
                raise InputError(
                    f"--maptype: {' and '.join(each.fields)} do not stand side by side with one scale, so "
                    "that maps cannot be turned; write the .dat files so, or give --data_augmentation false "
                    "and another --network than equivariant"
                )
