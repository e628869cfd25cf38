"""The sandbox of structure formation: each box for itself, as asked for."""

import itertools

import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.physics.structure_formation.cosmology import Cosmology
from fieldwise.physics.structure_formation.initial_conditions import colour_noise, draw_white_noise, truncate
from fieldwise.physics.structure_formation.particle_mesh import evolve
from fieldwise.sandbox.structure_formation import draw_boxes, draw_pairs


@pytest.mark.parametrize("dimensions", [2, 3])
def test_box_is_the_same_whatever_stands_beside_it(dimensions):
    options = {"cells": 16 if dimensions == 2 else 8, "dimensions": dimensions, "steps": 2}
    options |= {"omega_m_range": (0.2, 0.4), "scale_factor_range": (0.5, 1.0)}
    together = list(draw_boxes(range(6), **options))
    alone = next(draw_boxes([4], **options))
    assert 0.2 < alone["omega_m"] < 0.4
    assert 0.5 < alone["scale_factor"] < 1
    for name, values in alone.items():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(together[4][name], values)
    assert not np.array_equal(together[3]["displacement"], together[4]["displacement"])


def test_boxes_are_made_as_they_are_asked_for():
    endless = draw_boxes(itertools.count(), cells=64, dimensions=2, steps=1)
    assert next(endless)["displacement"].shape == (2, 64, 64)


def test_universe_of_a_box_leaves_its_phases():
    plain = next(draw_boxes([1], cells=8, dimensions=2, steps=1))
    other = next(draw_boxes([1], cells=8, dimensions=2, steps=1, scale_factor_range=(0.3, 0.7)))
    np.testing.assert_allclose(
        other["displacement_linear"],
        plain["displacement_linear"] * other["growth_factor"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_pairs_hold_what_each_box_becomes_on_its_own():
    pair = next(draw_pairs([5], factor=2, cells=16, dimensions=2))
    noise = draw_white_noise((32, 32), [[7, 5]])
    contrast = colour_noise(noise, spacing_mpc=2.0, cosmology=Cosmology())
    high = evolve(contrast, spacing_mpc=2.0, cosmology=Cosmology())[0].displacement[0].numpy()
    low = evolve(truncate(contrast, 2), spacing_mpc=4.0, cosmology=Cosmology())[0].displacement[0].numpy()
    np.testing.assert_array_equal(pair["displacement_high"], high)
    np.testing.assert_array_equal(pair["displacement_low"], low)
    assert pair["velocity_low"].shape == low.shape
    assert pair["velocity_high"].shape == high.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_boxes([1], cells=7), "--cells: is 7; "),
        (lambda: draw_boxes([1], dimensions=4), "--dimensions: is 4; "),
        (lambda: draw_boxes([1], spacing_mpc=0.0), "--spacing_mpc: is 0; "),
        (lambda: draw_boxes([1], omega_m_range=(0.4, 0.2)), "--omega_m_range: is "),
        (lambda: draw_pairs([1], factor=3), "--factor: is 3; "),
        (lambda: draw_pairs([1], cells=9), "--cells: is 9; "),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call, message):
    with pytest.raises(InputError, match=message):
        call()
