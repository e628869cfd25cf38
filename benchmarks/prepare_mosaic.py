"""What preparing a large surface mosaic takes for 10^9 cells: filling its holes, its trend and its spread.

Run it with `python benchmarks/prepare_mosaic.py` (two minutes on a free core, 1 GB of disk). Seconds
are those of the processor, so that other work on the machine does not count. The mosaic is made: 8192 x 8192
cells of 100 m with metres of noise, which compress badly; 0.4 % are missing and are filled from another of
200 m. REMA at 100 m has 2.5 x 10^9 cells.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import scipy.ndimage
from rasterio.transform import from_origin

from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_gaps
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.trends import regional_spread, regional_trend

CELLS = 8192


def write_mosaics(folder: Path) -> None:
    """Write the mosaic with a hole, and the filled one of half the resolution, row by row of blocks."""
    rng = np.random.default_rng(0)
    relief = scipy.ndimage.zoom(rng.normal(0, 200, (CELLS // 128,) * 2), 128, order=1).astype(np.float32)
    fine = relief + rng.standard_normal((CELLS, CELLS), dtype=np.float32)
    coarse = block_mean(fine, 2)
    fine[1000:1500, 2000:2600] = -9999
    for name, values, spacing in (
        ("REMA_100m_dem.tif", fine, 100),
        ("REMA_200m_dem_filled.tif", coarse, 200),
    ):
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": -9999, "crs": "EPSG:3031"}
        profile |= {"height": len(values), "width": len(values), "tiled": True, "compress": "lzw"}
        with rasterio.open(
            folder / name, "w", transform=from_origin(0, 0, spacing, spacing), **profile
        ) as file:
            file.write(values, 1)


def main() -> None:
    """Print seconds for 10^9 cells, bytes a cell, and the peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_mosaics(home)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scale = 1e9 / CELLS**2
        started = time.process_time()
        fine, coarse = (open_field(home / f"REMA_{name}.tif") for name in ("100m_dem", "200m_dem_filled"))
        path = fill_gaps(fine, coarse, home / "filled.tif")
        filled = time.process_time()
        trend = regional_trend(open_field(path), cell=1000, width=4000)
        found = time.process_time()
        regional_spread(open_field(path), trend, width=6000)
        ended = time.process_time()
        seconds = [f"{part * scale:.0f} s" for part in (filled - started, found - filled, ended - found)]
        print("filling {}, trend {}, spread {} for 10^9 cells".format(*seconds))
        print(f"{path.stat().st_size / CELLS**2:.1f} bytes a cell on the disk")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak memory {peak / 1024:.0f} MB (of which the making of the mosaic {before / 1024:.0f} MB)")


if __name__ == "__main__":
    main()
