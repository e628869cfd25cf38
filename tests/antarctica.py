"""A cut-down copy of the real Antarctic files: their names, formats, projections and quirks, 60 km of them.

Every field is a function of x and y, so that what comes out of a file can be told at any place.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import rasterio
import shapely
import xarray as xr
import yaml
from rasterio.transform import from_origin

WEST, SOUTH, EAST, NORTH = -1_460_000, -480_000, -1_400_000, -420_000  # on Thwaites Glacier
POLAR = {  # as the files of NSIDC and BAS describe it, without an EPSG code
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": -90.0,
    "standard_parallel": -71.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563,
    "false_easting": 0.0,
    "false_northing": 0.0,
}
Function = Callable[[np.ndarray, np.ndarray], np.ndarray]


def bed(x, y):
    """Height of the bed above the ellipsoid, in metres."""
    return -600 + 150 * np.sin(2 * np.pi * x / 9e3) + 100 * np.cos(2 * np.pi * y / 13e3)


def geoid(x, y):
    """Height of the geoid above the ellipsoid, in metres."""
    return -25 + (x - WEST) / 5e3 + 0 * y


def surface(x, y):
    """Height of the ice surface above the ellipsoid: a slope with some of the bed's relief."""
    return 1200 + (x - WEST) / 200 + 0.1 * (bed(x, y) + 600)


def eastward(x, y):
    """Ice velocity along x, in metres a year; mostly negative, towards the sea."""
    return -900 + (x - WEST) / 100 + 0 * y


def northward(x, y):
    """Ice velocity along y."""
    return 200 - (y - SOUTH) / 200 + 0 * x


def accumulation(x, y):
    """Snowfall in kilograms a square metre and year."""
    return 500 - (x - WEST) / 1e3 + 0 * y


def _centres(west, north, spacing, columns, rows):
    return west + spacing * (np.arange(columns) + 0.5), north - spacing * (np.arange(rows) + 0.5)


def _sample(function: Function, x, y) -> np.ndarray:
    return function(*np.meshgrid(x.astype(float), y.astype(float)))


def _write_tif(path, function, *, west, north, spacing, dtype="float32", nodata=-9999.0, holes=None, **tags):
    """Write a GeoTIFF from north to south; a scale and an offset are applied the other way round."""
    columns, rows = (round(60_000 / spacing) + 2 for _ in "xy")
    values = _sample(function, *_centres(west, north, spacing, columns, rows))
    stored = (values - tags.get("offset", 0.0)) / tags.get("scale", 1.0)
    if np.issubdtype(dtype, np.integer):
        stored = np.rint(stored)
    if holes:
        stored[holes] = nodata
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "dtype": dtype, "nodata": nodata, "crs": "EPSG:3031"}
    profile |= {"height": rows, "width": columns, "transform": from_origin(west, north, spacing, spacing)}
    with rasterio.open(path, "w", compress="lzw", **profile) as file:
        file.write(stored.astype(dtype), 1)
        if tags:
            file.scales, file.offsets = (tags["scale"],), (tags["offset"],)
    return path


def write_rasters(folder: Path) -> None:
    """Write the GeoTIFFs. BEDMAP2's cells lie about whole kilometres, so that its edges are at 500 m."""
    corner = {"west": WEST - 1000, "north": NORTH + 1000}
    kilometre = {"west": WEST - 500, "north": NORTH + 500, "spacing": 1000}
    whole = {"dtype": "int16", "nodata": 32767}
    _write_tif(folder / "lowres/bedmap2_bed.tif", lambda x, y: bed(x, y) - geoid(x, y), **kilometre, **whole)
    _write_tif(folder / "lowres/gl04c_geiod_to_WGS84.tif", geoid, **kilometre)
    fine, coarse = folder / "misc/REMA_100m_dem.tif", folder / "misc/REMA_200m_dem_filled.tif"
    _write_tif(fine, surface, spacing=100, **corner, holes=np.s_[200:260, 300:420])
    _write_tif(coarse, surface, spacing=200, **corner)
    filled = folder / "misc/rema_mosaic_100m_v2.0_filled_cop30_dem.tif"
    _write_tif(filled, surface, spacing=100, **corner)
    snow = folder / "misc/Arthern_accumulation_bedmap2_grid1.tif"
    _write_tif(snow, accumulation, **kilometre, dtype="int16", nodata=-9999, scale=0.5, offset=100.0)
    published = folder / "misc/deepbedmap_dem.tif"
    shifted = {"west": WEST - 250, "north": NORTH + 250, "spacing": 250}
    _write_tif(published, bed, **shifted, dtype="int16", nodata=-2000, holes=np.s_[:16, :])


def _netcdf(path, names: dict[str, tuple[Function, dict]], *, spacing: int, mapping: str, integers: bool):
    """Write NetCDF-4 as the data centres do: y from north to south, coordinates at cell centres."""
    kind = np.int32 if integers else np.float64
    margin = 1350 if spacing == 450 else 0
    x = np.arange(WEST - margin, EAST + margin + 1, spacing).astype(kind)
    y = np.arange(NORTH + margin, SOUTH - margin - 1, -spacing).astype(kind)
    dataset = xr.Dataset(coords={"x": x, "y": y})
    dataset["x"].attrs = {"standard_name": "projection_x_coordinate", "units": "meters"}
    dataset["y"].attrs = {"standard_name": "projection_y_coordinate", "units": "meters"}
    dataset[mapping] = xr.DataArray(np.int8(0), attrs=POLAR)
    for name, (function, encoding) in names.items():
        values = _sample(function, x, y).astype(np.float32)
        values[:3, -4:] = np.nan
        dataset[name] = ("y", "x"), values, {"grid_mapping": mapping}
        dataset[name].encoding = encoding
    longitude, latitude = pyproj.Transformer.from_crs("EPSG:3031", "EPSG:4326", always_xy=True).transform(
        *np.meshgrid(x.astype(float), y.astype(float))
    )
    dataset["lon"], dataset["lat"] = (("y", "x"), longitude), (("y", "x"), latitude)
    for name in names:
        dataset[name].attrs["coordinates"] = "lon lat"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_netcdf(path, engine="h5netcdf")


def write_netcdfs(folder: Path) -> None:
    """Write velocity (two variables beside others), Bedmap3 and BedMachine."""
    missing = {"_FillValue": np.float32(-9999)}
    velocity = {
        "VX": (eastward, missing),
        "VY": (northward, missing),
        "STDX": (lambda x, y: 3 + 0 * x, missing),
        "CNT": (lambda x, y: 9 + 0 * x, {"dtype": "int32", "_FillValue": np.int32(-1)}),
    }
    path = folder / "misc/antarctic_ice_vel_phase_map_v01.nc"
    _netcdf(path, velocity, spacing=450, mapping="coord_system", integers=False)
    packed = {"dtype": "int16", "_FillValue": np.int16(-9999)}
    above_geoid = {
        "bed_topography": (lambda x, y: bed(x, y) - geoid(x, y), packed | {"scale_factor": 0.5}),
        "surface_topography": (lambda x, y: surface(x, y) - geoid(x, y), packed | {"add_offset": 1000.0}),
        "mask": (lambda x, y: 1 + 0 * x, {"dtype": "int8", "_FillValue": np.int8(-99)}),
    }
    _netcdf(folder / "lowres/bedmap3.nc", above_geoid, spacing=500, mapping="mapping", integers=True)


def write_radar(folder: Path) -> None:
    """Write two CReSIS seasons (a dense block; two flights apart) and the grid of Rutford, moved here."""
    folder = folder / "highres"
    folder.mkdir(parents=True, exist_ok=True)
    along, across = np.arange(0, 24_001, 200.0), np.arange(0, 24_001, 500.0)
    x, y = (values.ravel() for values in np.meshgrid(WEST + 3000 + along, SOUTH + 3000 + across))
    _write_cresis(folder / "2009_Antarctica_TO.csv", x, y)
    x, y = np.meshgrid(WEST + 3000 + np.arange(0, 54_001, 150.0), [NORTH - 8000.0, NORTH - 12_000.0])
    _write_cresis(folder / "2014_Antarctica_DC8.csv", x.ravel(), y.ravel())
    columns, rows = np.meshgrid(np.arange(60), np.arange(60))
    x, y = EAST - 20_000 + 250.0 * columns, SOUTH + 10_000 + 250.0 * rows
    table = np.column_stack([values.ravel() for values in (x, y, bed(x, y), columns, rows)])
    head = "".join(f"# line {number} of the head\n" for number in range(20))
    body = "\n".join(
        "\t".join(f"{value:g}" if value % 1 else f"{value:.0f}" for value in row) for row in table
    )
    (folder / "bed_WGS84_grid.txt").write_text(head + body + "\n")


def _write_cresis(path: Path, x, y) -> None:
    longitude, latitude = pyproj.Transformer.from_crs("EPSG:3031", "EPSG:4326", always_xy=True).transform(
        x, y
    )
    table = pd.DataFrame(
        {"LAT": latitude.round(6), "LON": longitude.round(6), "UTCTIMESOD": np.arange(x.size)}
    )
    flown = surface(x, y) + 500
    bottom = (flown - bed(x, y)).round(2)
    bottom[::97] = -9999.0
    table = table.assign(
        THICK=(surface(x, y) - bed(x, y)).round(2), ELEVATION=flown.round(2), FRAME=2009010203,
        SURFACE=500.0, BOTTOM=bottom, QUALITY=1,
    )  # fmt: skip
    table.to_csv(path, index=False)


def write_grounding_line(folder: Path) -> None:
    """Write the shapefile as Quantarctica has it: three files, no .prj."""
    path = folder / "misc/GroundingLine_Antarctica_v2.shp"
    area = shapely.box(WEST - 50_000, SOUTH - 50_000, EAST + 50_000, NORTH + 50_000)
    geopandas.GeoDataFrame({"NAME": ["Grounded"]}, geometry=[area], crs="EPSG:3031").to_file(path)
    for suffix in (".prj", ".cpg"):
        path.with_suffix(suffix).unlink(missing_ok=True)


def write_copy(folder: Path) -> None:
    """Write every file of the copy under its real name."""
    write_rasters(folder)
    write_netcdfs(folder)
    write_radar(folder)
    write_grounding_line(folder)


def write_data_list(original: Path, folder: Path, target: Path, *, url: str) -> dict[str, bytes]:
    """Write the project's data list for the copy: other addresses and sums, else as it is.

    Returns
    -------
    dict
        Address to what the server has to give, archives for members.
    """
    served, archives = {}, {}
    records = yaml.safe_load(original.read_text())
    for record in records:
        for file in record["files"]:
            name = f"{record['folder']}/{file['filename']}"
            if file["url"] is None or not (folder / name).exists():
                continue
            content = (folder / name).read_bytes()
            known = file["sha256"] is not None
            file["sha256"] = hashlib.sha256(content).hexdigest() if known else None
            address = f"/{name}"
            if file.get("member"):
                address = f"/{record['citekey']}.zip"
                archives.setdefault(address, {})[file["member"]] = content
            else:
                served[address] = content
            file["url"] = url + address
    for address, members in archives.items():
        packed = folder / address.strip("/")
        with zipfile.ZipFile(packed, "w") as archive:
            for member, content in members.items():
                archive.writestr(f"packed/{member}", content)
        served[address] = packed.read_bytes()
    target.write_text(yaml.safe_dump(records, sort_keys=False))
    return served
