"""The U-Net: any frame, any number of blocks, maps and volumes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.networks.equivariant import Symmetrised
from fieldwise.networks.unet import UNet

SMALL = {"blocks": 3, "filters": 4}


def test_parameters_are_those_of_its_blocks():
    def convolutions(features, width):
        return 9 * features * width + width + 9 * width * width + width

    widths = [32, 64, 128, 256]
    down = sum(convolutions(*pair) for pair in zip([4, *widths], widths))
    up = sum(convolutions(2 * width, width) for width in widths[:3])
    enlarge = sum(4 * 2 * width * width + width for width in widths[:3])
    network = UNet(4, 6)
    assert sum(p.numel() for p in network.parameters()) == down + up + enlarge + (32 * 6 + 6)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 20), st.integers(1, 20))
def test_frames_of_any_size_keep_their_size(rows, columns):
    assert UNet(1, 2, **SMALL)(torch.zeros(1, 1, rows, columns)).shape == (1, 2, rows, columns)


def test_a_frame_equals_the_same_frame_widened_by_zeros():
    network = UNet(2, 1, **SMALL).double()
    fields = torch.randn(1, 2, 14, 10, dtype=torch.float64)
    widened = torch.nn.functional.pad(
        fields, (1, 1, 1, 1)
    )  # to 16 x 12, multiples of four, alike on both sides
    torch.testing.assert_close(network(fields), network(widened)[:, :, 1:-1, 1:-1])


def test_mirror_symmetric_kernels_give_a_mirror_symmetric_network():
    """Padding, pooling and enlargement prefer no direction where the frame is widened by even numbers."""
    network = UNet(1, 1, **SMALL).double()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_((parameter + parameter.flip(-1)) / 2)
    fields = torch.randn(1, 1, 10, 14, dtype=torch.float64)
    torch.testing.assert_close(network(fields.flip(-1)), network(fields).flip(-1))


@pytest.mark.parametrize("side", [15, 16])  # widened by one cell on one side, not at all
def test_symmetrised_it_turns_with_the_map(side):
    network = Symmetrised(UNet(1, 1, **SMALL)).double()
    fields = torch.randn(1, 1, side, 12, dtype=torch.float64)
    torch.testing.assert_close(network(fields.rot90(dims=(-2, -1))), network(fields).rot90(dims=(-2, -1)))


def test_it_sees_farther_than_its_kernels_at_full_resolution():
    network = UNet(1, 1, blocks=4, filters=4)
    fields = torch.zeros(1, 1, 96, 96, requires_grad=True)
    network(fields)[0, 0, 48, 48].backward()
    rows = fields.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.max().item() - rows.min().item() > 2 * 14  # seven pairs of convolutions reach 14 cells


def test_volumes_are_an_argument():
    network = UNet(1, 3, blocks=2, filters=4, dimensions=3)
    assert network(torch.zeros(2, 1, 5, 6, 7)).shape == (2, 3, 5, 6, 7)


def test_one_block_is_two_convolutions():
    network = UNet(1, 1, blocks=1, filters=2)
    assert sum(p.numel() for p in network.parameters()) == (18 + 2) + (36 + 2) + (2 + 1)
    assert network(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 3, 3)


def test_wrong_options_and_fields_are_named():
    with pytest.raises(InputError, match="blocks is 0"):
        UNet(1, 1, blocks=0)
    with pytest.raises(InputError, match=r"reads \(batch, 2, y, x\), not \(1, 1, 8, 8\)"):
        UNet(2, 1)(torch.zeros(1, 1, 8, 8))
