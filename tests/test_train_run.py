"""The frame of every training: what it refuses, where it goes on, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest
import torch
import yaml
from small_training import (
    CONVOLUTION,
    QUIET,
    SIGNATURE,
    StopAfter,
    assert_same_bits,
    contents_of,
    make_arrays,
    make_loaders,
    state_of,
    train,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.runs import read_metrics
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import AdversarialTask, FieldTask, load_checkpoint
from fieldwise.verbs.train import train_run

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
    options = {"network": "small_training.Forgetful", "network_options": {}, "max_epochs": 4}
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
    normed = {"network": "small_training.Normed", "network_options": {}}
    with pytest.raises(InputError, match=r"--batch_size: is 1, .* batch norm in the network learns nothing"):
        train(tmp_path / "run", loaders=make_loaders(batch_size=1), **normed)
    judged = {"kind": AdversarialTask, "discriminator": "fieldwise.networks.esrgan.Discriminator"}
    with pytest.raises(InputError, match=r"--batch_size: is 1, .* batch norm in the discriminator"):
        train(tmp_path / "run", loaders=make_loaders(batch_size=1), adversarial_from_epoch=2, **judged)
    assert not (tmp_path / "run").exists()
    train(tmp_path / "run", loaders=make_loaders(batch_size=1), max_epochs=1)


# --- signals -------------------------------------------------------------------------------------


def test_a_scheduler_sees_that_a_run_was_cut_off(tmp_path):
    """SIGTERM ends with another status than success, leaves no half-written file, and the run goes on."""
    script = textwrap.dedent("""
        import sys
        sys.path[:0] = sys.argv[2:]
        import small_training
        from pathlib import Path
        small_training.train(Path(sys.argv[1]), max_epochs=100000)
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
