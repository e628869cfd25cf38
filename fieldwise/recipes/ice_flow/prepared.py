"""A prepared folder: the frames of every case, mapped from disk as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.recipes.ice_flow.mapping import UNITS
from fieldwise.samples.prepared import DESCRIPTION
from fieldwise.samples.rules import read_yaml

SPACING = "dX"  # edge of a cell in metres, as a field
EVERYWHERE = slice(None)
LOCAL_CRS = 'LOCAL_CS["plane",UNIT["metre",1]]'


@dataclass(frozen=True)
class PreparedCase:
    """Frames of one glacier, rows from north to south."""

    name: str
    split: str
    folder: Path
    frames: int
    shape: tuple[int, int]
    spacing_m: float
    crs: str | None
    variables: tuple[str, ...]
    time: dict[str, str] = field(default_factory=dict)  # what times are counted in, as CF says it
    _arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        """Name the case as users know it."""
        return f"{self.split}/{self.name}"

    def read(
        self, names: Iterable[str], frame: int, rows: slice = EVERYWHERE, columns: slice = EVERYWHERE
    ) -> np.ndarray:
        """Read variables of one frame, or a part of it: (variable, y, x) float32."""
        return np.stack([self._array(name, frame)[rows, columns] for name in names])

    def _array(self, name: str, frame: int) -> np.ndarray:
        if name == SPACING:
            return np.broadcast_to(np.float32(self.spacing_m), self.shape)
        if name not in self._arrays:
            self._arrays[name] = _map(self.folder / f"{name}.npy")
        values = self._arrays[name]
        return values[frame if len(values) > 1 else 0]  # what never changes is kept once

    def ice(self, frame: int, *, thicker_than_m: float = 0.0) -> np.ndarray:
        """Tell where there is ice: (y, x) bool; where no thickness is known, everywhere."""
        if "thk" not in self.variables:
            return np.ones(self.shape, dtype=bool)
        return self._array("thk", frame) > thicker_than_m

    def coordinates(self) -> dict[str, np.ndarray]:
        """Give the centres of cells and the times of frames."""
        return {name: np.array(_map(self.folder / f"{name}.npy")) for name in ("time", "y", "x")}

    def check_has(self, names: Iterable[str], *, why: str) -> None:
        """Refuse a case that lacks variables, and list all that it lacks."""
        missing = [name for name in names if name not in self.variables and name != SPACING]
        if missing:
            raise InputError(
                f"case {self}: lacks {', '.join(missing)}, which {why} needs; "
                f"it has {', '.join(self.variables)}"
            )

    def wrap(self, values: np.ndarray, name: str) -> xr.DataArray:
        """Put values (y, x) of a frame, or (time, y, x) of all, on the grid as a field with units and CRS.

        Where no CRS is known it is a plane of metres somewhere.
        """
        known = self.coordinates()
        dims = ("time", "y", "x")[-values.ndim :]
        wrapped = xr.DataArray(
            values,
            dims=dims,
            coords={dim: known[dim] for dim in dims},
            name=name,
            attrs={"units": UNITS.get(name, ""), "long_name": name},
        )
        return wrapped.rio.write_crs(self.crs or LOCAL_CRS)


def _map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; prepare the data again") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); prepare the data again") from None


def open_prepared(data: str | Path) -> list[PreparedCase]:
    """Open the cases of a prepared folder.

    Raises
    ------
    InputError
        Where the folder is not a prepared one, or is one of another recipe.

    Examples
    --------
    >>> import tempfile; from fieldwise.samples.rules import write_yaml; folder = Path(tempfile.mkdtemp())
    >>> entry = {"name": "aletsch", "split": "test", "frames": 8, "shape": [64, 64], "spacing_m": 100.0}
    >>> entry |= {"crs": None, "variables": ["thk", "usurf"]}
    >>> _ = write_yaml({"recipe": "ice_flow", "cases": [entry]}, folder / "dataset.yaml")
    >>> [(str(case), case.frames) for case in open_prepared(folder)]
    [('test/aletsch', 8)]
    """
    data = Path(data)
    if not (data / DESCRIPTION).exists():
        raise InputError(f"{data}: is no prepared folder; make one with the verb prepare")
    content = read_yaml(data / DESCRIPTION, required=("recipe",))
    if content["recipe"] != "ice_flow" or not isinstance(content.get("cases"), list):
        raise InputError(f"{data}: was prepared for {content['recipe']}; prepare it for ice_flow")
    return [_case(data, entry) for entry in content["cases"]]


def _case(data: Path, entry: dict[str, Any]) -> PreparedCase:
    rows, columns = entry["shape"]
    return PreparedCase(
        name=entry["name"],
        split=entry["split"],
        folder=data / entry["split"] / entry["name"],
        frames=entry["frames"],
        shape=(rows, columns),
        spacing_m=entry["spacing_m"],
        crs=entry["crs"],
        variables=tuple(entry["variables"]),
        time=entry.get("time", {}),
    )


def choose_cases(
    data: str | Path, *splits: str, name: str | None = None, required: bool = True
) -> list[PreparedCase]:
    """Give the cases of some splits, or the one of a name.

    Raises
    ------
    InputError
        Where there is none.

    Examples
    --------
    >>> import tempfile; from fieldwise.samples.rules import write_yaml; folder = Path(tempfile.mkdtemp())
    >>> entry = {"name": "aletsch", "split": "test", "frames": 8, "shape": [64, 64], "spacing_m": 100.0}
    >>> entry |= {"crs": None, "variables": ["thk", "usurf"]}
    >>> _ = write_yaml({"recipe": "ice_flow", "cases": [entry]}, folder / "dataset.yaml")
    >>> choose_cases(folder, "train", required=False)
    []
    >>> choose_cases(folder, "train", "valid")
    Traceback (most recent call last):
    fieldwise.errors.InputError: /...: holds no case in train or valid; it holds test/aletsch
    """
    every = open_prepared(data)
    chosen = [case for case in every if case.split in splits and name in (None, case.name)]
    if required and not chosen:
        wanted = f"no case {name}" if name else "no case"
        raise InputError(
            f"{data}: holds {wanted} in {' or '.join(splits)}; it holds {', '.join(map(str, every))}"
        )
    return chosen
