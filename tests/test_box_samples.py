"""Crops of boxes: where they lie, and how they are turned and changed."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_boxes import cut_box, describe, make_field

from fieldwise.errors import InputError
from fieldwise.samples.boxes.crops import Augmentation, Crops, Cutting
from fieldwise.samples.examples import make_box
from fieldwise.samples.prepared import Prepared, draft_folder
from fieldwise.symmetries import list_axis_symmetries


def wrap(values, *spans):
    """Cut spans, (first, end) an axis, out of a periodic field."""
    for axis, span in enumerate(spans, start=values.ndim - len(spans)):
        values = values.take(np.arange(*span), axis=axis, mode="wrap")
    return values


# --- windows of cases -------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_windows_beyond_a_box_are_those_of_numpy(data):
    axes = data.draw(st.integers(2, 3))
    cells = [data.draw(st.integers(3, 6)) for _ in range(axes)]
    periodic = data.draw(st.booleans())
    field = make_field(1, *cells)
    (case,) = make_box({"density": field}, split="test", periodic=periodic).cases()
    firsts = [data.draw(st.integers(-13, 13)) for _ in cells]
    ends = [first + data.draw(st.integers(1, 15)) for first in firsts]
    found = case.read(["density"], window=tuple(map(slice, firsts, ends)))["density"]
    expected = field
    for axis, span in enumerate(zip(firsts, ends), start=1):
        expected = expected.take(np.arange(*span), axis=axis, mode="wrap" if periodic else "clip")
    np.testing.assert_array_equal(found, expected)


def test_a_window_at_the_corner_of_a_box_takes_no_more_memory_than_itself(tmp_path):
    """Of 64^3 cells, 1 MB, it holds 8^3."""
    import tracemalloc

    (case,) = make_box({"density": make_field(1, 64, 64, 64)}, split="test").cases()
    window = (slice(-4, 4),) * 3
    case.read(["density"], window=window)
    tracemalloc.start()
    case.read(["density"], window=window)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64**3 * 4 / 8


# --- where crops lie --------------------------------------------------------------------------------


def test_a_whole_box_is_one_sample():
    fields = {"given": make_field(2, 4, 6), "wanted": make_field(1, 4, 6, seed=1)}
    crops = cut_box(fields)
    assert len(crops) == 1
    batch = crops[0, None]
    np.testing.assert_array_equal(batch["inputs"][0], fields["given"])
    np.testing.assert_array_equal(batch["targets"][0], fields["wanted"])


def test_crops_begin_at_start_and_every_step_before_stop():
    field = make_field(1, 8, 8)
    crops = cut_box({"given": field, "wanted": field}, size=[3], start=[1, 2], stop=[7, 8], step=[4, 3])
    places = [(1, 2), (1, 5), (5, 2), (5, 5)]  # the last ones go on at the other side
    assert [place for _, place in crops.crops] == places
    batch = crops.__getitems__([(number, None) for number in range(4)])
    for (top, left), found in zip(places, batch["inputs"]):
        np.testing.assert_array_equal(found, wrap(field, (top, top + 3), (left, left + 3)))
    np.testing.assert_array_equal(batch["inputs"], batch["targets"])


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ([2], [(2, 2), (2, 2), (2, 2)]),
        ([1, 0, 2], [(1, 1), (0, 0), (2, 2)]),
        ([1, 2, 0, 3, 9, 0], [(1, 2), (0, 3), (9, 0)]),  # before and after; one goes around the box
        ([], [(0, 0)] * 3),
    ],
)
def test_paddings_are_one_number_one_an_axis_or_two(padding, expected):
    field = make_field(1, 4, 5, 6)
    crops = cut_box({"given": field, "wanted": field}, size=[2], input_padding=padding)
    number = next(number for number, (_, place) in enumerate(crops.crops) if place == (2, 0, 4))
    spans = [(first - before, first + 2 + after) for first, (before, after) in zip((2, 0, 4), expected)]
    batch = crops[number, None]
    np.testing.assert_array_equal(batch["inputs"][0], wrap(field, *spans))
    np.testing.assert_array_equal(batch["targets"][0], wrap(field, (2, 4), (0, 2), (4, 6)))


def test_of_coarser_inputs_the_targets_cover_the_same_place():
    coarse = make_field(1, 6, 6)
    fine = np.kron(coarse, np.ones((1, 4, 4), np.float32))
    crops = cut_box({"given": coarse, "wanted": fine}, size=[2], target_padding=[4])
    for number in range(len(crops)):
        batch = crops[number, None]
        inner = batch["targets"][..., 4:-4, 4:-4]
        assert inner.shape[2:] == (8, 8)
        np.testing.assert_array_equal(inner, np.kron(batch["inputs"], np.ones((1, 1, 4, 4))))


def test_numbers_of_a_box_come_with_its_crops():
    cases = make_box({"given": make_field(1, 4, 4)}, split="training", numbers={"omega_m": 0.25}).cases()
    signature = describe(cases, ["given"], ["given"], style=["omega_m"])
    batch = Crops(cases, signature, Cutting(size=[2])).__getitems__([(0, None), (3, None)])
    assert batch["style"].tolist() == [[0.25], [0.25]]
    with pytest.raises(InputError, match=r"training/box: lacks the numbers growth_factor; it has omega_m"):
        Crops(cases, describe(cases, ["given"], ["given"], style=["growth_factor"]))


@pytest.mark.parametrize(
    ("cutting", "message"),
    [
        ({"size": [9]}, "--crop: 9 x 9 cells are more than a box of 8 x 8"),
        ({"size": [4, 4, 4]}, "--crop: has 3 numbers for 2 axes; give 1 or 2"),
        ({"size": [0]}, "--crop: is 0"),
        ({"step": [0]}, "--crop_step: is 0"),
        ({"start": [-1]}, "--crop_start: is -1"),
        ({"start": [8]}, "leaves no crop"),
        ({"stop": [0]}, "leaves no crop"),
        ({"input_padding": [-1]}, "--in_pad: is -1"),
        ({"input_padding": [1, 2, 3]}, "--in_pad: has 3 numbers for 2 axes; give 1, 2 or 4"),
        ({"target_padding": [1] * 5}, "--tgt_pad: has 5 numbers for 2 axes"),
    ],
)
def test_crops_that_cannot_be_cut_are_refused(cutting, message):
    field = make_field(1, 8, 8)
    with pytest.raises(InputError, match=message):
        cut_box({"given": field, "wanted": field}, **cutting)


# --- boxes that end at their sides --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cutting", "augment"),
    [
        ({"input_padding": [1]}, {}),
        ({"target_padding": [1]}, {}),
        ({"size": [3]}, {}),  # the last crops would end at 9 of 8
        ({"size": [4]}, {"shift": [2]}),
        ({"size": [4], "start": [2], "stop": [3], "input_padding": [3, 0]}, {}),
        # Of 2 + 4 cells with 2 before and 3 after, which does not fit when it is mirrored
        ({"size": [4], "start": [3], "stop": [4], "input_padding": [3, 1, 3, 1]}, {"symmetries": True}),
    ],
)
def test_what_reaches_beyond_a_box_that_ends_is_refused(cutting, augment):
    field = make_field(1, 8, 8)
    fields = {"given": field, "wanted": field}
    cut_box(fields, augment=Augmentation(**augment), **cutting)  # a periodic one goes on
    with pytest.raises(InputError, match=r"training/box: is not periodic, and crops with their .* padding"):
        cut_box(fields, augment=Augmentation(**augment), periodic=False, **cutting)


def test_a_box_that_ends_is_judged_by_its_own_crops(tmp_path):
    """That of a larger one reach farther."""
    with draft_folder(tmp_path, recipe="own") as draft:
        for name, cells in (("small", 4), ("large", 8)):
            field = make_field(1, cells, cells)
            draft.add_box(name, "training", {"given": field}, spacing=1.0, periodic=False)
    cases = Prepared(tmp_path).cases()
    assert Crops(cases, describe(cases, ["given"], ["given"]), Cutting(size=[4])).counts == [1, 4]


# --- changed samples ----------------------------------------------------------------------------------


def turn_box(values, symmetry, *, vectors):
    """Turn a field by numpy; `vectors` tells of each first channel of a vector."""
    axes = len(symmetry.order)
    turned = values.transpose(0, *(1 + axis for axis in symmetry.order))
    turned = np.flip(turned, [1 + place for place, flip in enumerate(symmetry.flips) if flip]).copy()
    for first in vectors:
        components = turned[first : first + axes].copy()
        for place, (axis, flip) in enumerate(zip(symmetry.order, symmetry.flips)):
            turned[first + place] = -components[axis] if flip else components[axis]
    return turned


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_turned_sample_is_what_the_turned_box_gives_there(data):
    """Inputs are a scalar and a vector; whatever the paddings, both sides are turned alike."""
    axes, cells, factor = data.draw(st.sampled_from([(2, 6, 1), (2, 5, 2), (3, 4, 1), (3, 3, 2)]))
    size = data.draw(st.integers(1, cells))
    padding = st.lists(st.integers(0, 3), min_size=2 * axes, max_size=2 * axes)
    before_after = {side: data.draw(padding) for side in ("input", "target")}
    shift = data.draw(st.integers(0, 2))
    fields = {
        "density": make_field(1, *[cells] * axes),
        "flow": make_field(axes, *[cells] * axes, seed=1),
        "wanted": make_field(axes, *[cells * factor] * axes, seed=2),
    }
    crops = cut_box(
        fields,
        inputs=("density", "flow"),
        augment=Augmentation(symmetries=True, shift=[shift], seed=data.draw(st.integers(0, 99))),
        size=[size],
        **{f"{side}_padding": each for side, each in before_after.items()},
    )
    index, epoch = data.draw(st.integers(0, len(crops) - 1)), data.draw(st.integers(0, 50))
    batch, (_, place) = crops[index, epoch], crops.crops[index]

    def turned(symmetry, moved, side, values, vectors, ratio):
        """Cut the turned box where the crop of the box lies in it."""
        spans = []
        for number, (axis, flip) in enumerate(zip(symmetry.order, symmetry.flips)):
            first = place[axis] + moved[axis]
            first = (cells - first - size if flip else first) * ratio
            before, after = before_after[side][2 * number : 2 * number + 2]
            spans.append((first - before, first + size * ratio + after))
        return wrap(turn_box(values, symmetry, vectors=vectors), *spans)

    given_fields = np.concatenate([fields["density"], fields["flow"]])
    matching = [
        symmetry
        for symmetry in list_axis_symmetries(axes)
        for moved in itertools.product(range(max(shift, 1)), repeat=axes)
        if np.array_equal(batch["inputs"][0], turned(symmetry, moved, "input", given_fields, [1], 1))
        and np.array_equal(
            batch["targets"][0], turned(symmetry, moved, "target", fields["wanted"], [0], factor)
        )
    ]
    assert matching


def test_every_symmetry_comes_to_pass_and_none_where_samples_are_judged():
    field = make_field(2, 4, 4)
    crops = cut_box({"given": field, "wanted": field}, augment=Augmentation(symmetries=True))
    seen = {crops[0, epoch]["inputs"].numpy().tobytes() for epoch in range(80)}
    assert len(seen) == 8
    np.testing.assert_array_equal(crops[0, None]["inputs"][0], field)


def test_a_box_with_sides_of_its_own_is_turned_only_so_that_it_stays_whole():
    field = np.arange(32.0).reshape(1, 4, 8)
    crops = cut_box({"given": field, "wanted": field}, augment=Augmentation(symmetries=True))
    batches = [crops[0, epoch]["inputs"][0, 0] for epoch in range(40)]
    assert all(sorted(each.flatten().tolist()) == list(range(32)) for each in batches)
    assert len({each.numpy().tobytes() for each in batches}) == 4


def test_shifts_begin_anew_in_each_epoch():
    """The original adds them up, until crops have left the box."""
    field = np.arange(16.0).reshape(1, 16, 1) * np.ones((1, 1, 16))
    crops = cut_box(
        {"given": field, "wanted": field}, augment=Augmentation(shift=[3]), size=[2, 16], periodic=True
    )
    for index in range(len(crops)):
        firsts = {int(crops[index, epoch]["inputs"][0, 0, 0, 0]) - 2 * index for epoch in range(30)}
        assert {first % 16 for first in firsts} == {0, 1, 2}


def test_changes_are_a_function_of_seed_epoch_and_sample():
    field = make_field(2, 6, 6)
    changes = {"symmetries": True, "shift": [3], "offset": 0.5, "factor": 0.2}

    def read(seed, epoch, *, before=()):
        crops = cut_box(
            {"given": field, "wanted": field}, augment=Augmentation(**changes, seed=seed), size=[3]
        )
        for draw in before:
            crops[draw]
        return crops[1, epoch]["inputs"]

    assert torch.equal(read(7, 4), read(7, 4, before=[(0, 4), (1, 3), (1, 9)]))
    assert not torch.equal(read(7, 4), read(7, 5))
    assert not torch.equal(read(7, 4), read(8, 4))


def test_additions_and_factors_are_alike_on_unequal_inputs_and_targets():
    """A scalar and a vector in, a vector and two scalars out, all zero but for ones of the vector given."""
    zero = np.zeros((1, 4, 4))
    fields = {
        "density": zero,
        "given": np.ones((2, 4, 4)),
        "wanted": np.ones((2, 4, 4)),
        "b": zero,
        "c": zero,
    }
    known = {"inputs": ("density", "given"), "targets": ("wanted", "b", "c")}
    crops = cut_box(fields, augment=Augmentation(offset=0.5), **known)
    batch = {name: each[0, :, 0, 0] for name, each in crops[0, 3].items()}
    scalar, *vector = batch["inputs"]
    assert batch["targets"].tolist() == [*vector, scalar, scalar]
    assert len({float(scalar), float(vector[0]) - 1, float(vector[1]) - 1}) == 3  # each has a draw of its own
    crops = cut_box(fields, augment=Augmentation(factor=0.5), **known)
    factor = crops[0, 3]["inputs"][0, 1, 0, 0].item()
    assert factor not in (0, 1)
    for batch in crops[0, 3].values():
        assert set(batch.flatten().tolist()) == {0.0, factor}
    assert crops[0, None]["inputs"].unique().tolist() == [0, 1]
    logarithms = [np.log(crops[0, epoch]["inputs"].max().item()) for epoch in range(300)]
    assert np.std(logarithms) == pytest.approx(0.5, rel=0.15)
    assert np.mean(logarithms) == pytest.approx(0, abs=0.1)
