"""Maps that go on over the poles: what is beyond is what a function on the sphere has there."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convolutions.padding import (
    PaddedConvolution,
    PaddedEnlargement,
    apply_to_globe,
    choose_beyond,
    continue_globe,
    continue_map,
    spread,
)

ROWS, LONGITUDES = 6, 8


def on_sphere(cells=0):
    """A polynomial of x, y and z, at the cells of a globe and so many beyond each edge: (1, 1, y, x)."""
    latitude = np.pi / 2 - np.pi / ROWS * (np.arange(-cells, ROWS + cells) + 0.5)[:, None]
    longitude = 2 * np.pi / LONGITUDES * np.arange(-cells, LONGITUDES + cells)
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    z = np.sin(latitude) + 0 * longitude  # beyond a pole the cosine is negative: 180 degrees around
    return torch.from_numpy(x + 2 * x * y - 3 * y * z + z**3)[None, None]


def double(layer):
    return layer.double().requires_grad_(False)


@pytest.mark.parametrize("cells", [1, 3, 6, 7, 19])  # as far as the pole, and twice around the globe
def test_beyond_the_edge_is_what_the_sphere_has_there(cells):
    torch.testing.assert_close(continue_globe(on_sphere(), cells), on_sphere(cells))


def test_a_mirrored_row_without_the_turn_would_be_another():
    wrong = functional.pad(on_sphere(), (1, 1, 0, 0), "circular")[:, :, :1]
    assert (wrong - on_sphere(1)[:, :, :1]).abs().max() > 0.5


@pytest.mark.parametrize("dilation", [1, 2, 9])
def test_convolutions_near_a_pole_are_those_of_the_sphere(dilation):
    layer = double(PaddedConvolution(1, 3, 3, beyond="zonal", dilation=dilation))
    expected = functional.conv2d(on_sphere(dilation), layer.weight, dilation=dilation)
    torch.testing.assert_close(layer(on_sphere()), expected)


def test_a_globe_upside_down_gives_the_same_upside_down():
    """Turned by half around an axis through the equator: rows and columns are reversed."""
    layer = double(PaddedConvolution(1, 1, 3, beyond="zonal"))
    turned = double(PaddedConvolution(1, 1, 3, beyond="zonal"))
    turned.weight.copy_(layer.weight.flip(2, 3))
    globe = torch.randn(1, 1, ROWS, LONGITUDES, dtype=torch.float64)
    torch.testing.assert_close(turned(globe.flip(2, 3)), layer(globe).flip(2, 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_published_paddings_are_those_of_torch(stride):
    globe = on_sphere()
    zeros = double(PaddedConvolution(1, 2, 5, beyond="zeros", stride=stride))
    torch.testing.assert_close(
        zeros(globe), functional.conv2d(functional.pad(globe, (2,) * 4), zeros.weight, stride=stride)
    )
    torch.testing.assert_close(
        continue_map(globe, 3, "circular"), functional.pad(globe, (3,) * 4, mode="circular")
    )


@pytest.mark.parametrize("factor", [1, 2])
def test_enlarged_globes_are_those_of_what_is_around_them(factor):
    layer = double(PaddedEnlargement(1, 2, beyond="zonal", factor=factor))
    wide = functional.conv_transpose2d(on_sphere(4), layer.weight, stride=factor, padding=1)
    start = 4 * factor
    inner = wide[..., start : start + factor * ROWS, start : start + factor * LONGITUDES]
    torch.testing.assert_close(layer(on_sphere()), inner)


def test_enlarged_maps_are_those_of_torch():
    layer = double(PaddedEnlargement(1, 2, beyond="zeros"))
    plain = double(nn.ConvTranspose2d(1, 2, 3, 2, padding=1, output_padding=1, bias=False))
    plain.load_state_dict(layer.state_dict())
    assert layer(on_sphere()).shape == (1, 2, 2 * ROWS, 2 * LONGITUDES)
    torch.testing.assert_close(layer(on_sphere()), plain(on_sphere()))


def test_spread_globes_are_those_of_what_is_around_them():
    wide = functional.interpolate(on_sphere(2), scale_factor=4, mode="bilinear")
    inner = wide[..., 8:-8, 8:-8]
    torch.testing.assert_close(spread(on_sphere(), (4 * ROWS, 4 * LONGITUDES), beyond="zonal"), inner)


def test_gradients_come_back_over_the_poles():
    globe = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda fields: continue_globe(fields, 5), globe)


def test_channels_that_come_last_in_memory_stay_there():
    globe = torch.zeros(1, 8, ROWS, LONGITUDES).contiguous(memory_format=torch.channels_last)
    assert continue_globe(globe, 2).is_contiguous(memory_format=torch.channels_last)


def test_what_cannot_be_is_named():
    with pytest.raises(InputError, match="a globe of 7 longitudes has none 180 degrees"):
        continue_globe(torch.zeros(1, 1, 4, 7), 1)
    with pytest.raises(InputError, match="padding is 'reflect'; take published or zonal"):
        choose_beyond("reflect", "zeros")


@pytest.mark.parametrize("step", [2, 4])  # 6 rows are read as 6 and 8
def test_rows_that_are_wanting_are_those_beyond_the_poles(step):
    """What the network reads is the sphere, as far as it goes; what it gives is cut to what was given."""
    seen = []

    def network(fields):
        seen.append(fields)
        return fields

    answer = apply_to_globe(network, on_sphere()[..., :ROWS, :], step)
    torch.testing.assert_close(answer, on_sphere())
    more = seen[0].shape[2] - ROWS
    assert more == -ROWS % step
    torch.testing.assert_close(seen[0], on_sphere(1)[:, :, 1 - more // 2 : ROWS + 1 + more // 2, 1:-1])


DILATED = """
import torch
from fieldwise.networks.convolutions.padding import PaddedConvolution
torch.manual_seed(0)
layer = PaddedConvolution(32, 32, 3, beyond="zonal", dilation=2, groups=32)
features = torch.randn(1, 32, 24, 36).contiguous(memory_format=torch.channels_last)
gradients = []
for halved in (False, True):
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        (gradient,) = torch.autograd.grad(layer(features).float().square().sum(), layer.weight)
    gradients.append(gradient)
torch.testing.assert_close(gradients[1], gradients[0], rtol=0.02, atol=0.02 * gradients[0].abs().max().item())
"""


def test_gradients_in_bf16_do_not_hold_what_memory_held_before():
    """In a process whose memory is never fresh, as after hours of training: allocated it is full of 3e38."""
    dirty = {"MALLOC_PERTURB_": "128", "MALLOC_MMAP_THRESHOLD_": "8000000000"}
    subprocess.run([sys.executable, "-c", DILATED], env=os.environ | dirty, check=True, timeout=120)


@pytest.mark.parametrize("cells", [1, 4, 5, 13])  # more than there are, too
@pytest.mark.parametrize(("beyond", "mode"), [("reflect", "reflect"), ("circular", "wrap")])
def test_maps_without_poles_are_continued_as_numpy_pads(cells, beyond, mode):
    fields = torch.randn(2, 3, 5, 7)
    expected = np.pad(fields.numpy(), [(0, 0), (0, 0), (cells, cells), (cells, cells)], mode=mode)
    assert np.array_equal(continue_map(fields, cells, beyond).numpy(), expected)
