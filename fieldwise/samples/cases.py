"""A case: one independent domain of a prepared folder, read by window and frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import xarray as xr

from fieldwise.drafts import check_inside
from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule, module_of
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Bounds, Grid, move_field
from fieldwise.fields.tiles import Method, cut
from fieldwise.samples.signatures import Variable

PLANE = 'LOCAL_CS["plane",UNIT["metre",1]]'  # stands for a CRS that nobody knows
ROUNDING = 1e-4  # of a cell: edges nearer than this are taken as equal
HEADER = Lock()  # is parsed by Python 3.11's ast, which now and then fails in several threads at once
Cells = tuple[slice, ...]  # of a case's own cells, an axis each
Spans = Sequence[tuple[int, int]]  # first and end of an axis each, in the cells of an array
Window = Bounds | Cells | np.ndarray | None


@dataclass(frozen=True)
class Case:
    """One independent domain: a region, a glacier, a box, a season. Opened, but not read.

    Parameters
    ----------
    name, split
        Split is training, validation or test; None of a case whose windows are split among themselves.
    folder
        Prepared folder; paths count from it.
    variables
        What the fields make up, by name.
    files
        Field to its file: a raster, an array .npy of (frame, *cells) or (1, *cells), or a number that holds
        everywhere.
    trends, spreads
        Field to the file of its regional trend, and of the spread around it.
    spacing, shape, bounds, crs
        Of its cells; bounds are None where they lie on no map, as in a box; the CRS where none is known.
    spacing_units
        What the spacing is counted in.
    periodic
        Whether the fields go on at the other side of a box.
    numbers
        What holds for the case as a whole and a network may read beside its fields.
    frames, times, time
        How many, the file of their times, and what these are counted in (CF attributes).
    facts
        What else the folder's description says, such as where a known truth lies.
    arrays
        numpy, or cupy to cut windows on a GPU.
    """

    name: str
    split: str | None
    folder: Path
    variables: dict[str, Variable]
    files: dict[str, str | float]
    spacing: float
    shape: tuple[int, ...]
    bounds: Bounds | None = None
    crs: str | None = None
    spacing_units: str = "m"
    periodic: bool = False
    numbers: dict[str, float] = field(default_factory=dict)
    trends: dict[str, str] = field(default_factory=dict)
    spreads: dict[str, str] = field(default_factory=dict)
    frames: int = 1
    times: str | None = None
    time: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    arrays: ArrayModule = "numpy"

    def __str__(self) -> str:
        """Name the case as users know it."""
        return f"{self.split}/{self.name}" if self.split else self.name

    @property
    def grid(self) -> Grid:
        """The grid of its cells."""
        return self.grid_at(self.spacing)

    def grid_at(self, spacing: float) -> Grid:
        """Give the grid of the whole case at a spacing of one's own."""
        if self.bounds is None:
            raise InputError(f"case {self}: lies on no map; ask for cells instead of a window")
        return Grid(*self.bounds, spacing, self.crs or PLANE)

    @property
    def readable(self) -> list[str]:
        """Names of the variables whose fields are all there."""
        return [name for name, each in self.variables.items() if self.files.keys() >= {*each.fields}]

    @cached_property
    def frame_times(self) -> np.ndarray:
        """The times of all frames; their numbers where none is known."""
        if self.times is None:
            return np.arange(self.frames, dtype=np.float64)
        return np.asarray(_map_array(self.folder / self.times), dtype=np.float64)

    def check_has(self, names: Iterable[str], *, why: str) -> None:
        """Refuse a case that lacks fields, and list all that it lacks."""
        missing = [name for name in names if name not in self.files]
        if missing:
            raise InputError(
                f"case {self}: lacks {', '.join(missing)}, which {why} needs; it has {', '.join(self.files)}"
            )

    def check_numbers(self, names: Iterable[str]) -> None:
        """Refuse a case that lacks numbers which a network reads beside its fields."""
        missing = [name for name in names if name not in self.numbers]
        if missing:
            there = ", ".join(self.numbers) or "none"
            raise InputError(f"case {self}: lacks the numbers {', '.join(missing)}; it has {there}")

    def read(
        self,
        wanted: Iterable[str | Variable],
        *,
        window: Window = None,
        frame: int = 0,
        padding: float = 0.0,
    ) -> dict[str, np.ndarray]:
        """Read variables in a window of one frame, each at its own spacing.

        Parameters
        ----------
        wanted
            Names of variables, or variables as a signature holds them.
        window
            West, south, east, north; or many windows of one size, (n, 4); or one slice of the case's own
            cells an axis, which may begin and end beyond the case: there a periodic one goes on at its other
            side, and of others the outermost cells are repeated. None for the whole case.
        frame
            Number of the frame, from 0.
        padding
            Width added on every side of windows in world coordinates; beyond the case its outermost cells
            are repeated.

        Returns
        -------
        dict
            Name to (channel, *cells) float32; of many windows (n, channel, y, x).
        """
        chosen = [self.variables[each] if isinstance(each, str) else each for each in wanted]
        return {each.name: self._read(each, window, frame, padding) for each in chosen}

    def stack(self, fields: Iterable[str], *, cells: Cells = (), frame: int = 0) -> np.ndarray:
        """Read fields of one frame, or a part of its cells, one a channel: (field, *cells) float32."""
        return np.stack([self._array(name, frame)[cells] for name in fields])

    def read_frames(self, name: str, *, frames: slice = slice(None), cells: Cells = ()) -> np.ndarray:
        """Read frames of one field, all or some, or a part of its own cells: (frame, *cells) float32."""
        return np.stack([self._array(name, frame)[cells] for frame in range(self.frames)[frames]])

    def _read(self, wanted: Variable, window: Window, frame: int, padding: float) -> np.ndarray:
        arrays = not wanted.flat and all(map(self._is_array, wanted.fields))
        on_cells = arrays and wanted.spacing in (None, self.spacing)
        if window is None or isinstance(window[0], slice):
            cells = cast(Cells, window or ())
            if arrays and (on_cells or self.bounds is None or self._lies_on(wanted)):
                return self._read_spans(wanted, cells, frame)
            window = self._bounds_of(cells)
        bounds = np.asarray(window, dtype=float)
        spans = self._cells_of(bounds, padding) if on_cells and bounds.ndim == 1 else None
        if spans is not None:
            return self.stack_spans(wanted.fields, spans, frame=frame)
        windows = np.atleast_2d(bounds)
        spacing = wanted.spacing or self.spacing
        cut_all = partial(self.cut, windows=windows, spacing=spacing, frame=frame, padding=padding)
        channels = [cut_all(name) for name in wanted.fields]
        values = module_of(channels[0]).stack(channels, axis=1)
        if wanted.flat:
            values = self.flatten(wanted, values, windows, padding=padding)
        return values if bounds.ndim == 2 else values[0]

    def _lies_on(self, wanted: Variable) -> bool:
        """Tell whether arrays have the spacing that is wanted, so that nothing is to be interpolated."""
        ratio = (wanted.spacing or self.spacing) / self.spacing
        sizes = tuple(round(size / ratio) for size in self.shape)
        return all(
            isinstance(self.files[name], str) and self._array(name, 0).shape == sizes
            for name in wanted.fields
        )

    def _read_spans(self, wanted: Variable, cells: Cells, frame: int) -> np.ndarray:
        """Read a variable in slices of the case's own cells, of which its own may be whole numbers."""
        cells = cells or (slice(None),) * len(self.shape)
        if len(cells) != len(self.shape):
            raise InputError(f"case {self}: has {len(self.shape)} axes; a window names {len(cells)}")
        ratio, spans = (wanted.spacing or self.spacing) / self.spacing, []
        for each, size in zip(cells, self.shape, strict=True):
            ends = 0 if each.start is None else each.start, size if each.stop is None else each.stop
            own = [end / ratio for end in ends]
            if max(abs(end - round(end)) for end in own) > ROUNDING:
                raise InputError(f"case {self}: cells {ends} are not whole cells of {wanted.name}")
            spans.append((round(own[0]), round(own[1])))
        sizes = tuple(round(size / ratio) for size in self.shape)
        for name in wanted.fields:
            found = self._array(name, frame).shape
            if found != sizes:
                raise InputError(
                    f"{self.folder / str(self.files[name])}: holds {found} cells, not {sizes}; prepare again"
                )
        return self.stack_spans(wanted.fields, spans, frame=frame)

    def flatten(
        self, wanted: Variable, values: np.ndarray, windows: np.ndarray, *, padding: float = 0.0
    ) -> np.ndarray:
        """Take regional trends off, and divide by spreads, in what was cut on windows: (n, channel, y, x)."""
        options: Any = {"spacing": wanted.spacing or self.spacing, "padding": padding, "extend": True}
        channels = []
        for number, name in enumerate(wanted.fields):
            channel = values[:, number]
            if name in self.trends:
                channel = channel - cut(self.trend(name), windows, **options)
            if name in self.spreads:
                channel = channel / cut(self._open(self.spreads[name]), windows, **options)
            channels.append(channel)
        return module_of(channels[0]).stack(channels, axis=1)

    def cut(
        self,
        name: str,
        windows: np.ndarray,
        *,
        spacing: float | None = None,
        frame: int = 0,
        padding: float = 0.0,
        method: Method = "linear",
    ) -> np.ndarray:
        """Cut windows out of one field at a spacing of one's own, by default that of the case: (n, y, x)."""
        field, options = self.field(name, frame), {"padding": padding, "method": method, "extend": True}
        return cut(field, windows, spacing=spacing or self.spacing, **options)  # type: ignore[arg-type]

    def _bounds_of(self, cells: Cells) -> Bounds:
        """Give the world coordinates of a part of the cells."""
        grid = self.grid
        spans = cells or (slice(None),) * 2
        (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(spans, self.shape, strict=True))
        step = grid.spacing
        return (
            grid.west + left * step,
            grid.north - bottom * step,
            grid.west + right * step,
            grid.north - top * step,
        )

    def _cells_of(self, bounds: np.ndarray, padding: float) -> list[tuple[int, int]] | None:
        """Give the rows and columns, first and end, of a window whose cells are the case's own; else None."""
        (west, south, east, north), grid = bounds, self.grid
        edges = np.array([grid.north - north, grid.north - south, west - grid.west, east - grid.west])
        places = (edges + np.array([-1, 1, -1, 1]) * padding) / grid.spacing
        whole = np.rint(places)
        if np.abs(places - whole).max() > ROUNDING:
            return None
        top, bottom, left, right = whole.astype(int).tolist()
        return [(top, bottom), (left, right)]

    def stack_spans(self, fields: Iterable[str], spans: Spans, *, frame: int = 0) -> np.ndarray:
        """Stack fields in spans of their own cells, which may lie beyond the case: (field, *cells) float32.

        >>> from fieldwise.samples.examples import make_box
        >>> box = make_box({"density": np.arange(12.0).reshape(1, 3, 4)}, split="test").cases()[0]
        >>> box.stack_spans(["density"], [(2, 4), (-1, 2)]).tolist()  # the last row, then the first
        [[[11.0, 8.0, 9.0], [3.0, 0.0, 1.0]]]
        """
        return np.stack([self._cut_spans(self._array(name, frame), spans) for name in fields])

    def _cut_spans(self, values: np.ndarray, spans: Spans) -> np.ndarray:
        if all(first >= 0 and end <= size for (first, end), size in zip(spans, values.shape, strict=True)):
            values = values[tuple(slice(*span) for span in spans)]
        else:  # all axes at once, so that no more than the window is in memory
            cells = [np.arange(*span) for span in spans]
            sizes = zip(cells, values.shape)
            beyond = [each % size if self.periodic else each.clip(0, size - 1) for each, size in sizes]
            values = values[np.ix_(*beyond)]
        return np.asarray(values, dtype=np.float32)

    def _is_array(self, name: str) -> bool:
        file = self.files[name]
        return not isinstance(file, str) or file.endswith(".npy")

    def field(self, name: str, frame: int = 0) -> xr.DataArray:
        """Give one field, of one frame, lazily on its grid."""
        if not self._is_array(name):
            return self._open(str(self.files[name]))
        values = self._array(name, frame)
        grid = self.grid_at(self.spacing * self.shape[0] / values.shape[0])
        coordinates = {"y": grid.y, "x": grid.x}
        return xr.DataArray(values, dims=("y", "x"), coords=coordinates, name=name).rio.write_crs(grid.crs)

    def trend(self, name: str) -> xr.DataArray:
        """Give the regional trend of a field."""
        return self._open(self.trends[name])

    def path_of(self, key: str) -> Path:
        """Give the path of a further file that the description names, which lies within the folder."""
        if not self.facts.get(key):
            raise InputError(f"{self.folder}: names no {key}; add it to the FILE.yaml and prepare again")
        return check_inside(self.folder, self.facts[key], f"{self.folder}: {key}")

    def open(self, key: str) -> xr.DataArray:
        """Open a further field that the description names, such as the truth of a sandbox."""
        return open_field(self.path_of(key))

    def _open(self, file: str) -> xr.DataArray:
        if file not in self._opened:
            self._opened[file] = move_field(open_field(self.folder / file), self.arrays)
        return self._opened[file]

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """Fields and arrays that were opened before."""
        return {}

    def _array(self, name: str, frame: int) -> np.ndarray:
        """Map the cells of one frame of a field, (*cells)."""
        file = self.files[name]
        if not isinstance(file, str):
            return np.broadcast_to(np.float32(file), self.shape)
        if file not in self._opened:
            self._opened[file] = _map_array(self.folder / file)
        values = self._opened[file]
        return values[frame if len(values) > 1 else 0]  # what never changes is kept once

    def describe(self) -> dict[str, Any]:
        """Write the case in plain types, as the description holds it."""
        plain = {
            "name": self.name,
            "split": self.split,
            "crs": self.crs,
            "bounds": None if self.bounds is None else [float(edge) for edge in self.bounds],
            "spacing": float(self.spacing),
            "shape": [int(size) for size in self.shape],
            "frames": self.frames,
            "times": self.times,
            "time": dict(self.time),
            "files": dict(self.files),
        }
        regional = {"trends": dict(self.trends), "spreads": dict(self.spreads)}
        box = {"periodic": self.periodic, "numbers": dict(self.numbers)}
        units = {} if self.spacing_units == "m" else {"spacing_units": self.spacing_units}
        return plain | {key: value for key, value in (regional | box | units).items() if value}

    def close(self) -> None:
        """Let go of the files that were opened, and of what was kept of them."""
        self._opened.clear()


def _map_array(path: Path) -> np.ndarray:
    try:
        with HEADER:
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; prepare the data again") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); prepare the data again") from None
