"""What a predictor reads of a case that training has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.fields.grids import Bounds
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.signatures import SLACK
from fieldwise.verbs.domains.blocks import Box, lay_out_case, round_up

if TYPE_CHECKING:
    from fieldwise.verbs.predictors import Predictor

STRIP_ROWS = 512  # of a map in memory; of a box a 32nd of them


def warn_beyond(
    predictor: Predictor,
    case: Case,
    frames: Sequence[int],
    *,
    domain: str = "cells",
    remedy: str = "`prepare`",
) -> None:
    """Print which inputs leave what training has seen, and where; and whether the size of the cells does.

    Parameters
    ----------
    domain
        What the cells are called that the predictor covers.
    remedy
        What brings cells to another size.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.array([[[20.0, 90.0, 400.0, 80.0]]])}).cases()
    >>> thickness = Variable("thk", units="m", range=(0.0, 300.0))
    >>> signature = Signature("own", (thickness,), (thickness,), spacings=(100.0,))
    >>> warn_beyond(Predictor(__import__("torch").nn.Identity(), signature), case, [0])
    warning: case region: cells of 250 m, training has seen 100 m; bring them to that with `prepare`
    warning: case region: inputs leave what training has seen in 25.0% of the cells: thk 20 to 400 (trained 0
    to 300); see beyond_training in the result
    """
    from fieldwise.verbs.predictors import BEYOND

    warn_spacing(predictor, case, remedy=remedy)
    share, ranges = measure_beyond(predictor, case, frames)
    if share:
        far = [
            f"{name} {least:.4g} to {largest:.4g} (trained {low:.4g} to {high:.4g})"
            for name, (least, largest, low, high) in ranges.items()
        ]
        print(
            f"warning: case {case}: inputs leave what training has seen in {share:.1%} of the {domain}: "
            f"{'; '.join(far)}; see {BEYOND} in the result"
        )


def warn_spacing(predictor: Predictor, case: Case, *, remedy: str) -> None:
    """Print that the cells of a case are smaller or larger than any that training has seen.

    Parameters
    ----------
    remedy
        What brings cells to another size.

    >>> from torch.nn import Identity
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"TMQ": np.zeros((1, 2, 2))}).cases()
    >>> for seen in ((100.0, 400.0), (100.0, 200.0)):
    ...     predictor = Predictor(Identity(), Signature("own", (), (), spacings=seen))
    ...     warn_spacing(predictor, case, remedy="`prepare`")
    warning: case region: cells of 250 m, training has seen 100, 200 m; bring them to that with `prepare`
    """
    known = predictor.signature.spacings or (case.spacing,)
    if not 0.99 * min(known) <= case.spacing <= 1.01 * max(known):
        trained, units = ", ".join(f"{spacing:g}" for spacing in known), case.spacing_units
        print(
            f"warning: case {case}: cells of {case.spacing:g} {units}, training has seen {trained} {units}; "
            f"bring them to that with {remedy}"
        )


def warn_style(predictor: Predictor, case: Case) -> None:
    """Print which numbers of a case, read beside its fields, leave what training has seen.

    Raises
    ------
    InputError
        Where the case has none of a name.

    >>> from fieldwise.samples.examples import make_box
    >>> from fieldwise.samples.signatures import Signature
    >>> from fieldwise.verbs.predictors import Predictor
    >>> facts = {"style": ["omega_m"], "style_range": [[0.2, 0.4]]}
    >>> predictor = Predictor(__import__("torch").nn.Identity(), Signature("own", (), (), facts=facts))
    >>> box = make_box({"density": np.ones((1, 4, 4))}, split="test", numbers={"omega_m": 0.5}).cases()[0]
    >>> warn_style(predictor, box)
    warning: case test/box: omega_m is 0.5, training has seen 0.2 to 0.4; what is drawn is a guess
    """
    facts, values = predictor.signature.facts, predictor.read_style(case)
    limits = facts.get("style_range") or [(-np.inf, np.inf)] * len(values)
    for name, value, (low, high) in zip(facts.get("style") or [], values.tolist(), limits, strict=True):
        slack = SLACK * max(abs(low), abs(high))
        if not low - slack <= value <= high + slack:
            print(
                f"warning: case {case}: {name} is {value:.6g}, training has seen {low:g} to {high:g}; "
                "what is drawn is a guess"
            )


def measure_beyond(
    predictor: Predictor, case: Case, frames: Sequence[int]
) -> tuple[float, dict[str, tuple[float, float, float, float]]]:
    """Tell in which share of the covered cells inputs leave what training has seen, and which inputs do.

    Returns
    -------
    tuple
        The share; and for each field that does so its least and largest value, and those of training.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.array([[[20.0, 90.0], [400.0, np.nan]]])}).cases()
    >>> thickness = Variable("thk", range=(0.0, 300.0))
    >>> predictor = Predictor(__import__("torch").nn.Identity(), Signature("own", (thickness,), (thickness,)))
    >>> share, ranges = measure_beyond(predictor, case, [0])
    >>> round(share, 3), [float(end) for end in ranges["thk"]]
    (0.333, [20.0, 400.0, 0.0, 300.0])
    """
    inputs = predictor.signature.inputs
    known = {name: each.range for each in inputs if each.range for name in each.fields}
    ends = dict.fromkeys(known, (np.inf, -np.inf))
    beyond = cells = 0
    for frame in frames:
        for shape, window, inside in _strips(predictor, case):
            arrays = predictor.read(case, window, frame)
            covered = predictor.covers(arrays, shape)
            cells += int(covered[inside].sum())
            beyond += int(predictor.beyond(arrays, shape)[inside].sum())
            fields = (
                (name, values) for each in inputs for name, values in zip(each.fields, arrays[each.name])
            )
            for name, values in fields:
                counted = values[covered if values.shape == shape else np.isfinite(values)]
                if name in known and counted.size:
                    least, largest = ends[name]
                    ends[name] = min(least, counted.min()), max(largest, counted.max())
    far = {
        name: (*ends[name], *limits)
        for name, limits in known.items()
        if ends[name][0] < limits[0] or ends[name][1] > limits[1]
    }
    return beyond / max(cells, 1), far


def _strips(
    predictor: Predictor, case: Case
) -> Iterator[tuple[tuple[int, ...], Bounds | Cells, tuple[slice, ...]]]:
    """Give shapes and windows that tile a case, some rows at a time, and which of their cells lie in it."""
    layout = lay_out_case(case, None, predictor.alignment_cells(case))
    (_, *starts), (last, *stops) = layout.limits
    rows = round_up(max(1, STRIP_ROWS // 32 ** len(starts[1:])), layout.alignment)
    for first in range(0, last, rows):
        strip = Box((first, *starts), (min(first + rows, last), *stops))
        yield strip.shape, layout.locate(strip), strip.clipped(layout.target).within(strip)
