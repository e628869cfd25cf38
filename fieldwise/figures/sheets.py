"""A sheet ruled in centimetres, to draw boxes, arrows, words and small pictures on."""

from __future__ import annotations

import numpy as np
import pygmt
import xarray as xr

PEN = "0.6p,black"
TEXT, SMALL, BOLD = "7p,Helvetica", "6.5p,Helvetica", "7p,Helvetica-Bold"

Place = tuple[float, float]  # centimetres from the lower left corner


class Sheet:
    """Draws on a figure by places in centimetres.

    >>> from fieldwise.figures.panels import styled_figure
    >>> with styled_figure() as figure:
    ...     sheet = Sheet(figure, width=8.3, height=4.0)
    ...     sheet.draw_box((1, 1), width=2, height=1, fill="gray90")
    ...     sheet.write((2, 1.5), "ice")
    """

    def __init__(self, figure: pygmt.Figure, *, width: float, height: float) -> None:
        self.figure = figure
        # Given with every call: a picture has a region of its own, which GMT would go on with.
        self._frame = {"region": [0, width, 0, height], "projection": f"X{width}c/{height}c"}
        figure.basemap(frame="+n", **self._frame)

    def draw_line(self, places: list[Place], *, pen: str = PEN) -> None:
        """Draw a line from place to place."""
        x, y = zip(*places)
        self.figure.plot(x=x, y=y, pen=pen, **self._frame)

    def draw_arrow(self, start: Place, stop: Place, *, pen: str = PEN) -> None:
        """Draw a line with a head where it stops."""
        colour = pen.split(",")[1]
        style = f"v0.14c+s+e+a40+h0+g{colour}+p0.1p,{colour}"
        self.figure.plot(data=[[*start, *stop]], style=style, pen=pen, fill=colour, **self._frame)

    def draw_box(self, corner: Place, *, width: float, height: float, fill: str, pen: str = PEN) -> None:
        """Draw a box from its lower left corner."""
        (left, bottom), (right, top) = corner, (corner[0] + width, corner[1] + height)
        x, y = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
        self.figure.plot(x=x, y=y, fill=fill or None, pen=pen, **self._frame)

    def draw_plus(self, centre: Place, *, diameter: float) -> None:
        """Draw the sign of a sum."""
        self.figure.plot(
            x=[centre[0]], y=[centre[1]], style=f"c{diameter}c", fill="white", pen=PEN, **self._frame
        )
        self.figure.plot(x=[centre[0]], y=[centre[1]], style=f"+{0.6 * diameter}c", pen=PEN, **self._frame)

    def draw_picture(self, corner: Place, values: np.ndarray | None, *, edge: float, colour_map: str) -> None:
        """Draw values, from north to south, as a small square; an empty frame where there are none."""
        if values is not None and np.isfinite(values).any():
            rows, columns = values.shape
            upward = xr.DataArray(
                np.asarray(values, dtype=np.float32)[::-1],
                dims=("y", "x"),
                coords={"y": np.arange(rows) + 0.5, "x": np.arange(columns) + 0.5},
            )
            upward.gmt.registration = 1
            low, high = (float(value) for value in np.nanpercentile(values, [1, 99]))
            series = [low, high] if high > low else [low - 0.5, low + 0.5]
            pygmt.makecpt(cmap=colour_map, series=series, background=True, overrule_bg=True)
            with self.figure.shift_origin(xshift=f"{corner[0]}c", yshift=f"{corner[1]}c"):
                self.figure.grdimage(
                    upward, region=[0, columns, 0, rows], projection=f"X{edge}c/{edge}c", cmap=True
                )
        self.draw_box(corner, width=edge, height=edge, fill="")

    def write(
        self, place: Place, text: str, *, justify: str = "CM", font: str = TEXT, angle: float = 0
    ) -> None:
        """Write one line; of GMT's justify, the first letter is across and the second along."""
        self.figure.text(
            x=place[0],
            y=place[1],
            text=text,
            justify=justify,
            font=font,
            angle=angle,
            no_clip=True,
            **self._frame,
        )
