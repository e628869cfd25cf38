"""A sheet of paper for matplotlib: the style of all figures that are no maps."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

CM_AN_INCH = 2.54
PRINT_DPI, SCREEN_DPI = 300, 150
STYLE: Any = {
    "axes.grid": False,
    "axes.labelpad": 2.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "figure.dpi": SCREEN_DPI,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "font.size": 7,
    "image.interpolation": "nearest",
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "savefig.bbox": None,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a name is a $
    "text.usetex": False,
    "xtick.labelsize": 6.5,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 6.5,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}
PEN: dict[str, Any] = {"color": "black", "linewidth": 0.6}

Place = tuple[float, float]  # centimetres


class Sheet(Figure):
    """A figure of matplotlib in the common style, which Jupyter shows by itself; it needs no pyplot."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save in the style that the figure was drawn in: ticks and fonts are made only now."""
        with rc_context(STYLE):
            super().savefig(fname, **options)

    def to_pixels(self, *, dpi: int = SCREEN_DPI) -> np.ndarray:
        """Give the picture as (y, x, 3), whole numbers of 0 to 255.

        >>> with styled_sheet(2.54, 1.27) as sheet:
        ...     sheet.to_pixels(dpi=100).shape
        (50, 100, 3)
        """
        content = io.BytesIO()
        self.savefig(content, format="rgba", dpi=dpi)
        columns, rows = (int(inches * dpi) for inches in self.get_size_inches())
        return np.frombuffer(content.getvalue(), np.uint8).reshape(rows, columns, 4)[..., :3]

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=SCREEN_DPI)
        return content.getvalue()


@contextlib.contextmanager
def styled_sheet(
    width_cm: float, height_cm: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Sheet]:
    """Start a figure of a size in the common style; the caller's own settings come back afterwards.

    >>> with styled_sheet(8.3, 5.0) as sheet:
    ...     axes = sheet.subplots()
    >>> [round(float(edge), 2) for edge in 2.54 * sheet.get_size_inches()]
    [8.3, 5.0]
    """
    with rc_context(STYLE):
        # Down to a hundredth of a point: a page must not be wider than it may be.
        width, height = (math.floor(7200 * edge / CM_AN_INCH) / 7200 for edge in (width_cm, height_cm))
        yield Sheet(figsize=(width, height), layout=layout)


def draw_legend(axes: Axes, *, width_cm: float, **options: Any) -> None:
    """Draw a legend above the frame, where it covers nothing, in as many columns as the width holds.

    >>> with styled_sheet(8.3, 5.0) as sheet:
    ...     axes = sheet.subplots()
    ...     _ = axes.plot([0, 1], [1, 2], label="training")
    ...     draw_legend(axes, width_cm=8.3)
    >>> axes.get_legend().get_texts()[0].get_text()
    'training'
    """
    handles, labels = axes.get_legend_handles_labels()
    widest = 1.1 + 0.14 * max(map(len, labels), default=0)  # centimetres of the sign and the letters
    columns = max(1, min(len(labels), int(width_cm / widest)))
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.3,
        borderpad=0,
        columnspacing=1.2,
        ncols=columns,
        **options,
    )


class Board:
    """Draws boxes, arrows, words and small pictures on a sheet, by places in centimetres from its lower left.

    >>> with styled_sheet(8.3, 4.0, layout=None) as sheet:
    ...     board = Board(sheet)
    ...     board.draw_box((1, 1), width=2, height=1, fill="0.9")
    ...     board.write((2, 1.5), "ice", size=7)
    """

    def __init__(self, sheet: Sheet, *, margin: float = 0.0) -> None:
        width, height = (CM_AN_INCH * inches for inches in sheet.get_size_inches())
        self.axes = sheet.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set(xlim=(-margin, width - margin), ylim=(-margin, height - margin))
        self.axes.set_axis_off()

    def draw_line(self, places: list[Place], **pen: Any) -> None:
        """Draw a line from place to place."""
        self.axes.plot(*zip(*places), **{**PEN, **pen})

    def draw_arrow(self, start: Place, stop: Place, **pen: Any) -> None:
        """Draw a line with a head where it stops."""
        head = {"arrowstyle": "-|>,head_length=3.5,head_width=1.3", "mutation_scale": 1.0}
        look = {**PEN, **pen, **head, "shrinkA": 0, "shrinkB": 0, "joinstyle": "miter"}
        self.axes.annotate("", stop, start, arrowprops=look)

    def draw_box(
        self, corner: Place, *, width: float, height: float, fill: str | None = None, **pen: Any
    ) -> None:
        """Draw a box from its lower left corner."""
        look = {**PEN, **pen}
        edge = {"edgecolor": look.pop("color"), "facecolor": fill or "none"}
        self.axes.add_patch(Rectangle(corner, width, height, zorder=2, **edge, **look))

    def draw_plus(self, centre: Place, *, diameter: float) -> None:
        """Draw the sign of a sum."""
        (x, y), arm = centre, 0.3 * diameter
        self.axes.add_patch(Circle(centre, diameter / 2, facecolor="white", edgecolor="black", linewidth=0.6))
        self.draw_line([(x - arm, y), (x + arm, y)])
        self.draw_line([(x, y - arm), (x, y + arm)])

    def draw_picture(self, corner: Place, values: np.ndarray | None, *, edge: float, colour_map: str) -> None:
        """Draw values, from north to south, as a small square; an empty frame where there are none."""
        if values is not None and np.isfinite(values).any():
            low, high = np.nanpercentile(values, [1, 99])
            extent = (corner[0], corner[0] + edge, corner[1], corner[1] + edge)
            self.axes.imshow(values, cmap=colour_map, vmin=low, vmax=high, extent=extent, aspect="auto")
        self.draw_box(corner, width=edge, height=edge)

    def write(
        self,
        place: Place,
        text: str,
        *,
        size: float,
        across: str = "center",
        bold: bool = False,
        angle: float = 0,
    ) -> None:
        """Write one line, across from its centre, its left or its right end."""
        weight = "bold" if bold else "normal"
        look: dict[str, Any] = {
            "ha": across,
            "va": "center",
            "fontsize": size,
            "fontweight": weight,
            "zorder": 4,
        }
        self.axes.text(*place, text, rotation=angle, **look)
