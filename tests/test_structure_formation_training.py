"""Training on boxes: norms, weights of others, losses and games, and a run that goes on."""

import numpy as np
import pytest
import torch
import xarray as xr
from boxes_of_matter import (
    ASLEEP,
    SMALL,
    UNCHANGED,
    open_mean,
    predict,
    prepare,
    read_truth,
    read_weights,
    train,
    train_ensemble,
    train_styled,
)

from fieldwise.interop.map2map_state import save_map2map
from fieldwise.losses.densities import density_loss, lagrangian_eulerian_loss, momentum_loss
from fieldwise.networks.valid.srgan import SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.physics.structure_formation.cosmology import displacement_scale
from fieldwise.recipes import structure_formation
from fieldwise.recipes.structure_formation import losses
from fieldwise.recipes.structure_formation.predictor import load_signature
from fieldwise.runs import read_metrics
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Prepare boxes of 16^2. To be read only, as all of these."""
    return prepare(tmp_path_factory.mktemp("flat") / "data")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("pairs") / "data", cells=8, scale_factor=2)


@pytest.fixture(scope="module")
def styled(flat, tmp_path_factory):
    return train_styled(flat, tmp_path_factory.mktemp("styled") / "run")


@pytest.fixture(scope="module")
def ensemble(pairs, tmp_path_factory):
    return train_ensemble(pairs, tmp_path_factory.mktemp("ensemble") / "run")


# --- norms and weights of others ----------------------------------------------------------------------


def test_norms_scale_by_cosmology_and_time(flat, tmp_path):
    """What is read in units of one and given in units of the other is as many times as large."""
    norms = {
        "in_norms": ["displacement"],
        "tgt_norms": ["identity"],
        "norm_options": {"omega_m": 0.25, "z": 2.0},
    }
    run = train(flat, tmp_path / "run", **norms, **UNCHANGED)
    found = np.load(predict(run, flat, tmp_path / "box.npy"))[:2]
    expected = read_truth(flat, "displacement_linear") / displacement_scale(0.25, 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_fitted_norms_are_those_of_the_target(flat, styled):
    signature = load_signature(styled)
    assert signature.inputs[0].scale == signature.outputs[0].scale
    lengths = [
        (case.read(["displacement"])["displacement"] ** 2).sum(axis=0)
        for case in Prepared(flat).cases("training")
    ]
    assert signature.outputs[0].scale.spread == pytest.approx(np.sqrt(np.mean(lengths)), rel=1e-5)
    assert signature.outputs[0].scale.mean == 0


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Write a U-Net of 2-D displacements as map2map does."""
    torch.manual_seed(1)
    network = UNet(2, 2, dimensions=2, features=4).eval()
    path = tmp_path_factory.mktemp("published") / "state_7.pt"
    save_map2map(network, path)
    return network, path


def test_published_weights_map_boxes(flat, published, styled, tmp_path):
    network, path = published
    norms = {"in_norms": ["displacement"], "tgt_norms": ["displacement"], "norm_options": {"omega_m": 0.31}}
    known = {"weights": str(path), "block_cells": 8} | norms
    found = np.load(predict(styled, flat, tmp_path / "box.npy", **known))
    scale = displacement_scale(0.31, 0.0)
    around = (
        np.pad(read_truth(flat, "displacement_linear"), [(0, 0), (20, 20), (20, 20)], mode="wrap") / scale
    )
    with torch.inference_mode():
        expected = scale * network(torch.from_numpy(around.astype(np.float32))[None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_training_begins_with_published_weights_or_those_of_a_run(flat, published, tmp_path):
    network, path = published
    known = {"network": "unet", "features": 4, "load_state": path, **ASLEEP}
    run = train(flat, tmp_path / "run", **known)
    weights = read_weights(run)
    for name, value in network.state_dict().items():
        if "running" not in name and "num_batches" not in name:  # statistics of batches go on
            torch.testing.assert_close(weights[f"network.{name}"], value)
    again = train(flat, tmp_path / "again", **(known | {"load_state": run / "checkpoints" / "last.ckpt"}))
    kernels = [name for name, value in weights.items() if value.ndim > 1]
    assert kernels
    assert all(torch.equal(read_weights(again)[name], weights[name]) for name in kernels)


@pytest.mark.parametrize("factor", [1, 2])
def test_boxes_that_nobody_knows_the_truth_of_are_mapped(tmp_path, factor):
    """Coarse ones to as many more cells; named after what is read."""
    torch.manual_seed(1)
    thin = {"scale_factor": 2, "most_features": 4, "least_features": 2}
    network = UNet(2, 2, dimensions=2, features=4)
    if factor == 2:
        network = SuperResolutionGenerator(2, 2, dimensions=2, **thin)
    save_map2map(network, tmp_path / "state_1.pt")
    np.save(tmp_path / "given.npy", np.random.default_rng(0).normal(size=(2, 8, 8)))
    text = f"{{spacing: 4, scale_factor: {factor}, test: {{inputs: {{displacement_lowres: given.npy}}}}}}"
    (tmp_path / "own.yaml").write_text(text)
    data = structure_formation.prepare(
        source=str(tmp_path / "own.yaml"), out=tmp_path / "data", progress=False
    )
    known = {"weights": str(tmp_path / "state_1.pt"), "members": 2 * (factor - 1)}
    prediction = predict(tmp_path, data, tmp_path / "out", **known)
    with xr.open_dataset(prediction / "given.nc", engine="h5netcdf") as opened:
        for axis in "xy":
            values = opened[f"displacement_{axis}"]
            assert values.shape == (8 * factor, 8 * factor)
            assert values.attrs["units"] == "Mpc h-1"
            assert values.std() > 0


def test_a_trained_super_resolver_maps_coarse_boxes_alone(ensemble, pairs, tmp_path):
    """The bits of the box that the truth lies beside."""
    np.save(tmp_path / "box_0005.npy", read_truth(pairs, "displacement_lowres"))
    text = "{spacing: 2, scale_factor: 2, test: {inputs: {displacement_lowres: box_0005.npy}}}"
    (tmp_path / "own.yaml").write_text(text)
    alone = structure_formation.prepare(
        source=str(tmp_path / "own.yaml"), out=tmp_path / "data", progress=False
    )
    found, expected = (
        np.load(predict(ensemble, data, tmp_path / f"{name}.npy", members=2, keep_members=True))
        for name, data in (("alone", alone), ("beside", pairs))
    )
    assert found.shape == (2, 2, 16, 16)
    np.testing.assert_array_equal(found, expected)


# --- losses and games ---------------------------------------------------------------------------------


def make_signature(*names):
    """Describe vectors of two components with scales 2, 3, ..."""
    outputs = tuple(
        Variable(name, (f"{name}_x", f"{name}_y"), scale=Scale(0.0, 2.0 + number), vector=True)
        for number, name in enumerate(names)
    )
    return Signature("own", (), outputs, stacked=True, spacings=(4.0,), facts={"whole_boxes": True}).to_dict()


def test_losses_take_their_fields_in_physical_units_wherever_they_stand():
    drawn = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prediction, targets = drawn[0], drawn[1]
    mesh = {"spacing": 4.0, "periodic": True}
    signature = make_signature("velocity", "displacement")
    ends = [(each[:, 2:] * 3, each[:, :2] * 2) for each in (prediction, targets)]
    displaced = [displacement for displacement, _ in ends]
    both = [torch.cat(each, dim=1) for each in ends]
    batch = {"targets": targets}
    for found, expected in (
        (losses.density(prediction, batch, signature), density_loss(*displaced, **mesh)),
        (losses.momentum(prediction, batch, signature), momentum_loss(*both, **mesh)),
        (
            losses.lagrangian_eulerian(prediction, batch, signature),
            lagrangian_eulerian_loss(*displaced, **mesh),
        ),
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("density", None),
        ("mse+0.1*density", None),
        ("lagrangian_eulerian", None),
        ("mse+0.1*power", None),
        ("momentum", ["velocity", "displacement"]),
    ],
)
def test_losses_on_a_mesh_fall(flat, tmp_path, loss, targets):
    known = {"loss": loss, "targets": targets, "max_epochs": 4, "learning_rate": 0.01, "augment": False}
    known["network_options"] = {"bypass": False}  # it begins with nothing, so that there is much to learn
    run = train(flat, tmp_path / "run", **known, **SMALL)
    fallen = read_metrics(run)["loss"].dropna().tolist()
    assert fallen[-1] < fallen[0]


GAMES = {
    "conditional": {
        "game": "bce",
        "conditional": True,
        "penalty": "r1",
        "penalty_every": 2,
        "label_smoothing": 0.1,
    },
    "critic": {"game": "wasserstein", "penalty": "wgan_gp", "critic_ratio": 2},
    "noisy": {"game": "least_squares", "instance_noise": 0.1, "noise_epochs": 1, "spectral_norm": True},
}


@pytest.mark.parametrize("game", GAMES)
def test_games_train_both_networks(flat, tmp_path, game):
    known = {"discriminator": "patchgan", "discriminator_options": {"features": 4}} | SMALL | GAMES[game]
    run = train(flat, tmp_path / "run", **known)
    first = train(flat, tmp_path / "asleep", **known, **ASLEEP)
    before, after = read_weights(first), read_weights(run)
    for part in ("network.", "discriminator."):
        assert any((after[name] != before[name]).any() for name in after if name.startswith(part))
    kernel = next(
        value for name, value in after.items() if name.startswith("discriminator.") and value.ndim == 4
    )
    assert kernel.shape[1] == (4 if game == "conditional" else 2)
    assert np.isfinite(open_mean(predict(run, flat, tmp_path / "box.npy"), 2)).all()


# --- taken up again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["crops", "members"])
def test_two_and_two_epochs_give_the_bits_of_four(flat, pairs, tmp_path, kind):
    data = {"crops": flat, "members": pairs}[kind]
    changes = {"aug_shift": [3], "aug_add": 0.1, "aug_mul": 0.1, "decay_epochs": 4, "shuffle_distance": 1}
    of_kind = {"crops": {"crop": [8], "crop_step": [4], **SMALL}, "members": {"network_options": SMALL}}[kind]
    straight = train(data, tmp_path / "straight", max_epochs=4, **changes, **of_kind)
    for epochs in (2, 4):
        train(data, tmp_path / "broken", max_epochs=epochs, **changes, **of_kind)
    weights = read_weights(straight)
    assert all(torch.equal(value, weights[name]) for name, value in read_weights(tmp_path / "broken").items())
