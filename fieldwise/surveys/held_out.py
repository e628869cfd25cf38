"""What is kept for judging: areas that are named, and blocks that are drawn where there are data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, grid_of, load_values


@dataclass(frozen=True)
class HeldOut:
    """Areas (n, 4) whose data are judged on and never learnt from, and how far learning keeps away of each.

    >>> held_out = HeldOut(np.array([[0.0, 0.0, 9.0, 9.0]]), np.array([2.0]))
    >>> picks = pd.DataFrame({"x": [5.0, 10.0, 12.0], "y": 4.0, "z": -90.0})
    >>> learnt, judged = held_out.part(picks)
    >>> learnt["x"].tolist(), judged["x"].tolist()  # one in the buffer is in neither
    ([12.0], [5.0])
    """

    areas: np.ndarray
    buffer_m: np.ndarray

    def part(self, picks: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Part picks into those to learn from and those to judge on."""
        near = _covered(picks, self.widened()).any(axis=0)
        return picks[~near].reset_index(drop=True), picks[self._inside(picks) >= 0].reset_index(drop=True)

    def part_bed(self, bed: xr.DataArray, name: str) -> tuple[np.ndarray, pd.DataFrame]:
        """Part the cells of a gridded bed: values to learn from, and cells as picks, each area a flight."""
        grid, values = grid_of(bed), load_values(bed)
        x, y = (each.ravel() for each in np.meshgrid(grid.x, grid.y))
        cells = pd.DataFrame({"x": x, "y": y, "z": values.ravel().astype(np.float64)})
        near = _covered(cells, self.widened()).any(axis=0).reshape(values.shape)
        number = self._inside(cells)
        judged = (number >= 0) & cells["z"].notna().to_numpy()
        picks = cells[judged].assign(survey=name, flight=number[judged])
        return np.where(near, np.float32(np.nan), values), picks.reset_index(drop=True)

    def widened(self, less_m: float = 0.0) -> np.ndarray:
        """Give the areas with their buffers, of which some may be left to whoever keeps away from these."""
        margin = np.maximum(self.buffer_m - less_m, 0)[:, None]
        return self.areas + margin * np.array([-1, -1, 1, 1])

    def _inside(self, picks: pd.DataFrame) -> np.ndarray:
        covered = _covered(picks, self.areas)
        return np.where(covered.any(axis=0), covered.argmax(axis=0) if len(covered) else 0, -1)


def _covered(picks: pd.DataFrame, boxes: np.ndarray) -> np.ndarray:
    """Tell which boxes hold which picks: (box, pick)."""
    x, y = picks["x"].to_numpy(), picks["y"].to_numpy()
    west, south, east, north = boxes.T[:, :, None]
    return (x >= west) & (x < east) & (y >= south) & (y < north)


def choose_held_out(
    held_out: Mapping[str, Any], material: Sequence[pd.DataFrame], *, seed: int, buffer_m: float
) -> HeldOut:
    """Give the areas that a FILE.yaml names, and blocks drawn among the squares that hold data.

    Parameters
    ----------
    held_out
        ``areas: [[w, s, e, n], ...]``, ``blocks: {km: 20, share: 0.15, buffer_km: 3}``: squares of so many
        kilometres are drawn until they hold that share of the data.
    material
        Tables with x and y of all data that there are to learn from.
    seed
        Of the draw.
    buffer_m
        Least distance of what is learnt from.

    Raises
    ------
    InputError
        Where an area is none, or there are too few blocks to draw from.

    >>> picks = pd.DataFrame({"x": np.arange(500.0, 10_000, 1000), "y": 500.0})
    >>> drawn = choose_held_out({"blocks": {"km": 2, "share": 0.2}}, [picks], seed=1, buffer_m=0)
    >>> (drawn.areas[:, 2:] - drawn.areas[:, :2]).tolist()  # one of the five squares of 2 km
    [[2000.0, 2000.0]]
    """
    areas = _read_areas(held_out.get("areas") or [])
    buffers = [buffer_m] * len(areas)
    blocks = held_out.get("blocks")
    if blocks:
        edge = 1000.0 * blocks["km"]
        share = blocks.get("share", 0.15)
        places = np.concatenate([table[["x", "y"]].to_numpy() for table in material])
        squares, counts = np.unique(np.floor(places / edge), axis=0, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(squares))
        before = np.cumsum(counts[order]) - counts[order]
        drawn = np.sort(order[before < share * counts.sum()])
        if len(drawn) == len(squares):
            raise InputError(
                f"held_out blocks: {len(squares)} squares of {blocks['km']:g} km hold data, and all would be "
                "held out; take smaller blocks or a smaller share, or name areas"
            )
        corners = squares[drawn] * edge
        areas = np.concatenate([areas, np.hstack([corners, corners + edge])])
        buffers += [max(buffer_m, 1000.0 * blocks.get("buffer_km", 0))] * len(drawn)
    return HeldOut(areas, np.array(buffers, dtype=float))


def _read_areas(named: list[Bounds]) -> np.ndarray:
    """Read areas that are held out by name: (m, 4) west, south, east, north."""
    wrong = InputError(f"held_out areas: {named!r} should be a list of [west, south, east, north]")
    try:
        areas = np.array(named, dtype=float).reshape(len(named), 4)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if not (areas[:, :2] < areas[:, 2:]).all():
        raise wrong
    return areas


def cells_with(picks: pd.DataFrame, cell: float) -> np.ndarray:
    """List the cells of a lattice through the origin that hold a pick, as boxes (n, 4).

    >>> cells_with(pd.DataFrame({"x": [10.0, 20.0, 1200.0], "y": 0.0}), 1000).tolist()
    [[0.0, 0.0, 1000.0, 1000.0], [1000.0, 0.0, 2000.0, 1000.0]]
    """
    corners = np.unique(np.floor(picks[["x", "y"]].to_numpy() / cell), axis=0) * cell
    return np.hstack([corners, corners + cell])
