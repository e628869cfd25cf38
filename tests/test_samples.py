"""Batches: every sample once an epoch, in an order that a resumed run repeats."""

import numpy as np
import torch

from fieldwise.samples import EpochSampler, Samples, make_loader, to_tensors

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
