"""Batches: every sample once an epoch, in an order that a resumed run repeats."""

import hypothesis
import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.samples.loaders import (
    EpochSampler,
    PatchSampler,
    Samples,
    make_loader,
    make_patch_loader,
    to_tensors,
    turn,
    turn_back,
)

ARRAYS = {"inputs": {"bed": np.arange(20.0).reshape(10, 2)}, "truth": np.arange(10.0)}


def test_to_tensors_shares_memory_where_it_can():
    array = np.zeros((2, 3), dtype=np.float32)
    tensor = to_tensors({"bed": array})["bed"]
    array[0, 0] = 5
    assert tensor[0, 0] == 5
    assert to_tensors({"bed": array.T})["bed"].is_contiguous()


def test_inputs_and_truth_of_a_sample_stay_together():
    loader = make_loader(ARRAYS, batch_size=3, shuffle_seed=1)
    batches = list(loader)
    assert [len(batch["truth"]) for batch in batches] == [3, 3, 3, 1]
    for batch in batches:
        torch.testing.assert_close(batch["inputs"]["bed"][:, 0], 2 * batch["truth"])
    assert sorted(torch.cat([batch["truth"] for batch in batches]).tolist()) == list(range(10))


def test_without_a_seed_the_order_is_kept():
    batches = [batch["truth"].tolist() for batch in make_loader(ARRAYS, batch_size=4)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_one_sample_is_a_batch_of_one():
    samples = Samples(ARRAYS)
    assert len(samples) == 10
    assert samples[7]["inputs"]["bed"].tolist() == [[14, 15]]


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = EpochSampler(100, seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(7)  # the state of the global generator is no part of it
        return list(sampler)

    assert order(1, 5) == order(1, 5)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in range(5)}) == 10
    assert sorted(order(3, 4)) == list(range(100))


def test_the_trainer_tells_the_sampler_its_epoch():
    """Lightning sets the epoch of a loader's sampler by itself; resumed runs rely on that."""
    from lightning.pytorch import LightningModule, Trainer

    class Listener(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen = []

        def training_step(self, batch, index):
            self.seen += batch["truth"].tolist()
            return self.weight * 0

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Listener()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(module, make_loader(ARRAYS, batch_size=4, shuffle_seed=9))
    sampler, expected = EpochSampler(10, seed=9), []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert module.seen == expected


# --- symmetries -----------------------------------------------------------------------------------

SMALL = hypothesis.strategies.integers(2, 7)
SYMMETRY = hypothesis.strategies.integers(0, 7)


def surface_of(rows, columns, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, rows, columns)))


def uphill(surface):
    """Give the slope of a surface to the east and to the north, cells of 1 m, rows from the north."""
    down, east = (torch.from_numpy(each) for each in np.gradient(surface[0, 0].numpy()))
    return torch.stack([east, -down])[None]


@hypothesis.given(SMALL, SMALL, SYMMETRY, SMALL)
def test_the_slope_of_a_turned_surface_is_the_turned_slope(rows, columns, symmetry, seed):
    """A vector that is defined by a scalar must turn with it: nothing else fixes all the signs."""
    surface = surface_of(rows, columns, seed)
    turned = turn({"surface": surface, "slope": uphill(surface)}, symmetry, vectors={"slope": [(0, 1)]})
    torch.testing.assert_close(turned["slope"], uphill(turned["surface"]))


@hypothesis.given(SMALL, SMALL, SYMMETRY)
def test_turning_back_undoes_turning(rows, columns, symmetry):
    fields = {"flow": torch.randn(2, 4, rows, columns), "inner": {"thk": torch.randn(2, 1, rows, columns)}}
    vectors = {"flow": [(3, 1)]}
    back = turn_back(turn(fields, symmetry, vectors=vectors), symmetry, vectors=vectors)
    torch.testing.assert_close(back["flow"], fields["flow"])
    torch.testing.assert_close(back["inner"]["thk"], fields["inner"]["thk"])


@hypothesis.given(SMALL, SMALL, SYMMETRY)
def test_the_third_component_and_scalars_move_but_do_not_change(rows, columns, symmetry):
    """A 3-D vector in a volume: its upward component is moved as a scalar is."""
    flow = torch.randn(1, 3, 2, rows, columns)
    turned = turn({"flow": flow, "upward": flow[:, 2:]}, symmetry, vectors={"flow": [(0, 1)]})
    torch.testing.assert_close(turned["flow"][:, 2:], turned["upward"])
    lengths = turn({"lengths": flow.norm(dim=1, keepdim=True)}, symmetry)["lengths"]
    torch.testing.assert_close(turned["flow"].norm(dim=1, keepdim=True), lengths)


def test_the_eight_symmetries_differ():
    surface = surface_of(5, 5, 0)
    seen = {
        tuple(turn({"surface": surface}, symmetry)["surface"].flatten().tolist()) for symmetry in range(8)
    }
    assert len(seen) == 8


# --- patches --------------------------------------------------------------------------------------


def reader_of(values):
    return lambda rows, columns: {"field": values[:, rows, columns], "place": values[:, rows, columns]}


def numbered(rows, columns):
    return np.arange(rows * columns, dtype=np.float32).reshape(1, rows, columns)


def test_patches_hold_the_cell_that_they_were_drawn_around():
    frames = [numbered(20, 30), 1000 + numbered(16, 16)]
    ice = [np.zeros(frame.shape[1:], dtype=bool) for frame in frames]
    ice[0][0, 0] = ice[0][12, 29] = ice[1][7, 8] = True
    sampler = PatchSampler(ice, cells=8, patches_per_tile=5, seed=0)
    loader = make_patch_loader([reader_of(each) for each in frames], batch_size=7, cells=8, sampler=sampler)
    wanted = {0.0, 12 * 30 + 29.0, 1000 + 7 * 16 + 8.0}
    patches = torch.cat([batch["field"] for batch in loader])
    assert len(patches) == len(sampler) == round(5 * 600 / 64) + 5 * 4
    assert all(wanted & set(patch.flatten().tolist()) for patch in patches)
    assert {value for patch in patches for value in wanted & set(patch.flatten().tolist())} == wanted


def test_a_patch_as_large_as_its_frame_is_the_frame():
    ice = np.zeros((8, 8), dtype=bool)
    ice[7, 0] = True
    sampler = PatchSampler([ice], cells=8, patches_per_tile=1, seed=0)
    (batch,) = make_patch_loader([reader_of(numbered(8, 8))], cells=8, sampler=sampler)
    assert batch["field"][0].tolist() == numbered(8, 8).tolist()


def test_patches_depend_on_seed_and_epoch_alone():
    ice = np.ones((32, 32), dtype=bool)

    def cuts(seed, epoch):
        sampler = PatchSampler([ice, ice], cells=8, seed=seed, symmetries=range(8))
        sampler.set_epoch(epoch)
        np.random.default_rng().random(3)
        return list(sampler)

    assert cuts(1, 4) == cuts(1, 4)
    assert len({tuple(cuts(seed, epoch)) for seed in (1, 2) for epoch in range(3)}) == 6
    assert {symmetry for *_, symmetry in cuts(1, 0)} == set(range(8))
    assert {frame for frame, *_ in cuts(1, 0)} == {0, 1}


def test_fields_of_a_patch_are_turned_together():
    sampler = PatchSampler([np.ones((12, 12))], cells=6, seed=3, symmetries=range(8))
    (batch,) = make_patch_loader([reader_of(numbered(12, 12))], batch_size=99, cells=6, sampler=sampler)
    assert torch.equal(batch["field"], batch["place"])
    corners = {tuple(np.sign(np.diff(patch[0, [0, 0, -1], [0, -1, 0]]))) for patch in batch["field"].numpy()}
    assert len(corners) > 2


def test_frames_without_a_patch_are_refused():
    with pytest.raises(InputError, match="a patch of 9 cells does not fit into 8 x 12 cells"):
        PatchSampler([np.ones((8, 12))], cells=9, seed=0)
    with pytest.raises(InputError, match="frame 1 has no cell to draw a patch around"):
        PatchSampler([np.ones((8, 8)), np.zeros((8, 8))], cells=4, seed=0)


def test_whole_frames_of_different_sizes_come_one_by_one():
    loader = make_patch_loader([reader_of(numbered(3, 5)), reader_of(numbered(7, 2))])
    assert [tuple(batch["field"].shape) for batch in loader] == [(1, 1, 3, 5), (1, 1, 7, 2)]
