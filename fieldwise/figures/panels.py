"""What all figures share: widths, words, limits, and how they are saved, alone or as a set."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.grids import grid_of

if TYPE_CHECKING:
    import pygmt
    from matplotlib.figure import Figure

MOST_CELLS = 800  # a side and panel: more would be finer than print and slow to draw
METRES_A_KM = 1000.0
COLUMN_CM, MIDDLE_CM, PAGE_CM = 8.3, 12.0, 17.0  # widths of figures in a journal such as The Cryosphere
HIGHEST = 1.4  # height of a panel over its full width: a longer field is drawn narrower
BREAKING_MAPS = ("oleron", "bukavu", "fes")  # of GMT; at zero
LEAST_SPREAD = 1e-5  # of values over their size: what is closer is one value, in single precision
SCREEN_SHARE = 0.45  # of the pixels of print: a page of 17 cm is 900 wide
MARGIN = "+m1.5p"  # GMT cuts so close that it takes the edges off letters
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def save_figure(figure: Figure | pygmt.Figure, stem: str | Path) -> tuple[Path, Path]:
    """Save a figure as PDF, with lines and letters as such and fonts embedded, and as PNG to look at.

    Parameters
    ----------
    figure : of matplotlib or PyGMT, at its final size
    stem : path of the files without their endings

    Returns
    -------
    Paths of the PDF and of the PNG.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> [path.name for path in save_figure(Figure(), Path(tempfile.mkdtemp()) / "empty")]
    ['empty.pdf', 'empty.png']
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from fieldwise.figures.sheets import PRINT_DPI

    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf, png = (stem.with_name(stem.name + ending) for ending in (".pdf", ".png"))
    with replace_when_done(pdf) as for_print, replace_when_done(png) as for_screen:
        if isinstance(figure, Figure):
            with rc_context({"pdf.fonttype": 42}):
                figure.savefig(for_print, dpi=PRINT_DPI, metadata={"CreationDate": None})
            figure.savefig(for_screen, dpi=PRINT_DPI)
        else:
            figure.savefig(for_print, resize=MARGIN)
            figure.savefig(for_screen, resize=MARGIN, dpi=PRINT_DPI)
    return pdf, png


def try_to_draw(stem: str | Path, draw: Callable[[], Figure | pygmt.Figure]) -> list[Path]:
    """Draw and save a figure; where that fails, say so in one line and go on without it.

    For what comes after hours of work, such as the curves of a training: no picture is worth losing it.

    Parameters
    ----------
    stem : path of the files without their endings
    draw : draws the figure

    Returns
    -------
    The path of the PNG in a list, which is empty when the figure could not be drawn.

    Examples
    --------
    >>> try_to_draw("model/figures/curves", lambda: 1 / 0)  # warns: curves: not drawn; division by zero
    []
    """
    try:
        return [save_figure(draw(), stem)[1]]
    except Exception as error:  # whatever it is, it concerns the picture alone
        reason = " ".join(str(error).split()) or type(error).__name__
        warnings.warn(f"{Path(stem).name}: not drawn; {reason}", stacklevel=2)
        return []


@dataclass(frozen=True)
class Plate:
    """One figure of a set: what it shows, how it is drawn of some material, and what it cannot do without."""

    caption: str
    draw: Callable[[Any], Figure | pygmt.Figure]
    needs: str = ""
    can_be_drawn: Callable[[Any], bool] = lambda material: True


@dataclass(frozen=True)
class Printed:
    """A figure in its files, or why there is none; Jupyter shows it."""

    name: str
    caption: str
    png: Path | None = None
    pdf: Path | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Give Jupyter the picture, half as large again as in print."""
        if self.png is None:
            return {"text/plain": self.caption}
        picture = self.png.read_bytes()
        width = int.from_bytes(picture[16:20], "big")  # in pixels, from the header of a PNG
        metadata = {"image/png": {"width": round(width * SCREEN_SHARE)}}
        return {"image/png": picture, "text/plain": str(self.png)}, metadata


def print_plate(plates: Mapping[str, Plate], name: str, material: Any, folder: str | Path) -> Printed:
    """Draw one figure of a set and save it as PDF and PNG; say so where the material does not allow it.

    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> plates = {"empty": Plate("Nothing.", lambda material: Figure(), "radar", lambda material: material)}
    >>> print_plate(plates, "empty", True, tempfile.mkdtemp()).caption
    'Nothing.'
    >>> print_plate(plates, "empty", False, "figures")
    Printed(name='empty', caption='empty: not drawn; it needs radar', png=None, pdf=None)
    """
    plate = plates[name]
    if not plate.can_be_drawn(material):
        return Printed(name, f"{name}: not drawn; it needs {plate.needs}")
    try:
        figure = plate.draw(material)
    except InputError as error:  # such as radar that lies elsewhere than the region that is looked at
        return Printed(name, f"{name}: not drawn; {error}")
    pdf, png = save_figure(figure, Path(folder) / name)
    return Printed(name, plate.caption, png, pdf)


def thin(field: xr.DataArray, *, most_cells: int = MOST_CELLS) -> xr.DataArray:
    """Average blocks of cells so that no side keeps more than most_cells.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> thin(bed, most_cells=2).values.tolist()
    [[2.5, 4.5]]
    """
    step = math.ceil(max(field.shape) / most_cells)
    if step > 1:
        field = field.coarsen(x=step, y=step, boundary="trim").mean(keep_attrs=True)
    return field.compute()  # once: limits, light and drawing all read it


def common_limits(
    fields: Iterable[xr.DataArray], *, symmetric: bool = False, percentile: float = 1.0
) -> tuple[float, float]:
    """Return round limits that hold all but the outermost percent at each end.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> common_limits([bed, 10 * bed]), common_limits([bed], symmetric=True, percentile=0)
    ((0.0, 69.0), (-7.0, 7.0))
    """
    values = np.concatenate([field.to_numpy().ravel() for field in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError("fields hold no value to draw; check that they cover the box")
    low, high = (float(value) for value in np.percentile(values, [percentile, 100 - percentile]))
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if high - low <= LEAST_SPREAD * max(abs(low), abs(high)):  # a constant field
        room = max(0.5, 10 * LEAST_SPREAD * abs(high))
        low, high = low - room, high + room
    step = 10.0 ** math.floor(math.log10((high - low) / 10))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def elevation_limits(fields: Iterable[xr.DataArray], *, colour_map: str) -> tuple[float, float]:
    """Return round limits for elevations; where the colour map breaks at sea level, both sides get a share.

    Such a map gives each side all of its colours: a few islands of 20 m would shine like mountains. The
    smaller side is given a fifth of the bar at least.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=200, north=100, spacing=100, crs="EPSG:3031")
    >>> bed = make_field(np.array([[-800.0, 20.0]]), grid, name="bed")
    >>> elevation_limits([bed], colour_map="oleron"), elevation_limits([bed], colour_map="batlow")
    ((-800.0, 200.0), (-800.0, 20.0))
    """
    low, high = common_limits(fields)
    if colour_map in BREAKING_MAPS and low < 0 < high:
        least = max(-low, high) / 4
        low, high = min(low, -least), max(high, least)
    return low, high


def check_named(named: Mapping[str, Any], what: str) -> None:
    """Refuse a figure of nothing.

    >>> check_named({}, "boxes")
    Traceback (most recent call last):
    fieldwise.errors.InputError: no boxes to draw; give at least one, by name
    """
    if not named:
        raise InputError(f"no {what} to draw; give at least one, by name")


def check_same_grid(fields: Mapping[str, xr.DataArray]) -> None:
    """Refuse to compare fields that lie on different grids.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> check_same_grid({"bed": bed, "truth": bed + 1})
    >>> check_same_grid({"bed": bed, "part": bed[:, :2]})
    Traceback (most recent call last):
    fieldwise.errors.InputError: part is on ... and bed on ...; cut both on one grid
    """
    check_named(fields, "fields")
    first, *others = fields
    reference = grid_of(fields[first])
    for name in others:
        grid = grid_of(fields[name])
        near = np.allclose(grid.bounds, reference.bounds, rtol=0, atol=reference.spacing / 1000)
        if grid.shape != reference.shape or not near:
            raise InputError(f"{name} is on {grid} and {first} on {reference}; cut both on one grid")


def title(name: str) -> str:
    """Make a name readable: blanks for underscores, a capital first.

    >>> title("bed_lowres")
    'Bed lowres'
    """
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def letter(index: int, name: str) -> str:
    """Give a panel its letter and its name.

    >>> letter(1, "cubic")
    '(b) Cubic'
    """
    return f"({chr(ord('a') + index)}) {title(name)}"


def unit_text(units: str) -> str:
    """Raise the powers of units.

    >>> unit_text("m a-1"), unit_text("m/yr")
    ('m a⁻¹', 'm/yr')
    """
    return re.sub(r"(?<=[A-Za-z])-?\d+", lambda power: power[0].translate(SUPERSCRIPTS), units)


def quantity(field: xr.DataArray) -> str:
    """Return a field's long name and unit, for a colour bar.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> quantity(bed), quantity(bed.assign_attrs(long_name="ice speed", units="m a-1"))
    ('Bed (m)', 'Ice speed (m a⁻¹)')
    """
    name = title(str(field.attrs.get("long_name") or field.name or "value"))
    units = field.attrs.get("units", "")
    return f"{name} ({unit_text(units)})" if units else name


def region_km(field: xr.DataArray) -> list[float]:
    """Return a field's outer edges in km: west, east, south, north.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> region_km(bed)
    [0.0, 4.0, 0.0, 2.0]
    """
    west, south, east, north = grid_of(field).bounds
    return [edge / METRES_A_KM for edge in (west, east, south, north)]
