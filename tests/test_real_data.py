"""Real glaciers, at a tiny size: skipped where the files are not at hand."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io
import xarray as xr

from fieldwise.fields.grids import grid_of
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.tiles import cut, read_tiles, touches
from fieldwise.recipes import temperature_forecast
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_held_out
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import pick, value_of

ROOT = Path(__file__).parents[1]
FILES = Path(os.environ.get("FIELDWISE_DATA", ROOT.parent / "shared" / "data"))


def load_script(name, *needed):
    """Import a script of benchmarks/real_data, or skip where a file that it needs is missing."""
    missing = [file for file in needed if not (FILES / file).exists()]
    if missing:
        pytest.skip(f"{FILES} holds no {', '.join(missing)}; set FIELDWISE_DATA to the folder that does")
    path = ROOT / "benchmarks" / "real_data" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def helheim(tmp_path_factory):
    """Run the whole chain over Helheim: one epoch of one block, in large batches."""
    script = load_script("helheim", "helheim_subdomain_data.h5", "helheim_flight_tracks.mat")
    out = tmp_path_factory.mktemp("helheim")
    settings = script.SETTINGS | {"max_epochs": 1, "num_residual_blocks": 1, "batch_size": 32}
    return script, out, script.run_chain(FILES, out, settings=settings, step_cells=16, figures=False)


def test_helheim_is_read_as_it_is_stored(helheim):
    """Axis 0 of the file is x, and its y falls: the map must be the transposed array, north up."""
    script, out, _ = helheim
    with xr.open_dataset(FILES / script.FIELDS, engine="h5netcdf", phony_dims="sort") as stored:
        bed, x, y = (stored[name].values for name in ("bed_BedMachine", "surf_x", "surf_y"))
    truth = open_region(out / "data").open("truth")
    np.testing.assert_array_equal(truth["x"], x[:, 0])
    np.testing.assert_array_equal(truth["y"], y[0])
    np.testing.assert_array_equal(truth, bed.T)
    lowres = open_region(out / "data").field("bed_lowres")
    assert lowres.shape == (75, 50)
    drawn = cut(lowres, [grid_of(truth).bounds], spacing=150, method="cubic", extend=True)[0]
    inner = np.s_[1:-1, 1:-1]  # at the edge, cutting repeats the outermost centres
    np.testing.assert_allclose(block_mean(drawn, 4)[inner], block_mean(bed.T, 4)[inner], atol=0.5)


def test_helheim_picks_lie_by_the_thickness_below_the_surface(helheim):
    script, out, result = helheim
    picks = read_held_out(open_region(out / "data"))
    cells = 200 * 100  # of 150 m in the block of 30 x 15 km, where BedMachine is held out
    assert len(picks) == result["scores"]["n_picks"] == 634 + cells
    picks = picks[picks["survey"] == "tracks"].reset_index(drop=True)
    tracks = scipy.io.loadmat(FILES / script.TRACKS)
    assert len(picks) == result["scores"]["surveys"]["tracks"] == 634
    nearest = np.hypot(tracks["x"] - picks["x"][0], tracks["y"] - picks["y"][0]).argmin()
    with xr.open_dataset(FILES / script.FIELDS, engine="h5netcdf", phony_dims="sort") as stored:
        distance = np.hypot(stored["surf_x"].values - picks["x"][0], stored["surf_y"].values - picks["y"][0])
        surface = stored["surf_elv"].values.flat[distance.argmin()]
    # The nearest cell's surface instead of the interpolated one: within what it falls over half a cell.
    assert picks["z"][0] == pytest.approx(surface - tracks["thickness"].flat[nearest], abs=10)


def test_helheim_keeps_its_block_unseen(helheim):
    script, out, _ = helheim
    tiles = read_tiles(out / "data" / "tiles.zarr")
    assert set(tiles["split"].values) == {"training", "validation"}
    assert not touches(tiles["bounds"].values, np.array([script.UNSEEN]), buffer=1200).any()


def test_helheim_map_covers_the_domain(helheim):
    _, out, _ = helheim
    with rasterio.open(out / "run" / "helheim_bed.tif") as raster:
        assert raster.crs.to_epsg() == 3413
        assert raster.bounds == (269_500, -2_586_950, 299_500, -2_541_950)
        assert raster.res == (150, 150)
        assert np.isfinite(raster.read(1)).all()


def test_helheim_scores_say_what_they_are_of(helheim):
    """Truth is judged in the block that is held out alone, and picks a kilometre apart add no roughness."""
    _, _, result = helheim
    scores = result["scores"]
    block = result["table"].loc[("20000 cells, unseen block", "RMSE")]
    for name in ("prediction", "cubic"):
        rows = pick(scores["scores"], measure="roughness_ratio", name=name)
        block_alone, with_tracks = (
            value_of(rows, against=against) for against in ("truth", "held-out picks")
        )
        assert with_tracks == pytest.approx(block_alone, rel=0.02)
    assert scores["share_of_map"] == pytest.approx(1 / 3)
    cubic = pick(scores["scores"], against="truth", name="cubic")
    assert value_of(cubic, measure="rmse") == pytest.approx(block["cubic"])
    assert block["bedmachine"] == 0
    # Block means keep the mean through the interpolation.
    assert abs(value_of(cubic, measure="bias")) < 0.1
    # Taking the averaging back must help on a bed that was averaged.
    assert block["cubic"] < 0.9 * block["cubic of averages"]
    # One epoch gains little, but must not end in a map worse than a spline.
    assert block["prediction"] < block["spline"]


def test_nioghalvfjerds(tmp_path):
    script = load_script("nioghalvfjerds", "nioghalvfjerds_bed_picks.csv")
    result = script.run_chain(FILES, tmp_path, step_cells=8)
    table = np.loadtxt(FILES / script.PICKS, delimiter=",", skiprows=1)
    assert result["picks"] == len(table) == 104_292
    with rasterio.open(tmp_path / "bed.tif") as raster:
        bed = raster.read(1)
        assert raster.crs.to_epsg() == 3413
        assert raster.res == (250, 250)
        left, _, _, top = raster.bounds
    rows = np.minimum((top - table[:, 1]) // 250, bed.shape[0] - 1).astype(int)  # some lie on the very edge
    columns = np.minimum((table[:, 0] - left) // 250, bed.shape[1] - 1).astype(int)
    at_picks = bed[rows, columns]
    assert np.isfinite(at_picks).all()
    # A cell of 250 m on slopes of 1:10 leaves tens of metres between the grid and single picks.
    assert np.median(np.abs(at_picks - table[:, 2])) < 10
    tiles = read_tiles(tmp_path / "tiles.zarr")
    assert tiles["bed"].shape == (result["training"] + result["validation"], 1, 36, 36)
    assert bool(np.isfinite(tiles["bed"]).all())
    west, _, _, north = tiles["bounds"].values[0]
    row, column = round((top - north) / 250), round((west - left) / 250)
    np.testing.assert_array_equal(tiles["bed"].values[0, 0], bed[row : row + 36, column : column + 36])
    assert (tmp_path / "bed.png").stat().st_size > 10_000


def test_merra(tmp_path):
    """The strongest transport outside of the tropics, off Chile, lies in a river of both kinds of size."""
    script = load_script("merra", "merra_iwv_ivt_20170228_00.nc")
    result = script.run_chain(FILES, tmp_path)
    with xr.open_dataset(FILES / script.FIELD, engine="scipy") as day:
        transport = day["IVT"].isel(time=0).where(np.abs(day["lat"]) > 25, 0).values
        peak = np.unravel_index(transport.argmax(), transport.shape)
        latitude, longitude = float(day["lat"][peak[0]]), float(day["lon"][peak[1]])
    by_transport, by_vapour = result["transport and its Laplacian"], result["water vapour"]
    away = np.hypot(
        by_transport["parts"]["latitude"] - latitude, by_transport["parts"]["longitude"] - longitude
    )
    assert away.min() < 15
    assert by_transport["share"] > 2 * by_vapour["share"] > 0
    assert by_transport["rivers"] >= 8
    assert (by_transport["parts"]["diagonal_km"] > 1500).all()
    assert 0 < result["iou"] < 0.5
    assert (tmp_path / "rivers.png").stat().st_size > 50_000


def test_a_month_of_era5_has_the_known_baselines(tmp_path):
    """Mean squared errors (K2) that another program found, at 1, 3, 6, 9 and 12 hours.

    Forecasts start on days 25 to 31, from 0 UTC on, and see the day before; they are fitted to days 1 to 20.
    """
    file = FILES / "era5-2mt-2019-03-uk.grib"
    if not file.exists():
        pytest.skip(f"{FILES} holds no {file.name}; set FIELDWISE_DATA to the folder that does")
    (tmp_path / "own.yaml").write_text(f"path: {file}\nvariables: [t2m]\n")
    days = {"train": (1, 20), "val": (21, 23), "test": (24, 31)}
    split = {name: [[f"2019-03-{day:02d}" for day in ends]] for name, ends in days.items()}
    (tmp_path / "split.json").write_text(json.dumps(split))
    source = {"source": str(tmp_path / "own.yaml"), "split": tmp_path / "split.json"}
    out = temperature_forecast.prepare(**source, out=tmp_path / "data", progress=False)
    prepared = Prepared(out)
    (training,), (validation,), (test,) = (
        prepared.cases(name) for name in ("training", "validation", "test")
    )
    assert [case.frames for case in (training, validation, test)] == [480, 24, 192]
    assert test.shape == (33, 49)
    seen, truth = (case.read_frames("t2m").astype(float) for case in (training, test))
    starts = np.arange(24, len(truth) - 12)
    hourly = np.stack([seen[hour::24].mean(axis=0) for hour in range(24)])
    for lead, yesterday, damped, climatology in (
        (1, 2.15, 0.17, 3.75),
        (3, 2.19, 0.80, 3.77),
        (6, 2.23, 1.66, 3.80),
        (9, 2.26, 2.11, 3.81),
        (12, 2.30, 2.28, 3.83),
    ):
        then, before = truth[starts + lead], truth[starts + lead - 24]
        change, later = seen[24:-lead] - seen[: -24 - lead], seen[24 + lead :] - seen[lead:-24]
        kept = (change * later).sum() / (change**2).sum()
        forecasts = {
            yesterday: before,
            damped: before + kept * (truth[starts] - truth[starts - 24]),
            climatology: hourly[(starts + lead) % 24],
        }
        for known, forecast in forecasts.items():
            assert ((forecast - then) ** 2).mean() == pytest.approx(known, abs=0.006)
