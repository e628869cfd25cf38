"""What a file of maps holds: channels and their names, where they lie and when, as CF describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import describe_by_cf

CHUNK_CELLS = {2: 256, 3: 64}  # on a side of what NetCDF and Zarr compress and read at once, by dimensions
MEMBER, QUANTILE = "member", "quantile"  # dimensions of an ensemble
FCST_HOUR, INIT_TIME = "fcst_hour", "init_time"  # of forecasts: hours ahead, and the time they begin at
WHOLE: Mapping[str, Mapping[str, str]] = {  # dimensions of whole numbers, as CF knows them
    MEMBER: {"units": "1", "standard_name": "realization"},
    FCST_HOUR: {"units": "h", "standard_name": "forecast_period", "long_name": "hours ahead"},
}
MEAN, SPREAD = "realization: mean", "realization: standard_deviation"  # as CF says it


@dataclass(frozen=True)
class Output:
    """One channel of what a predictor gives, as the file that holds it describes it.

    Parameters
    ----------
    name, units, long_name, standard_name
        As CF has them; the units as UDUNITS reads them.
    dtype
        Of the values in NetCDF and Zarr; of an integer one no value is missing.
    flags
        Meanings of the values 0, 1, … of a channel of flags.
    along
        Dimensions of its own and the place of the channel on each: channels of one name that differ in them
        alone make up one variable, such as the members of an ensemble.
    cell_methods
        How the values come from others, as CF says it.

    >>> Output("bed", "m").attributes()
    {'units': 'm', 'long_name': 'bed'}
    >>> Output("beyond_training", dtype="int8", flags=("within", "beyond")).attributes()["flag_meanings"]
    'within beyond'
    >>> Output("bed_quantile", "m", along=(("quantile", 0.05),)).label
    'bed_q05'
    """

    name: str
    units: str = "1"
    long_name: str | None = None
    standard_name: str | None = None
    dtype: str = "float32"
    flags: tuple[str, ...] = ()
    along: tuple[tuple[str, float], ...] = ()
    cell_methods: str | None = None

    @property
    def label(self) -> str:
        """Name of the channel where it stands alone."""
        label = self.name
        for dimension, value in self.along:
            if dimension == QUANTILE:
                label = f"{label.removesuffix(f'_{QUANTILE}')}_q{f'{100 * value:g}'.zfill(2)}"
            else:
                label = f"{label}_{value:g}"
        return label

    @property
    def is_given(self) -> bool:
        """Whether it is what the network gives, or the mean of it, rather than said about that."""
        drawn = {MEMBER, QUANTILE} & dict(self.along).keys()
        return not self.flags and not drawn and self.cell_methods in (None, MEAN)

    def attributes(self) -> dict[str, Any]:
        """Give the attributes that CF asks for."""
        given: dict[str, Any] = {} if self.flags else {"units": self.units}
        given["long_name"] = self.long_name or self.name.replace("_", " ")
        if self.standard_name:
            given["standard_name"] = self.standard_name
        if self.cell_methods:
            given["cell_methods"] = self.cell_methods
        if self.flags:
            given["flag_values"] = np.arange(len(self.flags), dtype=self.dtype)
            given["flag_meanings"] = " ".join(self.flags)
        return given


class Piece(NamedTuple):
    """Values (frame, channel, *cells) of some frames in one block, and where in the file they begin."""

    frame: int
    starts: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Times:
    """When the frames of a file are, and what their times are counted in, as CF says it."""

    values: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def coordinate(self, name: str = "time") -> xr.DataArray:
        """Give the coordinate with its attributes.

        >>> Times(np.array([2001.0]), {"units": "years since 0000-01-01"}).coordinate().attrs["standard_name"]
        'time'
        """
        unknown = "" if self.attributes else ", of unknown units"
        attributes = {"long_name": f"time as in the source{unknown}"} | dict(self.attributes)
        if "since" in attributes.get("units", ""):
            attributes["standard_name"] = "forecast_reference_time" if name == INIT_TIME else "time"
        return xr.DataArray(self.values, dims=name, attrs=attributes)


@dataclass(frozen=True)
class Lattice:
    """Cells of a box that lies on no map, or of a part of it; cell i lies at i times the spacing.

    >>> Lattice((4, 4), 2.0, "Mpc h-1", starts=(0, 8)).coordinates()["y"].values.tolist()
    [16.0, 18.0, 20.0, 22.0]
    """

    shape: tuple[int, ...]
    spacing: float
    units: str = "m"
    starts: tuple[int, ...] = (0, 0, 0)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return ("x", "y", "z")[: len(self.shape)]

    def coordinates(self) -> dict[str, xr.DataArray]:
        """Give the coordinate of each axis with its attributes."""
        attributes = {dim: {"units": self.units, "long_name": f"position along {dim}"} for dim in self.dims}
        places = (start + np.arange(size) for start, size in zip(self.starts, self.shape))
        return {
            dim: xr.DataArray(self.spacing * place, dims=dim, attrs=attributes[dim])
            for dim, place in zip(self.dims, places)
        }


@dataclass(frozen=True)
class Globe(Lattice):
    """Cells of the whole globe, by latitude and longitude.

    >>> globe = Globe.of({"latitude": [45.0, -45.0], "longitude": [0.0, 120.0, 240.0]})
    >>> globe.dims, globe.coordinates()["lat"].attrs["units"]
    (('lat', 'lon'), 'degrees_north')
    """

    latitude: tuple[float, ...] = ()
    longitude: tuple[float, ...] = ()

    @classmethod
    def of(cls, globe: Mapping[str, Any]) -> Globe:
        """Take what the description of a prepared folder says of its globe."""
        axes = tuple(globe["latitude"]), tuple(globe["longitude"])
        return cls(tuple(map(len, axes)), 180 / len(axes[0]), "degrees", (0, 0), *axes)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return "lat", "lon"

    def coordinates(self) -> dict[str, xr.DataArray]:
        """Give the coordinate of each axis with its attributes."""
        named = (("lat", "latitude", "north", self.latitude), ("lon", "longitude", "east", self.longitude))
        return {
            dim: xr.DataArray(
                np.array(places),
                dims=dim,
                attrs={"units": f"degrees_{way}", "standard_name": name, "long_name": name},
            )
            for dim, name, way, places in named
        }


@dataclass(frozen=True)
class MapFile:
    """What a file of maps holds: variables on a grid, at times or without.

    Parameters
    ----------
    outputs
        The channels in their order; those of one name make up one variable.
    grid
        Of a map; its CRS may be empty: a plane of metres somewhere. Or the cells of a box.
    times
        Of the frames; None for one frame without a time. Of forecasts those at which they begin.
    attributes
        Of the whole file, as text.
    """

    outputs: tuple[Output, ...]
    grid: Grid | Lattice
    times: Times | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, tuple[Output, ...]]:
        """The channels that make up each variable, by its name."""
        named: dict[str, tuple[Output, ...]] = {}
        for output in self.outputs:
            named[output.name] = (*named.get(output.name, ()), output)
        return named

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes of space."""
        return self.grid.dims if isinstance(self.grid, Lattice) else ("y", "x")

    @property
    def time(self) -> str:
        """Name of the dimension of times."""
        return INIT_TIME if any(FCST_HOUR in dict(output.along) for output in self.outputs) else "time"

    def sizes(self, name: str) -> dict[str, int]:
        """Give the dimensions of a variable, in their order, and their sizes."""
        times = {} if self.times is None else {self.time: len(self.times.values)}
        along = {dimension: len(values) for dimension, values in _axes(self.variables[name]).items()}
        return times | along | dict(zip(self.dims, self.grid.shape))

    def chunks(self, name: str) -> tuple[int, ...]:
        """Give what of a variable is compressed and read at once: a part of one frame."""
        side = CHUNK_CELLS[len(self.dims)]
        sizes = self.sizes(name).items()
        return tuple(min(side, size) if dim in self.dims else 1 for dim, size in sizes)

    def coordinates(self) -> xr.Dataset:
        """Give coordinates, grid mapping and attributes as CF asks, without the variables."""
        coordinates: dict[str, Any] = {}
        if self.times is not None:
            coordinates[self.time] = self.times.coordinate(self.time)
        for channels in self.variables.values():
            for dimension, values in _axes(channels).items():
                coordinates[dimension] = _coordinate_along(dimension, values)
        if isinstance(self.grid, Lattice):
            coordinates |= self.grid.coordinates()
            return describe_by_cf(xr.Dataset(coords=coordinates, attrs=dict(self.attributes)))
        coordinates |= {"y": self.grid.y, "x": self.grid.x}
        dataset = xr.Dataset(coords=coordinates, attrs=dict(self.attributes))
        for axis in ("x", "y"):
            dataset[axis].attrs = {"units": "m", "standard_name": f"projection_{axis}_coordinate"}
        return describe_by_cf(dataset.rio.write_crs(self.grid.crs) if self.grid.crs else dataset)

    def attributes_of(self, output: Output) -> dict[str, Any]:
        """Give the attributes of a variable; what its heights count from stands with it too."""
        given = {key: self.attributes[key] for key in (DATUM,) if key in self.attributes}
        given |= {"grid_mapping": "spatial_ref"} if isinstance(self.grid, Grid) and self.grid.crs else {}
        return output.attributes() | given

    def cells(self, piece: Piece) -> tuple[slice, ...]:
        """Index the cells that a piece covers."""
        ends = zip(piece.starts, piece.values.shape[2:], strict=True)
        return tuple(slice(start, start + size) for start, size in ends)

    def place(self, piece: Piece, output: Output) -> tuple[slice | int, ...]:
        """Index what a piece covers of a channel in its variable."""
        times = () if self.times is None else (slice(piece.frame, piece.frame + len(piece.values)),)
        axes = _axes(self.variables[output.name])
        along = (axes[dimension].index(value) for dimension, value in output.along)
        return *times, *along, *self.cells(piece)


def _axes(channels: tuple[Output, ...]) -> dict[str, list[float]]:
    """Give the dimensions in which the channels of one variable differ, and their places on each."""
    axes: dict[str, dict[float, None]] = {}
    for channel in channels:
        for dimension, value in channel.along:
            axes.setdefault(dimension, {})[value] = None
    return {dimension: list(values) for dimension, values in axes.items()}


def _coordinate_along(dimension: str, places: list[float]) -> xr.DataArray:
    """Give the coordinate of what the channels of one variable differ in."""
    named = WHOLE.get(dimension, {"units": "1", "long_name": dimension})
    values = np.array(places, dtype=np.int32 if dimension in WHOLE else np.float64)
    return xr.DataArray(values, dims=dimension, attrs=dict(named))
