"""A network lists its own layers, and these fold into chains to draw."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.figures import draw_architecture
from fieldwise.figures.chains import connections, feeding, fold, spell, split_branches
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Discriminator, Generator
from fieldwise.networks.layers import list_layers

CELLS = 11  # low-res cells on a side of the example, with padding


def example():
    shapes = {
        channels.name: (1, channels.channels, *(2 * [round(CELLS * 1000 / channels.spacing_m)]))
        for channels in DEEPBEDMAP_INPUTS
    }
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def layers():
    return list_layers(Generator(num_residual_blocks=12, residual_scaling=0.2), example())


def test_generator_is_the_published_one(layers):
    """Sizes of Leong & Horgan (2020)."""
    found = {layer.name: layer for layer in layers}
    assert sum(layer.parameters for layer in layers) == 8_907_749
    expected = {
        "bed_lowres": ((3, 3), (1, 1)),
        "surface_elevation": ((30, 30), (10, 10)),
        "ice_velocity": ((6, 6), (2, 2)),
        "snow_accumulation": ((3, 3), (1, 1)),
    }
    for name, (kernel, stride) in expected.items():
        layer = found[f"input_block.conv_on_{name}"]
        assert (layer.kernel, layer.stride, layer.shape) == (kernel, stride, (32, 9, 9))
        assert layer.sources == (name,)
    assert found["input_block.concatenation"].shape == (128, 9, 9)
    assert found["post_upsample_conv_layer_2"].shape == (64, 36, 36)
    assert layers[-1].shape == (1, 36, 36)


def test_deformable_convolution_is_one_layer(layers):
    """Its plain part is never called: its weights are used at moved places."""
    (layer,) = [layer for layer in layers if layer.name.startswith("final_conv_layer1")]
    assert layer.kind == "DeformableConvolution"
    assert layer.kernel == (3, 3)
    assert layer.activation == "LeakyReLU"
    assert layer.parameters == 64 * 9 * 18 + 18 + 64 * 9 * 64 + 64  # offsets of 9 taps in 2 directions


def test_sums_know_what_they_add_and_by_which_share(layers):
    found = {layer.name: layer for layer in layers}
    block = found["residual_network.11.sum"]
    assert block.sources == ("residual_network.10.sum", "residual_network.11.residual_dense_block3.sum")
    assert block.scaling == 0.2
    assert found["sum"].sources == ("pre_residual_conv_layer", "post_residual_conv_layer")
    assert found["sum"].scaling == 1
    assert block.modules == ("Sequential", "ResidualInResidualBlock")


def test_dense_layers_read_all_before_them(layers):
    found, sources = {layer.name: layer for layer in layers}, feeding(layers)
    block = "residual_network.3.residual_dense_block2"
    assert found[f"{block}.conv_layer5"].channels == 64 + 4 * 32
    assert sources[f"{block}.conv_layer3"] == (
        "residual_network.3.residual_dense_block1.sum",
        f"{block}.conv_layer1",
        f"{block}.conv_layer2",
    )


def test_network_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 1, 1))
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    list_layers(network, torch.randn(4, 1, 5, 5))
    assert network.training
    assert network[2].training
    assert not network[1].training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Branching(nn.Module):
    """Goes down and up again, with functions between the modules, and uses one module twice."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.same = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
        self.up = nn.Conv2d(5, 1, 1)

    def forward(self, field):
        coarse = functional.relu(self.down(field))
        coarse = self.same(self.same(coarse)) + coarse
        fine = functional.interpolate(coarse, scale_factor=2)
        return torch.sigmoid(self.up(torch.cat([fine, field], dim=1)))


def test_functions_between_modules_are_followed():
    layers = list_layers(Branching(), torch.zeros(1, 1, 8, 6))
    assert [(layer.name, layer.kind, layer.sources) for layer in layers] == [
        ("input", "input", ()),
        ("down", "Conv2d", ("input",)),
        ("same", "Conv2d", ("down",)),
        ("same_2", "Conv2d", ("same",)),
        ("sum", "sum", ("same_2", "down")),
        ("interpolation", "interpolation", ("sum",)),
        ("concatenation", "concatenation", ("interpolation", "input")),
        ("up", "Conv2d", ("concatenation",)),
    ]
    found = {layer.name: layer for layer in layers}
    assert found["down"].shape == (4, 4, 3)
    assert found["interpolation"].shape == (4, 8, 6)
    assert found["same"].kernel == (3, 1)
    assert (found["down"].activation, found["up"].activation) == ("ReLU", "sigmoid")


def test_equal_blocks_fold_into_one(layers):
    _, branches, rest = split_branches(layers)
    steps = fold(rest)
    assert len(branches) == 4
    assert [step.name for step in steps] == [
        "Convolution",
        "Residual in residual block",
        "Convolution",
        "Sum",
        "Upsampling convolution",
        "Upsampling convolution",
        "Deformable convolution",
        "Deformable convolution",
    ]
    assert steps[1].count == 12
    sources = feeding(layers)
    # One after the other, but for the line past the blocks to the sum.
    assert connections(steps, sources) == {(n - 1, n) for n in range(8)} | {(0, 3)}
    inner = fold(layers, inside=steps[1].block)
    assert [step.name for step in inner] == 3 * ["Dense block"] + ["Sum"]
    dense = fold(layers, inside=inner[0].block)
    # Each of five convolutions reads the entry (-1) and all before it; the sum adds the entry and the last.
    every = {(first, second) for second in range(5) for first in range(-1, second)}
    assert connections(dense, sources) == every | {(-1, 5), (4, 5)}


def test_blocks_that_differ_stay_apart():
    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.one, self.two = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, 8, 1)

        def forward(self, features):
            return self.two(self.one(features))

    network = nn.Sequential(Block(4), Block(8), Block(8))
    steps = fold(list_layers(network, torch.zeros(1, 4, 3, 3))[1:])
    assert [step.count for step in steps] == [1, 2]


def test_normalisations_stand_with_their_layer():
    layers = list_layers(Discriminator(), torch.zeros(1, 1, 36, 36))
    steps = fold(layers[1:])
    assert len(steps) == 12  # ten convolutions and two linear layers
    assert steps[1].details == ["4 × 4, stride 2", "batch norm, LeakyReLU"]
    assert steps[-1].details == []
    assert sum(layer.parameters for step in steps for layer in step.layers) == 10_370_761


@pytest.mark.parametrize(
    ("kind", "words"),
    [("Conv3d", "Convolution"), ("LSTMCell", "Lstm cell"), ("interpolation", "Interpolation")],
)
def test_classes_in_words(kind, words):
    assert spell(kind) == words


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="no layers to draw"):
        draw_architecture([])
    long = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(40)))
    with pytest.raises(InputError, match="40 steps do not fit"):
        draw_architecture(list_layers(long, torch.zeros(1, 1, 3, 3)))
