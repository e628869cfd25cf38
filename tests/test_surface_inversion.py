import numpy as np
import pytest

from fieldwise.physics.local_filters import filter_locally
from fieldwise.physics.spectra import power_law_spectrum, variance_of, wavenumbers
from fieldwise.physics.surface_inversion import Doubt, invert_surface
from fieldwise.physics.surface_transfer import LocalTransfer, expand_transfer

SPACING, SIZE = 1e3, 128


@pytest.fixture(scope="module")
def flow() -> dict[str, np.ndarray]:
    """Ice that speeds up, thins and turns from east to north."""
    north, east = np.mgrid[0:1:128j, 0:1:128j]
    return {
        "thickness_m": 1800 - 800 * east,
        "slip": 2 * 10**east,
        "slope": 0.004 + 0.008 * east,
        "direction": 0.3 + 0.6 * north,
    }


def draw_bed(seed: int) -> np.ndarray:
    east, north = wavenumbers((SIZE, SIZE), SPACING)
    power = power_law_spectrum(east, north, rolloff_m=10e3, stretch=1.0)
    amplitude = np.sqrt(power / variance_of(power, SIZE, SPACING)) * 60 / SPACING
    white = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
    return filter_locally(white, [amplitude], [np.ones((SIZE, SIZE))])


def see(bed: np.ndarray, flow: dict[str, np.ndarray], terms: int = 48) -> np.ndarray:
    local = expand_transfer(**flow, rng=np.random.default_rng(1), terms=terms)
    return filter_locally(bed, local.responses(*wavenumbers(bed.shape, SPACING)), local.weights)


def test_the_sum_is_the_transfer_of_every_place(flow):
    """Places that were not sampled, against one place's own filter applied to the whole field."""
    bed = draw_bed(1)
    seen = see(bed, flow)
    for row, column in ((20, 100), (64, 64), (100, 30)):
        here = {name: np.full(values.shape, values[row, column]) for name, values in flow.items()}
        alone = see(bed, here, terms=1)
        assert seen[row, column] == pytest.approx(alone[row, column], abs=0.03 * float(seen.std()))


def test_few_terms_are_enough(flow):
    bed = draw_bed(2)
    many, few = see(bed, flow, terms=96), see(bed, flow, terms=24)
    assert np.abs(many - few).std() < 0.02 * many.std()


def test_responses_do_not_depend_on_how_modes_are_laid_out(flow):
    local = expand_transfer(**flow, rng=np.random.default_rng(1), terms=8)
    assert isinstance(local, LocalTransfer)
    east, north = wavenumbers((16, 12), SPACING)
    whole = local.responses(east, north)
    assert whole.shape == (8, 16, 7)
    one = local.responses(east[0, 3], north[5, 0])
    np.testing.assert_allclose(whole[:, 5, 3], one, rtol=1e-4, atol=1e-6)


def test_the_surface_tells_of_a_bed_that_the_lowres_map_lacks(flow):
    lowres, departure = 3 * draw_bed(3), draw_bed(4)
    surface = see(lowres + departure, flow) + 0.2 * np.random.default_rng(5).standard_normal((SIZE, SIZE))
    inner = np.s_[16:-16, 48:-16]  # where ice is fast enough to pass much of the bed on
    found = invert_surface(surface, lowres, **flow, trust=np.ones((SIZE, SIZE)), spacing=SPACING)
    assert (found - departure)[inner].std() < 0.8 * departure[inner].std()
    assert np.corrcoef(found[inner].ravel(), departure[inner].ravel())[0, 1] > 0.6


def test_floating_ice_tells_nothing(flow):
    trust = np.ones((SIZE, SIZE))
    trust[:, :64] = 0
    surface = see(draw_bed(6), flow)
    found = invert_surface(surface, np.zeros_like(surface), **flow, trust=trust, spacing=SPACING)
    afloat, around = found[:, 24:40], found[:, 64:]  # the field is periodic: its other edge is felt too
    assert np.abs(afloat).max() < 0.05 * np.abs(around).max()
    assert not invert_surface(surface, 0 * surface, **flow, trust=0 * trust, spacing=SPACING).any()


def test_a_flat_surface_above_a_flat_bed_gives_no_departure(flow):
    flat = np.full((SIZE, SIZE), 1200.0)
    found = invert_surface(flat, flat - 1500, **flow, trust=np.ones(flat.shape), spacing=SPACING)
    assert np.abs(found).max() < 1e-3


def test_flights_and_surface_together_tell_more_than_either(flow):
    """Flights 12 km apart from north to south, in all cells 4 km and more away from them."""
    lowres, departure = 3 * draw_bed(3), draw_bed(4)
    noise = 0.2 * np.random.default_rng(5).standard_normal((SIZE, SIZE))
    surface, trust = see(lowres + departure, flow) + noise, np.ones((SIZE, SIZE))
    flown = np.arange(SIZE) % 12 == 0
    picked = np.where(flown, departure, np.nan)
    options = {**flow, "spacing": SPACING}
    both = invert_surface(surface, lowres, **options, trust=trust, picked=picked)
    alone = invert_surface(surface, lowres, **options, trust=trust)
    kriged = invert_surface(surface, lowres, **options, trust=0 * trust, picked=picked)
    between = np.s_[16:-16, 48:-16][0], np.isin(np.arange(SIZE) % 12, range(4, 9)) & (np.arange(SIZE) > 48)
    errors = [float((each - departure)[between].std()) for each in (both, alone, kriged)]
    assert errors[0] < 0.85 * min(errors[1:])
    assert (both - departure)[:, flown].std() < 15  # within the noise that picks are said to have


def test_picks_below_floating_ice_are_kriged(flow):
    """One pick where the surface says nothing: its departure around it, and nothing far away."""
    picked = np.full((SIZE, SIZE), np.nan)
    picked[64, 64] = 80.0
    flat = np.full((SIZE, SIZE), 50.0)
    found = invert_surface(flat, flat - 600, **flow, trust=0 * flat, spacing=SPACING, picked=picked)
    assert found[64, 64] == pytest.approx(80 * (80**2 + 20**2) / (80**2 + 20**2 + 20**2), rel=1e-3)
    assert np.abs(found).max() == pytest.approx(found[64, 64])
    assert np.abs(found[:8]).max() < 4


def test_what_moves_the_ice_carries_a_flight_downstream(flow):
    """Ice flows to the east, as fast as a bed unlike the low-res one lets it; one flight, exact speeds."""
    departure = draw_bed(7)
    flat = np.full((SIZE, SIZE), 900.0)
    speed = 400e3 / (900 - departure)  # of a flux of 400,000 m2 a-1 everywhere: no snow falls
    picked = np.where(np.arange(SIZE) == 8, departure, np.nan)
    options = {**flow, "spacing": SPACING, "trust": np.ones((SIZE, SIZE)), "picked": picked}
    moving = {"eastward": speed, "northward": 0 * speed}
    inner = np.s_[8:-8, 12:-12]

    def miss(flow_doubt: float, **velocity) -> float:
        found = invert_surface(flat, 0 * flat, **options, **velocity, doubt=Doubt(np.inf, flow_doubt))
        return float((found - departure)[inner].std() / departure[inner].std())

    assert miss(0.1, **moving) < 0.3
    assert miss(np.inf, **moving) == miss(0.1) > 0.9
    unknown = {name: np.where(np.arange(SIZE) < 64, np.nan, values) for name, values in moving.items()}
    assert miss(0.1, **moving) < miss(0.1, **unknown) < 0.9


def test_snow_that_falls_is_carried_off(flow):
    """Under a level surface the flux grows by what falls; a bed that sinks as fast keeps the speed."""
    flat = np.full((SIZE, SIZE), 900.0)
    thickness = 900 + 2.0 * np.arange(SIZE) + 0 * flat  # by 2 m a kilometre
    options = {**flow, "spacing": SPACING, "trust": np.ones((SIZE, SIZE)), "accumulation": 0.4}
    found = invert_surface(
        flat,
        flat - thickness,
        **options,
        eastward=0 * flat + 200.0,  # 200 m/a x 2 m/km = 0.4 m/a
        northward=0 * flat,
        doubt=Doubt(np.inf, 1.0),
    )
    assert np.abs(found).max() < 0.1
