"""Networks of valid convolutions in prediction, and in boxes without an edge: the same numbers, sooner."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.layers import list_layers
from fieldwise.networks.valid import inference
from fieldwise.networks.valid.blocks import ConvBlock
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.periodic import put_channels_last
from fieldwise.networks.valid.unet import UNet
from fieldwise.networks.valid.vnet import VNet


def learnt(network):
    """Give all weights and all statistics of batch norms values of which every one counts."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.3)
        for name, value in network.named_buffers():
            if name.endswith("mean"):
                value.normal_()
            if name.endswith("var"):
                value.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("kind", [UNet, VNet])
@pytest.mark.parametrize(("sizes", "style"), [((16, 8, 12), 0), ((24, 4), 2)])
def test_a_periodic_box_gives_what_it_gives_padded_periodically(kind, sizes, style):
    """With boxes smaller than the margin too, which is then more than one box around."""
    axes = len(sizes)
    network = learnt(kind(2, 2, dimensions=axes, features=4, style_numbers=style)).double()
    fields = torch.randn(1, 2, *sizes, dtype=torch.float64)
    beside = {"style": torch.rand(1, style, dtype=torch.float64)} if style else {}
    padded = fields
    for axis, size in enumerate(sizes, start=2):
        padded = padded.index_select(axis, torch.arange(-network.margin, size + network.margin) % size)
    with torch.no_grad():
        expected = network(padded, **beside)
        network.boundary = "periodic"
        made = network(fields, **beside)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_a_periodic_u_net_learns():
    """Its gradient is that of the padded one where batch norms keep still."""
    network = learnt(UNet(1, 1, dimensions=2, features=3, boundary="periodic")).double()
    fields = torch.randn(1, 1, 24, 28, dtype=torch.float64)
    target = torch.randn_like(fields)
    gradients = []
    for boundary in ("periodic", "valid"):
        network.boundary = boundary
        given = fields if boundary == "periodic" else functional.pad(fields, [20] * 4, mode="circular")
        loss = functional.mse_loss(network(given), target)
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for periodic, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(periodic, padded)


def test_periodic_boxes_are_of_multiples_of_four_cells():
    network = UNet(1, 1, dimensions=2, features=2, boundary="periodic")
    with pytest.raises(InputError, match=r"at least 4 cells an axis, multiples of 4, not \(10, 8\)"):
        network(torch.zeros(1, 1, 10, 8))
    with pytest.raises(InputError, match="boundary is 'open'; take periodic or valid"):
        UNet(1, 1, boundary="open")


@pytest.mark.parametrize("sizes", [(8, 5, 7), (9, 6, 4), (13, 3, 3)])
def test_minimal_filtering_is_convolution(sizes):
    """In float64 to rounding; numbers of planes that tiles of four do not divide."""
    layer = nn.Conv3d(3, 5, 3, dtype=torch.float64).requires_grad_(False)
    fields = put_channels_last(torch.randn(2, 3, *sizes, dtype=torch.float64))
    made = inference.convolve_by_filtering(fields, layer.weight, layer.bias)
    torch.testing.assert_close(made, layer(fields), rtol=0, atol=1e-13)
    assert made.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNet(2, 2, features=32),
        lambda: VNet(2, 2, features=32, boundary="periodic"),
        lambda: UNet(2, 2, features=8, style_numbers=1),
        lambda: ResidualEmulator(2, 2, features=32, blocks=2),
    ],
)
def test_prediction_gives_the_same_numbers(make, monkeypatch):
    """Folded and filtered, beside layer by layer."""
    network = learnt(make())
    filtered = []
    filtering = inference.convolve_by_filtering
    monkeypatch.setattr(
        inference, "convolve_by_filtering", lambda *given: filtered.append(1) or filtering(*given)
    )
    fields = torch.randn(1, 2, 48, 44, 44)
    styled = any(".style." in name for name, _ in network.named_parameters())
    beside = {"style": torch.ones(1, 1)} if styled else {}
    with torch.no_grad():
        expected = network(fields, **beside)
    assert not filtered
    with torch.inference_mode():
        made = network(fields, **beside)
    wide = next(network.parameters()).shape[0] >= inference.LEAST_CHANNELS
    assert bool(filtered) == wide
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_batch_norms_that_learn_are_not_folded():
    block = ConvBlock(1, 2, "CBA", dimensions=2)
    fields = torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        made = block(fields)
    torch.testing.assert_close(made, block(fields))
    assert block.convs[1].num_batches_tracked == 2


def test_rectifiers_in_place_leave_the_input_of_a_block_alone():
    for letters in ("ACA", "CAA", "A"):
        block = ConvBlock(2, 2, letters, dimensions=2)
        fields = torch.randn(1, 2, 8, 8)
        given = fields.clone().requires_grad_()
        block(given).sum().backward()
        block(fields)
        assert torch.equal(fields, given)


def test_layers_are_listed_each():
    """Whoever looks on without a gradient still sees convolutions, norms and activations."""
    layers = list_layers(UNet(2, 2, dimensions=2, features=4), torch.zeros(1, 2, 48, 48))
    convolutions = [layer for layer in layers if layer.kind.startswith("Conv")]
    assert len(convolutions) == 14
    assert sum(layer.activation == "LeakyReLU" for layer in layers) == 13


def test_the_benchmark_for_cards_runs_on_a_processor(capsys):
    path = Path(__file__).parents[1] / "benchmarks" / "structure_formation_gpu.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    size = ["--cells", "16", "--block_cells", "8", "--features", "4", "--blocks", "2"]
    module.main([*size, "--device", "cpu", "--dtype", "float32", "--variants", "jvp", "dual"])
    said = capsys.readouterr().out
    assert "noise: 0 of 262144 cells are not the processor's" in said
    assert "jvp:float32:8x8x8: " in said
    assert "16³ displacement and velocity, " in said
