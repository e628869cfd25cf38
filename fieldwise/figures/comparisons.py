"""Fields and tiles side by side, where no coastline is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    COLUMN_CM,
    HIGHEST,
    PAGE_CM,
    check_named,
    check_same_grid,
    common_limits,
    letter,
    quantity,
    region_km,
    thin,
    title,
    unit_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

    from fieldwise.figures.sheets import Sheet

EVEN, AROUND_ZERO = "viridis", "RdBu_r"  # colour maps of matplotlib
MISSING = "0.9"  # grey
PLAIN = "{x:.8g}"  # ticks without a common factor
AROUND_CM = 1.75, 1.95  # beside the panels of a sheet, and above and below each one with its colour bar


def draw_inputs(
    fields: Mapping[str, xr.DataArray],
    *,
    colour_maps: Mapping[str, str] | None = None,
    logarithmic: Collection[str] = (),
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw fields side by side, each with a colour bar of its own; their grids may differ.

    Parameters
    ----------
    fields : name of the panel -> (y, x) field with units
    colour_maps : colour map of a panel in matplotlib, where it is not to be viridis
    logarithmic : names of panels whose colours follow the logarithm, such as a speed
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no field, a field holds no value, or a logarithmic one nothing above zero.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_inputs({"bed_lowres": bed})
    """
    check_named(fields, "fields")
    thinned = {name: thin(field) for name, field in fields.items()}
    columns = 2 if len(fields) in (2, 4) else min(len(fields), 3)
    with _sheet_of(list(thinned.values()), columns=columns, width_cm=width_cm) as (sheet, grid):
        for index, (axes, (name, field)) in enumerate(zip(grid, thinned.items())):
            norm = _logarithm(field) if name in logarithmic else linear_norm(common_limits([field]))
            image = _draw_field(
                axes,
                field,
                norm=norm,
                colour_map=(colour_maps or {}).get(name, EVEN),
                heading=letter(index, name) if len(fields) > 1 else title(name),
                west=index % columns == 0,
                south=index + columns >= len(fields),
            )
            draw_bar(sheet, image, [axes], quantity(field))
    return sheet


def draw_comparison(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    *,
    colour_map: str = EVEN,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw truth and prediction in one scale of colours, and prediction minus truth in one around zero.

    Parameters
    ----------
    truth, prediction : (y, x) fields on one grid, with units; missing cells are grey
    colour_map : of matplotlib, for both
    width_cm : of the figure

    Raises
    ------
    InputError
        When the fields are on different grids or hold no value.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> speed = make_field(np.random.default_rng(0).random(grid.shape), grid, name="speed", units="m a-1")
    >>> figure = draw_comparison(speed, 1.1 * speed)
    """
    check_same_grid({"truth": truth, "prediction": prediction})
    both = [thin(truth), thin(prediction)]
    difference = both[0].copy(data=both[1].to_numpy() - both[0].to_numpy())
    common, around_zero = common_limits(both), common_limits([difference], symmetric=True)
    units = unit_text(truth.attrs.get("units", ""))
    with _sheet_of([*both, difference], columns=3, width_cm=width_cm) as (sheet, grid):
        for index, (name, field) in enumerate(zip(("true", "predicted"), both)):
            image = _draw_field(
                grid[index],
                field,
                norm=linear_norm(common),
                colour_map=colour_map,
                heading=letter(index, name),
                west=not index,
            )
        draw_bar(sheet, image, grid[:2], quantity(truth))
        image = _draw_field(
            grid[2],
            difference,
            norm=linear_norm(around_zero),
            colour_map=AROUND_ZERO,
            heading=letter(2, "difference"),
            west=False,
        )
        draw_bar(sheet, image, grid[2:], f"Difference ({units})" if units else "Difference")
    return sheet


def draw_tiles(
    columns: Mapping[str, ArrayLike],
    *,
    error: str | None = None,
    colour_map: str = EVEN,
    width_cm: float = COLUMN_CM,
) -> Sheet:
    """Draw tiles, or frames, a row each; the columns tell what is what.

    The colours of a row run over the values of its last column but the error; those of the error, around
    zero, to half of that range.

    Parameters
    ----------
    columns : name -> (n, y, x) values, from north to south; the sizes of cells may differ
    error : name of the column that is a difference
    colour_map : of matplotlib
    width_cm : of the figure

    Raises
    ------
    InputError
        When there are no columns.

    Examples
    --------
    >>> truth = np.random.default_rng(0).normal(size=(2, 8, 8))
    >>> tiles = {"coarse": truth[:, ::2, ::2], "prediction": 0.9 * truth, "truth": truth}
    >>> figure = draw_tiles({**tiles, "error": -0.1 * truth}, error="error")
    """
    from fieldwise.figures.sheets import styled_sheet

    check_named(columns, "columns")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    reference = arrays[[name for name in arrays if name != error][-1]]
    count = len(reference)
    edge = width_cm / len(arrays)
    with styled_sheet(width_cm, count * edge + 0.35, layout=None) as sheet:
        grid = sheet.subplots(count, len(arrays), squeeze=False)
        top = 1 - 0.35 / (count * edge + 0.35)
        sheet.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=top, wspace=0.03, hspace=0.03)
        for row in range(count):
            low, high = float(np.nanmin(reference[row])), float(np.nanmax(reference[row]))
            half = (high - low) / 2 or 0.5
            for axes, (name, tiles) in zip(grid[row], arrays.items()):
                limits = (-half, half) if name == error else (low, high)
                axes.imshow(
                    tiles[row], norm=linear_norm(limits), cmap=AROUND_ZERO if name == error else colour_map
                )
                axes.set(xticks=[], yticks=[], facecolor=MISSING)
                if row == 0:
                    axes.set_title(name, fontweight="normal", fontsize=6.5, pad=2)
    return sheet


@contextlib.contextmanager
def _sheet_of(
    fields: list[xr.DataArray], *, columns: int, width_cm: float
) -> Iterator[tuple[Sheet, list[Axes]]]:
    """Start a sheet of as many panels as there are fields, as high as they need."""
    from fieldwise.figures.sheets import styled_sheet

    beside, around = AROUND_CM
    width = (width_cm - beside) / columns
    slenderness = [(north - south) / (east - west) for west, east, south, north in map(region_km, fields)]
    rows = [slenderness[first : first + columns] for first in range(0, len(fields), columns)]
    height_cm = sum(width * min(max(row), HIGHEST) + around for row in rows)
    with styled_sheet(width_cm, height_cm) as sheet:
        grid = list(sheet.subplots(len(rows), columns, squeeze=False).flat)
        for axes in grid[len(fields) :]:
            axes.remove()
        yield sheet, grid[: len(fields)]


def linear_norm(limits: tuple[float, float]) -> Normalize:
    """Spread colours evenly between limits.

    >>> float(linear_norm((0.0, 8.0))(2.0))
    0.25
    """
    from matplotlib.colors import Normalize

    return Normalize(*limits)


def _logarithm(field: xr.DataArray) -> Normalize:
    from matplotlib.colors import LogNorm

    positive = field.where(field > 0)
    if not bool(positive.notnull().any()):
        raise InputError(f"{field.name} has no value above zero; draw it without logarithm")
    low, high = common_limits([positive.copy(data=np.log10(positive.to_numpy()))])
    return LogNorm(10**low, 10**high)


def _draw_field(
    axes: Axes,
    field: xr.DataArray,
    *,
    norm: Normalize,
    colour_map: str,
    heading: str,
    west: bool = True,
    south: bool = True,
) -> AxesImage:
    """Draw one panel in kilometres; label its western and southern axis."""
    from matplotlib.ticker import MaxNLocator

    west_km, east_km, south_km, north_km = region_km(field)
    extent = (west_km, east_km, south_km, north_km)
    image = axes.imshow(field.to_numpy(), extent=extent, norm=norm, cmap=colour_map)
    axes.set_title(heading)
    axes.set_facecolor(MISSING)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(PLAIN)
    axes.set_xlabel("Easting (km)" if south else "")
    axes.set_ylabel("Northing (km)" if west else "")
    return image


def draw_bar(
    sheet: Sheet, image: ScalarMappable, panels: list[Axes], label: str, *, extend: str = "both"
) -> None:
    """Draw a colour bar below panels, with open ends, where values may lie beyond the limits, or with none.

    >>> from fieldwise.figures.sheets import styled_sheet
    >>> with styled_sheet(8.3, 6.0) as sheet:
    ...     axes = sheet.subplots()
    ...     draw_bar(sheet, axes.imshow([[0.0, 8.0]]), [axes], "Bed (m)")
    >>> sheet.axes[1].get_xlabel()
    'Bed (m)'
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    bar = sheet.colorbar(
        image,
        ax=panels,
        orientation="horizontal",
        extend=extend,
        label=label,
        shrink=0.85 if len(panels) == 1 else 0.6,
        aspect=22 if len(panels) == 1 else 36,
        pad=0.02,
    )
    bar.formatter = StrMethodFormatter(PLAIN)
    if isinstance(image.norm, LogNorm):
        low, high = image.get_clim()
        bar.locator = LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,))
        bar.ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        bar.locator = MaxNLocator(4, steps=[1, 2, 5, 10])
    bar.update_ticks()
