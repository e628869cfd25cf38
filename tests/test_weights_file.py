"""Weights that are handed on in one file: what comes back, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fieldwise.errors import InputError
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import FieldTask
from fieldwise.tasks.weights import read_weights, save_weights
from fieldwise.verbs.beginnings import begin_with
from fieldwise.verbs.predictors import load_predictor

DEPTH = Variable("depth", units="m")
SIGNATURE = Signature("own", (DEPTH,), (DEPTH,), stacked=True)
SIZES = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    task = FieldTask(network="torch.nn.Conv2d", network_options=SIZES, signature=SIGNATURE.to_dict())
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def test_a_file_predicts_as_its_run_does(checkpoint, tmp_path):
    """Half precision keeps eleven bits: 1/2048 of each weight."""
    file = save_weights(checkpoint, tmp_path / "published.safetensors", command="train", seed=7)
    ours, theirs = (
        load_predictor(tmp_path / "run", recipe="own", accelerator="cpu", weights=weights)
        for weights in (str(file), "best")
    )
    depth = {"depth": np.linspace(-3, 3, 16, dtype=np.float32).reshape(1, 4, 4)}
    np.testing.assert_allclose(ours(depth), theirs(depth), atol=4 / 2048)
    assert ours.signature == theirs.signature
    assert ours.fingerprint != theirs.fingerprint
    assert read_weights(file)["facts"] == {"command": "train", "seed": 7}
    assert file.stat().st_size < 2000


def test_a_folder_with_nothing_but_a_file_is_a_run(checkpoint, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    save_weights(checkpoint, alone / "published.safetensors")
    assert load_predictor(alone, recipe="own", accelerator="cpu").path.name == "published.safetensors"


def test_training_begins_with_a_file(checkpoint, tmp_path):
    file, network = save_weights(checkpoint, tmp_path / "published.safetensors"), nn.Conv2d(1, 1, 1)
    begin_with(network, file)
    expected = read_weights(file)["state_dict"]["network.weight"]
    assert torch.equal(network.weight, expected)
    with pytest.raises(InputError, match=r"published\.safetensors: holds another network's weights"):
        begin_with(nn.Conv2d(1, 1, 3), file)


def test_what_is_no_file_of_weights_is_refused(checkpoint, tmp_path):
    file = save_weights(checkpoint, tmp_path / "published.safetensors")
    broken = {
        "cut.safetensors": file.read_bytes()[:-2],
        "text.safetensors": b"weights",
        "empty.safetensors": b"",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    save_file({"weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "odd.safetensors", metadata={"fieldwise": "{"})
    save_file(
        {"weight": torch.zeros(1)}, tmp_path / "list.safetensors", metadata={"fieldwise": json.dumps([1])}
    )
    for name in [*broken, "foreign.safetensors", "odd.safetensors", "list.safetensors", "gone.safetensors"]:
        with pytest.raises(
            InputError, match=rf"{name}: holds no weights .*; give a \.safetensors of fieldwise"
        ):
            read_weights(tmp_path / name)


def test_another_recipe_is_refused(checkpoint, tmp_path):
    file = save_weights(checkpoint, tmp_path / "published.safetensors")
    with pytest.raises(InputError, match=r"published\.safetensors: was trained by own"):
        load_predictor(tmp_path, recipe="other", weights=str(file))
