"""Games over boxes: in three dimensions, taken up again, and shared among processes."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from fieldwise.samples.boxes.crops import Crops, Cutting
from fieldwise.samples.boxes.order import make_crop_loaders
from fieldwise.samples.examples import make_box
from fieldwise.samples.frames import fit_signature
from fieldwise.samples.loaders import make_loader
from fieldwise.samples.prepared import Prepared, draft_folder
from fieldwise.samples.scales import Scale
from fieldwise.tasks import AdversarialTask, FieldTask
from fieldwise.verbs.train import train_run, watched_by

AS_IT_IS = Scale(0.0, 1.0)
QUIET = {"accelerator": "cpu", "tracker": "none", "precision": "32-true", "progress": False}
POINTWISE = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}
THIN = {"scale_factor": 2, "dimensions": 3, "most_features": 4, "least_features": 2, "style_numbers": 1}


def fit(task, training, validation=None, *, epochs=1, folder=None, **resume):
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        enable_checkpointing=folder is not None,
        callbacks=[ModelCheckpoint(folder, filename="last", every_n_epochs=epochs)] if folder else [],
    )
    trainer.fit(task, training, validation, **resume)
    return trainer


# --- in three dimensions -------------------------------------------------------------------------


def make_slope(cells):
    """A density that rises linearly, differently along each axis, at the middles of its cells."""
    z, y, x = np.meshgrid(*3 * [(np.arange(cells) + 0.5) / cells], indexing="ij")
    return (4 * z + 2 * y + x)[None]


@pytest.fixture
def slopes():
    """Crops of 4 coarse cells within 8, with 2 more around them, beside 8 fine ones within 16."""
    fields = {"coarse": make_slope(8), "fine": make_slope(16)}
    cases = make_box(fields, split="training", periodic=False, numbers={"growth": 0.5}).cases()
    known = {"scales": {"coarse": AS_IT_IS, "fine": AS_IT_IS}, "style": ["growth"]}
    signature = fit_signature("own", cases, inputs=["coarse"], outputs=["fine"], **known)
    cutting = Cutting(size=[4], start=[2], stop=[6], input_padding=[2])
    return Crops(cases, signature, cutting), signature


def make_game(signature, **options):
    torch.manual_seed(0)
    networks = "fieldwise.networks.valid.srgan.SuperResolution"
    return AdversarialTask(
        network=f"{networks}Generator",
        network_options={"in_channels": 1, "out_channels": 1, **THIN},
        discriminator=f"{networks}Discriminator",
        discriminator_options={"in_channels": 2, **THIN},
        conditional=True,
        signature=signature.to_dict(),
        **({"learning_rate": 1e-3} | options),
    )


def test_a_discriminator_sees_coarse_and_fine_cells_at_the_same_place(slopes):
    crops, signature = slopes
    batch = crops[0, None]
    assert (batch["inputs"].shape, batch["targets"].shape) == ((1, 1, 8, 8, 8), (1, 1, 8, 8, 8))
    field, inputs = make_game(signature).show(batch["targets"], batch).unbind(1)
    torch.testing.assert_close(inputs, field)  # a slope between coarse cells is that of the fine ones


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp"])
def test_super_resolution_in_three_dimensions_is_learnt_with_styles_and_norms(slopes, penalty):
    crops, signature = slopes
    task = make_game(signature, spectral_norm=True, penalty=penalty)
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    loader, _ = make_crop_loaders(crops, crops, batch_size=1, seed=0)
    fit(task, loader, epochs=2)
    for part in ("network", "discriminator"):
        moved = {name for name, weight in task.named_parameters() if (weight != before[name]).any()}
        assert f"{part}.block0.0.style.weight" in moved  # which began at zero: the style came that far
        assert any(name.startswith(f"{part}.blocks.0.conv.") for name in moved)


# --- taken up again ------------------------------------------------------------------------------


def make_lasting_task():
    torch.manual_seed(5)
    kernels = {"kernel_size": 3, "padding": 1}
    return AdversarialTask(
        network="torch.nn.Conv3d",
        network_options=POINTWISE | kernels,
        discriminator="torch.nn.Conv3d",
        discriminator_options={"in_channels": 1, "out_channels": 4, "kernel_size": 3},
        discriminator_rate=3e-2,
        spectral_norm=True,
        plateau_epochs=2,
        learning_rate=1e-2,
        losses={"mse": 1.0},
        adversarial_weight=0.1,
    )


def test_two_and_two_epochs_give_the_bits_of_four(tmp_path):
    """The validation loss rises from the second epoch on, so that the last one has a tenth of the rate."""
    fields = torch.randn(4, 1, 6, 6, 6, generator=torch.Generator().manual_seed(3))
    training, validation = (
        DataLoader([{"inputs": fields[:3], "targets": sign * fields[:3]}] * 5, batch_size=None)
        for sign in (1, -1)
    )
    straight = make_lasting_task()
    rates = [each.param_groups[0]["lr"] for each in fit(straight, training, validation, epochs=4).optimizers]
    assert rates == pytest.approx([1e-3, 3e-3])
    fit(make_lasting_task(), training, validation, epochs=2, folder=tmp_path)
    resumed = make_lasting_task()
    resume = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": True}
    fit(resumed, training, validation, epochs=4, **resume)
    expected = straight.state_dict()
    assert any(name.endswith("._u") for name in expected)
    assert all(torch.equal(values, expected[name]) for name, values in resumed.state_dict().items())


# --- shared among processes ----------------------------------------------------------------------


def make_boxes(folder, count=4):
    """Boxes of one value each, 1, 2, ..."""
    with draft_folder(folder, recipe="own") as draft:
        for number in range(1, count + 1):
            values = {"density": np.full((1, 4, 4), float(number))}
            draft.add_box(f"box_{number}", "training", values, spacing=1.0, periodic=True)
    return folder


def make_box_loaders(folder):
    cases = Prepared(folder).cases()
    scales = {"density": AS_IT_IS}
    signature = fit_signature("own", cases, inputs=["density"], outputs=["density"], scales=scales)
    crops = Crops(cases, signature, Cutting(size=[2]))
    return make_crop_loaders(crops, crops, batch_size=4, seed=1, share_files=True), signature


class Note(lightning.Callback):
    """Write which boxes a process has learnt from, and to which weights."""

    def __init__(self, folder):
        self.folder, self.seen = folder, set()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen |= set(batch["targets"].flatten().tolist())

    def on_fit_end(self, trainer, pl_module):
        weights = [weight.flatten().tolist() for weight in pl_module.parameters()]
        note = {"boxes": sorted(self.seen), "weights": weights}
        (self.folder / f"process_{trainer.global_rank}.json").write_text(json.dumps(note))


def train_on_boxes(folder, *, devices):
    """Train a game of one weight and bias on each side; several processes begin here anew."""
    loaders, signature = make_box_loaders(folder / "data")
    game = {f"{part}_options": POINTWISE for part in ("network", "discriminator")}
    game |= {"network": "torch.nn.Conv2d", "discriminator": "torch.nn.Conv2d"}
    with watched_by(Note(folder)):
        run = {"run": folder / "run", "settings": {}, "max_epochs": 2, "devices": devices, **QUIET}
        train_run(partial(AdversarialTask, **game), loaders, signature, **run)


def test_each_of_two_processes_learns_from_boxes_of_its_own(tmp_path):
    make_boxes(tmp_path / "data")
    program = tmp_path / "program.py"
    call = f"train_on_boxes(Path({str(tmp_path)!r}), devices=2)"
    program.write_text(f"from {__name__} import Path, train_on_boxes\n\n{call}\n")
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "PYTHONPATH": places}
    ended = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"process_{number}.json").read_text()) for number in range(2))
    assert len(first["boxes"]) == len(second["boxes"]) == 2
    assert sorted(first["boxes"] + second["boxes"]) == [1, 2, 3, 4]
    assert first["weights"] == second["weights"]  # of both networks


@pytest.mark.parametrize(("kind", "shares"), [("boxes", False), ("arrays", True)])
def test_lightning_shares_only_what_no_one_else_does(tmp_path, kind, shares):
    asked = []

    class Ask(lightning.Callback):
        def on_fit_start(self, trainer, pl_module):
            asked.append(trainer._accelerator_connector.use_distributed_sampler)

    loaders, signature = make_box_loaders(make_boxes(tmp_path / "data"))
    if kind == "arrays":
        ones = np.ones((4, 1, 4, 4), dtype=np.float32)
        loaders = (make_loader({"inputs": ones, "targets": ones}, batch_size=2),) * 2
    task = partial(FieldTask, network="torch.nn.Conv2d", network_options=POINTWISE)
    with watched_by(Ask()):
        train_run(task, loaders, signature, run=tmp_path / "run", settings={}, max_epochs=1, **QUIET)
    assert asked == [shares]
