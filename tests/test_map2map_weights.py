"""map2map's published networks: their sizes, their answers, and files that hold their weights or do not."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from published_weights import draw_fields, draw_weights
from torch import nn

from fieldwise.errors import InputError
from fieldwise.interop.map2map_state import load_map2map, save_map2map
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.patchgan import PatchGAN, PatchGAN42
from fieldwise.networks.valid.srgan import SuperResolutionDiscriminator, SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.networks.valid.vnet import VNet

# What the original gives for weights that `draw_weights` makes, computed in float64.
REFERENCE = Path(__file__).parent / "reference" / "map2map_outputs.npz"

PUBLISHED = {  # kind: network, parameters, key, shape of the input
    "unet": (lambda: UNet(3, 3), 1_808_003, "map2map_unet", (1, 3, 48, 48, 48)),
    "vnet": (lambda: VNet(3, 3), 1_825_222, "map2map_vnet", (1, 3, 48, 48, 48)),
    "generator": (
        lambda: SuperResolutionGenerator(6, 6),
        6_975_826,
        "map2map_srsgan_generator_x8",
        (1, 6, 6, 6, 6),
    ),
    "discriminator": (
        lambda: SuperResolutionDiscriminator(12),
        7_405_569,
        "map2map_srsgan_discriminator_x8",
        (1, 12, 48, 48, 48),
    ),
    "patchgan": (lambda: PatchGAN(3), 283_137, "map2map_patchgan", (1, 3, 24, 24, 24)),
    "patchgan42": (lambda: PatchGAN42(3), 2_635_201, "map2map_patchgan42", (1, 3, 48, 48, 48)),
}
FEW = {"scale_factor": 4, "most_features": 8, "least_features": 4}
SMALL = {
    "unet": lambda: UNet(2, 3, dimensions=2, features=4),
    "vnet": lambda: VNet(2, 2, features=3),
    "generator": lambda: SuperResolutionGenerator(2, 2, dimensions=2, join_noise=True, **FEW),
    "generator, added": lambda: SuperResolutionGenerator(1, 2, **FEW),
    "discriminator": lambda: SuperResolutionDiscriminator(4, 2, dimensions=2, **FEW),
    "patchgan": lambda: PatchGAN(3, features=2),
    "patchgan42": lambda: PatchGAN42(3, dimensions=2, features=4),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_weights_give_the_published_answers(kind, tmp_path):
    make, parameters, key, shape = PUBLISHED[kind]
    network = make()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    torch.save(draw_weights(network), tmp_path / "weights.pt")
    loaded = load_map2map(tmp_path / "weights.pt")
    assert type(loaded) is type(network)
    with torch.no_grad():  # in double precision: processors round float32 in ways of their own
        answer = loaded.double()(draw_fields(shape).double()).numpy()
    expected = np.load(REFERENCE)[key]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", SMALL)
def test_what_is_saved_is_loaded(kind, tmp_path):
    network = SMALL[kind]()
    for buffer in network.buffers():
        buffer.add_(1)  # running means and variances away from their start
    save_map2map(network, tmp_path / "state_3.pt", epoch=3)
    loaded = load_map2map(tmp_path / "state_3.pt")
    assert type(loaded) is type(network)
    assert not loaded.training
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    sizes = [48] * network.dimensions
    if kind.startswith("generator"):
        sizes = [7] * network.dimensions
    fields = torch.randn(1, network.in_channels, *sizes)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = network.eval()(fields)
        torch.manual_seed(1)
        assert torch.equal(loaded(fields), expected)


def test_what_is_saved_holds_what_the_original_reads(tmp_path):
    generator, adversary = SMALL["generator"](), SMALL["discriminator"]()
    save_map2map(generator, tmp_path / "state_7.pt", adversary=adversary, epoch=7)
    state = torch.load(tmp_path / "state_7.pt", weights_only=True)
    assert state["epoch"] == 7
    assert state["min_loss"] is None
    torch.set_rng_state(state["rng"])
    generator.load_state_dict(state["model"])
    adversary.load_state_dict(state["adv_model"])


def test_states_of_a_gan_hold_two_networks(tmp_path):
    """A state as the original writes it, with optimisers, of networks on several devices."""
    path = tmp_path / "state_9.pt"
    generator, adversary = SMALL["generator"](), SMALL["discriminator"]()
    optimizer = torch.optim.Adam(generator.parameters())
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    state = {"epoch": 9, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    state |= {"rng": torch.get_rng_state(), "min_loss": torch.tensor(0.5)}
    state["model"] = {f"module.{name}": value for name, value in generator.state_dict().items()}
    state["adv_model"] = {f"module.{name}": value for name, value in adversary.state_dict().items()}
    torch.save(state, path)
    for kind, network in ((None, generator), ("generator", generator), ("discriminator", adversary)):
        loaded = load_map2map(path, kind)
        assert type(loaded) is type(network)
        assert torch.equal(loaded.block0[0].weight, network.block0[0].weight)


def test_spectral_norms_are_divided_out(tmp_path):
    network = SMALL["discriminator"]()
    plain_names = set(network.state_dict())
    for layer in [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]:
        nn.utils.spectral_norm(layer)
    fields = torch.randn(1, 4, 24, 24)
    network(fields)  # a step of the power iteration
    torch.save({"model": {}, "adv_model": network.state_dict()}, tmp_path / "state_1.pt")
    loaded = load_map2map(tmp_path / "state_1.pt", "discriminator")
    assert set(loaded.state_dict()) == plain_names
    torch.testing.assert_close(loaded(fields), network.eval()(fields))


class Hostile:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refusal(path, kind=None):
    with pytest.raises(InputError) as caught:
        load_map2map(path, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_hold_code_are_refused_and_the_code_is_not_run(tmp_path):
    touched = tmp_path / "touched"
    torch.save({"model": Hostile(touched)}, tmp_path / "state_1.pt")
    (tmp_path / "state_2.pt").write_bytes(pickle.dumps({"model": Hostile(touched)}))
    torch.save({"model": nn.Conv2d(1, 1, 1)}, tmp_path / "state_3.pt")
    for number in (1, 2, 3):
        assert "cannot be read as plain tensors" in refusal(tmp_path / f"state_{number}.pt")
    assert not touched.exists()


def test_missing_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "state_1.pt"
    assert refusal(path).startswith(f"{path}: no such file")
    save_map2map(SMALL["unet"](), path)
    whole = path.read_bytes()
    for cells in (0, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cells])
        assert "cannot be read as plain tensors" in refusal(path), cells
    path.write_text("no weights\n")
    assert "cannot be read as plain tensors" in refusal(path)


def edited(change):
    """Give the state of a small U-Net after a change."""
    state = SMALL["unet"]().state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "holds no weights"),
        ({}, "holds no weights"),
        ({"epoch": 3, "model": None}, "holds no weights"),
        ({"conv_l0.convs.0.weight": 3}, r"conv_l0.convs.0.weight is no plain tensor"),
        (nn.Linear(2, 2).state_dict(), r"holds no network of map2map \(weight, bias\)"),
        (ResidualEmulator(3, 3, features=4).state_dict(), r"holds no network of map2map"),
        (edited(lambda s: s.pop("conv_c.convs.0.bias")), r"the unet lacks conv_c.convs.0.bias; give"),
        (edited(lambda s: s.pop("conv_r0.convs.2.weight")), r"is no whole unet \('conv_r0.convs.2.weight'\)"),
        (edited(lambda s: s.update(extra=torch.zeros(2))), r"the unet has besides extra; give"),
        (
            edited(lambda s: s.update({"conv_c.convs.0.bias": torch.zeros(5)})),
            r"conv_c.convs.0.bias has the shape \(5,\), not \(4,\)",
        ),
        (edited(lambda s: s.update({"conv_l0.convs.0.weight": torch.zeros(4)})), "is no whole unet"),
        (edited(lambda s: s.update({"conv_l0.convs.0.weight": torch.zeros(4, 2, 3)})), "dimensions is 1"),
        (
            edited(lambda s: s["conv_c.convs.0.bias"].fill_(torch.nan)),
            "conv_c.convs.0.bias holds numbers that",
        ),
        (
            {"block9.0.weight_orig": torch.zeros(4, 4, 1, 1), "block9.0.weight_u": torch.zeros(4)},
            "block9.0.weight lacks a vector of its spectral norm",
        ),
        (
            {"a.weight_orig": torch.zeros(4, 4), "a.weight_u": torch.zeros(3), "a.weight_v": torch.zeros(3)},
            "a.weight and its spectral norm do not match",
        ),
    ],
)
def test_other_content_is_named(content, told, tmp_path):
    torch.save(content, tmp_path / "state_1.pt")
    with pytest.raises(InputError, match=told):
        load_map2map(tmp_path / "state_1.pt")
    refusal(tmp_path / "state_1.pt")


def test_another_kind_is_named(tmp_path):
    path = tmp_path / "state_1.pt"
    save_map2map(SMALL["vnet"](), path)
    assert "holds a vnet, not a unet" in refusal(path, "unet")
    assert "holds a vnet, not a discriminator" in refusal(path, "discriminator")
    assert "kind is 'dice'; take one of unet, vnet, generator" in refusal(path, "dice")


def test_networks_that_the_original_lacks_are_not_saved(tmp_path):
    path = tmp_path / "state_1.pt"
    with pytest.raises(InputError, match="ResidualEmulator is no network of map2map"):
        save_map2map(ResidualEmulator(3, 3, features=4), path)
    with pytest.raises(InputError, match="takes no style"):
        save_map2map(UNet(3, 3, features=4, style_numbers=2), path)
    assert not path.exists()
