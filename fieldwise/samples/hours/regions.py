"""The part of a grid of latitudes and longitudes that is cut out: from a corner or by a box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.samples.rules import Rule, check_table

NUDGE = 1e-3  # of a cell: edges nearer than this count as within


def _numbers(count: int) -> Any:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == count
            and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
        )

    return fits


RULES = {
    "corner": Rule(_numbers(2), "[south, west] in degrees, such as [38.4, 0.0]"),
    "cells": Rule(
        lambda value: _numbers(2)(value) and all(isinstance(each, int) and each > 1 for each in value),
        "[columns, rows], such as [92, 56]",
    ),
    "box": Rule(_numbers(4), "[north, west, south, east] in degrees"),
}


@dataclass(frozen=True)
class Region:
    """A part of a grid: so many cells from a south-west corner, all cells of a box, or the whole.

    Parameters
    ----------
    corner
        South and west of the first cell's centre, degrees; with `cells`, columns and rows.
    box
        North, west, south and east, degrees; cells whose centres lie in it are taken.
    """

    corner: tuple[float, float] | None = None
    cells: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None

    def cut(self, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the rows and columns of the part, from north to south and from west to east.

        Parameters
        ----------
        latitude, longitude
            (rows,) and (columns,) degrees of the cells' centres; longitudes may begin anywhere.

        Raises
        ------
        InputError
            Where the part reaches over a pole or out of the data, or latitudes are unevenly spaced.

        >>> latitude, longitude = np.linspace(90, -90, 73), np.arange(0, 360, 2.5)
        >>> rows, columns = Region(corner=(40.0, -5.0), cells=(4, 2)).cut(latitude, longitude)
        >>> latitude[rows].tolist(), longitude[columns].tolist()  # over the zero meridian
        ([42.5, 40.0], [355.0, 357.5, 0.0, 2.5])
        >>> Region(corner=(80.0, 0.0), cells=(4, 9)).cut(latitude, longitude)
        Traceback (most recent call last):
        fieldwise.errors.InputError: area: reaches to 100 N, over the pole; begin ...
        """
        step_y, step_x = _step(latitude, "latitudes"), _step(longitude, "longitudes")
        north, west, south, east = self._edges(latitude, longitude, step_y, step_x)
        if north > 90 + NUDGE or south < -90 - NUDGE:
            far = f"{north:g} N" if north > 90 else f"{-south:g} S"
            raise InputError(
                f"area: reaches to {far}, over the pole; begin further south, or take fewer rows"
            )
        if north < south or not 0 < east - west + NUDGE <= 360:
            raise InputError(f"area: {north:g} N to {south:g} N, {west:g} E to {east:g} E is empty")
        down = np.argsort(-latitude)
        chosen = (latitude[down] <= north + NUDGE * step_y) & (latitude[down] >= south - NUDGE * step_y)
        rows = down[chosen]
        turned = (longitude - west + NUDGE * step_x) % 360 - NUDGE * step_x  # from the west edge on
        order = np.argsort(turned, kind="stable")
        columns = order[turned[order] <= east - west + NUDGE * step_x]
        self._check(latitude, longitude, rows, columns, (north, west, south, east), (step_y, step_x))
        return rows, columns

    def _edges(
        self, latitude: np.ndarray, longitude: np.ndarray, step_y: float, step_x: float
    ) -> tuple[float, float, float, float]:
        """Give the centres of the outermost cells, or the edges of the box."""
        if self.box is not None:
            north, west, south, east = self.box
            return north, west, south, east + 360 * (east < west)
        if self.corner is None or self.cells is None:
            west = float(longitude[0])
            return float(latitude.max()), west, float(latitude.min()), west + step_x * (len(longitude) - 1)
        (south, west), (columns, rows) = self.corner, self.cells
        nearest = float(latitude[np.argmin(abs(latitude - south))])
        off = (longitude - west + 180) % 360 - 180
        aside = float(off[np.argmin(abs(off))])
        if abs(nearest - south) > step_y / 2 + NUDGE or abs(aside) > step_x / 2 + NUDGE:
            raise InputError(
                f"area: the corner {south:g} N {west:g} E lies outside the data, {latitude.min():g} to "
                f"{latitude.max():g} N and {longitude.min():g} to {longitude.max():g} E; move it"
            )
        west += aside
        return nearest + (rows - 1) * step_y, west, nearest, west + (columns - 1) * step_x

    def _check(
        self,
        latitude: np.ndarray,
        longitude: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        edges: tuple[float, float, float, float],
        steps: tuple[float, float],
    ) -> None:
        """Refuse a part that the data do not fill."""
        north, west, south, east = edges
        wanted = (1 + int((north - south) / steps[0] + NUDGE), 1 + int((east - west) / steps[1] + NUDGE))
        if self.corner is None and self.box is not None:  # a box need not begin at a cell's centre
            wanted = (max(1, wanted[0] - 1), max(1, wanted[1] - 1))
        if len(rows) < max(2, wanted[0]) or len(columns) < max(2, wanted[1]):
            raise InputError(
                f"area: {north:g} N to {south:g} N, {west:g} E to {east:g} E reaches out of the data, "
                f"{latitude.min():g} to {latitude.max():g} N and {longitude.min():g} to "
                f"{longitude.max():g} E; take a part of these"
            )


def read_region(entry: Any, place: str) -> Region:
    """Read a region as a FILE.yaml gives it; all of it where there is none.

    >>> read_region({"corner": [38.4, 0.0], "cells": [92, 56]}, "own.yaml")
    Region(corner=(38.4, 0.0), cells=(92, 56), box=None)
    >>> read_region({"corner": [38.4, 0.0]}, "own.yaml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: own.yaml: area: give corner and cells, or box alone
    """
    if entry is None:
        return Region()
    if not isinstance(entry, Mapping) or {*entry} not in ({"corner", "cells"}, {"box"}):
        raise InputError(f"{place}: area: give corner and cells, or box alone")
    check_table(entry, RULES, f"{place}: area")
    return Region(**{key: tuple(value) for key, value in entry.items()})


def _step(axis: np.ndarray, what: str) -> float:
    """Give the spacing of an axis; an uneven one, but for a jump of 360 degrees, is refused."""
    steps = np.diff(np.asarray(axis, dtype=float))
    if what == "longitudes":
        steps = steps % 360
    if not len(steps) or np.ptp(abs(steps)) > 0.01 * abs(steps).max():
        raise InputError(f"{what}: are unevenly spaced, or fewer than two; give a regular grid")
    return float(abs(steps).mean())
