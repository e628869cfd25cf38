"""docs/extreme_weather.md: every command, on files of a few cells named and laid out as the real ones."""

import ast
import re
import shlex
import subprocess

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from test_documentation import ROOT, commands_of

from fieldwise.cli import main
from fieldwise.interop.climatenet import save_cgnet
from fieldwise.interop.deepcam import save_deeplab
from fieldwise.networks.segmentation.cgnet import CGNet
from fieldwise.networks.segmentation.deeplab import DeepLab
from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.sandbox.extreme_weather import Season, write_season
from fieldwise.scores import read_scores

PAGE = (ROOT / "docs" / "extreme_weather.md").read_text(encoding="utf-8")
GRID = GlobalGrid.regular(32, 64)
# As `cells: [32, 64]` has them, so that nothing is averaged.
CELLS = GlobalGrid(90 - 5.625 * (np.arange(32) + 0.5), 5.625 * (np.arange(64) + 0.5))
YEARS = (2001, 2002, 2003)
# What makes a run long, made small; everything else runs as it stands on the page.
SHORTER = {
    "--network deeplab": "--network unet --network_options '{blocks: 2, filters: 2}'",
    "--network cgnet": "--network cgnet --network_options '{blocks: [1, 1]}'",
    "--max_epochs 15": "--max_epochs 1",
    "--target_iou 0.82": "--target_iou 0.82 --max_epochs 1",
    "--source All-Hist": "--source All-Hist --gap_hours 6 --shares '[0.4, 0.3, 0.3]'",
}
QUIET = {
    "prepare": "--progress false",
    "train": "--progress false --accelerator cpu --tracker none",
    "predict": "--progress false --accelerator cpu",
    "evaluate": "--progress false --figures false",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.M | re.S)


def write_climatenet(folder, season):
    """A file a time, as CAM has them: a calendar without leap days, from the south to the north."""
    days = {"train": ["1996-06-09", "2000-02-21", "2010-10-29"], "test": ["2011-06-01", "2013-09-27"]}
    for split, dates in days.items():
        (folder / split).mkdir(parents=True)
        for number, date in enumerate(dates):
            moment = season[number]
            fields = {name: (("time", "lat", "lon"), moment.fields[name][None]) for name in CHANNELS}
            fields["LABELS"] = (("lat", "lon"), moment.classes.astype("i8"))
            year, day = int(date[:4]), number
            time = (
                "time",
                [365.0 * (year - 1995) + day],
                {"units": "days since 1995-01-01", "calendar": "noleap"},
            )
            content = xr.Dataset(fields, {"lat": GRID.latitude, "lon": GRID.longitude, "time": time})
            for expert in (0, 1):
                path = folder / split / f"data-{date}-01-1_{expert}.nc"
                content.isel(lat=slice(None, None, -1)).to_netcdf(path, engine="h5netcdf")


def write_era5(folder, season):
    """Surface, rain and levels, as the Climate Data Store gives them; and one Zarr with a level."""
    hours = np.arange(len(season)) * 3
    time = ("valid_time", hours, {"units": "hours since 2005-08-20", "calendar": "proleptic_gregorian"})
    axes = {"latitude": CELLS.latitude, "longitude": CELLS.longitude, "valid_time": time}
    fields = {name: np.array([moment.fields[name] for moment in season]) for name in CHANNELS}
    dims = ("valid_time", "latitude", "longitude")
    kinds = {
        "surface": {
            "tcwv": fields["TMQ"],
            "msl": fields["PSL"],
            "u10": fields["UBOT"],
            "v10": fields["VBOT"],
            "viwve": fields["TMQ"] * fields["U850"],
            "viwvn": fields["TMQ"] * fields["V850"],
        },
        "rain": {"avg_tprate": 1000 * fields["PRECT"]},
    }
    folder.mkdir()
    for kind, values in kinds.items():
        content = xr.Dataset({name: (dims, each) for name, each in values.items()}, axes)
        content.to_netcdf(folder / f"{kind}-2005-08.nc", engine="h5netcdf")
    of_levels = {
        "u": ["U850", "U850", "U850", "U850"],
        "v": ["V850", "V850", "V850", "V850"],
        "t": ["T200", "T500", "T500", "T500"],
        "z": ["Z200", "Z200", "Z200", "Z1000"],
    }
    levelled = {
        name: ((dims[0], "pressure_level", *dims[1:]), np.stack([fields[each] for each in names], axis=1))
        for name, names in of_levels.items()
    }
    levels = xr.Dataset(levelled, {**axes, "pressure_level": [200.0, 500.0, 850.0, 1000.0]})
    levels["z"] = 9.80665 * levels["z"]
    levels.to_netcdf(folder / "levels-2005-08.nc", engine="h5netcdf")
    one = levels[["u", "v"]].sel(pressure_level=[850.0]).rename(pressure_level="level", valid_time="time")
    surface = xr.Dataset({"tcwv": (dims, fields["TMQ"]), "msl": (dims, fields["PSL"])}, axes)
    xr.merge([one, surface.rename(valid_time="time")]).to_zarr(folder.parent / "era5.zarr")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("weather_page")
    season = Season(GRID, steps=18, seed=5)
    for year in YEARS:
        start = np.datetime64(f"{year}-08-01T00", "h")
        write_season(home / "All-Hist" / "train", Season(GRID, start=start, steps=6, seed=5))
    write_climatenet(home / "climatenet_new", season)
    write_era5(home / "era5", Season(CELLS, steps=18, seed=5))
    for name, text in zip(("climatenet", "era5", "zarr"), blocks("yaml"), strict=True):
        (home / f"{name}.yaml").write_text(text.replace("[144, 288]", "[32, 64]"), encoding="utf-8")
    fields = {name: {"mean": 1.0, "std": 2.0} for name in ("TMQ", "U850", "V850", "PSL")}
    labels = ["Background", "Tropical Cyclone", "Atmospheric River"]
    save_cgnet(CGNet(4, 3, blocks=(1, 1)), home / "climatenet_model", fields=fields, labels=labels)
    (home / "trained").mkdir()
    torch.manual_seed(0)
    save_deeplab(DeepLab(len(CHANNELS), 3), home / "trained" / "deepcam.cpt")
    return home


@pytest.fixture(scope="module")
def followed(home):
    """Follow the page from its first line to its last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
        for line in filter(None, lines):
            if not line.startswith("fieldwise "):
                subprocess.run(line, shell=True, check=True)
                continue
            for long, short in SHORTER.items():
                line = line.replace(long, short)
            words = shlex.split(line)[1:]
            assert main([*words, *shlex.split(QUIET[words[1]])]) == 0, line
            if line.startswith("fieldwise extreme_weather prepare --source All-Hist"):
                stats = home / "data" / "deepcam" / "stats.h5"  # which NERSC has beside the samples
                for place in ("All-Hist", "trained"):
                    (home / place / "stats.h5").write_bytes(stats.read_bytes())
    return home


def test_commands_of_the_page_are_all_of_the_recipe():
    assert len(list(commands_of(PAGE))) == 17


def test_code_of_the_page_is_python_and_yaml():
    for text in blocks("python"):
        ast.parse(text)
    assert [list(yaml.safe_load(text)) for text in blocks("yaml")] == [["cases"]] * 3


def test_the_page_leads_to_scores(followed):
    for run in ("deepcam", "climatenet"):
        rows = read_scores(followed / "model" / run / "scores.json")["scores"]
        assert {"iou_per_image", "tracks_found"} <= {row["measure"] for row in rows}


def test_years_are_kept_apart_and_random_lists_leak(followed):
    """18 times of three years: six in a split each; at random 14, 1 and 3, with hours of one day in two."""
    from fieldwise.samples.prepared import SPLITS, Prepared

    def hours_of(name):
        prepared = Prepared(followed / "data" / name)
        return [np.concatenate([case.frame_times for case in prepared.cases(each)]) for each in SPLITS]

    begins = [(np.datetime64(f"{year}-08-01") - np.datetime64("2000-01-01")).astype(int) for year in YEARS]
    for hours, day in zip(hours_of("deepcam_years"), begins, strict=True):
        np.testing.assert_array_equal(hours, 24 * day + 3 * np.arange(6))
    learnt, judged, kept = hours_of("deepcam_random")
    assert [len(learnt), len(judged), len(kept)] == [14, 1, 3]
    assert all(np.abs(learnt - hour).min() <= 6 for hour in kept)


def test_published_networks_tell_all_classes_of_all_times(followed):
    for name, case in (("deepcam_published", "run_1_test"), ("climatenet_published", "test")):
        with xr.open_dataset(followed / "model" / name / f"{case}.nc") as maps:
            assert len(maps.data_vars) == 4
            assert maps["class"].shape[1:] == GRID.shape


def test_era5_is_read_as_what_it_was_written_from(followed):
    """Levels, factors and files of three kinds: the fields of the season, and labels by both rules."""
    from fieldwise.samples.prepared import Prepared

    season = Season(CELLS, steps=18, seed=5)
    (case,) = Prepared(followed / "data" / "era5").cases("test")
    for name in ("TMQ", "UBOT", "PRECT", "V850", "T500", "Z1000"):
        np.testing.assert_allclose(
            case.stack([name], frame=7)[0], season[7].fields[name], rtol=1e-5, atol=1e-9
        )
    carried = season[7].fields["TMQ"] * np.hypot(season[7].fields["U850"], season[7].fields["V850"])
    np.testing.assert_allclose(case.stack(["IVT"], frame=7)[0], carried, rtol=1e-5)
    assert {"labeller", "second_labeller"} <= case.files.keys()
    (other,) = Prepared(followed / "data" / "era5_zarr").cases("test")
    np.testing.assert_array_equal(other.stack(["U850"], frame=3), case.stack(["U850"], frame=3))
    folder = followed / "model" / "era5"
    beside = {path.name for path in folder.iterdir()}
    for suffix in ("cyclones.csv", "rivers.geojson", "rivers_landfalls.csv", "census.nc"):
        assert f"august_2005_{suffix}" in beside
