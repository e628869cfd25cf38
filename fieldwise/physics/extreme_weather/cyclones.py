"""Tropical cyclones by rule, at one time: candidates after TECA and after TempestExtremes.

Radii are in kilometres and thresholds belong to a scale, not to cells: so both rules hold on grids of 0.25
to 2.5 degrees.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.components import NEIGHBOURS
from fieldwise.physics.extreme_weather.sphere import (
    DEGREE_KM,
    GlobalGrid,
    local_maxima,
    smooth,
    vorticity,
)

NEEDED = ("TMQ", "U850", "V850", "UBOT", "VBOT", "PSL", "T200", "T500", "PRECT", "Z1000", "Z200")
SPIN_SCALE_KM = 150.0
QUARTER_DEGREE_KM = 27.8  # the cells that published thresholds belong to
NEAR_KM = 222.0  # 2 degrees: how far the extremes of a cyclone's fields may lie from each other
NODES = ("latitude", "longitude", "pressure_pa", "wind_m_s")

Fields = Mapping[str, np.ndarray]


def gale_on_cells(spacing_km: float) -> float:
    """Give the strongest wind (m/s) that cells of a width show of a storm that just has gales, 17.5 m/s.

    It falls linearly with the width, to 10 m/s at 300 km, as found by averaging observed profiles of storms
    (Walsh and others 2007).

    >>> gale_on_cells(0.0), gale_on_cells(300.0)
    (17.5, 10.0)
    """
    return 17.5 - 7.5 * min(spacing_km, 300.0) / 300.0


def depth_on_cells(spacing_km: float) -> float:
    """Give what share of a storm's depth cells of a width show, 1 for cells of a quarter degree.

    Pressure, and the warmth and thickness that go with it, follow the square of the wind.

    >>> round(depth_on_cells(278.0), 2)
    0.39
    """
    return (gale_on_cells(spacing_km) / gale_on_cells(QUARTER_DEGREE_KM)) ** 2


def encloses(
    values: np.ndarray, grid: GlobalGrid, latitude: float, longitude: float, *, rise: float, within_km: float
) -> bool:
    """Tell whether values rise by so much all around a place, whichever way one leaves it, within a distance.

    >>> from fieldwise.physics.extreme_weather.sphere import distance_km
    >>> grid = GlobalGrid.regular(121, 240)
    >>> bowl = distance_km(20.0, 180.0, grid.latitude[:, None], grid.longitude)  # 1 a km
    >>> valley = np.abs(grid.longitude - 180.0) * 100 * np.ones((121, 1))  # open to north and south
    >>> [encloses(field, grid, 20.0, 180.0, rise=400, within_km=556) for field in (bowl, valley)]
    [True, False]
    """
    window = grid.around(latitude, longitude, within_km + 2 * grid.spacing_km)
    inside = values[window.cells]
    middle = np.unravel_index(window.distance_km.argmin(), inside.shape)
    parts, _ = ndimage.label(inside < inside[middle] + rise, structure=NEIGHBOURS)
    return bool(window.distance_km[parts == parts[middle]].max() <= within_km + grid.spacing_km / 2)


def lowest_near(
    values: np.ndarray, grid: GlobalGrid, latitude: float, longitude: float, *, within_km: float
) -> tuple[float, float, float]:
    """Find the lowest value within a distance (and half a cell) of a place: latitude, longitude, value.

    >>> from fieldwise.physics.extreme_weather.sphere import distance_km
    >>> grid = GlobalGrid.regular(121, 240)
    >>> bowl = distance_km(21.0, 181.5, grid.latitude[:, None], grid.longitude)
    >>> lowest_near(bowl, grid, 20.0, 180.0, within_km=222)
    (21.0, 181.5, 0.0)
    """
    reach = within_km + grid.spacing_km / 2
    window = grid.around(latitude, longitude, reach)
    inside = np.where(window.distance_km <= reach, values[window.cells], np.inf)
    row, column = np.unravel_index(inside.argmin(), inside.shape)
    at = window.rows[row], window.columns[column]
    return float(grid.latitude[at[0]]), float(grid.longitude[at[1]]), float(inside[row, column])


def lowest_between_cells(
    values: np.ndarray, grid: GlobalGrid, latitude: float, longitude: float
) -> tuple[float, float]:
    """Give the place of a minimum between cells, by parabolas through the lowest cell and those beside it.

    So tracks go steadily and do not jump from cell to cell.

    Parameters
    ----------
    values
        (rows, columns).
    grid
        Of the values.
    latitude, longitude
        Middle of the lowest cell.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> bowl = (grid.latitude[:, None] - 20.4) ** 2 + (grid.longitude - 179.9) ** 2
    >>> [round(value, 6) for value in lowest_between_cells(bowl, grid, 21.0, 180.0)]
    [20.4, 179.9]
    """
    row, column = grid.cell_at(latitude, longitude)
    columns = np.arange(column - 1, column + 2) % grid.longitude.size
    if 0 < row < grid.latitude.size - 1:
        latitude += _vertex(values[row - 1 : row + 2, column]) * (grid.latitude[row + 1] - grid.latitude[row])
    return float(latitude), float(longitude + _vertex(values[row, columns]) * 360 / grid.longitude.size)


def _vertex(three: np.ndarray) -> float:
    """Where the parabola through three values at -1, 0 and 1 is lowest, at most half a step away."""
    before, middle, after = (float(value) for value in three)
    bent = before - 2 * middle + after
    return float(np.clip((before - after) / (2 * bent), -0.5, 0.5)) if bent > 0 else 0.0


def find_spinning_cyclones(
    fields: Fields,
    grid: GlobalGrid,
    *,
    least_vorticity: float = 6e-5,
    window_km: float = 430.0,
    near_km: float = NEAR_KM,
    pressure_rise_pa: float = 400.0,
    warm_core_k: float = 0.8,
    thickness_m: float = 50.0,
    around_km: float = 556.0,
    thickness_around_km: float = 445.0,
    poleward_limit: float = 80.0,
) -> pd.DataFrame:
    """Find candidates at a time after the labels of DeepCAM (TECA): spin, low pressure, warm core.

    At a maximum of cyclonic vorticity at 850 hPa, near it a minimum of pressure, of which pressure rises
    enough all around; near that a maximum of the mean temperature of 500 and 200 hPa and of the thickness
    between 1000 and 200 hPa, of which these fall enough all around. The published threshold of vorticity,
    1.6e-4 1/s, belongs to cells of a quarter degree; here vorticity is smoothed to 150 km first, where a
    storm of the same strength has about 6e-5. What pressure, temperature and thickness have to rise or fall
    by is given for cells of a quarter degree, too, and is less on wider ones: :func:`depth_on_cells`.

    Parameters
    ----------
    fields
        The channels in ``NEEDED``, (rows, columns) each.
    grid
        Of the fields.
    least_vorticity
        1/s, cyclonic, at the scale of 150 km.
    window_km, near_km
        Within which vorticity is the greatest, and the other extremes are looked for: 3.87 and 2 degrees.
    pressure_rise_pa, warm_core_k, around_km
        By how much, within which distance: 5 degrees.
    thickness_m, thickness_around_km
        By how much, within 4 degrees.
    poleward_limit
        Latitude beyond which none is looked for.

    Returns
    -------
    pandas.DataFrame
        ``latitude`` and ``longitude`` of the lowest pressure, ``pressure_pa`` there, ``wind_m_s``, the
        strongest of the lowest level near it.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> calm = {name: np.zeros(grid.shape) for name in NEEDED}
    >>> len(find_spinning_cyclones(calm, grid))
    0
    """
    check_fields(fields, grid)
    spin = vorticity(fields["U850"], fields["V850"], grid) * np.sign(grid.latitude)[:, None]
    spin = smooth(spin, grid, SPIN_SCALE_KM, blurred_cells=5**0.5)
    shown = depth_on_cells(grid.spacing_km)
    cold, thin = -(fields["T500"] + fields["T200"]) / 2, fields["Z1000"] - fields["Z200"]
    nodes = []
    for latitude, longitude in local_maxima(spin, grid, within_km=window_km, least=least_vorticity):
        if abs(latitude) > poleward_limit:
            continue
        *low, pressure = lowest_near(fields["PSL"], grid, latitude, longitude, within_km=near_km)
        if not encloses(fields["PSL"], grid, *low, rise=shown * pressure_rise_pa, within_km=around_km):
            continue
        core = lowest_near(cold, grid, *low, within_km=near_km)[:2]
        thick = lowest_near(thin, grid, *low, within_km=near_km)[:2]
        if encloses(cold, grid, *core, rise=shown * warm_core_k, within_km=around_km) and encloses(
            thin, grid, *thick, rise=shown * thickness_m, within_km=thickness_around_km
        ):
            place = lowest_between_cells(fields["PSL"], grid, *low)
            nodes.append((*place, pressure, _strongest_wind(fields, grid, *low)))
    return pd.DataFrame(nodes, columns=list(NODES)).drop_duplicates(
        ["latitude", "longitude"], ignore_index=True
    )


def find_closed_cyclones(
    fields: Fields,
    grid: GlobalGrid,
    *,
    pressure_rise_pa: float = 200.0,
    around_km: float = 612.0,
    thickness_m: float = 20.0,
    thickness_around_km: float = 723.0,
    merge_km: float = 667.0,
    poleward_limit: float = 50.0,
) -> pd.DataFrame:
    """Find candidates at a time after TempestExtremes (Ullrich and others 2021): closed contours.

    A minimum of pressure with a closed contour around it, and a closed contour of thickness around the
    thickest place within a degree of it. The published contour, of 6 m between 500 and 300 hPa, is here
    one of 20 m between 1000 and 200 hPa, as the layer is 3.15 times as thick. Thresholds are for cells of a
    quarter degree; wider ones show less: :func:`depth_on_cells`.

    Parameters
    ----------
    fields
        The channels in ``NEEDED``, (rows, columns) each.
    grid
        Of the fields.
    pressure_rise_pa, around_km
        By how much pressure rises, within 5.5 degrees.
    thickness_m, thickness_around_km
        By how much thickness falls, within 6.5 degrees.
    merge_km
        Of minima nearer to each other than 6 degrees only the lowest counts.
    poleward_limit
        Latitude beyond which none is looked for.

    Returns
    -------
    pandas.DataFrame
        As of :func:`find_spinning_cyclones`.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> fields = {name: np.zeros(grid.shape) for name in NEEDED}
    >>> from fieldwise.physics.extreme_weather.sphere import distance_km
    >>> away = distance_km(15.0, 0.0, grid.latitude[:, None], grid.longitude)
    >>> fields["PSL"] = 101_000 - 4000 * np.exp(-0.5 * (away / 250) ** 2)
    >>> fields["Z200"] = 12_000 + 200 * np.exp(-0.5 * (away / 250) ** 2)
    >>> find_closed_cyclones(fields, grid).round(6)
       latitude  longitude  pressure_pa  wind_m_s
    0      15.0        0.0      97000.0       0.0
    """
    check_fields(fields, grid)
    thin, nodes = fields["Z1000"] - fields["Z200"], []
    highest, shown = float(fields["PSL"].max()), depth_on_cells(grid.spacing_km)
    for low in local_maxima(-fields["PSL"], grid, within_km=merge_km, least=-highest):
        if abs(low[0]) > poleward_limit:
            continue
        if not encloses(fields["PSL"], grid, *low, rise=shown * pressure_rise_pa, within_km=around_km):
            continue
        thick = lowest_near(thin, grid, *low, within_km=DEGREE_KM)[:2]
        if encloses(thin, grid, *thick, rise=shown * thickness_m, within_km=thickness_around_km):
            pressure = float(fields["PSL"][grid.cell_at(*low)])
            place = lowest_between_cells(fields["PSL"], grid, *low)
            nodes.append((*place, pressure, _strongest_wind(fields, grid, *low)))
    return pd.DataFrame(nodes, columns=list(NODES))


def check_fields(fields: Fields, grid: GlobalGrid) -> None:
    """Refuse fields that lack what the rules need, or do not fit their grid.

    >>> check_fields({"PSL": np.zeros((121, 240))}, GlobalGrid.regular(121, 240))
    Traceback (most recent call last):
    fieldwise.errors.InputError: fields: lack TMQ, U850, V850, UBOT, VBOT, T200, T500, PRECT, Z1000, Z200; ...
    """
    missing = [name for name in NEEDED if name not in fields]
    if missing:
        raise InputError(f"fields: lack {', '.join(missing)}; the rules for cyclones need them")
    for name in NEEDED:
        if fields[name].shape != grid.shape:
            raise InputError(
                f"{name}: is of shape {fields[name].shape}, the grid of {grid.shape}; give one grid"
            )


def _strongest_wind(fields: Fields, grid: GlobalGrid, latitude: float, longitude: float) -> float:
    window = grid.around(latitude, longitude, NEAR_KM + grid.spacing_km / 2)
    return float(np.hypot(fields["UBOT"][window.cells], fields["VBOT"][window.cells]).max())
