"""Weights of DeepCAM and ClimateNet: published answers, and files that hold such weights or do not."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from published_weights import draw_fields, draw_weights
from torch import nn

from fieldwise.errors import InputError
from fieldwise.interop.climatenet import load_cgnet, read_configuration, save_cgnet
from fieldwise.interop.deepcam import load_deeplab, save_deeplab
from fieldwise.networks.segmentation.cgnet import CGNet
from fieldwise.networks.segmentation.deeplab import DeepLab

# What the originals give for weights that `draw_weights` makes, computed in float64, every fourth cell.
REFERENCE = Path(__file__).parent / "reference" / "segmentation_outputs.npz"
LABELS = ["Background", "Tropical Cyclone", "Atmospheric River"]
FIELDS = {name: {"mean": 1.5, "std": 2.0} for name in ("TMQ", "U850", "V850", "PSL")}
CONFIGURATION = {"architecture": "cgnet", "fields": FIELDS, "labels": LABELS}


def small():
    return CGNet(4, 3, blocks=(1, 2))


def check_answer(network, key, shape):
    with torch.no_grad():
        answer = network(draw_fields(shape)).numpy()
    expected = np.load(REFERENCE)[key]
    assert answer.shape == (1, 3, 96, 144)
    assert expected.std() > 0.1
    np.testing.assert_allclose(answer[..., ::4, ::4], expected, rtol=0, atol=1e-5)


def test_published_weights_of_climatenet_give_the_published_answers(tmp_path):
    torch.save(draw_weights(CGNet(4, 3), gain=1), tmp_path / "weights.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGURATION))
    network = load_cgnet(tmp_path)
    assert not network.training
    check_answer(network, "climatenet_cgnet", (1, 4, 96, 144))


def test_published_weights_of_deepcam_give_the_published_answers(tmp_path):
    """From a checkpoint as a distributed training writes it."""
    state = draw_weights(DeepLab(16, 3), gain=0.8)
    model = {f"module.{name}": value.float() for name, value in state.items()}
    content = {
        "step": 7,
        "epoch": 1,
        "model": model,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
    }
    torch.save(content, tmp_path / "storms_step_7.cpt")
    network = load_deeplab(tmp_path / "storms_step_7.cpt")
    assert not network.training
    check_answer(network, "deepcam_deeplabv3plus_xception", (1, 16, 96, 144))


def same_weights(one, other):
    state = other.state_dict()
    assert state.keys() == one.state_dict().keys()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_what_climatenet_is_given_is_what_it_needs(tmp_path):
    network = small()
    for buffer in network.buffers():
        buffer.add_(1)  # running means and variances away from their start
    fields = FIELDS | {"PSL": {"mean": np.float32(1.5), "std": 2}}
    save_cgnet(network, tmp_path / "storms", fields=fields, labels=LABELS, lr=0.01, description="made")
    assert same_weights(network, load_cgnet(tmp_path / "storms"))
    content = read_configuration(tmp_path / "storms")
    assert content == CONFIGURATION | {
        "lr": 0.01,
        "seed": 42,
        "train_batch_size": 4,
        "pred_batch_size": 8,
        "epochs": 15,
        "description": "made",
    }
    assert list(content["fields"]) == list(FIELDS)  # the order of the channels
    state = torch.load(tmp_path / "storms" / "weights.pth", weights_only=True)
    network.load_state_dict(state)


def test_what_deepcam_is_given_is_what_it_reads(tmp_path):
    network = DeepLab(2, 4, decoder="bilinear", output_stride=8)
    save_deeplab(network, tmp_path / "storms.cpt", step=3, epoch=2)
    loaded = load_deeplab(tmp_path / "storms.cpt", output_stride=8)
    assert same_weights(network, loaded)
    assert (loaded.decoder, loaded.output_stride, loaded.in_channels) == ("bilinear", 8, 2)
    content = torch.load(tmp_path / "storms.cpt", weights_only=True)
    assert (content["step"], content["epoch"]) == (3, 2)
    torch.save(content["model"], tmp_path / "bare.pt")
    assert same_weights(network, load_deeplab(tmp_path / "bare.pt"))


class Hostile:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refusal(load, *arguments):
    with pytest.raises(InputError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_folder(folder, state=None, **changes):
    torch.save(small().state_dict() if state is None else state, folder / "weights.pth")
    (folder / "config.json").write_text(json.dumps(CONFIGURATION | changes))
    return folder


def test_files_that_hold_code_are_refused_and_the_code_is_not_run(tmp_path):
    touched = tmp_path / "touched"
    torch.save({"model": Hostile(touched)}, tmp_path / "storms.cpt")
    (tmp_path / "raw.cpt").write_bytes(pickle.dumps({"model": Hostile(touched)}))
    write_folder(tmp_path, {"level1_0.conv.weight": Hostile(touched)})
    for load, path in (
        (load_deeplab, tmp_path / "storms.cpt"),
        (load_deeplab, tmp_path / "raw.cpt"),
        (load_cgnet, tmp_path),
    ):
        assert "cannot be read as plain tensors" in refusal(load, path)
    assert not touched.exists()


def test_missing_and_broken_files_are_refused(tmp_path):
    assert refusal(load_deeplab, tmp_path / "a.cpt").startswith(f"{tmp_path / 'a.cpt'}: no such file")
    assert refusal(load_cgnet, tmp_path).startswith(f"{tmp_path / 'config.json'}: no such file")
    whole = (write_folder(tmp_path) / "weights.pth").read_bytes()
    for cells in (0, 100, len(whole) // 2, len(whole) - 30):
        (tmp_path / "weights.pth").write_bytes(whole[:cells])
        for load, path in ((load_cgnet, tmp_path), (load_deeplab, tmp_path / "weights.pth")):
            assert "cannot be read as plain tensors" in refusal(load, path), cells
    (tmp_path / "weights.pth").unlink()
    assert refusal(load_cgnet, tmp_path).startswith(f"{tmp_path / 'weights.pth'}: no such file")


def edited(change):
    state = small().state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, "holds no weights"),
        (nn.Linear(2, 2).state_dict(), r"holds no CGNet of ClimateNet \(weight, bias\)"),
        (
            {"level1_0.conv.weight": torch.zeros(2), "classifier.0.conv.weight": torch.zeros(2)},
            "holds no CGNet",
        ),
        (
            edited(lambda s: s.pop("level2_0.reduce.conv.weight")),
            "CGNet lacks level2_0.reduce.conv.weight; give",
        ),
        (edited(lambda s: s.update(extra=torch.zeros(2))), "CGNet has besides extra; give"),
        (
            edited(lambda s: s.update({"b1.act.weight": torch.zeros(5)})),
            r"b1.act.weight has the shape \(5,\)",
        ),
        (edited(lambda s: s["b1.act.weight"].fill_(torch.nan)), "b1.act.weight holds numbers that are not"),
        (
            CGNet(3, 3, blocks=(1, 1)).state_dict(),
            "network with 3 channels and 3 classes; named are fields TMQ, U",
        ),
        (
            CGNet(4, 2, blocks=(1, 1)).state_dict(),
            "4 channels and 2 classes; .* Atmospheric River: name each",
        ),
    ],
)
def test_other_weights_are_named(state, told, tmp_path):
    write_folder(tmp_path, state)
    with pytest.raises(InputError, match=told):
        load_cgnet(tmp_path)
    refusal(load_cgnet, tmp_path)
    assert "DeepLabv3+ of DeepCAM" in refusal(load_deeplab, tmp_path / "weights.pth") or not state


def test_another_deeplab_is_named(tmp_path):
    with torch.device("meta"):
        names = DeepLab(2, 3).state_dict().keys()
    state = {name: torch.zeros(1, 1, 1, 1) for name in names}
    torch.save(state, tmp_path / "a.pt")
    assert "has the shape (1, 1, 1, 1), not (32, 1, 3, 3)" in refusal(load_deeplab, tmp_path / "a.pt")
    for name in ("aspp1.bn.weight", "bn1.bias"):
        del state[name]
    torch.save(state, tmp_path / "b.pt")
    assert "the DeepLabv3+ lacks aspp1.bn.weight, bn1.bias; give" in refusal(load_deeplab, tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "unet"}, "architecture is 'unet', not 'cgnet'"),
        ({"fields": ["TMQ", "PSL"]}, r"fields are \['TMQ', 'PSL'\]; give each name its mean and std"),
        ({"fields": {}}, r"fields are {}; give each"),
        ({"fields": {"TMQ": 3}}, "field TMQ has 3; give a mean, and a std above 0"),
        ({"fields": {"TMQ": {"mean": 1}}}, "field TMQ has {'mean': 1}; give a mean"),
        ({"fields": {"TMQ": {"mean": 1, "std": 0}}}, "field TMQ has"),
        ({"fields": {"T\nMQ": "\n"}}, r"field T MQ has '\\n'"),
        ({"fields": {"TMQ": {"mean": float("nan"), "std": 1}}}, "field TMQ has"),
        ({"fields": {"TMQ": {"mean": True, "std": 1}}}, "field TMQ has"),
        ({"fields": {"TMQ": {"mean": 10**400, "std": 1}}}, "field TMQ has"),
        ({"labels": 3}, "labels are 3; list the names of two classes or more"),
        ({"labels": ["a", 1]}, r"labels are \['a', 1\]; list"),
        ({"labels": ["a", "b", "a"]}, "labels are a, b, a; give each class a name of its own"),
        (
            {"fields": FIELDS | {"WS850": FIELDS["TMQ"]}},
            "WS850 is not in ClimateNet's data, TMQ, U850",
        ),
    ],
)
def test_configurations_of_another_kind_are_named(changes, told, tmp_path):
    write_folder(tmp_path, **changes)
    with pytest.raises(InputError, match=told):
        read_configuration(tmp_path)
    assert refusal(load_cgnet, tmp_path).startswith(f"{tmp_path / 'config.json'}: ")


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "null", '{"model": {}}', "{'fields': 3}", "[" * 100_000, "\x00"]
)
def test_other_json_is_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    message = refusal(read_configuration, tmp_path)
    assert "is no JSON" in message or "has no architecture, fields and labels" in message


def test_fields_of_ones_own_are_read_if_named(tmp_path):
    fields = {name if name != "U850" else "WS850": scale for name, scale in FIELDS.items()}
    save_cgnet(small(), tmp_path, fields=fields, labels=LABELS)
    assert "WS850 is not in ClimateNet's data" in refusal(load_cgnet, tmp_path)
    assert load_cgnet(tmp_path, further_fields=["WS850"]).in_channels == 4


def test_networks_that_the_originals_lack_are_not_saved(tmp_path):
    how = {"fields": FIELDS, "labels": LABELS}
    with torch.device("meta"):
        wrong = [
            (CGNet(4, 3, padding="zonal"), "wraps over the poles"),
            (nn.Linear(1, 1), "Linear is no network"),
        ]
        globe = DeepLab(16, 3, padding="zonal")
    for network, told in wrong:
        with pytest.raises(InputError, match=told):
            save_cgnet(network, tmp_path / "storms", **how)
    with pytest.raises(InputError, match="momentum: is no setting; take seed, lr"):
        save_cgnet(small(), tmp_path / "storms", **how, momentum=3)
    with pytest.raises(InputError, match="pads with zeros, not zonally"):
        save_deeplab(globe, tmp_path / "storms.cpt")
    assert not list(tmp_path.iterdir())
