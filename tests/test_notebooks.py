"""Every notebook runs, on a small sandbox, and leaves what it says."""

import re
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import rasterio
import torch

from fieldwise.scores import pick, read_scores, value_of

ROOT = Path(__file__).resolve().parents[1]
SCORES = {"rmse", "mae", "bias", "roughness_ratio"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def execute(name, home, **parameters):
    """Run a notebook as `make demo` does, and give the text that its cells printed."""
    # From the root, where users start it; whatever it writes goes to paths that are parameters.
    papermill.execute_notebook(
        ROOT / f"{name}.ipynb",
        home / f"{name}.ipynb",
        parameters=parameters,
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
    )
    notebook = nbformat.read(home / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture(scope="module")
def executed(home):
    """Run the chain from survey files to figures at its smallest."""
    data, run, out = (str(home / name) for name in ("data", "model", "model/deepbedmap_dem.tif"))
    printed = {"data_prep": execute("data_prep", home, data=data, size_km=60, step_cells=8, seed=3)}
    settings = {"max_epochs": 1, "num_residual_blocks": 1, "seed": 3, "tuning_trials": 1}
    settings["tuning_ranges"] = {"num_residual_blocks": [1, 1], "batch_size": [32], "max_epochs": [1, 1]}
    printed["srgan_train"] = execute("srgan_train", home, data=data, run=run, **settings)
    printed["deepbedmap"] = execute("deepbedmap", home, data=data, run=run, out=out)
    printed["paper_figures"] = execute("paper_figures", home, data=data, run=run, prediction=out)
    return printed


def test_chain_ends_with_a_table_and_the_paths(executed, home):
    table = executed["deepbedmap"]
    for word in ("prediction", "cubic", "spline", "RMSE (m)", "roughness ratio"):
        assert word in table
    assert f"{home}/model/deepbedmap_dem.tif" in table
    assert f"{home}/model/scores.json" in table
    assert "best validation RMSE" in executed["srgan_train"]
    weights = torch.load(home / "model" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    count = sum(values.numel() for name, values in weights.items() if name.startswith("network."))
    assert re.search(rf"Generator +{count:,} +\(published +8,907,749\)", executed["srgan_train"])
    assert "fieldwise bed_topography train --network generator --inputs " in executed["srgan_train"]


def test_map_is_a_cloud_optimised_geotiff(executed, home):
    with rasterio.open(home / "model" / "deepbedmap_dem.tif") as opened:
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert opened.crs.to_epsg() == 3031
        assert opened.res == (250, 250)
        assert opened.dtypes == ("float32",)
        assert np.isnan(opened.nodata)
        assert np.isfinite(opened.read(1)).all()


def test_scores_are_written(executed, home):
    scores = read_scores(home / "model" / "scores.json")
    for against in ("held-out picks", "truth"):
        for measure in SCORES:
            names = {row["name"] for row in pick(scores["scores"], against=against, measure=measure)}
            assert names >= {"prediction", "cubic", "spline"}
    assert scores["n_picks"] > 1000


def test_figures_are_pictures(executed, home):
    """As many as are named, each a picture that is not of one colour."""
    from PIL import Image

    names = ["architecture", "inputs", "bed_map", "perspectives", "closeups", "roughness", "flight"]
    names.append("error_histogram")
    for name in [*names, "loss_curves"]:
        with Image.open(home / "model" / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 300, name
            assert np.asarray(picture.convert("L")).std() > 5, name
    assert [name for name in names if f"{name}.png" in executed["paper_figures"]] == names
    for name in ("data_sets", "hyperparameters", "errors"):
        for ending in (".md", ".tex", ".csv"):
            assert f"table_{name}{ending}" in executed["paper_figures"], name


def test_doctests_and_features_run_from_jupyter(home):
    feature = "features/steps/test_survey_to_grid.py"
    modules = ["fieldwise.fields.grids", "fieldwise.fields.tiles"]
    printed = execute("test_ipynb", home, modules=modules, features=[feature])
    for module in modules:
        assert module in printed
    assert " 0 failed" in printed
    assert "passed" in printed or "100%" in printed


def test_ice_flow_ends_with_a_table_and_the_paths(home):
    data, run = str(home / "ice_flow_data"), str(home / "ice_flow_model")
    small = {"size_cells": 32, "valleys": 3, "snapshots": 2, "layers": 2, "filters": 8, "max_epochs": 1}
    printed = execute(
        "ice_flow", home, data=data, run=run, seed=3, figure_frames=1, observed="nowhere", **small
    )
    for words in ("relative L1", "direction cosine", "symmetry error", "leakage (m/a)", "energy gap"):
        assert words in printed
    for words in ("seconds a frame", "solver s", "test: relative L1 of the prediction"):
        assert words in printed
    assert f"scores: {run}/scores.json" in printed
    rows = pick(read_scores(home / "ice_flow_model" / "scores.json")["scores"], against="test")
    assert value_of(rows, measure="leakage") == 0
    assert value_of(rows, measure="symmetry_error") < 0.02


def test_structure_formation_ends_with_tables_in_two_and_three_dimensions(home):
    data, run = str(home / "boxes"), str(home / "boxes_model")
    small = {
        "cells": 16,
        "boxes": 6,
        "features": 4,
        "blocks": 1,
        "max_epochs": 1,
        "boxes_3d": 2,
        "cells_3d": 8,
    }
    small |= {"pairs": 4, "pair_epochs": 1, "members": 3}
    printed = execute("structure_formation", home, data=data, run=run, seed=3, **small)
    for words in (
        "relative L2",
        "cross correlation",
        "first_order",
        "trilinear",
        "CRPS",
        "coverage of the 90",
    ):
        assert words in printed
    assert f"scores: {run}/emulator/scores.json" in printed
    for folder, rival in (
        ("emulator", "first_order"),
        ("volumes", "second_order"),
        ("superresolver", "trilinear"),
    ):
        rows = pick(read_scores(home / "boxes_model" / folder / "scores.json")["scores"], against="test")
        assert value_of(rows, measure="relative_l2", name=rival) > 0


def test_extreme_weather_ends_with_the_overlap(home):
    data, run = str(home / "weather"), str(home / "weather_model")
    small = {"spacing_degrees": 5.6, "days": 1.5, "max_epochs": 1}
    small |= {"network_options": {"blocks": 2, "filters": 2}}
    printed = execute("extreme_weather", home, data=data, run=run, seed=3, **small)
    for words in ("IoU per image", "tropical cyclone", "second_labeller", "planted masks"):
        assert words in printed
    assert f"scores: {run}/scores.json" in printed
    rows = read_scores(home / "weather_model" / "scores.json")["scores"]
    mean = [row for row in pick(rows, against="planted masks", measure="iou_per_image") if "at" not in row]
    assert all(0 < row["value"] <= 1 for row in mean)


def test_temperature_forecast_ends_with_the_error(home):
    data, run = str(home / "hours"), str(home / "hours_model")
    small = {"days": 14.0, "cells": 16, "max_epochs": 1, "member_epochs": 1, "members": 3, "every": 12}
    printed = execute("temperature_forecast", home, data=data, run=run, seed=3, **small)
    for words in ("damped_persistence", "best_possible", "CRPS (K)", "coverage of the 90 % interval"):
        assert words in printed
    assert f"scores: {run}/mean/scores.json" in printed
    rows = read_scores(home / "hours_model" / "mean" / "scores.json")["scores"]
    found = {row["name"]: row["value"] for row in pick(rows, measure="mse", lead_h=12)}
    assert found["best_possible"] < found["prediction"]
