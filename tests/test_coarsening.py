"""Samples on coarser grids: means that add up, classes by a count, and an order that the seed decides."""

import numpy as np
import pytest
import torch

from fieldwise.samples.loaders import FrameSampler, PatchSampler
from fieldwise.samples.weather.coarsening import coarsen_classes, make_mixed_loader


def count_blocks(classes, factor):
    """The class that covers most of each block, the background last, by a count over its cells."""
    rows, columns = (size // factor for size in classes.shape)
    result = np.zeros((rows, columns))
    for row, column in np.ndindex(rows, columns):
        block = classes[row * factor :, column * factor :][:factor, :factor]
        counts = {number: int((block == number).sum()) for number in (1, 2, 3, 0)}
        result[row, column] = max(counts, key=counts.get)  # of equal ones the first
    return result


@pytest.mark.parametrize("factor", [2, 4])
def test_classes_are_those_that_a_count_over_the_cells_gives(factor):
    classes = np.random.default_rng(factor).integers(0, 4, (3, 16, 24))
    told = coarsen_classes(torch.tensor(classes[:, None], dtype=torch.float32), factor)
    assert told.dtype == torch.float32
    for image, wanted in zip(told[:, 0].numpy(), classes, strict=True):
        np.testing.assert_array_equal(image, count_blocks(wanted, factor))


def read_frame(rows, columns):
    """Eight columns of a wind to the north, with a storm in the north."""
    wind = np.zeros((2, 8, 16), dtype=np.float32)
    wind[1, :4] = 5
    return {"inputs": wind[:, rows, columns], "targets": (wind[1:] > 0)[:, rows, columns]}


def test_a_globe_is_mirrored_and_made_coarser_alike():
    sampler = FrameSampler(1, seed=0, symmetries=(6,))  # north to south
    (batch,) = make_mixed_loader([read_frame], sampler, [2], vectors={"inputs": [(0, 1)]})
    assert batch["inputs"][0, 1, :, 0].tolist() == [0, 0, -5, -5]
    assert batch["targets"][0, 0, :, 0].tolist() == [0, 0, 1, 1]


def test_fields_are_means_over_blocks():
    fields = np.random.default_rng(0).normal(size=(3, 8, 12)).astype(np.float32)

    def read(rows, columns):
        return {"inputs": fields, "targets": np.zeros((1, 8, 12))}

    (batch,) = make_mixed_loader([read], FrameSampler(1, seed=0), [4])
    np.testing.assert_allclose(batch["inputs"][0], fields.reshape(3, 2, 4, 3, 4).mean(axis=(2, 4)), atol=1e-6)


def test_patches_are_made_coarser_too():
    sampler = PatchSampler([np.ones((8, 16))], cells=4, seed=0)
    loader = make_mixed_loader([read_frame], sampler, [1, 2], batch_size=3, cells=4)
    assert {batch["inputs"].shape[2:] for batch in loader} == {(4, 4), (2, 2)}


def test_factors_follow_from_seed_and_epoch_and_are_drawn_as_often_as_they_are_given():
    def draw(seed, epoch):
        loader = make_mixed_loader([read_frame] * 600, FrameSampler(600, seed=seed), [1, 4, 4])
        loader.sampler.set_epoch(epoch)
        return [factor for *_, factor in loader.sampler]

    assert draw(3, 1) == draw(3, 1)
    assert len({tuple(draw(*each)) for each in ((3, 1), (3, 2), (4, 1))}) == 3
    assert 0.59 < np.mean(np.array(draw(3, 1)) == 4) < 0.74  # 2/3, within four standard deviations
