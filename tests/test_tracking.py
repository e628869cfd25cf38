"""What a run leaves behind: settings, provenance, metrics, weights."""

import hashlib
import importlib.metadata
import json

import pandas
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.runs import (
    hash_file,
    make_trainer,
    open_run,
    read_metrics,
    record_provenance,
    write_json,
)

# SHA-256 of the three letters abc, from FIPS 180-2, appendix B.1
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hash_of_abc(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert hash_file(tmp_path / "abc") == ABC


def test_provenance_names_versions_facts_and_sums(tmp_path):
    inner, outer = tmp_path / "data" / "lowres" / "bed.tif", tmp_path / "other.csv"
    inner.parent.mkdir(parents=True)
    inner.write_text("abc")
    outer.write_bytes(b"radar")
    path = tmp_path / "run" / "provenance.json"
    record_provenance(path, inputs=[outer, inner], folder=tmp_path / "data", seed=7, tiles=12)
    content = json.loads(path.read_text())
    assert content["sha256"] == {"lowres/bed.tif": ABC, "other.csv": hashlib.sha256(b"radar").hexdigest()}
    assert (content["seed"], content["tiles"]) == (7, 12)
    assert content["versions"]["torch"] == importlib.metadata.version("torch")
    assert content["versions"]["fieldwise"] == importlib.metadata.version("fieldwise")
    assert str(tmp_path) not in path.read_text()


def test_json_is_whole_or_not_at_all(tmp_path):
    path = write_json({"rmse_m": 1.5}, tmp_path / "scores.json")
    with pytest.raises(TypeError):
        write_json({"rmse_m": object()}, path)
    assert json.loads(path.read_text()) == {"rmse_m": 1.5}
    assert list(tmp_path.iterdir()) == [path]


# --- runs --------------------------------------------------------------------------------------

SETTINGS = {"seed": 1, "learning_rate": 1e-4, "inputs": None, "sizes": (3, 4), "max_epochs": 5}


@pytest.fixture
def run(tmp_path):
    """A run that was cut off after some epochs."""
    run = tmp_path / "run"
    assert open_run(run, SETTINGS | {"data": tmp_path}, resume=True) is None
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    (run / "logs").mkdir()
    return run


def test_a_run_goes_on_with_the_same_settings(run, tmp_path):
    same = SETTINGS | {"data": tmp_path}
    assert open_run(run, same, resume=True) == run / "checkpoints" / "last.ckpt"
    assert open_run(run, same | {"max_epochs": 9}, resume=True) == run / "checkpoints" / "last.ckpt"
    assert yaml.safe_load((run / "config.yaml").read_text())["max_epochs"] == 9


def test_a_run_goes_on_wherever_it_is(run, tmp_path):
    """Folders move; whether the data are still those of the weights is told by the checkpoint."""
    moved = run.rename(tmp_path / "moved")
    told = SETTINGS | {"data": tmp_path / "elsewhere", "run": moved, "resume": True, "tracker": "none"}
    assert open_run(moved, told, resume=True) == moved / "checkpoints" / "last.ckpt"
    assert open_run(moved, told | {"resume": False}, resume=True) == moved / "checkpoints" / "last.ckpt"


def test_a_run_does_not_go_on_with_other_settings(run, tmp_path):
    before = (run / "config.yaml").read_text()
    other = SETTINGS | {"data": tmp_path, "seed": 2, "inputs": ["bed_lowres"]}
    message = "holds a run with another inputs, seed; choose another --run, or --resume false"
    with pytest.raises(InputError, match=message):
        open_run(run, other, resume=True)
    assert (run / "config.yaml").read_text() == before


@pytest.mark.parametrize("content", [None, "", "- 1", "{[", "\x00"])
def test_a_run_whose_settings_are_lost(run, content):
    """What it was trained with is not known; its weights stay."""
    config = run / "config.yaml"
    config.unlink() if content is None else config.write_text(content)
    with pytest.raises(InputError, match=r"config\.yaml: is missing or damaged, .*; choose another --run"):
        open_run(run, SETTINGS, resume=True)
    assert (run / "checkpoints" / "last.ckpt").exists()


def test_a_run_can_be_begun_anew(run):
    assert open_run(run, SETTINGS | {"seed": 2}, resume=False) is None
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 2
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_metrics_of_all_parts_in_order(tmp_path):
    for part in (0, 2, 10):
        folder = tmp_path / "logs" / f"part_{part}"
        folder.mkdir(parents=True)
        pandas.DataFrame({"epoch": [part], "val_rmse_m": [1.0]}).to_csv(folder / "metrics.csv", index=False)
    assert read_metrics(tmp_path)["epoch"].tolist() == [0, 2, 10]
    with pytest.raises(InputError, match="holds no logged metrics; train it first"):
        read_metrics(tmp_path / "logs")


class Scripted(LightningModule):
    """A single weight that follows a script of validation errors, epoch by epoch."""

    def __init__(self, errors):
        super().__init__()
        self.errors = errors
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, index):
        return self.weight * batch.mean()

    def on_train_epoch_end(self):
        self.weight.data.fill_(float(self.current_epoch))

    def validation_step(self, batch, index):
        self.log("val_rmse_m", self.errors[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(run, errors, *, max_epochs, **options):
    trainer = make_trainer(run, max_epochs=max_epochs, monitor="val_rmse_m", progress=False, **options)
    batches = DataLoader(torch.ones(2, 1))
    module = Scripted(errors)
    last = run / "checkpoints" / "last.ckpt"
    trainer.fit(module, batches, batches, ckpt_path=last if last.exists() else None, weights_only=True)
    return trainer


def epoch_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["epoch"]


def test_trainer_keeps_best_and_last_and_goes_on(tmp_path):
    errors = [5.0, 3.0, 4.0, 6.0, 2.0]
    fit(tmp_path, errors, max_epochs=3, accelerator="cpu")
    checkpoints = tmp_path / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (epoch_of(checkpoints / "best.ckpt"), epoch_of(checkpoints / "last.ckpt")) == (1, 2)

    trainer = fit(tmp_path, errors, max_epochs=4, accelerator="cpu")  # goes on; nothing better comes
    assert trainer.current_epoch == 4
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (epoch_of(checkpoints / "best.ckpt"), epoch_of(checkpoints / "last.ckpt")) == (1, 3)

    fit(tmp_path, errors, max_epochs=5, accelerator="cpu")
    assert (epoch_of(checkpoints / "best.ckpt"), epoch_of(checkpoints / "last.ckpt")) == (4, 4)
    logged = read_metrics(tmp_path).dropna(subset="val_rmse_m")
    assert logged["val_rmse_m"].tolist() == errors
    assert logged["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert list((tmp_path / "logs" / "tensorboard").glob("events.*"))


def test_trainer_stops_where_nothing_improves(tmp_path):
    trainer = fit(tmp_path, [3.0, 2.0, 2.5, 2.5, 1.0, 1.0], max_epochs=6, patience=2, accelerator="cpu")
    assert trainer.current_epoch == 4
