"""The order in which crops of boxes are read: each once, from few files, the same from every process."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_boxes import describe, make_boxes, make_field

from fieldwise.errors import InputError
from fieldwise.samples.boxes.crops import Crops, Cutting
from fieldwise.samples.boxes.order import FileSampler, make_crop_loaders
from fieldwise.samples.prepared import Prepared, draft_folder

# --- the order in which crops are read ---------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    distance=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 9),
)
def test_every_crop_comes_once_and_few_boxes_are_in_use(counts, distance, seed, epoch):
    sampler = FileSampler(counts, seed=seed, distance=distance)
    sampler.set_epoch(epoch)
    draws = list(sampler)
    assert len(draws) == len(sampler)
    assert sorted(draws) == [(crop, epoch) for crop in range(sum(counts))]
    boxes = np.repeat(np.arange(len(counts)), counts)[[crop for crop, _ in draws]]
    first = {box: place for place, box in reversed(list(enumerate(boxes)))}
    last = {box: place for place, box in enumerate(boxes)}
    in_use = [sum(first[box] <= now <= last[box] for box in first) for now in range(len(boxes))]
    assert max(in_use) <= distance + 1
    again = FileSampler(counts, seed=seed, distance=distance)
    again.set_epoch(epoch)
    assert list(again) == draws


def test_the_order_is_another_in_each_epoch_and_with_each_seed():
    orders = []
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        sampler = FileSampler([4] * 5, seed=seed, distance=2)
        sampler.set_epoch(epoch)
        orders.append([crop for crop, _ in sampler])
    assert len({tuple(order) for order in orders}) == 3


def test_a_distance_of_one_mixes_neighbouring_boxes():
    boxes = [crop // 20 for crop, _ in FileSampler([20] * 6, seed=3, distance=1)]
    changes = sum(one != other for one, other in itertools.pairwise(boxes))
    assert changes > 5  # box after box it would be 5


@pytest.mark.parametrize(("boxes", "processes"), [(6, 2), (5, 2), (3, 4)])
@pytest.mark.parametrize("share_files", [False, True])
def test_processes_share_crops_in_equal_numbers(monkeypatch, boxes, processes, share_files):
    counts, taken = [2, 3, 1, 2, 4, 3][:boxes], []
    for rank in range(processes):
        monkeypatch.setattr(
            "fieldwise.samples.boxes.order._find_process", lambda rank=rank: (rank, processes)
        )
        sampler = FileSampler(counts, seed=5, share_files=share_files)
        taken.append([crop for crop, _ in sampler])
        assert len(taken[-1]) == len(sampler)
    assert len({len(each) for each in taken}) == 1
    assert {crop for each in taken for crop in each} == set(range(sum(counts)))
    if share_files and boxes == 6:
        owners = np.repeat(np.arange(boxes), counts)
        first, second = ({owners[crop] for crop in each} for each in taken)
        assert len(first) == len(second) == 3
        assert not first & second


def test_a_negative_distance_is_refused():
    with pytest.raises(InputError, match="--shuffle_distance: is -1"):
        FileSampler([1], seed=0, distance=-1)


def count_open_boxes(folder):
    """Count the boxes with a file that is mapped to memory now."""
    mapped = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".npy" in line]
    return len({Path(path).parent for path in mapped if path.startswith(str(folder))})


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells which files are open")
@pytest.mark.parametrize("distance", [0, 2])
def test_so_many_files_are_open_at_a_time(tmp_path, distance):
    cases = make_boxes(tmp_path, count=7)
    signature = describe(cases, ["density"], ["density"])
    assert count_open_boxes(tmp_path) == 0  # those that scales were fitted to are closed again
    crops = Crops(cases, signature, Cutting(size=[4]), open_cases=distance + 1)
    training, validation = make_crop_loaders(crops, crops, batch_size=2, seed=1, distance=distance)
    opened, seen = [], []
    for batch in training:
        opened.append(count_open_boxes(tmp_path))
        seen += batch["inputs"][:, 0, 0, 0].tolist()
    assert max(opened) == distance + 1
    assert sorted(seen) == sorted([float(number) for number in range(7)] * 4)
    for _ in validation:
        assert count_open_boxes(tmp_path) <= distance + 1


def test_batches_come_the_same_from_processes_that_read_ahead(tmp_path):
    cases = make_boxes(tmp_path, count=3)
    signature = describe(cases, ["density"], ["density"])
    crops = Crops(cases, signature, Cutting(size=[4]))
    orders = [
        [batch["inputs"][:, 0, 0, 0].tolist() for batch in make_crop_loaders(crops, crops, **options)[0]]
        for options in ({"batch_size": 4, "seed": 1, "workers": workers} for workers in (0, 1))
    ]
    assert orders[0] == orders[1]


def test_boxes_of_different_cells_are_learnt_from_in_crops_or_one_by_one(tmp_path):
    with draft_folder(tmp_path, recipe="own") as draft:
        for name, cells in (("small", 4), ("large", 8)):
            draft.add_box(name, "training", {"given": make_field(1, cells, cells)}, spacing=1.0)
    cases = Prepared(tmp_path).cases()
    signature = describe(cases, ["given"], ["given"])
    whole, cut = Crops(cases, signature), Crops(cases, signature, Cutting(size=[4]))
    for crops, size in ((cut, 2), (whole, 1)):
        training, _ = make_crop_loaders(crops, crops, batch_size=size, seed=0)
        assert len(list(training)) in (2, 3)
    with pytest.raises(InputError, match=r"boxes of 4 x 4 and 8 x 8 cells .* --crop, or --batch_size 1"):
        make_crop_loaders(whole, whole, batch_size=2, seed=0)
