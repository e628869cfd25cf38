"""Symmetries of the square and the cube: a group, under which vectors turn as gradients do."""

import itertools

import numpy as np
import pytest
import torch

from fieldwise.symmetries import AxisSymmetry, list_axis_symmetries, turn_axes, turn_channels

DIMENSIONS = pytest.mark.parametrize("dimensions", [2, 3])


def make_fields(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def find_gradient(scalar):
    """Differentiate periodic fields, (batch, 1, *cells), along each axis: (batch, axis, *cells)."""
    axes = range(2, scalar.ndim)
    return torch.cat([(scalar.roll(-1, axis) - scalar.roll(1, axis)) / 2 for axis in axes], dim=1)


@DIMENSIONS
def test_there_are_8_of_the_square_and_48_of_the_cube(dimensions):
    every = list_axis_symmetries(dimensions)
    asymmetric = torch.arange(4.0**dimensions).reshape(1, 1, *[4] * dimensions)
    turned = {tuple(turn_axes(asymmetric, symmetry).flatten().tolist()) for symmetry in every}
    assert len(every) == len(turned) == {2: 8, 3: 48}[dimensions]
    torch.testing.assert_close(turn_axes(asymmetric, every[0]), asymmetric, rtol=0, atol=0)


@DIMENSIONS
def test_they_are_a_group(dimensions):
    """As one after the other is always one of them; with vectors, as on a field of them."""
    every, components = list_axis_symmetries(dimensions), [tuple(range(dimensions))]
    field = make_fields(1, dimensions, *[3] * dimensions)
    known = {tuple(turn_axes(field, each, components).flatten().tolist()) for each in every}
    some = every if dimensions == 2 else every[::5]
    for first, second in itertools.product(some, some):
        twice = turn_axes(turn_axes(field, first, components), second, components)
        assert tuple(twice.flatten().tolist()) in known


@DIMENSIONS
def test_the_inverse_undoes_it_on_either_side(dimensions):
    components = [tuple(range(1, dimensions + 1))]
    field = make_fields(2, dimensions + 1, *range(2, 2 + dimensions))
    for symmetry in list_axis_symmetries(dimensions):
        assert symmetry.inverse.inverse == symmetry
        for first, second in ((symmetry, symmetry.inverse), (symmetry.inverse, symmetry)):
            back = turn_axes(turn_axes(field, first, components), second, components)
            assert torch.equal(back, field)


@DIMENSIONS
def test_vectors_turn_as_gradients_do(dimensions):
    scalar = make_fields(1, 1, *range(4, 4 + dimensions))
    vectors = [tuple(range(dimensions))]
    for symmetry in list_axis_symmetries(dimensions):
        expected = find_gradient(turn_axes(scalar, symmetry))
        torch.testing.assert_close(turn_axes(find_gradient(scalar), symmetry, vectors), expected)


def test_lengths_and_scalars_beside_vectors_stay():
    """Two vectors, the second with its components apart, and a scalar."""
    field, vectors = make_fields(1, 7, 3, 3, 3), [(0, 1, 2), (6, 3, 5)]
    for symmetry in list_axis_symmetries(3):
        turned = turn_axes(field, symmetry, vectors)
        for vector in vectors:
            lengths, kept = (each[:, list(vector)].square().sum(1, keepdim=True) for each in (field, turned))
            torch.testing.assert_close(kept, turn_axes(lengths, symmetry))
        torch.testing.assert_close(turned[:, 4:5], turn_axes(field[:, 4:5], symmetry))


def test_in_two_dimensions_they_are_those_of_maps():
    """Whose vectors count to the east and to the north, against the rows."""
    field = make_fields(1, 2, 5, 5)
    of_maps = torch.stack([field[:, 1], -field[:, 0]], dim=1)
    expected = set()
    for symmetry in range(8):
        east, north = turn_channels(of_maps, symmetry, [(0, 1)]).unbind(1)
        expected.add(tuple(torch.stack([-north, east], dim=1).flatten().tolist()))
    turned = {tuple(turn_axes(field, each, [(0, 1)]).flatten().tolist()) for each in list_axis_symmetries(2)}
    assert turned == expected


@DIMENSIONS
def test_before_tells_what_becomes_a_shape_or_a_padding(dimensions):
    wanted = list(range(2, 2 + dimensions))
    for symmetry in list_axis_symmetries(dimensions):
        made = turn_axes(torch.zeros(1, 1, *symmetry.before(wanted)), symmetry)
        assert list(made.shape[2:]) == wanted
        edges = [(axis, axis + 3) for axis in range(dimensions)]
        padded = np.pad(np.zeros((5,) * dimensions), symmetry.before(edges), constant_values=1)
        turned = turn_axes(torch.from_numpy(padded)[None, None], symmetry)[0, 0]
        np.testing.assert_array_equal(turned, np.pad(np.zeros((5,) * dimensions), edges, constant_values=1))


def test_a_symmetry_of_other_dimensions_is_no_symmetry():
    with pytest.raises(RuntimeError, match="permute"):
        turn_axes(torch.zeros(1, 1, 3, 3, 3), AxisSymmetry((1, 0), (False, False)))
