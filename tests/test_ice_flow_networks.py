"""Physics around the network: what it leaves to be learnt, and what holds whatever has been learnt."""

import numpy as np
import pytest
import torch
from ice_flow_cases import dome

from fieldwise.networks.stress_scaled import StressScaled
from fieldwise.recipes.ice_flow.networks import describe_network
from fieldwise.recipes.ice_flow.signatures import MAP_TYPES, make_signature, read_signature, scales_of


class Silent(torch.nn.Module):
    """A network that has nothing to add to shallow ice."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, fields):
        return torch.zeros(len(fields), self.out_channels, *fields.shape[2:])


def scaled_network(network="fieldwise.networks.convnet.ConvNet", maptype="f15", **options):
    inputs, outputs = (scales_of(read_signature(maptype), side) for side in ("inputs", "outputs"))
    signature = make_signature(inputs | {"dX": 1000.0}, outputs)
    _, arguments = describe_network(network, signature, options, scaling="physics")
    torch.manual_seed(0)
    return StressScaled(**arguments)


def as_inputs(network, **fields):
    values = [torch.as_tensor(fields[name]) / scale for name, scale in network.inputs.items()]
    return torch.stack(torch.broadcast_tensors(*values))[None].float()


@pytest.fixture(scope="module")
def shape():
    random = np.random.default_rng(5)
    ice = dome((16, 16), 1, random)
    north, east = np.gradient(ice["usurf"].values[0], 100.0)
    return {"thk": ice["thk"].values[0], "slopsurfx": east, "slopsurfy": north}


def test_a_silent_network_gives_shallow_ice(shape):
    """u = (1 / C^3 + k 2 A H / (n + 1)) (rho g H s)^3 against its direction; worked out for one cell."""
    network = scaled_network(f"{__name__}.Silent")
    answer = network(as_inputs(network, **shape, arrhenius=50.0, slidingco=0.05, dX=250.0))[0] * 1000
    row, column = 8, 8
    thickness, east, north = (float(shape[name][row, column]) for name in ("thk", "slopsurfx", "slopsurfy"))
    stress = 910 * 9.81e-6 * thickness * np.hypot(east, north)
    slide, deform = stress**3 / 0.05**3, 2 * 50 / 4 * stress**3 * thickness
    for name, speed in (("velbase", slide), ("bar", slide + 0.8 * deform), ("velsurf", slide + deform)):
        found = [answer[list(network.outputs).index(axis + name), row, column].item() for axis in "uv"]
        expected = -speed * np.array([east, north]) / np.hypot(east, north)
        np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_stiffer_ice_on_a_stickier_bed_moves_slower_by_the_cube(shape):
    network = scaled_network(layers=2)
    usual = network(as_inputs(network, **shape, arrhenius=80.0, slidingco=0.04, dX=100.0))
    stiff = network(as_inputs(network, **shape, arrhenius=10.0, slidingco=0.08, dX=100.0))
    assert usual.abs().max() > 0
    torch.testing.assert_close(8 * stiff, usual, rtol=1e-3, atol=1e-6)


def test_a_glacier_of_twice_the_size_differs_by_powers_of_two(shape):
    """All lengths doubled with A C^3 halved: of the same shape, and faster by 2^3 for the bed."""
    network = scaled_network(layers=2)
    small = network(as_inputs(network, **shape, arrhenius=80.0, slidingco=0.04, dX=100.0))
    double = shape | {"thk": 2 * shape["thk"]}
    large = network(as_inputs(network, **double, arrhenius=40.0, slidingco=0.04, dX=200.0))
    torch.testing.assert_close(large, 8 * small, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("thickness", [0.0, 0.9])  # m; less than 1 m does not move
def test_rock_does_not_speak_to_the_ice(shape, thickness):
    network = scaled_network(layers=2)
    rock = shape["thk"] <= 0
    other = {name: np.where(rock, 7.0, shape[name]) for name in ("slopsurfx", "slopsurfy")}
    other["thk"] = np.where(rock, thickness, shape["thk"])
    laws = {"arrhenius": 80.0, "slidingco": 0.04, "dX": 100.0}
    first, second = (network(as_inputs(network, **each, **laws)) for each in (shape, shape | other))
    assert torch.equal(first, second)
    assert (first[..., torch.from_numpy(rock)] == 0).all()


@pytest.mark.parametrize("maptype", [name for name in MAP_TYPES if name not in ("f16", "f17", "smb")])
def test_every_velocity_map_can_be_scaled_by_physics(maptype):
    network = scaled_network(maptype=maptype, layers=1)
    channels = len(network.inputs)
    assert network(torch.rand(1, channels, 8, 8)).shape == (1, len(network.outputs), 8, 8)
