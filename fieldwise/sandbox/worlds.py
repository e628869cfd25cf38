"""What a made sector of Antarctica is like: a world of stated quantities, or one drawn from priors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from fieldwise.errors import InputError

MOST_STREAMS, STREAMS_REACH_M = 4, 120e3


class Prior(NamedTuple):
    """How a quantity of a world is drawn: evenly, evenly in its logarithm, or as a whole number."""

    spread: Literal["log", "even", "whole"]
    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value.

        >>> rng = np.random.default_rng(7)
        >>> halves = [Prior("log", 1, 100).draw(rng) < 10 for _ in range(1000)]
        >>> abs(sum(halves) - 500) < 50
        True
        """
        if self.spread == "whole":
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if self.spread == "log":
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))


def _given(default: float, spread: Literal["log", "even", "whole"], low: float, high: float) -> Any:
    """Declare a quantity: its default, and the range that `draw_world` draws it from."""
    return field(default=default, metadata={"prior": Prior(spread, low, high)})


@dataclass(frozen=True)
class World:
    """What a made sector is like and how it is observed; the defaults are the sandbox's own world.

    Beside each default stands the range that `draw_world` draws from. Ranges are broad: what a network has
    not seen it cannot know. What each quantity is, and what speaks for its range:

    =================================== =================================================================
    bed_roughness_m                     Standard deviation of the random part of the bed. The root of
                                        half the mean squared difference of radar picks 10 km apart is
                                        370 m at Byrd Glacier (Bedmap), 220 m at 79 North, and 120 m in
                                        the default world.
    bed_spectral_slope                  Fall of its power with wavenumber: variograms of the same picks
                                        at 0.4 to 25 km stand for 2.5 to 3.9.
    bed_rolloff_m                       Wavelength beyond which power no longer grows: that of the
                                        largest hills.
    bed_stretch                         Length over width of its features, which lie along the flow; 1 is
                                        no grain.
    bed_level_m, bed_rise_m             Mean bed at the grounding line, and its rise to the divide: from
                                        marine beds that fall inland to dry ones. At Byrd Glacier nine
                                        tenths lie at -1580 to 520 m.
    trough_depth_m, .._width_m          Troughs under ice streams, the width as a standard deviation.
    mountains, .._height_m              Their number, and the height of the highest that can be; the
                                        lowest has half of it.
    stream_axes_m                       Where ice streams meet the coast, to the north of the sector's
                                        middle; 1 to 4 are drawn.
    shelf_share                         Share of the sector's width beyond the grounding line; below 0,
                                        how far inland it lies.
    divide_m                            From the grounding line to the ice divide.
    coast_surface_m, profile_height_m   Surface at the grounding line, and its rise to the divide. A
                                        plastic profile of 210 km and 30 to 150 kPa rises 1.2 to 2.6 km.
    accumulation_inland, .._coast       kg m-2 a-1 far inland, and what comes on top at the coast: some
                                        tens on the plateau, more than a thousand on steep coasts
                                        (Arthern et al. 2006, doi 10.1029/2004JD005667).
    speed_factor                        Speed over balance speed: ice streams are out of balance.
    speed_limit_m_a                     Pine Island Glacier reaches 4000 (Rignot et al. 2011, doi
                                        10.1126/science.1208336).
    sliding_starts_m_a, .._is_full_m_a  Speeds (mean over depth) at which slip begins to grow from the
                                        slowest and reaches the fastest; it grows with the logarithm of
                                        speed.
    slowest_slip, fastest_slip          Sliding over deformational speed: from nearly frozen to the bed
                                        to soft till.
    surface_noise_m                     White, of 100 m cells. REMA is good to about a metre (Howat et
                                        al. 2019, doi 10.5194/tc-13-665-2019); firn and sastrugi come on
                                        top.
    surface_blurred_noise_m, .._blur_m  A part that neighbours share, and how far (standard deviation of
                                        the blur).
    surface_holes, velocity_holes       Share of the cells that is missing.
    velocity_noise_m_a                  Stated errors are below 1 (phase) to 17 (Rignot et al. 2011).
    pick_noise_m, flight_bias_m         Of radar: what each pick is off by itself, and a whole flight
                                        together. Crossing flights differ by metres to tens of metres.
    pick_gap_m                          Flown from one loss of the bed to the next, on average.
    line_spacing_m, .._wander_m         Of the sparse lines that the low-res bed comes from, and how far
                                        they stray: 5 km in good surveys, tens of kilometres elsewhere.
    =================================== =================================================================

    >>> World().bed_roughness_m, World(line_spacing_m=5e3).line_spacing_m
    (160.0, 5000.0)
    >>> World(bed_roughness_m=0.0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: World: bed_roughness_m is 0; give a number above 0
    """

    bed_roughness_m: float = _given(160.0, "log", 60, 600)
    bed_spectral_slope: float = _given(3.2, "even", 2.5, 4.0)
    bed_rolloff_m: float = _given(60e3, "log", 20e3, 120e3)
    bed_stretch: float = _given(2.0, "log", 1, 5)
    bed_level_m: float = _given(-380.0, "even", -1000, 200)
    bed_rise_m: float = _given(250.0, "even", -400, 800)
    trough_depth_m: float = _given(450.0, "log", 100, 1200)
    trough_width_m: float = _given(8e3, "log", 4e3, 16e3)
    mountains: int = _given(7, "whole", 0, 20)
    mountain_height_m: float = _given(600.0, "log", 200, 1500)
    stream_axes_m: tuple[float, ...] = (-95e3, -10e3, 70e3)

    shelf_share: float = _given(0.06, "even", -1.0, 0.2)
    divide_m: float = _given(210e3, "log", 150e3, 500e3)
    coast_surface_m: float = _given(60.0, "even", 20, 200)
    profile_height_m: float = _given(1750.0, "log", 1100, 3200)
    accumulation_inland: float = _given(250.0, "log", 40, 600)
    accumulation_coast: float = _given(650.0, "log", 100, 1500)
    speed_factor: float = _given(1.0, "log", 0.5, 2)
    speed_limit_m_a: float = _given(1500.0, "log", 700, 4000)
    sliding_starts_m_a: float = _given(10.0, "log", 4, 25)
    sliding_is_full_m_a: float = _given(300.0, "log", 100, 1000)
    slowest_slip: float = _given(1.0, "log", 0.3, 3)
    fastest_slip: float = _given(30.0, "log", 8, 200)

    surface_noise_m: float = _given(0.9, "log", 0.2, 3)
    surface_blurred_noise_m: float = _given(0.45, "log", 0.1, 2)
    surface_blur_m: float = _given(300.0, "log", 150, 1000)
    surface_holes: float = _given(0.03, "log", 0.003, 0.15)
    velocity_noise_m_a: float = _given(3.0, "log", 0.5, 15)
    velocity_holes: float = _given(0.02, "log", 0.003, 0.1)
    pick_noise_m: float = _given(12.0, "log", 4, 40)
    flight_bias_m: float = _given(5.0, "log", 1, 25)
    pick_gap_m: float = _given(40e3, "log", 10e3, 120e3)
    line_spacing_m: float = _given(10e3, "log", 4e3, 30e3)
    line_wander_m: float = _given(200.0, "log", 40, 1000)

    def __post_init__(self) -> None:
        """Refuse what must be above 0 and is not."""
        for name, prior in priors().items():
            value = getattr(self, name)
            if prior.spread == "log" and not value > 0:
                raise InputError(f"World: {name} is {value:g}; give a number above 0")


def priors() -> Mapping[str, Prior]:
    """Give how each quantity of a world but `stream_axes_m` is drawn, by name.

    >>> priors()["line_spacing_m"]
    Prior(spread='log', low=4000.0, high=30000.0)
    """
    return {one.name: one.metadata["prior"] for one in fields(World) if "prior" in one.metadata}


def draw_world(rng: np.random.Generator) -> World:
    """Draw a world: every quantity by itself from its prior, which stands beside its default in `World`.

    >>> one, other = (draw_world(np.random.default_rng(seed)) for seed in (1, 2))
    >>> one == other, one == draw_world(np.random.default_rng(1))
    (False, True)
    """
    drawn: dict[str, Any] = {name: prior.draw(rng) for name, prior in priors().items()}
    axes = rng.uniform(-STREAMS_REACH_M, STREAMS_REACH_M, rng.integers(1, MOST_STREAMS + 1))
    return World(**drawn, stream_axes_m=tuple(axes.tolist()))
