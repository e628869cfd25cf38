"""The daily cycle: the response to the sun, worlds that it forecasts exactly, and the weather's terms."""

import numpy as np
import pytest
import torch

from fieldwise.networks.forecasting.daily_cycle import DailyCycle
from fieldwise.physics.temperature_forecast.sunshine import cosine_of_zenith

DAY, CONTEXT, HORIZON, CELLS = 24, 25, 12, (6, 8)


def days_of_sun(hours=60, cells=CELLS, first=0):
    """Sunshine of equal days, (1, hours, 1, y, x)."""
    hour = torch.arange(first, first + hours, dtype=torch.double)
    sun = torch.cos(2 * torch.pi * (hour - 12) / DAY).clamp(min=0)
    return sun.view(1, -1, 1, 1, 1).expand(1, -1, 1, *cells)


def forecast(network, maps, sun, begin):
    """Forecast from a context that begins at an hour; give the truth beside it."""
    known, end = slice(begin, begin + CONTEXT), begin + CONTEXT + HORIZON
    with torch.no_grad():
        told = network.double()(maps[:, known], forcing=sun[:, begin:end])
    return told, maps[:, begin + CONTEXT : end]


def test_warmth_fades_by_e_in_the_time_of_relaxation():
    """Sun in one hour of the day: what it brought falls by e^(-1/3) an hour, and lasts into the next day."""
    sun = torch.zeros(1, 30, 1, 1, 1)
    sun[:, [5, 29]] = 1.0
    warmth = DailyCycle(1, relaxation=3.0).warm_by_sun(sun).flatten()
    ratios = (warmth[1:29] / warmth[:28]).numpy()
    np.testing.assert_allclose(np.delete(ratios, 4), np.exp(-1 / 3), rtol=1e-5)
    assert warmth[29] == pytest.approx(warmth[5].item())
    assert warmth[:24].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("begin", [0, 7, 18])
def test_a_world_of_cycles_is_forecast_exactly_untrained(begin):
    """Each cell warms with the sun by an amount of its own, that grows smoothly over rows; no weather."""
    network, sun = DailyCycle(1, context=CONTEXT), days_of_sun()
    strength = torch.linspace(0, 4, CELLS[1], dtype=torch.double).expand(CELLS)
    maps = 280 + strength * network.double().warm_by_sun(sun)
    told, true = forecast(network, maps, sun, begin)
    inside = (..., slice(1, -1))  # three cells of a line have the strength of the middle one
    torch.testing.assert_close(told[inside], true[inside], rtol=0, atol=1e-4)
    assert (true - maps[:, begin + CONTEXT - 1 : begin + CONTEXT]).abs().max() > 0.5


def test_units_of_the_sun_and_levels_of_the_maps_do_not_matter():
    """As signatures scale them: both may be moved and multiplied."""
    torch.manual_seed(0)
    network, sun = DailyCycle(1), days_of_sun(CONTEXT + HORIZON)
    torch.nn.init.normal_(network.weights)
    maps = torch.randn(1, CONTEXT, 1, *CELLS, dtype=torch.double)
    with torch.no_grad():
        plain = network.double()(maps, forcing=sun)
        scaled = network(280 + 3 * maps, forcing=50 + 20 * sun)
    torch.testing.assert_close(scaled, 280 + 3 * plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("term", "since"), [(1, 1), (3, 3)])
def test_a_steady_trend_is_told_by_a_term(term, since):
    """Without sun all is weather: with a weight of lead / since, what warms by 0.1 K an hour goes on so."""
    network, sun = DailyCycle(1), torch.zeros(1, 60, 1, *CELLS, dtype=torch.double)
    maps = 0.1 * torch.arange(60, dtype=torch.double).view(1, -1, 1, 1, 1).expand(1, -1, 1, *CELLS)
    with torch.no_grad():
        network.weights[:, term] = torch.arange(1.0, HORIZON + 1).view(-1, 1, 1, 1) / since
    told, true = forecast(network, maps, sun, 4)
    torch.testing.assert_close(told, true, rtol=1e-5, atol=1e-5)


def test_what_yesterday_brought_is_brought_again_by_its_weight():
    """Without sun, and with a weight of 1, changes are those of yesterday's same hours, a day on too."""
    network, sun = DailyCycle(1, horizon=2 * DAY), torch.zeros(1, CONTEXT + 2 * DAY, 1, *CELLS)
    maps = torch.randn(1, CONTEXT, 1, *CELLS)
    with torch.no_grad():
        network.weights[:, 0] = 1.0
        told = network(maps, forcing=sun)
    expected = maps[:, 1:] - maps[:, :1] + maps[:, -1:]
    torch.testing.assert_close(told, torch.cat([expected, expected], dim=1), rtol=1e-4, atol=1e-4)


def test_means_around_count_squares_of_cells():
    """One cell that is warmer now: a mean over 17 x 17 cells has a 289th of it, one over 7 x 7 a 49th."""
    network, sun = DailyCycle(1, padding="zeros"), torch.zeros(1, CONTEXT + HORIZON, 1, 21, 21)
    maps = torch.zeros(1, CONTEXT, 1, 21, 21)
    maps[:, -1, :, 10, 10] = 1.0
    now = 1 - 1 / DAY  # above the mean of the day
    found = {}
    for term in (2, 6):
        with torch.no_grad():
            network.weights.zero_()
            network.weights[:, term] = 1.0
            found[term] = (network(maps, forcing=sun) - maps[:, -1:])[0, 0, 0]
    assert found[2][10, 10] == pytest.approx(1 / 49 - 1)
    assert found[2][7, 13] == pytest.approx(1 / 49)
    assert found[2][6, 10] == 0
    assert found[6][10, 10] == pytest.approx(now / 289 - now, rel=1e-5)
    assert found[6][2, 18] == pytest.approx(now / 289, rel=1e-5)


def test_polar_night_is_finite():
    hours = np.arange(CONTEXT + HORIZON) + 24.0 * 365
    sun = np.maximum(0, cosine_of_zenith(hours, np.array([80.0, 79.0]), np.arange(3.0)))
    assert not sun.any()
    told = DailyCycle(1)(
        torch.randn(1, CONTEXT, 1, 2, 3), forcing=torch.from_numpy(sun).float()[None, :, None]
    )
    assert told.isfinite().all()
