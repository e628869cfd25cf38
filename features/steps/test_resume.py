"""Steps of resume.feature: a glacier of 30 km, prepared once; a kill is an interrupt at a chosen place."""

import errno
import hashlib
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from pytest_bdd import given, parsers, scenarios, then, when

from conftest import write_own_files
from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.generator import BedTask
from fieldwise.recipes.bed_topography.predictor import BedPredictor
from fieldwise.runs import read_metrics
from fieldwise.tasks import load_checkpoint

scenarios("resume.feature")

SETTINGS = {"network": "generator"}
SETTINGS |= {"num_residual_blocks": 1, "batch_size": 8, "adversarial_weight": 0, "learning_rate": 1e-3}
SETTINGS |= {"seed": 7, "accelerator": "cpu", "tracker": "none", "progress": False}
BLOCK_CELLS = 40  # nine of them on 30 km


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glacier")
    own = write_own_files(folder / "own")
    return own, bed_topography.prepare(source=str(own), out=folder / "data", step_cells=8, progress=False)


@pytest.fixture(scope="module")
def whole_runs(prepared, tmp_path_factory):
    """Give a function that trains without a stop, once for each number of passes."""
    folder, runs = tmp_path_factory.mktemp("whole"), {}

    def train(epochs):
        if epochs not in runs:
            runs[epochs] = folder / str(epochs)
            bed_topography.train(data=prepared[1], run=runs[epochs], max_epochs=epochs, **SETTINGS)
        return runs[epochs]

    return train


@given("tiles of a glacier", target_fixture="glacier")
def _(prepared, tmp_path):
    own, data = prepared
    shutil.copytree(own.parent, tmp_path / "own")
    shutil.copytree(data, tmp_path / "data")
    return tmp_path


@pytest.fixture
def work():
    """The command that was stopped and is to be given again."""
    return {}


# --- training ---------------------------------------------------------------------------------------------


@when(parsers.parse("training of {all:d} passes over the tiles is stopped after {done:d}"))
def _(glacier, work, monkeypatch, all, done):
    def start():
        bed_topography.train(data=glacier / "data", run=glacier / "run", max_epochs=all, **SETTINGS)

    def stop(task):
        if task.current_epoch == done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BedTask, "on_train_epoch_start", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            start()
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN  # it can be stopped again
    work |= {"again": start, "epochs": all}


@when("I give the same command again")
def _(work):
    work["again"]()


@then("the network has the weights of one trained without a stop, to the last bit")
def _(glacier, work, whole_runs):
    runs = glacier / "run", whole_runs(work["epochs"])
    resumed, whole = (
        load_checkpoint(run / "checkpoints" / "last.ckpt", BedTask).state_dict() for run in runs
    )
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@then(parsers.parse("each of the {all:d} passes stands in the log once"))
def _(glacier, all):
    rows = read_metrics(glacier / "run").dropna(subset="val_rmse_m")
    assert rows["epoch"].tolist() == list(range(all))


# --- maps -------------------------------------------------------------------------------------------------


@given("a generator trained on them")
def _(glacier, whole_runs):
    shutil.copytree(whole_runs(1), glacier / "run")


@when(parsers.parse("the drawing of a map is stopped after {done:d} of its 9 blocks"))
def _(glacier, work, monkeypatch, done):
    apply, drawn = BedPredictor.apply, []

    def start(stop=None):
        def draw(predictor, arrays):
            if len(drawn) == stop:
                raise KeyboardInterrupt
            drawn.append(1)
            return apply(predictor, arrays)

        drawn.clear()
        options = {"run": glacier / "run", "data": glacier / "data", "out": glacier / "map.tif"}
        with monkeypatch.context() as patch:
            patch.setattr(BedPredictor, "apply", draw)
            bed_topography.predict(**options, block_cells=BLOCK_CELLS, halo_cells=16, progress=False)

    with pytest.raises(KeyboardInterrupt):
        start(stop=done)
    assert len(drawn) == done
    work |= {"again": start, "drawn": drawn}


@then("there is no map under its name")
def _(glacier):
    assert not (glacier / "map.tif").exists()


@then(parsers.re(r"(?P<left>\d+|all) blocks were drawn this time"))
def _(work, left):
    assert len(work["drawn"]) == (9 if left == "all" else int(left))


@then("the map is the one that is drawn without a stop")
def _(glacier):
    options = {"run": glacier / "run", "data": glacier / "data", "out": glacier / "at_a_stretch.tif"}
    bed_topography.predict(**options, block_cells=BLOCK_CELLS, halo_cells=16, progress=False)
    resumed, whole = (open_field(glacier / name).values for name in ("map.tif", "at_a_stretch.tif"))
    np.testing.assert_array_equal(resumed, whole)
    assert not (glacier / "map.tif.partial").exists()


@when("the generator is trained for one more pass in the meantime")
def _(glacier):
    settings = SETTINGS | {"learning_rate": 1e-2}
    shutil.rmtree(glacier / "run")
    bed_topography.train(data=glacier / "data", run=glacier / "run", max_epochs=1, **settings)


@when("the glacier is prepared anew with other tiles in the meantime")
def _(glacier):
    source = str(glacier / "own" / "own.yaml")
    bed_topography.prepare(source=source, out=glacier / "data", step_cells=12, progress=False)


# --- prepared folders -------------------------------------------------------------------------------------


def sums(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def prepare_again(glacier, before):
    source = str(glacier / "own" / "own.yaml")
    with pytest.raises(InputError) as caught:
        bed_topography.prepare(source=source, out=glacier / "data", step_cells=8, progress=False)
    assert sums(glacier / "data") == before
    return str(caught.value)


@when(
    "half of the surface raster is lost, and I try to prepare them again in the same folder",
    target_fixture="complaint",
)
def _(glacier):
    surface = glacier / "own" / "surface.tif"
    os.truncate(surface, surface.stat().st_size // 2)
    return prepare_again(glacier, sums(glacier / "data"))


@when(
    "the survey's text file is gone, and I try to prepare them again in the same folder",
    target_fixture="complaint",
)
def _(glacier):
    (glacier / "own" / "dense.csv").unlink()
    return prepare_again(glacier, sums(glacier / "data"))


@when(
    "the disk fills up while tiles are cut, and I try to prepare them again in the same folder",
    target_fixture="complaint",
)
def _(glacier, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("xarray.Dataset.to_zarr", full)
    return prepare_again(glacier, sums(glacier / "data"))


@then("what was prepared before is there as it was")
def _(glacier, tmp_path):
    bed_topography.train(data=glacier / "data", run=tmp_path / "run", max_epochs=1, **SETTINGS)
    assert isinstance(read_metrics(tmp_path / "run"), pd.DataFrame)
