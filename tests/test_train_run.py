"""The frame of every training: what it refuses, where it goes on, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.runs import read_metrics
from fieldwise.samples.loaders import make_loader
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import AdversarialTask, FieldTask, load_checkpoint
from fieldwise.tasks.precision import choose_precision, measure_distance
from fieldwise.verbs.train import train_run, watched_by

SIGNATURE = Signature("own", (Variable("thk"), Variable("slope")), (Variable("speed"),), stacked=True)
CONVOLUTION = {"in_channels": 2, "out_channels": 1, "kernel_size": 3, "padding": 1}
QUIET = {"accelerator": "cpu", "tracker": "none", "precision": "32-true", "progress": False}


class Forgetful(nn.Sequential):
    """A network that draws by chance while it learns."""

    def __init__(self):
        super().__init__(nn.Conv2d(2, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 1, 3, padding=1), nn.BatchNorm2d(1))


def make_arrays(count=8):
    inputs = np.random.default_rng(0).normal(size=(count, 2, 8, 8)).astype(np.float32)
    return {"inputs": inputs, "targets": inputs[:, :1] * 2}


def make_loaders(batch_size=4):
    arrays = make_arrays()
    training = make_loader(arrays, batch_size=batch_size, shuffle_seed=1)
    return training, make_loader(arrays, batch_size=4)


def train(run, *, signature=SIGNATURE, loaders=None, settings=None, callbacks=(), sources=(), **options):
    kinds = ("max_epochs", "patience", "accumulate", "seed", "resume", "devices", "compile", *QUIET)
    training = QUIET | {name: value for name, value in options.items() if name in kinds}
    task = {"network": "torch.nn.Conv2d", "network_options": CONVOLUTION, "learning_rate": 1e-2}
    task |= {name: value for name, value in options.items() if name not in kinds}
    with watched_by(*callbacks):
        return train_run(
            partial(task.pop("kind", FieldTask), **task),
            loaders or make_loaders(),
            signature,
            run=run,
            settings=settings or {"learning_rate": 1e-2},
            sources=sources,
            **({"max_epochs": 2} | training),
        )


class StopAfter(Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


def state_of(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def contents_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what it leaves ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained")
    (run / "source.json").write_text("{}")
    train(run, max_epochs=3, tracker="tensorboard", sources=[run / "source.json"])
    return run


def test_a_run_holds_settings_weights_metrics_curves_and_provenance(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config == {
        **{
            "learning_rate": 0.01,
            "run": str(trained),
            "max_epochs": 3,
            "batch_size": 64,
            "accumulate": 1,
            "save_batches": None,
        },
        **{
            "patience": None,
            "seed": 42,
            "resume": True,
            "accelerator": "cpu",
            "devices": "auto",
            "sync_batch_norm": False,
        },
        **{"precision": "32-true", "compile": False, "progress": False, "tracker": "tensorboard"},
    }
    assert Signature.from_dict(load_checkpoint(trained / "checkpoints" / "best.ckpt", FieldTask).signature)
    facts = json.loads((trained / "provenance.json").read_text())
    assert (facts["seed"], facts["epochs"], facts["samples"], facts["precision"]) == (42, 3, 8, "32-true")
    assert set(facts["sha256"]) == {"source.json", "best.ckpt"}
    assert (trained / "figures" / "loss_curves.png").stat().st_size > 1000
    assert read_metrics(trained)["val_loss"].dropna().is_monotonic_decreasing


def test_a_tracker_is_told_graph_pictures_settings_and_curves(trained):
    board = EventAccumulator(str(trained / "logs" / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert "Conv2d" in str(board.Graph())
    assert [picture.step for picture in board.Images("validation_tiles")] == [0, 1, 2]
    assert len(board.Images("loss_curves")) == 1
    assert board.SummaryMetadata("_hparams_/session_start_info")


def test_the_last_line_names_result_epoch_and_value(tmp_path, capsys):
    best = train(tmp_path / "run", max_epochs=2)
    value = read_metrics(tmp_path / "run")["val_loss"].min()
    assert capsys.readouterr().out == f"{best}: best of 2 epochs is epoch 2, val_loss {value:.4g}\n"


def test_curves_that_cannot_be_drawn_lose_no_training(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no such fonts")

    monkeypatch.setattr("fieldwise.figures.draw_loss_curves", fail)
    with pytest.warns(UserWarning, match="loss_curves: not drawn; no such fonts"):
        assert train(tmp_path / "run").exists()
    assert (tmp_path / "run" / "provenance.json").exists()


def test_pictures_that_cannot_be_drawn_lose_no_training(tmp_path, capsys):
    def fail(task, batch):
        raise KeyError("base")

    options = QUIET | {"tracker": "tensorboard", "max_epochs": 2}
    make_task = partial(FieldTask, network="torch.nn.Conv2d", network_options=CONVOLUTION)
    train_run(make_task, make_loaders(), SIGNATURE, run=tmp_path, settings={}, picture=fail, **options)
    assert capsys.readouterr().out.count("no pictures of validation samples: KeyError: 'base'") == 1


# --- going on ------------------------------------------------------------------------------------


def make_shuffled():
    """Batches in an order, and with noise, that are drawn by chance as they are asked for."""
    arrays = make_arrays()

    def disturb(samples):
        inputs, targets = (torch.stack(values) for values in zip(*samples))
        return {"inputs": inputs + 0.1 * torch.randn_like(inputs), "targets": targets}

    pairs = [tuple(map(torch.from_numpy, pair)) for pair in zip(arrays["inputs"], arrays["targets"])]
    return (
        DataLoader(pairs, batch_size=4, shuffle=True, collate_fn=disturb),
        DataLoader(pairs, batch_size=4, collate_fn=disturb),
    )


@pytest.mark.parametrize("tracker", ["none", "tensorboard"])
def test_a_run_that_was_stopped_has_the_weights_of_one_that_was_not(tmp_path, capsys, tracker):
    """Order, noise on the inputs and dropout are all drawn by chance."""
    options = {"network": f"{__name__}.Forgetful", "network_options": {}, "max_epochs": 4}
    train(tmp_path / "whole", loaders=make_shuffled(), **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", loaders=make_shuffled(), callbacks=[StopAfter(2)], tracker=tracker, **options)
    capsys.readouterr()
    train(tmp_path / "cut", loaders=make_shuffled(), tracker=tracker, **options)
    assert f"{tmp_path / 'cut'}: goes on after epoch 2 of 4\n" in capsys.readouterr().out
    assert_same_bits(state_of(tmp_path / "whole"), state_of(tmp_path / "cut"))
    assert_same_bits(state_of(tmp_path / "whole", "best"), state_of(tmp_path / "cut", "best"))
    assert read_metrics(tmp_path / "cut").dropna(subset="val_loss")["epoch"].tolist() == [0, 1, 2, 3]


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (1, 2):
        train(tmp_path / str(seed), seed=seed, max_epochs=1)
    one, other = state_of(tmp_path / "1"), state_of(tmp_path / "2")
    assert not torch.equal(one["network.weight"], other["network.weight"])


def test_a_run_that_has_ended_is_left_alone(trained, capsys):
    before = contents_of(trained)
    best = train(trained, max_epochs=3)
    assert best == trained / "checkpoints" / "best.ckpt"
    assert f"{trained}: nothing to do, best of 3 epochs is epoch 3, val_loss" in capsys.readouterr().out
    assert contents_of(trained) == before


def test_a_run_whose_patience_ran_out_has_ended(tmp_path, capsys):
    options = {"learning_rate": 1e-12, "patience": 2}  # nothing improves
    train(tmp_path, max_epochs=9, **options)
    assert read_metrics(tmp_path)["epoch"].max() < 8
    weights = state_of(tmp_path)
    train(tmp_path, max_epochs=9, **options)
    assert "; raise --patience to go on\n" in capsys.readouterr().out
    assert_same_bits(state_of(tmp_path), weights)
    epochs = read_metrics(tmp_path)["epoch"].nunique()
    train(tmp_path, max_epochs=9, **options | {"patience": 4})
    assert read_metrics(tmp_path)["epoch"].nunique() == epochs + 2


def test_a_run_cut_off_before_its_record_was_written_gets_it(tmp_path):
    train(tmp_path)
    (tmp_path / "provenance.json").unlink()
    weights = contents_of(tmp_path / "checkpoints")
    train(tmp_path)
    assert json.loads((tmp_path / "provenance.json").read_text())["epochs"] == 2
    assert contents_of(tmp_path / "checkpoints") == weights


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "x"}, "--devices: is x; give a number or auto"),
        ({"devices": 0}, "--devices: is 0; give a number or auto"),
        ({"devices": "2.5"}, "--devices: is 2.5; give a number or auto"),
        ({"seed": 2**32}, "--seed: is 4294967296; give a number below"),
        ({"seed": -1}, "--seed: is -1; give at least 0"),
        ({"patience": 0}, "--patience: is 0; give at least 1"),
        ({"max_epochs": 0}, "--max_epochs: is 0; give at least 1"),
        ({"accumulate": 0}, "--accumulate: is 0; give at least 1"),
        ({"precision": "16-mixed"}, "--precision: 16-mixed needs a GPU"),
        ({"precision": "8"}, "--precision: is 8; give one of auto, 32-true"),
        ({"tracker": "diary"}, "--tracker: is diary; give one of none"),
        ({"accelerator": "abacus"}, "--accelerator: is 'abacus'"),
        ({"learning_rate": 0.0}, "--learning_rate: is 0, with which nothing is learnt"),
        ({"learning_rate": float("nan")}, "--learning_rate: is nan"),
        ({"network": "torch.nn.Nothing"}, "cannot be imported"),
        ({"network_options": {"colour": "blue"}}, "cannot be made of"),
        ({"losses": {"torch.nothing": 1.0}}, "cannot be imported"),
        ({"optimizer": "torch.nn.Conv2d"}, "torch.nn.Conv2d is no Optimizer"),
    ],
)
def test_refused_options_leave_a_trained_run_as_it_is(trained, options, message):
    before = contents_of(trained)
    for resume in (True, False):
        with pytest.raises(InputError, match=message) as caught:
            train(trained, resume=resume, **options)
        assert "\n" not in str(caught.value)
    assert contents_of(trained) == before


def test_what_a_run_cannot_go_on_with_is_refused(trained):
    before = contents_of(trained)
    scaled = Variable("thk", scale=Scale(0.0, 2.0))
    other = Signature("own", (scaled, Variable("slope")), SIGNATURE.outputs, stacked=True)
    with pytest.raises(
        InputError, match=r"last.ckpt: was trained on other data \(thk\); choose another --run"
    ):
        train(trained, max_epochs=9, signature=other)
    with pytest.raises(InputError, match="holds a run with another learning_rate; choose another --run"):
        train(trained, max_epochs=9, settings={"learning_rate": 1.0})
    with pytest.raises(InputError, match=r"last.ckpt: holds another network; choose another --run"):
        train(trained, max_epochs=9, network_options=CONVOLUTION | {"kernel_size": 1, "padding": 0})
    assert contents_of(trained) == before


def test_batches_of_one_are_refused_beside_batch_norm(tmp_path):
    normed = {"network": f"{__name__}.Normed", "network_options": {}}
    with pytest.raises(InputError, match=r"--batch_size: is 1, .* batch norm in the network learns nothing"):
        train(tmp_path / "run", loaders=make_loaders(batch_size=1), **normed)
    judged = {"kind": AdversarialTask, "discriminator": "fieldwise.networks.esrgan.Discriminator"}
    with pytest.raises(InputError, match=r"--batch_size: is 1, .* batch norm in the discriminator"):
        train(tmp_path / "run", loaders=make_loaders(batch_size=1), adversarial_from_epoch=2, **judged)
    assert not (tmp_path / "run").exists()
    train(tmp_path / "run", loaders=make_loaders(batch_size=1), max_epochs=1)


# --- steps ---------------------------------------------------------------------------------------


def test_gradients_of_two_batches_make_the_step_of_one_twice_as_large(tmp_path):
    for batch_size, accumulate in ((4, 2), (8, 1)):
        loaders = make_loaders(batch_size)
        run = tmp_path / str(accumulate)
        train(run, loaders=loaders, accumulate=accumulate, max_epochs=2, clip_norm=0.0)
    torch.testing.assert_close(state_of(tmp_path / "1"), state_of(tmp_path / "2"))


def test_an_adversarial_task_accumulates_too(tmp_path):
    judge = {"kind": AdversarialTask, "discriminator": "torch.nn.Conv2d", "game": "bce"}
    judge["discriminator_options"] = CONVOLUTION | {"in_channels": 1}
    for batch_size, accumulate in ((4, 2), (8, 1)):
        run = tmp_path / str(accumulate)
        train(run, loaders=make_loaders(batch_size), accumulate=accumulate, clip_norm=0.0, **judge)
    torch.testing.assert_close(state_of(tmp_path / "1"), state_of(tmp_path / "2"))


# --- precision -----------------------------------------------------------------------------------


class Touchy(nn.Module):
    """Loses in bfloat16 what it has added: eight bits do not hold 1000 and 1."""

    def __init__(self):
        super().__init__()
        self.sum = nn.Conv2d(2, 1, 1, bias=False)
        self.sum.weight.data.fill_(1.0)

    def forward(self, inputs):
        return self.sum(inputs + 1000) - self.sum(torch.full_like(inputs, 1000.0))


def make_plain_task(network="torch.nn.Conv2d", options=CONVOLUTION):
    torch.manual_seed(0)
    return FieldTask(network=network, network_options=options)


@pytest.mark.parametrize(
    ("network", "options", "has_amx", "precision", "line"),
    [
        ("torch.nn.Conv2d", CONVOLUTION, True, "bf16-mixed", "as this processor has AMX; 0."),
        ("torch.nn.Conv2d", CONVOLUTION, False, "32-true", ""),
        (f"{__name__}.Touchy", {}, True, "32-true", "% from it on the first batch"),
    ],
)
def test_half_the_bits_where_they_are_faster_and_enough(
    monkeypatch, network, options, has_amx, precision, line
):
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: has_amx)
    task, batch = make_plain_task(network, options), {"inputs": torch.randn(16, 2, 8, 8)}
    before, chance = {name: value.clone() for name, value in task.state_dict().items()}, torch.get_rng_state()
    chosen, told = choose_precision(task, batch, torch.device("cpu"))
    assert chosen == precision
    assert line in told
    assert bool(told) is has_amx
    assert_same_bits(task.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), chance)
    assert task.training


def test_the_distance_is_that_of_rounded_products():
    """Weight and input 1 + 1/256 are rounded to 1 (ties to even): 1 instead of their product."""
    task = make_plain_task(options=CONVOLUTION | {"in_channels": 1, "kernel_size": 1, "padding": 0})
    nn.init.constant_(task.network.weight, 1 + 1 / 256)
    nn.init.zeros_(task.network.bias)
    inputs = torch.full((2, 1, 4, 4), 1 + 1 / 256)
    distance = measure_distance(task, {"inputs": inputs}, torch.device("cpu"))
    assert distance == pytest.approx(1 - (1 + 1 / 256) ** -2, rel=1e-5)


def test_auto_is_told_and_repeats_its_bits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True)
    for name in ("one", "other"):
        train(tmp_path / name, precision="auto", max_epochs=1)
    assert capsys.readouterr().out.count("precision: bf16-mixed, as this processor has AMX") == 2
    assert_same_bits(state_of(tmp_path / "one"), state_of(tmp_path / "other"))
    assert json.loads((tmp_path / "one" / "provenance.json").read_text())["precision"] == "bf16-mixed"
    assert state_of(tmp_path / "one")["network.weight"].dtype == torch.float32


# --- signals -------------------------------------------------------------------------------------


def test_a_scheduler_sees_that_a_run_was_cut_off(tmp_path):
    """SIGTERM ends with another status than success, leaves no half-written file, and the run goes on."""
    script = textwrap.dedent("""
        import sys
        sys.path[:0] = sys.argv[2:]
        import test_train_run
        from pathlib import Path
        test_train_run.train(Path(sys.argv[1]), max_epochs=100000)
    """)
    tests = os.path.dirname(__file__)
    run = tmp_path / "run"
    command = [sys.executable, "-c", script, str(run), tests]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for _ in range(600):
            if (run / "checkpoints" / "last.ckpt").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, told
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    done = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    train(run, max_epochs=done + 1)
    assert read_metrics(run).dropna(subset="val_loss")["epoch"].max() == done


def test_compiled_networks_keep_the_names_of_their_weights(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(type(network).__name__))
    plain, best = (
        train(tmp_path / name, max_epochs=1, compile=name == "compiled") for name in ("plain", "compiled")
    )
    assert len(compiled) == 1
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (plain, best)]
    assert states[0].keys() == states[1].keys()


def test_the_weights_that_a_run_begins_with_stay_the_best_until_others_are_better(tmp_path, capsys):
    """Of weights that give the targets exactly no training makes better ones."""
    identity = {"in_channels": 2, "out_channels": 1, "kernel_size": 1, "bias": False}

    def begin(weight, **options):
        task = FieldTask(network="torch.nn.Conv2d", network_options=identity, **options)
        task.network.weight.data[:] = torch.tensor([weight, 0.0]).view(1, 2, 1, 1)
        return task

    def best_of(run, weight):
        make = partial(begin, weight, learning_rate=0.1)
        path = train_run(
            make, make_loaders(), SIGNATURE, run=run, settings={}, begun=True, **QUIET, max_epochs=2
        )
        return load_checkpoint(path, FieldTask).network.weight.flatten().tolist()

    assert best_of(tmp_path / "perfect", 2.0) == [2.0, 0.0]
    assert "no epoch bettered the weights that it began with, val_loss 0" in capsys.readouterr().out
    bettered = best_of(tmp_path / "poor", 0.0)
    assert abs(bettered[0] - 2) < 2
    assert "began with" not in capsys.readouterr().out
    read_metrics(tmp_path / "perfect")
