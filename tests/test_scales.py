"""Scales: what they are fitted to, and that they can be undone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.samples.scales import Scale, fit_scale

values = st.lists(st.floats(-5000, 5000), min_size=1, max_size=30)


@given(values, st.floats(-1e4, 1e4), st.floats(1e-2, 1e4))
@settings(deadline=None)  # the machine may be busy
def test_undo_undoes_apply(numbers, mean, spread):
    scale = Scale(mean, spread)
    np.testing.assert_allclose(scale.undo(scale.apply(np.array(numbers))), numbers, rtol=1e-9, atol=1e-7)


@given(values)
@settings(deadline=None)  # the machine may be busy
def test_fitted_values_have_mean_zero_and_spread_one(numbers):
    scaled = fit_scale(np.array(numbers)).apply(np.array(numbers))
    assert scaled.mean() == pytest.approx(0, abs=1e-4)
    if np.ptp(numbers) > 1e-3:
        assert scaled.std() == pytest.approx(1)


def test_missing_values_do_not_count():
    """Of 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5."""
    assert fit_scale(np.array([[1, np.nan, 3], [5, 7, np.nan]])) == Scale(4.0, 5.0**0.5)


def test_single_precision_is_summed_in_double():
    """Ten million times 4000.1 in float32: a running sum in float32 would be off by metres."""
    scale = fit_scale(np.full(10_000_000, 4000.1, dtype=np.float32))
    assert scale.mean == pytest.approx(4000.1, abs=1e-3)


def test_a_constant_is_only_shifted():
    assert fit_scale(np.full(5, 7.0)) == Scale(7.0, 1.0)
    assert np.std([0.1, 0.1, 0.1]) > 0  # by rounding
    assert fit_scale(np.full(3, 0.1)).spread == 1.0
    assert fit_scale(np.zeros(3)).spread == 1.0


def test_scale_travels_as_plain_numbers():
    assert Scale(**Scale(1.5, 2.0).to_dict()) == Scale(1.5, 2.0)


def test_scales_that_cannot_be():
    with pytest.raises(InputError, match="no value to fit a scale to: all are missing"):
        fit_scale(np.full(3, np.nan))
    for mean, spread in ((0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(InputError, match="cannot be applied"):
            Scale(mean, spread)
