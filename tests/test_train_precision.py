"""The steps of every training: gradients gathered, half the bits, compiled networks."""

import json

import pytest
import torch
from small_training import (
    CONVOLUTION,
    assert_same_bits,
    make_loaders,
    state_of,
    train,
)
from torch import nn

from fieldwise.tasks import AdversarialTask, FieldTask
from fieldwise.tasks.precision import choose_precision, measure_distance

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


def test_compiled_networks_keep_the_names_of_their_weights(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(type(network).__name__))
    plain, best = (
        train(tmp_path / name, max_epochs=1, compile=name == "compiled") for name in ("plain", "compiled")
    )
    assert len(compiled) == 1
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (plain, best)]
    assert states[0].keys() == states[1].keys()
