"""Made once, shared by tests and features: a small sandbox, a tiny trained run, its map, a user's files."""

import importlib.util
import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

# Its doctests need Chainer: `make chainer`.
collect_ignore = [] if importlib.util.find_spec("chainer") else ["tests/chainer_reference.py"]

CORNER_X, CORNER_Y = -1_500_000.0, -300_000.0  # south-west corner of a user's own files
SIZE_M = 30_000.0


def pytest_configure() -> None:
    """Hear Ctrl-C, also when started in the background, where shells have it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory) -> Path:
    """Prepare the smallest sandbox, 60 x 60 km: three surveys to learn from. To be read only."""
    from fieldwise.recipes import bed_topography

    folder = tmp_path_factory.mktemp("sandbox")
    return bed_topography.prepare(out=folder, seed=7, size_km=60, step_cells=8, progress=False)


@pytest.fixture(scope="session")
def hyperparameters() -> dict:
    """Give the fixed settings of the tiny run: a generator of one block, with a discriminator."""
    return {
        "network": "generator",
        "num_residual_blocks": 1,
        "residual_scaling": 0.2,
        "learning_rate": 1e-3,
        "batch_size": 8,
        "max_epochs": 2,
        "seed": 7,
        "accelerator": "cpu",
        "progress": False,
    }


@pytest.fixture(scope="session")
def trained_run(sandbox, hyperparameters, tmp_path_factory) -> Path:
    """Train for two epochs. To be read only."""
    from fieldwise.recipes import bed_topography

    run = tmp_path_factory.mktemp("trained") / "run"
    bed_topography.train(data=sandbox, run=run, **hyperparameters)
    return run


@pytest.fixture(scope="session")
def whole_map(sandbox, trained_run, tmp_path_factory) -> Path:
    """Draw the whole sandbox in one block. To be read only."""
    from fieldwise.recipes import bed_topography

    out = tmp_path_factory.mktemp("map") / "whole.tif"
    return bed_topography.predict(run=trained_run, data=sandbox, out=out, block_cells=1000, progress=False)


@pytest.fixture
def own_files(tmp_path) -> Path:
    """Write a user's own files, 30 x 30 km, and a FILE.yaml that names them; quick to prepare."""
    return write_own_files(tmp_path / "own")


def write_own_files(folder: Path, *, lowres_corner=(CORNER_X, CORNER_Y)) -> Path:
    """Write a low-res bed, a surface, a dense survey, a held-out flight and their FILE.yaml."""
    from fieldwise.fields.grids import Grid, make_field
    from fieldwise.fields.rasters import write_cog

    folder.mkdir()
    west, south = lowres_corner
    for name, spacing in (("bed_lowres", 1000.0), ("surface", 100.0)):
        grid = Grid(west, south, west + SIZE_M, south + SIZE_M, spacing, "EPSG:3031")
        x, y = np.meshgrid(grid.x, grid.y)
        write_cog(make_field(hills(x, y), grid, name=name), folder / f"{name}.tif")
    along = np.arange(0, SIZE_M + 1, 200)
    x, y = np.meshgrid(west + along, south + np.arange(0, SIZE_M + 1, 1000))
    write_survey(folder, "dense", x.ravel(), y.ravel())
    write_survey(folder, "judge", west + along, np.full(along.size, south + SIZE_M - 500))
    content = {
        "crs": "EPSG:3031",
        "spacing_m": 250,
        "lowres_spacing_m": 1000,
        "inputs": {
            "bed_lowres": {"path": "bed_lowres.tif", "spacing_m": 1000},
            "surface_elevation": {"path": "surface.tif", "spacing_m": 100},
        },
        "surveys": ["dense.json"],
        "held_out": {"surveys": ["judge.json"]},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "own.yaml"


def hills(x, y) -> np.ndarray:
    """Give a bed in metres: hills every 7 and 11 km."""
    return (-400 + 80 * np.sin(2 * np.pi * x / 7e3) + 60 * np.cos(2 * np.pi * y / 11e3)).astype(np.float32)


def write_survey(folder: Path, name: str, x, y) -> None:
    """Write picks as CSV and the pipeline to read them by."""
    table = pd.DataFrame({"X": x, "Y": y, "ELEVATION": 900.0, "BOTTOM": 900.0 - hills(x, y)})
    table.to_csv(folder / f"{name}.csv", index=False)
    reader = {"type": "readers.text", "filename": f"{name}.csv", "skip": 1, "header": list(table)}
    reader |= {"converters": {"Z": "ELEVATION-BOTTOM"}}
    projection = {"type": "filters.reprojection", "in_srs": "EPSG:3031", "out_srs": "EPSG:3031"}
    (folder / f"{name}.json").write_text(json.dumps({"pipeline": [reader, projection]}))


@pytest.fixture(scope="session")
def tuning_data(tmp_path_factory) -> Path:
    """Prepare a user's own survey in small tiles, to search on. To be read only."""
    from fieldwise.recipes import bed_topography

    folder = tmp_path_factory.mktemp("own")
    source = write_own_files(folder / "files")
    return bed_topography.prepare(
        source=str(source), out=folder / "data", tile_cells=36, step_cells=24, progress=False
    )


@pytest.fixture(scope="session")
def tuned(tuning_data, tmp_path_factory):
    """Search with three trials, in two parts; give the study and its best options. To be read only."""
    from searching import SMALL

    from fieldwise.recipes import bed_topography

    study = tmp_path_factory.mktemp("study") / "study.db"
    bed_topography.tune(data=tuning_data, study=study, trials=2, **SMALL)
    return study, bed_topography.tune(data=tuning_data, study=study, trials=3, progress=False, **SMALL)


@pytest.fixture
def pretending(monkeypatch):
    """Let searches pretend to train."""
    from searching import pretend_to_train

    pretend_to_train(monkeypatch)


@pytest.fixture
def refusal(capsys):
    """Give a function that runs a command which must be refused, and returns its one line."""
    from fieldwise.cli import main

    def run(*words) -> str:
        capsys.readouterr()
        assert main(["bed_topography", *map(str, words)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("fieldwise: ")
        assert "Traceback" not in lines[0]
        return lines[0]

    return run
