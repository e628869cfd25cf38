"""Power in bands of wavelength, against waves whose power is known."""

import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.scores import BandPowerSums

X = 250.0 * np.arange(256)


def wave(length_m, height=1.0):
    return height * np.sin(2 * np.pi * X / length_m)[None] * np.ones((256, 1))


def test_a_wave_counts_in_its_band_alone():
    """8 km and 2 km: the first halved, a quarter of its power; the second doubled."""
    sums = BandPowerSums(250.0)
    sums.add(wave(8e3, 0.5) + wave(2e3, 2.0), wave(8e3) + wave(2e3))
    ratios = dict(zip(sums.wavelengths, sums.ratios))
    assert ratios[np.sqrt(10e3 * 5e3)] == pytest.approx(0.25, rel=1e-3)
    assert ratios[np.sqrt(2.5e3 * 1250)] == pytest.approx(4.0, rel=1e-3)


def test_parts_add_up_and_gaps_are_left_out():
    random = np.random.default_rng(1)
    true, drawn = random.normal(size=(2, 256, 256))
    whole, parts, gappy = (BandPowerSums(250.0) for _ in range(3))
    whole.add(drawn, true)
    parts.add(drawn[:192], true[:192])
    parts.add(drawn[128:], true[128:])  # windows from 128 on; those from 64 are in the first alone
    np.testing.assert_allclose(parts.ratios, whole.ratios)
    true[200, 200] = np.nan  # in the windows that begin at 128, along both axes
    gappy.add(drawn, true)
    assert np.isfinite(gappy.ratios).all()
    assert gappy.true.sum() < whole.true.sum()


def test_too_little_is_refused():
    sums = BandPowerSums(250.0)
    sums.add(np.ones((64, 64)), np.ones((64, 64)))
    with pytest.raises(InputError, match="no window of 128 cells is complete"):
        _ = sums.ratios
    with pytest.raises(InputError, match="differ"):
        sums.add(np.ones((64, 64)), np.ones((64, 65)))
