"""What structure formation refuses: in one line that names it, with status 2, and nothing lost."""

import numpy as np
import pytest
import torch
from boxes_of_matter import SMALL, evaluate, predict, prepare, train
from torch import nn

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.interop.map2map_state import save_map2map
from fieldwise.networks.valid.srgan import SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.recipes import structure_formation
from fieldwise.samples.scales import NamedScale


class Square(NamedScale):
    """A norm that is no dataclass."""


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Prepare boxes of 16^2. To be read only, as all of these."""
    return prepare(tmp_path_factory.mktemp("flat") / "data")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("pairs") / "data", cells=8, scale_factor=2)


@pytest.fixture(scope="module")
def run(flat, tmp_path_factory):
    return train(flat, tmp_path_factory.mktemp("trained") / "run", **SMALL)


def list_contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- prepare ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("omega_m", 0, "--omega_m: is 0; give a share of matter above 0, at most 1"),
        ("omega_m", -0.3, "--omega_m: is -0.3"),
        ("omega_m", 1.2, "--omega_m: is 1.2; give a share of matter above 0, at most 1"),
        ("omega_m", "nan", "--omega_m: Expected a float. Got value: nan"),
        ("omega_m_range", "[0.4,1.2]", "--omega_m: is 1.2"),
        ("omega_m_range", "[0.4,0.2]", "--omega_m_range: is [0.4, 0.2]; give the lower one first"),
        ("sigma8", 0, "--sigma8: is 0; give a number above 0"),
        ("sigma8", -1, "--sigma8: is -1"),
        ("cells", 7, "--cells: is 7; give at least 8"),
        ("scale_factor", 3, "--scale_factor: is 3; the sandbox makes 1, 2, 4 or 8"),
        ("scale_factor", 0, "--scale_factor: is 0"),
        ("dimensions", 4, "--dimensions: is 4; give 2 or 3"),
        ("spacing_mpc", 0, "--spacing_mpc: is 0; give a number above 0"),
        ("redshift", 9, "--redshift: is 9; give 0 or more, below 9"),
        ("redshift", -1, "--redshift: is -1"),
        ("boxes", 0, "--boxes: is 0; give at least 1"),
        ("test_boxes", -1, "--test_boxes: is -1; give at least 0"),
        ("seed", -1, "--seed: is -1; give at least 0"),
        ("steps", 0, "--steps: is 0"),
        ("source", "boxes", "--source: is boxes; give sandbox or the path of a FILE.yaml"),
        ("source", "gone.yaml", "gone.yaml: no such file"),
    ],
)
def test_a_sandbox_that_cannot_be_made_is_refused(flat, capsys, option, value, message):
    """In a folder that holds another one, which stays."""
    before = list_contents(flat)
    words = ["structure_formation", "prepare", "--out", str(flat), f"--{option}", str(value)]
    assert main([*words, "--progress", "false"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list_contents(flat) == before


# --- train --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": [17]}, "--crop: 17 x 17 cells are more than a box of 16 x 16"),
        ({"crop": [8, 8, 8]}, "--crop: has 3 numbers for 2 axes"),
        ({"crop_start": [16]}, "leaves no crop"),
        ({"in_pad": [1, 2, 3]}, "--in_pad: has 3 numbers for 2 axes; give 1, 2 or 4"),
        ({"in_pad": [-1]}, "--in_pad: is -1"),
        ({"inputs": ["density"]}, "lacks density; it has displacement_linear, "),
        ({"in_norms": ["sqrt"]}, "--in_norms: 'sqrt' is no norm; give fit, identity, log"),
        ({"in_norms": ["identity"] * 2}, "--in_norms: names 2 norms for displacement_linear"),
        ({"in_norms": ["log"]}, "--in_norms: Logarithm leaves no numbers of displacement_linear, -"),
        ({"tgt_norms": ["log1p"]}, "--tgt_norms: Log1p leaves no numbers of displacement, -"),
        ({"in_norms": [f"{__name__}.Square"]}, "Square is no dataclass"),
        ({"in_norms": ["os.path.join"]}, "os.path.join is no NamedScale"),
        ({"in_norms": ["displacement"], "norm_options": {"omega_m": 1.5}}, "--omega_m: is 1.5"),
        (
            {"in_norms": ["displacement"], "norm_options": {"omegam": 0.3}},
            "omegam is of none of the norms; they ta",
        ),
        ({"norm_options": {"z": 1.0}}, "--norm_options: z is of none of the norms"),
        ({"style": ["hubble"]}, "lacks the numbers hubble; it has omega_m, "),
        ({"network": "resnet"}, "--network: is 'resnet'; give auto, emulator, unet, vnet"),
        ({"network": "torch.nn.Linear"}, "--network_options: torch.nn.Linear cannot be made of"),
        ({"network": "generator"}, "the scale factor is 1; take emulator or unet"),
        ({"network_options": {"depth": 3}}, "--network_options: emulator cannot be made of"),
        ({"features": 0}, "features is 0; give at least 1"),
        ({"members": 2}, "--members: is 2, and ResidualEmulator draws the same field each time"),
        ({"loss": "huber"}, "--loss: 'huber' is no loss; give mae, mse, density"),
        (
            {"loss": "momentum"},
            "--loss: momentum is of displacement and velocity; the targets are displacement",
        ),
        ({"loss": "crps"}, "does not judge 1 predictions of a field"),
        ({"discriminator": "judge"}, "--discriminator: is 'judge'; give none, discriminator, patchgan"),
        ({"discriminator": "patchgan", "discriminator_options": {"depth": 3}}, "cannot be made of {"),
        ({"load_state": "gone.pt"}, "gone.pt: no such file"),
        ({"shuffle_distance": -1}, "--shuffle_distance: is -1"),
        ({"aug_mul": -1.0}, "--aug_mul: is -1"),
        ({"learning_rate": 0.0}, "--learning_rate: is 0"),
    ],
)
def test_what_nothing_can_be_learnt_with_is_refused_before_anything_is_written(
    flat, tmp_path, options, message
):
    with pytest.raises(InputError) as caught:
        train(flat, tmp_path / "run", **(SMALL | options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ({"network": "unet", "features": 4, "in_pad": [0]}, 44),
        ({"network": "vnet", "features": 4, "crop": [8], "in_pad": [10]}, 44),
        ({"features": 4, "blocks": 5, "crop": [8], "in_pad": [7]}, 23),
    ],
)
def test_padding_that_leaves_no_output_is_refused(flat, tmp_path, options, cells):
    with pytest.raises(InputError, match=f"the network reads at least {cells} cells an axis"):
        train(flat, tmp_path / "run", **options)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "unet"}, "--network: unet gives no finer cells; for a scale factor of 2 take generator"),
        ({"targets": ["displacement_lowres"], "inputs": ["displacement"]}, "are coarser than the boxes"),
        ({"inputs": ["displacement_lowres", "displacement"]}, "have cells of different sizes"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(pairs, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_box_that_is_not_periodic_is_refused_where_it_must_be(tmp_path):
    np.save(tmp_path / "given.npy", np.random.default_rng(0).normal(size=(2, 16, 16)))
    text = (
        "{spacing: 4, periodic: false, training: {inputs: {given: given.npy}, targets: {wanted: given.npy}}}"
    )
    (tmp_path / "own.yaml").write_text(text)
    data = structure_formation.prepare(
        source=str(tmp_path / "own.yaml"), out=tmp_path / "data", progress=False
    )
    with pytest.raises(
        InputError, match=r"training/given: is not periodic, and crops with their input padding"
    ):
        train(data, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
    train(data, tmp_path / "run", crop=[10], crop_start=[3], crop_stop=[4], **SMALL)


# --- weights of others --------------------------------------------------------------------------------


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def write_weights(folder, kind):
    """Write a state file that is not to be read, and give its path."""
    path, size = folder / "state_1.pt", {"dimensions": 2, "features": 4}
    if kind == "text":
        path.write_text("weights")
    elif kind == "code":
        torch.save({"model": Malicious(folder / "owned")}, path)
    elif kind == "another network":
        torch.save({"model": nn.Linear(2, 2).state_dict()}, path)
    elif kind == "generator":
        save_map2map(
            SuperResolutionGenerator(2, 2, dimensions=2, scale_factor=2, most_features=4, least_features=2),
            path,
        )
    elif kind == "no numbers":
        network = UNet(2, 2, **size)
        network.conv_c.convs[0].bias.data[:] = torch.nan
        save_map2map(network, path)
    else:
        channels = {"other inputs": (3, 2), "other outputs": (2, 1)}.get(kind, (2, 2))
        save_map2map(UNet(*channels, **size | {"dimensions": 3 if kind == "three axes" else 2}), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    return path


KINDS = {
    "truncated": "cannot be read as plain tensors",
    "text": "cannot be read as plain tensors",
    "code": "cannot be read as plain tensors",
    "another network": "network",
    "no numbers": "holds numbers that are not finite",
    "generator": "with a scale factor of 2; the data have 2 to 2 channels in 2-D, with a scale factor of 1",
    "other inputs": "maps 3 to 2 channels in 2-D",
    "other outputs": "maps 2 to 1 channels in 2-D",
    "three axes": "maps 2 to 2 channels in 3-D",
}


@pytest.mark.parametrize("kind", KINDS)
def test_state_files_of_others_are_refused(flat, run, tmp_path, kind):
    path = write_weights(tmp_path, kind)
    with pytest.raises(InputError, match=KINDS[kind]) as caught:
        predict(run, flat, tmp_path / "out", weights=str(path))
    assert str(caught.value).startswith(str(path))
    assert not (tmp_path / "out").exists()
    told = (
        KINDS[kind]
        if "maps" not in KINDS[kind] and kind != "generator"
        else "holds another network's weights"
    )
    with pytest.raises(InputError, match=told):
        train(flat, tmp_path / "run", network="unet", features=4, load_state=path)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "owned").exists()


def test_a_damaged_checkpoint_is_no_beginning(flat, run, tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"last.ckpt cannot be read as a checkpoint"):
        train(flat, tmp_path / "run", load_state=path, **SMALL)


# --- predict and evaluate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"velocity": True},
            "--velocity: is the derivative of displacements in the growth factor; train with",
        ),
        ({"members": 3}, "--members: the network takes no noise"),
        ({"members": -1}, "--members: is -1"),
        ({"block_cells": 0}, "--block_cells: is 0"),
        ({"case": "box_9"}, "holds no case box_9 in test"),
        (
            {"weights": "worst"},
            "--weights: is 'worst'; give best, last or the path of a .pt or .safetensors file",
        ),
        ({"out": "box.tif"}, "box.tif: boxes are written as .nc, .zarr or .npy"),
        (
            {"out": "box.nc", "split": "training"},
            "box.nc: one file takes one case; choose --case among box_",
        ),
        ({"run": "gone"}, "gone: holds neither checkpoints/best.ckpt nor a .pt or .safetensors file"),
        ({"data": "gone"}, "gone: is no prepared folder"),
    ],
)
def test_what_cannot_be_predicted_is_refused(flat, run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        predict(**({"run": run, "data": flat, "out": "out"} | options))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_boxes_of_other_fields_or_cells_are_not_mapped(pairs, run, tmp_path):
    with pytest.raises(InputError, match=r"needs the input displacement_linear, which .* does not hold"):
        predict(run, pairs, tmp_path / "out")
    other = prepare(tmp_path / "data", cells=8, spacing_mpc=2.0, boxes=1)
    message = r"was trained on displacement_linear with 2 channels at 4 Mpc h-1; .* 2 channels at 2 Mpc h-1$"
    with pytest.raises(InputError, match=message):
        predict(run, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "no such file"),
        (np.full((2, 16, 16), np.nan), "holds values that are no finite numbers; predict again"),
        (np.ones((2, 16, 16), complex), "holds values that are no finite numbers"),
        (np.ones((2, 8, 8)), r"holds \(2, 8, 8\) values, box test/box_0005 \(16, 16\)"),
        (np.ones((1, 16, 16)), "cannot be read"),
        (np.ones(5), "cannot be read"),
        (np.array([{}]), "cannot be read"),
    ],
)
def test_predictions_that_are_none_are_not_judged(flat, run, tmp_path, values, message):
    before = list_contents(run)
    if values is not None:
        np.save(tmp_path / "box_0005_out.npy", values, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        evaluate(run, flat, tmp_path if values is not None else tmp_path / "gone")
    assert "\n" not in str(caught.value)
    assert list_contents(run) == before
