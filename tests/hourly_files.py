"""Hourly weather in files as users have it, written byte by byte or by GDAL: for tests of what reads it."""

import struct

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
import xarray as xr

LATITUDE, LONGITUDE = np.arange(52.0, 47.9, -0.5), np.arange(-2.0, 2.1, 0.5) % 360  # 9 x 9, over the meridian
START = pd.Timestamp("2013-01-30T00")
GRIDS = {"lat": LATITUDE, "lon": LONGITUDE}


def truth_of(hour, *, add=0.0):
    """Give a field that tells its hour and its cells apart: K, (9, 9)."""
    rows, columns = np.mgrid[:9, :9]
    return 280.0 + 0.01 * hour + 0.5 * rows + 0.125 * columns + add


def ibm_bytes(value):
    """Write a number as IBM's machines do: a sign, a power of 16 from 64 on, and 24 bits."""
    if value == 0:
        return bytes(4)
    sign, value, power = (0x80 if value < 0 else 0), abs(value), 64
    while value >= 1:
        value, power = value / 16, power + 1
    while value < 1 / 16:
        value, power = value * 16, power - 1
    return bytes([sign | power]) + round(value * 2**24).to_bytes(3)


def signed(value, width):
    """Write a whole number with its sign in the first bit."""
    return (abs(value) | (1 << (8 * width - 1) if value < 0 else 0)).to_bytes(width)


def write_first(values, time, number, *, kind=1, level=0, pv=(), padding=0):
    """Write a message of GRIB edition 1: section by section, 16 bits a value."""
    rows, columns = values.shape
    scaled = [round(1000 * each) for each in (LATITUDE[0], LONGITUDE[0], LATITUDE[-1], LONGITUDE[-1])]
    century, year = divmod(time.year - 1, 100)
    product = bytes([128, 98, 145, 255, 0x80, number, kind]) + int(level).to_bytes(2)
    product += bytes(
        [year + 1, time.month, time.day, time.hour, 0, 1, 0, 0, 0, 0, 0, 0, century + 1, 0, 0, 0]
    )
    product = (3 + len(product)).to_bytes(3) + product
    grid = bytes([len(pv), 33 if len(pv) else 255, 0]) + columns.to_bytes(2) + rows.to_bytes(2)
    grid += signed(scaled[0], 3) + signed(scaled[1], 3) + bytes([0x80]) + signed(scaled[2], 3)
    grid += signed(scaled[3], 3) + (500).to_bytes(2) + (500).to_bytes(2) + bytes(5)
    grid += b"".join(map(ibm_bytes, pv))
    grid = (3 + len(grid)).to_bytes(3) + grid
    low, power = float(np.min(values)), -8
    packed = np.rint((values - low) * 2.0**-power).astype(">u2").tobytes()
    data = bytes([0]) + signed(power, 2) + ibm_bytes(low) + bytes([16]) + packed
    data = (3 + len(data)).to_bytes(3) + data
    length = 8 + len(product) + len(grid) + len(data) + 4
    return b"GRIB" + length.to_bytes(3) + b"\x01" + product + grid + data + b"7777" + bytes(padding)


def write_second(path, values, time, *, product, pv=()):
    """Write a message of GRIB edition 2 with GDAL: product is category, number, type of surface and level."""
    category, number, surface, level = product
    template = [category, number, 2, 0, 0, 0, 0, 1, 0, surface, 0, level, 255, 0, 0]
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 9, "width": 9, "crs": "EPSG:4326"}
    west = (LONGITUDE[0] + 180) % 360 - 180
    across = rasterio.transform.from_origin(west - 0.25, LATITUDE[0] + 0.25, 0.5, 0.5)
    with rasterio.MemoryFile() as memory:
        with memory.open(transform=across, **profile) as made:
            made.write(values.astype(np.float32), 1)
        options = {"PDS_PDTN": "0", "PDS_TEMPLATE_ASSEMBLED_VALUES": " ".join(map(str, template))}
        options |= {
            "DISCIPLINE": "0",
            "IDS_CENTER": "98",
            "INPUT_UNIT": "K",
            "IDS_REF_TIME": f"{time:%Y-%m-%dT%H:%M:%SZ}",
        }
        with memory.open() as made:
            rasterio.shutil.copy(
                made, path, driver="GRIB", DATA_ENCODING="SIMPLE_PACKING", NBITS="16", **options
            )
    if pv:
        path.write_bytes(_add_coefficients(path.read_bytes(), pv))
    return path


def _add_coefficients(message, pv):
    """Add the coefficients of model levels to section 4 of a message."""
    offset = 16
    while message[offset + 4] != 4:
        offset += int.from_bytes(message[offset : offset + 4])
    size = int.from_bytes(message[offset : offset + 4])
    section = message[offset : offset + size]
    added = struct.pack(f">{len(pv)}f", *pv)
    section = (size + len(added)).to_bytes(4) + section[4:5] + len(pv).to_bytes(2) + section[7:] + added
    whole = message[:8] + (len(message) + len(added)).to_bytes(8) + message[16:offset]
    return whole + section + message[offset + size :]


def dataset_of(hours, *, name="t2m", units="K", add=0.0, start=START, dims=None):
    """Put the truth of some hours into a data set, south first as WeatherBench has it."""
    values = np.stack([truth_of(hour, add=add) for hour in hours]).astype(np.float32)
    times = np.asarray(hours) + (start - pd.Timestamp("1970-01-01")) / pd.Timedelta("1h")
    counted = ("time", times, {"units": "hours since 1970-01-01", "calendar": "standard"})
    field = (("time", "lat", "lon"), values, {"units": units})
    return xr.Dataset({name: field}, {"time": counted, **GRIDS}).isel(lat=slice(None, None, -1))


def write_netcdf(path, hours, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset_of(hours, **options).to_netcdf(path, engine="h5netcdf")
    return path


def write_tree(folder, hours, *, start=START):
    """Write AMBS's input: [Y]/[M]/YYYYMMDDHH_sf.grb and _ml.grb with three model levels."""
    pv = (0.0, 5000.0, 10000.0, 0.0, 0.0, 0.1, 0.6, 1.0)  # a and b: levels at 75, 450 and 850 hPa and so on
    for hour in hours:
        time = start + pd.Timedelta(hours=hour)
        place = folder / f"{time:%Y}" / f"{time:%m}"
        place.mkdir(parents=True, exist_ok=True)
        cloud = np.clip((truth_of(hour) - 280) / 12, 0, 1)
        surface = write_first(truth_of(hour), time, 167) + write_first(cloud, time, 164, padding=38)
        (place / f"{time:%Y%m%d%H}_sf.grb").write_bytes(surface)
        levels = [
            write_first(truth_of(hour, add=-30 * level), time, 130, kind=109, level=level, pv=pv)
            for level in (3, 2, 1)
        ]
        ground = np.full_like(cloud, np.log(100000.0))
        ground = write_first(ground, time, 152, kind=109, level=1, pv=pv)
        (place / f"{time:%Y%m%d%H}_ml.grb").write_bytes(b"".join(levels) + ground)
    return folder
