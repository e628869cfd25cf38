"""What every verb evaluate does: maps read and scored by block; scores recorded, shown, told, drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import require_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, cover, crs_label, grid_of, load_values, make_field, overlap, same_crs
from fieldwise.fields.tiles import read_tiles
from fieldwise.runs import write_json
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    ErrorSums,
    RoughnessSums,
    bootstrap_interval,
    format_table,
    make_score,
    roughness,
    score_all,
    to_csv,
)
from fieldwise.scores.tables import Row
from fieldwise.verbs.blocks import lay_out

ROUGHNESS_CELLS = 5
MEASURES = ("rmse", "mae", "bias")


def judge(
    rows: Iterable[Row],
    *,
    run: str | Path,
    facts: Mapping[str, Any] | None = None,
    shown: Iterable[Row] | None = None,
    verdicts: Iterable[str] = (),
    figures: Callable[[], Iterable[Path]] | None = None,
) -> dict[str, Any]:
    """Write scores into a run folder, print them as a table, and say in words what they mean.

    Parameters
    ----------
    rows
        Scores, as :func:`~fieldwise.scores.make_score` makes them.
    run
        Folder that gets scores.json, and scores.csv for other programs.
    facts
        What else scores.json shall tell, such as how many points were judged; numbers are printed too.
    shown
        The rows to print; all of them by default.
    verdicts
        Lines to end with, as of :func:`~fieldwise.scores.verdict`; empty ones are left out.
    figures
        Draws figures and gives their paths; called last, when nothing can be lost any more.

    Returns
    -------
    dict
        What stands in scores.json: the rows under ``scores``, and the facts.

    Raises
    ------
    InputError
        Where there is no score, or a fact would hide them.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.scores import make_score, read_scores, verdict
    >>> run = Path(tempfile.mkdtemp())
    >>> rows = [make_score("radar", "rmse", "m", *one) for one in (("prediction", 40), ("cubic", 50))]
    >>> words = verdict(rows, against="radar", measure="rmse")
    >>> judged = judge(rows, run=run, facts={"n_picks": 12}, verdicts=[words])
    against  measure      prediction       cubic
    radar    RMSE (m)          40.00       50.00
    n picks 12
    radar: RMSE of the prediction 40.00 m, 20 % better than cubic (50.00 m)
    >>> read_scores(run / "scores.json") == judged
    True
    """
    rows, facts = [dict(row) for row in rows], dict(facts or {})
    if not rows:
        raise InputError(f"{run}: there is no score to record; give at least one")
    if "scores" in facts:
        raise InputError("facts: 'scores' is the table itself; choose another name")
    run = Path(run)
    content = {"scores": [_plain(row) for row in rows], **_plain(facts)}
    write_json(content, run / "scores.json")
    with replace_when_done(run / "scores.csv") as partial:
        partial.write_text(to_csv(rows), encoding="utf-8")
    print(format_table(rows if shown is None else list(shown)))
    for line in (_format_facts(facts), *verdicts):
        if line:
            print(line)
    for path in figures() if figures else ():
        print(path)
    return {"scores": rows, **facts}


def _plain(values: Row) -> dict[str, Any]:
    """Give values as JSON can hold it: a number that is not finite is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _format_facts(facts: Mapping[str, Any]) -> str:
    """Write the facts that are numbers in one line.

    >>> _format_facts({"n_picks": 634, "share_of_map": 1 / 3, "surveys": {"2010tr": 634}})
    'n picks 634, share of map 0.3333'
    """
    numbers = {key: value for key, value in facts.items() if type(value) in (int, float)}
    return ", ".join(f"{key.replace('_', ' ')} {_format(value)}" for key, value in numbers.items())


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def open_map(path: str | Path, case: Case) -> xr.DataArray:
    """Open a map of a case's region; one that lies elsewhere, or whose heights do, is refused.

    >>> import tempfile
    >>> from fieldwise.fields.rasters import write_cog
    >>> from fieldwise.samples.examples import make_prepared
    >>> case, far = make_prepared({}, shape=(4, 4)).cases()[0], Grid(-9000, 0, -8000, 1000, 250, "EPSG:3413")
    >>> path = write_cog(make_field(np.zeros((4, 4)), far, name="bed"), Path(tempfile.mkdtemp()) / "map.tif")
    >>> open_map(path, case)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...map.tif: does not lie in the region of ...
    """
    field = open_field(path)
    if not same_crs(field.rio.crs, case.grid.crs):
        there, here = crs_label(field.rio.crs), crs_label(case.grid.crs)
        raise InputError(f"{path}: is in {there}, the data are in {here}; reproject it")
    require_datum(Path(path), field.attrs.get(DATUM), case.facts.get(DATUM))
    if overlap(grid_of(field).bounds, case.grid.bounds) is None:
        raise InputError(f"{path}: does not lie in the region of {case.folder}")
    return field


def score_blocks(
    read: Callable[[slice, slice, Grid], tuple[np.ndarray, dict[str, xr.DataArray]]],
    grid: Grid,
    *,
    against: str,
    unseen: Callable[[Grid], np.ndarray],
    unit: str = "m",
    block_cells: int = 2048,
) -> tuple[list[dict[str, Any]], float]:
    """Score maps against a truth where neither training nor selection has seen it, block by block.

    Parameters
    ----------
    read
        Gives rows and columns, whose grid is the third argument: the truth (y, x), and name to map.
    grid
        Of the maps.
    against, unit
        What the rows say of the truth.
    unseen
        Tells which cells of a grid, (y, x), are judged.
    block_cells
        Edge of what is read at a time, less a margin.

    Returns
    -------
    tuple
        Rows of RMSE, MAE, bias and roughness ratio, none where nothing is judged; and the share of the cells
        that are.

    >>> from fieldwise.fields.grids import cover
    >>> grid = Grid(0, 0, 800, 800, 100, "EPSG:3031")
    >>> known = np.random.default_rng(1).normal(size=(8, 8))
    >>> drawn = make_field(known + 3, grid, name="bed")
    >>> def read(rows, columns, here):
    ...     return known[rows, columns], {"prediction": drawn[rows, columns]}
    >>> options = {"against": "truth", "unseen": lambda here: cover(here, [(0, 0, 600, 800)])}
    >>> rows, share = score_blocks(read, grid, **options)
    >>> [round(row["value"], 3) for row in rows], share
    ([3.0, 3.0, 3.0, 1.0], 0.75)
    """
    layout = lay_out(grid, None, 1)
    errors: dict[str, ErrorSums] = {}
    textures: dict[str, RoughnessSums] = {}
    count = 0
    for block in layout.blocks(block_cells):
        window = layout.window(block, ROUGHNESS_CELLS // 2)  # a cell is as rough as its neighbours make it
        here = Grid(*layout.bounds(window), layout.spacing, grid.crs)
        judged, core = unseen(here), block.within(window)
        count += int(judged[core].sum())
        if not judged[core].any():
            continue
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        truth, fields = read(rows, columns, here)
        known = make_field(np.where(judged, truth, np.nan), here, name="truth")
        rough = load_values(roughness(known, cells=ROUGHNESS_CELLS))[core]
        for name, field in fields.items():
            errors.setdefault(name, ErrorSums()).add(load_values(field)[core], load_values(known)[core])
            predicted = load_values(roughness(field, cells=ROUGHNESS_CELLS))[core]
            textures.setdefault(name, RoughnessSums(ROUGHNESS_CELLS)).add(predicted, rough)
    scores = [
        make_score(against, measure, unit, name, getattr(sums, measure))
        for measure in MEASURES
        for name, sums in errors.items()
    ]
    scores += [
        make_score(against, "roughness_ratio", "1", name, sums.ratio) for name, sums in textures.items()
    ]
    return scores, count / float(np.prod(grid.shape))


def find_unseen(case: Case) -> Callable[[Grid], np.ndarray]:
    """Give the function that tells which cells (y, x) of a grid neither training nor selection has seen.

    These are those in held-out areas, or where there are none all outside the tiles.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(2, 2), held_out_areas=[[0, 0, 250, 500]]).cases()[0]
    >>> find_unseen(case)(case.grid).tolist()
    [[True, False], [True, False]]
    """
    areas = case.facts.get("held_out_areas")
    boxes = np.array(areas, float) if areas else read_tiles(case.folder / "tiles.zarr")["bounds"].values
    west, south, east, north = boxes.T

    def unseen(grid: Grid) -> np.ndarray:
        near = (west < grid.east) & (east > grid.west) & (south < grid.north) & (north > grid.south)
        covered = cover(grid, boxes[near])
        return covered if areas else ~covered

    return unseen


def score_points(
    samples: Mapping[str, np.ndarray],
    picks: pd.DataFrame,
    *,
    against: str,
    measures: Mapping[tuple[str, str], Callable[..., float]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score maps read at picks: all together, with an interval, and survey by survey.

    Parameters
    ----------
    samples
        Name of a map to its (n,) values.
    picks
        z, ``flight`` and ``survey`` of each; whole flights are drawn for the interval of the first measure.
    against, measures
        As of :func:`fieldwise.scores.score_all`; by the first one surveys are scored.

    Returns
    -------
    tuple
        Rows, and facts: ``n_picks``, ``n_flights``, and picks of each of the ``surveys``.

    >>> import pandas as pd
    >>> from fieldwise.scores import mae
    >>> picks = pd.DataFrame({"z": [0.0, 0.0], "flight": [0, 1], "survey": "2010tr"})
    >>> options = {"against": "radar", "measures": {("mae", "m"): mae}}
    >>> rows, facts = score_points({"prediction": np.array([10.0, 20.0])}, picks, **options)
    >>> [(row["against"], row["value"]) for row in rows], facts["n_flights"]
    ([('radar', 15.0), ('picks of 2010tr', 15.0)], 2)
    """
    z, flights = picks["z"].to_numpy(), picks["flight"].to_numpy()
    rows = score_all(against, measures, samples, z)
    if len(np.unique(flights)) > 1:  # of a single flight nobody knows how far another would differ
        for row in rows[: len(samples)]:
            row["low"], row["high"] = bootstrap_interval(samples[row["name"]] - z, flights)
    first = dict([next(iter(measures.items()))])
    surveys = picks.groupby("survey").indices
    for survey, group in surveys.items():
        parts = {name: values[group] for name, values in samples.items()}
        rows += score_all(f"picks of {survey}", first, parts, z[group])
    facts = {
        "n_picks": len(picks),
        "n_flights": len(np.unique(flights)),
        "surveys": {str(survey): len(group) for survey, group in surveys.items()},
    }
    return rows, facts
