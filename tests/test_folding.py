"""Fields of several spacings folded into channels: what goes where, and what is refused."""

import pytest
import torch
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.channels import Channels
from fieldwise.networks.noise import WorldNoise
from fieldwise.networks.valid.blocks import crop
from fieldwise.networks.valid.folding import FoldingSuperResolver
from fieldwise.networks.valid.superresolution import StochasticSuperResolver

FIELDS = [Channels("bed", 1, 1000.0), Channels("velocity", 2, 500.0), Channels("radar", 1, 250.0)]


def make(**options):
    torch.manual_seed(3)
    network = FoldingSuperResolver(FIELDS, scale_factor=4, features=4, **{"blocks": [2, 1, 0], **options})
    torch.nn.init.normal_(network.last.weight)
    return network.eval()


def draw(cells):
    torch.manual_seed(5)
    return {
        each.name: torch.randn(1, each.channels, *[cells * round(1000 / each.spacing_m)] * 2)
        for each in FIELDS
    }


@torch.no_grad()
def test_folded_fields_are_the_channels_of_a_super_resolver():
    """Channel c k^2 + i k + j of the folded field is that of the cell in row i and column j, by hand."""
    network, fields = make(), draw(16)
    plain = StochasticSuperResolver(
        1 + 2 * 4 + 16,
        1,
        dimensions=2,
        scale_factor=4,
        features=4,
        blocks=[2, 1, 0],
        boundary="valid",
        bypass=False,
    )
    plain.load_state_dict(network.state_dict())
    cells = [fields["bed"]]
    for name, ratio in (("velocity", 2), ("radar", 4)):
        for channel in fields[name].unbind(1):
            cells += [channel[:, None, i::ratio, j::ratio] for i in range(ratio) for j in range(ratio)]
    silence = lambda level, shape, like: torch.zeros(shape)  # noqa: E731
    torch.testing.assert_close(network(fields, silence), plain(torch.cat(cells, dim=1), silence))


@torch.no_grad()
def test_a_block_of_a_member_is_that_part_of_the_whole():
    network, fields, margin = make(), draw(32), make().margin
    planes = [factor for factor, _ in network.noise_planes]
    whole = WorldNoise(1, 2, (-margin, -margin), (32, 32), factors=planes)
    made = crop(network(fields, whole), network.surplus)
    first, size = 5, 32 - 2 * margin - 7
    window = slice(first, first + size + 2 * margin)
    cut = {
        each.name: fields[each.name][..., *[slice(window.start * k, window.stop * k)] * 2]
        for each in FIELDS
        for k in [round(1000 / each.spacing_m)]
    }
    noise = WorldNoise(1, 2, (first - margin,) * 2, (size + 2 * margin,) * 2, factors=planes)
    block = crop(network(cut, noise), network.surplus)
    part = slice(4 * first, 4 * (first + size))
    torch.testing.assert_close(block, made[..., part, part])


def test_the_margin_counts_blocks_of_each_resolution():
    """1 + 2 x 2 cells of 1 km, in cells of 500 m twice as many and 2 x 1, in those of 250 m twice that."""
    network = make()
    assert (network.cut, network.margin, network.surplus) == (2 * (2 * 5 + 2), 6, 0)
    assert network.noise_planes == ((1, 1), (1, 3), (2, 10))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="spacing of 300"):
        FoldingSuperResolver([Channels("bed", 1, 1000.0), Channels("odd", 1, 300.0)], scale_factor=4)
    with pytest.raises(
        InputError, match=r"blocks are \[1, 2\]; give a whole number above 0, or one for each of 3"
    ):
        make(blocks=[1, 2])
    network, fields = make(), draw(16)
    with pytest.raises(InputError, match="the network reads radar too"):
        network({"bed": fields["bed"], "velocity": fields["velocity"]})
    with pytest.raises(InputError, match="input radar has shape"):
        network(fields | {"radar": functional.pad(fields["radar"], (0, 4))})


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"level_by": "spread", "levelled": ["bed", "radar"]}])
def test_a_block_of_a_network_that_coarsens_is_that_part_of_the_whole(options):
    inputs = [*FIELDS, Channels("spread", 1, 1000.0)]
    torch.manual_seed(3)
    network = FoldingSuperResolver(
        inputs, scale_factor=4, features=[8, 6, 6, 4, 4], blocks=[1, 1, 1, 1, 2], coarsenings=2, **options
    ).eval()
    torch.nn.init.normal_(network.last.weight)
    margin, cells = network.margin, 40
    fields = draw(cells + 2 * margin) | {"spread": torch.rand(1, 1, *[cells + 2 * margin] * 2) + 0.5}
    planes = [factor for factor, _ in network.noise_planes]
    whole = WorldNoise(1, 2, (-margin, -margin), (cells + 2 * margin,) * 2, factors=planes)
    made = crop(network(fields, whole), network.surplus)
    assert made.shape == (1, 1, 4 * cells, 4 * cells)
    first, size = 12, 16
    cut = {
        each.name: fields[each.name][..., *[slice(first * k, (first + size + 2 * margin) * k)] * 2]
        for each in inputs
        for k in [round(1000 / each.spacing_m)]
    }
    noise = WorldNoise(1, 2, (first - margin,) * 2, (size + 2 * margin,) * 2, factors=planes)
    block = crop(network(cut, noise), network.surplus)
    part = slice(4 * first, 4 * (first + size))
    torch.testing.assert_close(block, made[..., part, part])
    with pytest.raises(InputError, match="reads 2 and a multiple of 4 cells"):
        network(
            {
                name: field[..., : -round(field.shape[-1] / (cells + 2 * margin))]
                for name, field in fields.items()
            }
        )


@torch.no_grad()
def test_a_relief_ten_times_as_high_is_drawn_ten_times_as_high():
    """All of the relief grows alike, and the network is one that does not look at how high it is."""
    inputs = [Channels("bed", 1, 1000.0), Channels("spread", 1, 1000.0)]
    torch.manual_seed(3)
    options = {"scale_factor": 4, "features": 4, "blocks": 1, "level_by": "spread", "levelled": ["bed"]}
    network = FoldingSuperResolver(inputs, **options).eval()
    torch.nn.init.normal_(network.last.weight)
    network.first.weight[:, 1] = 0
    fields = {"bed": torch.randn(1, 1, 20, 20), "spread": torch.rand(1, 1, 20, 20) + 0.5}
    silence = lambda level, shape, like: torch.zeros(shape)  # noqa: E731
    low, high = (
        network({name: height * field for name, field in fields.items()}, silence) for height in (1, 10)
    )
    torch.testing.assert_close(high, 10 * low)
