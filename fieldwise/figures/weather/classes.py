"""Classes of cells against each other, and how far their probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import EVEN
from fieldwise.figures.curves import looks_of
from fieldwise.figures.panels import COLUMN_CM, check_named, title

if TYPE_CHECKING:
    from fieldwise.figures.sheets import Sheet

LEAST_SHARE = 0.005  # of a row, below which a number in a table of shares is left out


def draw_confusion(confusion: ArrayLike, classes: Sequence[str], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how the cells of each true class are told, in shares of the row.

    Parameters
    ----------
    confusion : (true class, predicted class) counts
    classes : names
    width_cm : of the figure

    Raises
    ------
    InputError
        When counts and names do not fit each other.

    Examples
    --------
    >>> figure = draw_confusion([[90, 10], [5, 5]], ["calm", "storm"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.90', '0.10', '0.50', '0.50']
    """
    from fieldwise.figures.sheets import styled_sheet

    counts = np.asarray(confusion, dtype=float)
    if counts.shape != (len(classes), len(classes)):
        raise InputError(f"confusion has shape {counts.shape}; give {len(classes)} x {len(classes)} counts")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [title(name).replace(" ", "\n") for name in classes]
    with styled_sheet(width_cm, 0.8 * width_cm) as sheet:
        axes = sheet.subplots()
        axes.imshow(shares, cmap=EVEN, vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share < 0.6 else "black"
            if share >= LEAST_SHARE:
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
        ticks = range(len(classes))
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names)
        axes.set(xlabel="Predicted", ylabel="True")
    return sheet


def draw_reliability(curves: Mapping[str, Mapping[str, ArrayLike]], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how often something is so that was held for so probable; on the diagonal it can be believed.

    Parameters
    ----------
    curves : name -> ``probability`` and ``share``, (n,) each, as of `scores.classes.ReliabilitySums`
    width_cm : of the figure

    Examples
    --------
    >>> figure = draw_reliability({"storm": {"probability": [0.1, 0.9], "share": [0.2, 0.7]}})
    >>> figure.axes[0].get_xlabel()
    'Predicted probability'
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(curves, "curves")
    looks = looks_of(["", *curves])
    with styled_sheet(width_cm, width_cm) as sheet:
        axes = sheet.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.5, linestyle="dashed")
        for name, curve in curves.items():
            axes.plot(curve["probability"], curve["share"], label=title(name), marker=".", **looks[name])
        axes.set(xlabel="Predicted probability", ylabel="Share of cells", xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        draw_legend(axes, width_cm=width_cm)
    return sheet
