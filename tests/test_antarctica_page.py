"""Every command of docs/antarctica.md, run in order on a cut-down copy of the real files."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import antarctica
import loopback
import numpy as np
import pytest
import rasterio
import yaml

from fieldwise.cli import main
from fieldwise.downloads import transfers
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import grid_of
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.scores import pick, read_scores, value_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "antarctica.md").read_text(encoding="utf-8")
# What makes a run long, made small; everything else runs as it stands on the page.
SHORTER = {
    "--num_residual_blocks 12": "--num_residual_blocks 1 --adversarial_weight 0",
    "--max_epochs 150": "--max_epochs 1",
    "--batch_size 128": "--batch_size 64",
    "--block_cells 1024": "--block_cells 1024 --halo_cells 16",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.M | re.S)


def commands():
    """Give the page's commands, one a line, in order."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [
        " ".join(line.split()) if line.startswith("fieldwise") else line for line in lines if line.strip()
    ]


def shorten(command):
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    return command


def run(command, monkeypatch):
    """Run one line as a shell would; those of fieldwise in this process, which is quicker."""
    if command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    elif command.startswith("fieldwise "):
        assert main(shlex.split(shorten(command))[1:]) == 0, command
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-euc", command], check=True, env=os.environ | {"PATH": path})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A clone with nothing but what git holds, beside a data centre with the copy; then the whole page."""
    home = tmp_path_factory.mktemp("clone")
    copy = tmp_path_factory.mktemp("centre")
    antarctica.write_copy(copy)
    (home / "highres").mkdir()
    for path in (ROOT / "highres").glob("*.json"):
        shutil.copy(path, home / "highres")
    for text in blocks("yaml"):
        (home / re.match(r"# (\S+\.yaml)", text)[1]).write_text(text)
    with pytest.MonkeyPatch.context() as monkeypatch, loopback.http(files={}) as server:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("NETRC", str(home / "no_netrc"))
        monkeypatch.setattr(transfers, "PAUSE_S", 0.001)
        monkeypatch.chdir(home)
        list_file = home / "data_list.yml"
        server.files = antarctica.write_data_list(ROOT / "data_list.yml", copy, list_file, url=server.url)
        for command in commands():
            run(command, monkeypatch)
    return home


def test_page_has_every_step():
    words = " ".join(commands())
    for step in ("download", "prepare", "train", "predict", "evaluate", "rio clip"):
        assert step in words
    assert set(SHORTER) <= {long for long in SHORTER if long in words}, "SHORTER names what the page lacks"


def test_options_of_the_page_exist_as_they_stand(capsys):
    """The lines that are shortened below are at least understood in full."""
    for command in commands():
        if shorten(command) != command:
            assert main([*shlex.split(command)[1:], "--print_config"]) == 0
            printed = yaml.safe_load(capsys.readouterr().out)
            for option, value in re.findall(r"--(\w+) (\S+)", command):
                assert str(printed[option]).rstrip("/") == value.rstrip("/")


def test_inputs_are_what_the_files_say(home):
    """At cell centres each input has the value of the function that it was written from."""
    for folder, lowres_step in (("data", 0.5), ("data_today", 60.0)):
        dataset = open_region(home / folder)
        wanted = {"bed_lowres": antarctica.bed, "surface_elevation": antarctica.surface}
        tolerance = {"bed_lowres": lowres_step + 0.1, "surface_elevation": 8.0}
        for name, function in wanted.items():
            field = dataset.field(name)
            x, y = np.meshgrid(field["x"], field["y"])
            error = field.values - function(x, y)
            assert np.isfinite(error).all()
            assert np.abs(error).max() < tolerance[name], (folder, name, np.abs(error).max())
        for channel, function in enumerate((antarctica.eastward, antarctica.northward)):
            field = dataset.field(f"ice_velocity_{channel + 1}")
            x, y = np.meshgrid(field["x"], field["y"])
            error = np.abs(field.values - function(x, y))
            assert np.median(error) < 1e-3
            assert error.max() < 30  # in the corner that is missing in the file
    snow = open_region(home / "data").field("snow_accumulation")
    x, y = np.meshgrid(snow["x"], snow["y"])
    np.testing.assert_allclose(snow.values, antarctica.accumulation(x, y), atol=0.26)


def test_heights_count_from_the_ellipsoid(home):
    """Otherwise the bed would be off by the geoid: 25 m in the west of the copy, 13 m in its east."""
    field = open_region(home / "data").field("bed_lowres")
    x, y = np.meshgrid(field["x"], field["y"])
    assert abs(np.mean(field.values - antarctica.bed(x, y))) < 0.1
    with rasterio.open(home / "lowres" / "bedmap2_bed.tif") as original:
        assert original.dtypes == ("int16",)
        assert original.bounds.left % 1000 == 500


def test_tiles_lie_on_the_cells_of_the_coarse_bed(home):
    dataset = open_region(home / "data")
    west, south, *_ = dataset.bounds
    assert (west % 1000, south % 1000) == (500, 500)
    assert dataset.facts["tiles"]["training"] > 20
    assert dataset.facts["tiles"]["validation"] > 0


def test_maps_cover_what_was_asked_for(home):
    box = grid_of(open_field(home / "model" / "thwaites.tif"))
    assert box.bounds == (-1450000, -470000, -1420000, -440000)
    whole = open_field(home / "model" / "deepbedmap_dem.tif")
    assert grid_of(whole).bounds == open_region(home / "data").bounds
    assert np.isfinite(whole.values).all()


def test_maps_were_judged(home):
    ours, published = (read_scores(home / folder / "scores.json") for folder in ("model", "model/published"))
    assert ours["n_picks"] > 300
    radar = pick(ours["scores"], against="held-out picks", measure="rmse")
    assert {row["name"] for row in radar} >= {"prediction", "cubic"}
    # it was written from the true bed in whole metres, and is read between its cells
    radar = pick(published["scores"], against="held-out picks", name="prediction")
    assert value_of(radar, measure="rmse") < 5
    assert (home / "model" / "figures" / "bed_map.png").exists()


def test_cut_surface_covers_what_was_asked_for(home):
    with rasterio.open(home / "misc" / "surface_part.tif") as part:
        assert part.bounds == (-1470000, -490000, -1390000, -410000)
        assert part.crs.to_epsg() == 3031


def test_grounding_line_got_its_projection(home):
    import geopandas

    assert geopandas.read_file(home / "misc" / "GroundingLine_Antarctica_v2.shp").crs.to_epsg() == 3031


def test_token_is_in_no_file(home):
    token = b"the-token-that-you-generated"
    assert not [path for path in home.rglob("*") if path.is_file() and token in path.read_bytes()]
