"""The picks of a survey: text files to a clean table of x, y, z."""

from __future__ import annotations

import ast
import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import pandas as pd
import pyproj

from fieldwise.errors import InputError
from fieldwise.fields.grids import crs_label
from fieldwise.surveys.pipelines import WHITE_SPACE, Pipeline, evaluate, load_pipeline

BEYOND = "(beyond the header)"  # takes up what a row has too much, so that it can be noticed


def read_survey(pipeline_path: Path | str, *, measured: Literal["z", "thickness"] = "z") -> pd.DataFrame:
    """Read the picks of a survey as its JSON pipeline says.

    The pipeline follows PDAL: ``{"pipeline": [{"type": "readers.text", ...}, {"type":
    "filters.reprojection", "in_srs": ..., "out_srs": ...}]}``. The reader knows ``filename`` (a glob,
    relative to the pipeline's folder; a zip stands for all its members), ``separator`` (one character or
    ``\\\\s+``), ``comment`` (lines that begin with it at the top of a file are passed over), ``skip`` (rows
    before the data, after such comments), ``header`` (names of all columns in the order of the file),
    ``usecols`` and ``dropcols`` (which of them may serve as x, y, z), ``na_values`` and ``converters``
    (new columns as arithmetic on the file's). Columns named X, LON or LONGITUDE become x, Y, LAT or
    LATITUDE y, Z z, and THICKNESS or THICK thickness.

    Parameters
    ----------
    pipeline_path
        The JSON file.
    measured
        What to read beside x and y: the height z, or the thickness of the ice.

    Returns
    -------
    pandas.DataFrame
        Columns x, y and z or thickness (float64), rows with a missing value left out; ``attrs["crs"]`` names
        the CRS of x and y.

    Raises
    ------
    InputError
        Not a pipeline, no file, a missing column, text for a number, no valid row, an unknown CRS.

    Examples
    --------
    The bed is where the aircraft's height less the range to the bottom says it is:

    >>> import json
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "flight.csv").write_text("LAT,LON,ELEVATION,BOTTOM\\n-71,0,900,1500\\n-71,1,900,\\n")
    >>> reader = {"type": "readers.text", "filename": "fl*.csv", "separator": ",", "skip": 1,
    ...           "header": "LAT,LON,ELEVATION,BOTTOM", "converters": {"Z": "ELEVATION-BOTTOM"}}
    >>> projection = {"type": "filters.reprojection", "in_srs": "EPSG:4326", "out_srs": "EPSG:3031"}
    >>> _ = (folder / "flight.json").write_text(json.dumps({"pipeline": [reader, projection]}))
    >>> read_survey(folder / "flight.json").round(0).to_dict("records")
    [{'x': 0.0, 'y': 2082760.0, 'z': -600.0}]
    """
    pipeline = load_pipeline(Path(pipeline_path))
    axes = {axis: pipeline.axis(axis) for axis in ("x", "y", measured)}
    paths = pipeline.files()
    tables = [
        _read_picks(label, stream, pipeline, axes) for path in paths for label, stream in _open_texts(path)
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*axes])
    if table.empty:
        raise InputError(
            f"{pipeline.path}: no valid row in {pipeline.filename}; check skip, na_values and the columns"
        )
    return _project(table, pipeline)


def _open_texts(path: Path) -> Iterator[tuple[str, TextIO]]:
    """Open a text file, or every member of a zip in memory: nothing is unpacked to disk."""
    try:
        if path.suffix.lower() != ".zip":
            with path.open(encoding="utf-8", errors="replace") as stream:
                yield str(path), stream
            return
        with zipfile.ZipFile(path) as archive:
            for member in sorted(name for name in archive.namelist() if not name.endswith("/")):
                yield f"{path}/{member}", io.StringIO(archive.read(member).decode("utf-8", "replace"))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); download it again") from error


def _read_picks(label: str, stream: TextIO, pipeline: Pipeline, axes: dict[str, ast.expr]) -> pd.DataFrame:
    """Read the axes from one file, in the CRS of the file; rows with a missing one are left out."""
    skip = _check_layout(label, stream, pipeline)
    if skip is None:
        return pd.DataFrame({axis: np.empty(0) for axis in axes})
    trees = axes.values()
    needed = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    stream.seek(0)
    try:
        frame = pd.read_csv(
            stream, sep=pipeline.separator, skiprows=skip, header=None, names=[*pipeline.header, BEYOND],
            index_col=False, na_values=pipeline.na_values,
            skip_blank_lines=False, low_memory=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        wrong = str(error).strip().rpartition("C error: ")[2]
        raise InputError(f"{label}: not a table ({wrong}); correct the row or the separator") from error
    longer = np.flatnonzero(frame.pop(BEYOND).notna())
    if longer.size:
        raise InputError(
            f"{label}: row {longer[0] + skip + 1} has more values than the {len(pipeline.header)} columns of "
            f"{pipeline.path.name}; correct the row"
        )
    columns = {name: _to_numbers(frame[name], label, skip) for name in needed}
    with np.errstate(all="ignore"):  # a division by zero is a missing value here
        picks = np.column_stack([np.broadcast_to(evaluate(tree, columns), len(frame)) for tree in trees])
    return pd.DataFrame(picks[np.isfinite(picks).all(axis=1)], columns=list(axes))


def _check_layout(label: str, stream: TextIO, pipeline: Pipeline) -> int | None:
    """Compare the file with the header; return the rows before its data, None where it has no data."""
    comments = 0
    line = stream.readline()
    while pipeline.comment and line.startswith(pipeline.comment):
        comments, line = comments + 1, stream.readline()
    titles: list[str] = []
    for _ in range(pipeline.skip):
        titles, line = _split(line.lstrip("#/%! "), pipeline.separator), stream.readline()
    while line and not line.strip():
        line = stream.readline()
    if not line:
        return None
    row, header = _split(line, pipeline.separator), pipeline.header
    if len(row) != len(header) and not (len(row) == len(header) + 1 and not row[-1]):
        named = [name for name in header if name in titles]
        lacking = f", lacks {', '.join(name for name in header if name not in titles)}" if named else ""
        raise InputError(
            f"{label}: has {len(row)} columns where {pipeline.path.name} names {len(header)}"
            f"{lacking}; its first row is {line.strip()[:80]!r}; correct header, skip or separator"
        )
    for name, title in zip(header, titles):
        if name in titles and name != title:
            raise InputError(
                f"{label}: column {name} stands elsewhere than {pipeline.path.name} says "
                f"(the file's order is {', '.join(titles)}); correct header"
            )
    return comments + pipeline.skip


def _split(line: str, separator: str) -> list[str]:
    if separator == WHITE_SPACE:
        return line.split()
    fields = next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
    return [field.strip() for field in fields]


def _to_numbers(column: pd.Series, label: str, skip: int) -> np.ndarray:
    """Return a column as float64; text in it is an error that tells where."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64)
    numbers = pd.to_numeric(column.astype("string"), errors="coerce").astype("Float64")
    wrong = np.flatnonzero((numbers.isna() & column.notna()).to_numpy())
    if wrong.size:
        raise InputError(
            f"{label}: row {wrong[0] + skip + 1}, column {column.name}: {str(column.iloc[wrong[0]])[:40]!r} "
            "is no number; correct it, or add it to na_values if it marks a missing value"
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _project(table: pd.DataFrame, pipeline: Pipeline) -> pd.DataFrame:
    """Bring x and y to the CRS that the pipeline asks for."""
    if pipeline.in_srs != pipeline.out_srs:
        transformer = pyproj.Transformer.from_crs(pipeline.in_srs, pipeline.out_srs, always_xy=True)
        x, y = transformer.transform(table["x"].to_numpy(), table["y"].to_numpy())
        lost = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
        if lost.size:
            first = table.iloc[lost[0]]
            before, after = crs_label(pipeline.in_srs), crs_label(pipeline.out_srs)
            raise InputError(
                f"{pipeline.path}: {lost.size} of {len(table)} picks have no place in {after} "
                f"(first {before} x {first.x:g}, y {first.y:g}); are the columns of x and y swapped?"
            )
        table = table.assign(x=x, y=y)
    table.attrs["crs"] = pipeline.out_srs
    return table
