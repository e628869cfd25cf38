"""Emulators judged: scores by hand, a perfect prediction, symmetry, energy, leakage."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from ice_flow_cases import TINY, frames_of, open_cases, write_cases, write_netcdf

from fieldwise.physics.ice_flow import energy
from fieldwise.recipes import ice_flow
from fieldwise.recipes.ice_flow.judgement import STILL_M_A, measure_symmetry_error
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.recipes.ice_flow.physics import PHYSICS, find_nodes, measure_energy_gap, solve_frame
from fieldwise.recipes.ice_flow.signatures import read_signature
from fieldwise.samples.frames import list_frames
from fieldwise.scores import direction_cosine, pick, read_scores, relative_l1, value_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ice_flow")
    source = write_cases(folder / "source", crs="EPSG:32632")
    return ice_flow.prepare(source=str(source), out=folder / "data", progress=False)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ice_flow_run")
    ice_flow.train(data=data, run=folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def prediction(data, run):
    return ice_flow.predict(run=run, data=data, out=run / "prediction", progress=False)


# --- judgement ------------------------------------------------------------------------------------


def test_scores_are_worked_out_by_hand():
    true, predicted = np.array([3.0, 1.0]), np.array([2.0, 2.0])
    assert relative_l1(predicted, true) == 0.5
    still = np.array([[0.5, 10.0, 10.0], [0.0, 0.0, 0.0]])  # the first is too slow to count
    turned = np.array([[0.0, 10.0, 5.0], [9.0, 0.0, 5.0]])
    assert direction_cosine(turned, still, still=STILL_M_A) == pytest.approx((1 + 0.5**0.5) / 2)


def test_a_perfect_prediction_scores_perfectly(data, run, tmp_path):
    (case,) = open_cases(data, "test")
    names = load_emulator(run).signature.fields("outputs")
    frames = np.stack([case.stack(names, frame=frame) for frame in range(2)], axis=1)
    fields = {name: (("time", "y", "x"), values) for name, values in zip(names, frames)}
    write_netcdf(xr.Dataset(fields), tmp_path / "west.nc")
    scores = ice_flow.evaluate(
        run=run, data=data, prediction=tmp_path, energy_frames=0, figures=False, progress=False
    )
    for against in ("test", "test/west"):  # all cases together, and each
        rows = pick(scores["scores"], against=against)
        for measure in ("mae", "rmse"):
            found = {row["at"]: row["value"] for row in pick(rows, measure=measure)}
            assert found == dict.fromkeys(names, 0)
        places = ["velbase", "bar", "velsurf"]
        found = {row["at"]: row["value"] for row in pick(rows, measure="relative_l1")}
        assert found == dict.fromkeys(places, 0)
        found = {row["at"]: row["value"] for row in pick(rows, measure="direction_cosine")}
        assert found == pytest.approx(dict.fromkeys(places, 1.0))
    assert scores["cells"] == sum(int((case.stack(["thk"], frame=frame) > 0).sum()) for frame in range(2))


def test_evaluation_writes_scores_and_pictures(data, run, prediction, capsys):
    scores = ice_flow.evaluate(run=run, data=data, prediction=prediction, figure_frames=1, progress=False)
    printed = capsys.readouterr().out
    for words in ("relative L1", "direction cosine", "MAE (m/a)", "energy gap", "solver s"):
        assert words in printed
    assert "test: relative L1 of the prediction" in printed
    assert read_scores(run / "scores.json") == scores
    assert value_of(scores["scores"], measure="energy_gap") > 0
    assert scores["seen_in_training"] == []
    from PIL import Image

    with Image.open(run / "figures" / "west_000.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_a_first_frame_without_ice_is_no_hindrance(run, tmp_path):
    source = write_cases(tmp_path / "source", splits={"test": ["west"]})
    path = source / "test" / "west" / "ex.nc"
    late = xr.load_dataset(path, decode_times=False)
    for name in ("thk", "ubar", "vbar", "uvelsurf", "vvelsurf", "uvelbase", "vvelbase"):
        late[name].values[0] = 0
    write_netcdf(late, path)
    data = frames_of(source, tmp_path)
    prediction = ice_flow.predict(run=run, data=data, out=tmp_path / "flow", progress=False)
    settings = {"run": tmp_path / "run", "energy_frames": 2, "figures": False, "progress": False}
    shutil.copytree(run, settings["run"])
    scores = ice_flow.evaluate(data=data, prediction=prediction, **settings)
    assert 0 <= value_of(scores["scores"], measure="symmetry_error") < 1e-4
    assert np.isfinite(value_of(scores["scores"], measure="energy_gap"))


def test_leakage_is_seen(data, run, prediction, tmp_path):
    with xr.open_dataset(prediction / "west.nc", decode_times=False) as opened:
        leaky = opened.load()
    leaky["ubar"].values[0, 0, 0] = 86.0
    write_netcdf(leaky, tmp_path / "west.nc")
    scores = ice_flow.evaluate(
        run=run, data=data, prediction=tmp_path, energy_frames=0, figures=False, progress=False
    )
    assert value_of(scores["scores"], measure="leakage") == 86


def symmetry_error(emulator, case):
    return measure_symmetry_error(emulator, *emulator.read_frame(case, 0))


def test_a_network_without_symmetry_is_told_from_one_with(data, run, tmp_path):
    ice_flow.train(data=data, run=tmp_path, **(TINY | {"network": "cnn", "max_epochs": 1}))
    (case,) = open_cases(data, "test")
    assert symmetry_error(load_emulator(tmp_path), case) > 0.02
    assert symmetry_error(load_emulator(tmp_path, symmetrise=True), case) < 1e-4
    assert symmetry_error(load_emulator(run), case) < 1e-4


def test_the_energy_of_the_solver_is_the_least(data):
    """Its own flow at bed and surface, spread over the nodes between as in a slab, has a small gap."""
    (case,) = open_cases(data, "test")
    flow = solve_frame(case, 0)
    nodes = {"velbase": 0, "velsurf": -1}
    own = {
        axis + place: getattr(flow, f"velocity_{component}")[node].numpy()
        for place, node in nodes.items()
        for axis, component in (("u", "x"), ("v", "y"))
    }
    gap = measure_energy_gap(own, case, 0)["gap"]
    assert 0 <= gap < 0.06
    doubled = {name: 2 * values for name, values in own.items()}
    assert measure_energy_gap(doubled, case, 0)["gap"] > 5 * gap


@pytest.mark.parametrize("known", [("velbase", "velsurf"), ("bar", "velsurf"), ("velbase", "bar")])
def test_two_depths_tell_the_whole_column(known):
    """Of the profile of a slab, mean = (bed + 4 surface) / 5."""
    column = {"velbase": 10.0, "velsurf": 30.0, "bar": 26.0}
    velocity = {axis + place: torch.full((1, 2, 2), column[place]) for place in known for axis in "uv"}
    east, north = find_nodes(velocity)
    assert torch.allclose(east, torch.tensor([10.0, 30.0]).view(1, 2, 1, 1))
    assert torch.equal(east, north)


def test_the_energy_loss_is_the_energy(data):
    from fieldwise.recipes.ice_flow.physics import energy_loss

    signature = read_signature("f15")
    (case,) = open_cases(data, "test")
    (read, _) = list_frames([case], signature, besides={"physics": PHYSICS})
    sample = read(slice(None), slice(None))
    batch = {name: torch.from_numpy(values)[None] for name, values in sample.items()}
    found = energy_loss(batch["targets"], batch, signature.to_dict())
    physics = case.stack(("thk", "usurf", "arrhenius", "slidingco"))
    thickness, surface, rate, sliding = torch.from_numpy(physics)[:, None]
    velocity = dict(
        zip(signature.fields("outputs"), torch.from_numpy(case.stack(signature.fields("outputs"))))
    )
    columns = [torch.stack([velocity[f"{axis}velbase"], velocity[f"{axis}velsurf"]])[None] for axis in "uv"]
    expected = energy(
        *columns,
        thickness=thickness,
        surface=surface,
        spacing_m=100.0,
        rate_factor=rate,
        sliding_coefficient=sliding,
        y_descending=True,
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
