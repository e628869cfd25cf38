"""Fields that are carried along: exact where the kernel is known, alike wherever they begin."""

from itertools import pairwise

import pytest
import torch

from fieldwise.networks.forecasting.advection import Advection, StochasticAdvection
from fieldwise.networks.noise import WorldNoise


def sequences(cells=(10, 12), forcing=1):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 2, *cells, generator=generator)
    return inputs, torch.randn(2, 7, forcing, *cells, generator=generator)


def test_a_known_wind_carries_fields_exactly():
    """A kernel of one cell that is 1 moves by whole cells; what is taken off is the frame itself."""
    network = Advection(2, padding="circular", carried=2, reach=5)
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
        for channel in (0, 1):
            network.carry.weight[channel, channel, 2 - 1, 2 - 2] = 0.9  # from one row and two columns before
            network.carry.weight[channel, channel, 2, 2] = -1
            network.skip.weight[channel, channel] = 1
        inputs, _ = sequences()
        told = network(inputs, horizon=4)
    for hour in range(1, 5):
        expected = 0.9**hour * inputs[:, -1].roll((hour, 2 * hour), (-2, -1))
        torch.testing.assert_close(told[:, hour - 1], expected)


@pytest.mark.parametrize("kind", [Advection, StochasticAdvection])
def test_a_periodic_world_may_begin_anywhere(kind):
    network = kind(2, forcing=1, padding="circular")
    inputs, forcing = sequences()

    def noise(level, shape, like):
        return torch.randn(shape, generator=torch.Generator().manual_seed(level))

    def moved(level, shape, like):
        return noise(level, shape, like).roll((3, -4), (-2, -1))

    options = [{}, {}] if kind is Advection else [{"noise": noise}, {"noise": moved}]
    with torch.no_grad():
        here = network(inputs, horizon=4, forcing=forcing, **options[0])
        shifted = [each.roll((3, -4), (-2, -1)) for each in (inputs, forcing)]
        there = network(shifted[0], horizon=4, forcing=shifted[1], **options[1])
    torch.testing.assert_close(there, here.roll((3, -4), (-2, -1)))


def test_members_are_the_same_alone_and_beside_others():
    network, (inputs, forcing) = StochasticAdvection(2, forcing=1, padding="circular"), sequences()

    def noise(member):
        return WorldNoise(seed=5, member=member, origin=(0, 0), window=(10, 12), period=(10, 12))

    with torch.no_grad():
        both = network(inputs, horizon=4, forcing=forcing, noise=noise([3, 4]))
        alone = network(inputs[1:], horizon=4, forcing=forcing[1:], noise=noise(4))
    torch.testing.assert_close(both[1:], alone)
    assert not torch.equal(both[0], both[1])


def two_winds(turns):
    """A network whose kernels carry a map by a row to the south or to the north; `turns`: it may turn."""
    network = StochasticAdvection(1, padding="circular", carried=1, reach=3, planes=0, ways=2, context=4)
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
        for way, row in ((0, 0), (1, 2)):
            network.carry.weight[way, 0, row, 1] = 1
            network.carry.weight[way, 0, 1, 1] = -1
        network.skip.weight[0, 0] = 1
        network.steering.renewal.bias.fill_(9.0 if turns else -9.0)
    return network


def draw_members(network, inputs, count=16):
    world = {"seed": 1, "origin": (0, 0), "window": inputs.shape[-2:]}
    with torch.no_grad():
        members = [
            network(inputs, horizon=3, noise=WorldNoise(member=each, **world)) for each in range(count)
        ]
    return [member[0, :, 0] for member in members]


def test_members_go_one_way_or_the_other_as_a_whole():
    blob = torch.zeros(1, 4, 1, 12, 12)
    blob[:, :, 0, 6, 5] = 1
    network = two_winds(turns=True)
    members, again = draw_members(network, blob), draw_members(network, blob)
    rows = [[int(hour.argmax()) // 12 for hour in member] for member in members]
    assert {row[0] for row in rows} == {5, 7}  # both ways are seen
    assert all(abs(later - before) == 1 for row in rows for before, later in pairwise(row))
    for member, other in zip(members, again, strict=True):
        torch.testing.assert_close(member.amax((1, 2)), torch.ones(3), rtol=0, atol=0.02)  # hardly any blend
        torch.testing.assert_close(member, other, rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, -1])
def test_where_no_new_way_is_drawn_maps_go_on_as_in_the_last_hour(step):
    first = torch.randn(1, 1, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    inputs = torch.cat([first.roll(hour * step, -2) for hour in range(4)], dim=1)
    for member in draw_members(two_winds(turns=False), inputs, count=3):
        expected = [inputs[0, -1, 0].roll(hour * step, -2) for hour in (1, 2, 3)]
        torch.testing.assert_close(member, torch.stack(expected), rtol=0, atol=1e-4)
