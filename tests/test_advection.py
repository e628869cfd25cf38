"""Fields that are carried along: exact where the kernel is known, alike wherever they begin."""

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
