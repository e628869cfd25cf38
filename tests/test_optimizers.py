"""Steps of optimisers, and what becomes of gradients before them; a run that is cut off goes on alike."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from fieldwise.errors import InputError
from fieldwise.runs import make_trainer
from fieldwise.samples.loaders import make_loader
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import AdversarialTask, FieldTask
from fieldwise.tasks.optimizers import Lamb, shorten_by_layer
from fieldwise.tasks.rates import fall_in_steps
from fieldwise.verbs.train import train_run, watched_by

QUIET = {"accelerator": "cpu", "tracker": "none", "precision": "32-true", "progress": False}
SIGNATURE = Signature("own", (Variable("thk"),), (Variable("speed"),), stacked=True)
LINEAR = {
    "network": "torch.nn.Conv2d",
    "network_options": {"in_channels": 1, "out_channels": 1, "kernel_size": 1},
}


def descend(gradients, start, **options):
    weights = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = Lamb([weights], **options)
    for gradient in gradients:
        weights.grad = torch.as_tensor(gradient, dtype=torch.float64).clone()
        optimizer.step()
    return weights.detach().numpy()


def test_lamb_shortens_weights_by_a_share_with_each_step():
    """Of a gradient that stays as it is Adam makes ones: a step as long as the weights times the rate."""
    found = descend([[2.0, 5.0, 0.1]] * 4, [3.0, 3.0, 3.0], lr=0.1, eps=0.0)
    np.testing.assert_allclose(found, 3 * 0.9**4 * np.ones(3), rtol=1e-12)


def test_lamb_does_not_ask_how_long_a_gradient_is():
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    one, other = (descend(scale * gradients, [1.0, 2.0, -3.0], lr=0.1, eps=0.0) for scale in (1.0, 1000.0))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_lamb_decays_weights_beside_the_gradient():
    """Without a gradient what is left is the decay, as long as the rate says and not as the decay does."""
    found = descend([[0.0, 0.0]], [3.0, -4.0], lr=0.1, weight_decay=0.01)
    np.testing.assert_allclose(found, 0.9 * np.array([3.0, -4.0]), rtol=1e-12)


def test_lamb_moves_weights_that_are_zero():
    np.testing.assert_allclose(descend([[2.0, -5.0]], [0.0, 0.0], lr=0.1, eps=0.0), [-0.1, 0.1], rtol=1e-12)


def test_steps_are_shortened_layer_by_layer_and_never_made_longer():
    long, short, zero = (
        torch.nn.Parameter(torch.tensor(values)) for values in ([3.0, 4.0], [6.0, 8.0], [0.0])
    )
    for weights, gradient in ((long, [30.0, 40.0]), (short, [0.1, 0.0]), (zero, [7.0])):
        weights.grad = torch.tensor(gradient)
    shorten_by_layer(torch.optim.SGD([long, short, zero], lr=0.5), share=0.01)
    np.testing.assert_allclose(long.grad, [0.06, 0.08], rtol=1e-6)  # half of it: a hundredth of 5
    assert (short.grad.tolist(), zero.grad.tolist()) == ([pytest.approx(0.1), 0.0], [7.0])


class Forgetful(torch.nn.Sequential):
    """A network that draws by chance while it learns."""

    def __init__(self):
        super().__init__(torch.nn.Conv2d(1, 1, 1), torch.nn.Dropout(0.5))
        self.weight = self[0].weight


class Note(Callback):
    """Notes weight and rate after each step, and breaks off where it is told to."""

    def __init__(self, *, stop_after=None):
        self.weights, self.rates, self.stop_after = [], [], stop_after

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append(pl_module.network.weight.item())
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.stop_after:
            raise KeyboardInterrupt


def train(
    run, *, samples=8, batch_size=2, accumulate=1, save_batches=None, max_epochs=1, stop_after=None, **options
):
    inputs = np.random.default_rng(0).normal(size=(samples, 1, 4, 4)).astype(np.float32)
    arrays = {"inputs": inputs, "targets": 2 * inputs}
    loaders = make_loader(arrays, batch_size=batch_size, shuffle_seed=1), make_loader(arrays, batch_size=8)
    note = Note(stop_after=stop_after)
    task = partial(options.pop("kind", FieldTask), **{"learning_rate": 0.05, **LINEAR, **options})
    how = {"run": run, "settings": {}, "max_epochs": max_epochs, "accumulate": accumulate, **QUIET}
    how["save_batches"] = save_batches
    with watched_by(note):
        train_run(task, loaders, SIGNATURE, **how)
    return note


def test_a_lagging_gradient_is_that_of_the_step_before(tmp_path):
    """Of one sample and half its squared error: w' = w - rate (w(before) - 2) x^2, the first step none."""
    options = {"samples": 1, "batch_size": 1, "max_epochs": 5, "optimizer": "torch.optim.SGD"}
    network = {"network_options": {**LINEAR["network_options"], "bias": False}, "clip_norm": 0.0}
    found = train(tmp_path, gradient_lag=True, losses={"mse": 1.0}, **options, **network).weights
    square = float((np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32) ** 2).mean())
    wanted = [found[0], found[0]]  # before and after a step without a gradient
    for _ in range(4):
        wanted.append(wanted[-1] - 0.05 * 2 * square * (wanted[-2] - 2))
    np.testing.assert_allclose(found, wanted[1:], rtol=1e-5)
    assert abs(found[-1] - found[0]) > 0.1


def test_rates_fall_in_steps_after_they_have_risen(tmp_path):
    note = train(tmp_path, max_epochs=3, decay_at=[1, 2], decay_factor=0.5, warmup_steps=4)
    np.testing.assert_allclose(
        note.rates, 0.05 * np.array([0.25, 0.5, 0.75, 1.0, *[0.5] * 4, *[0.25] * 4]), rtol=1e-6
    )


def test_warm_up_counts_steps_and_not_the_batches_of_one(tmp_path):
    rates = train(tmp_path, accumulate=2, max_epochs=2, warmup_steps=4).rates
    np.testing.assert_allclose(rates, 0.05 * np.repeat([0.25, 0.5, 0.75, 1.0], 2), rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "lamb", "weight_decay": 0.01},
        {"gradient_lag": True, "clip_share": 0.02},
        {"decay_at": [1, 2], "warmup_steps": 3, "accumulate": 2},
    ],
    ids=["lamb", "lag", "rates"],
)
def test_a_run_cut_off_goes_on_to_the_same_bits(tmp_path, options):
    whole = train(tmp_path / "whole", max_epochs=3, **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", max_epochs=3, stop_after=(1, 0), **options)
    later = train(tmp_path / "parts", max_epochs=3, **options)
    assert later.weights == whole.weights[-len(later.weights) :]
    assert len(later.weights) == 8


@pytest.mark.parametrize("cut", [(0, 3), (1, 1), (1, 3)])
def test_a_run_cut_off_within_an_epoch_goes_on_to_the_same_bits(tmp_path, cut):
    """Saved after the second of four batches; what is drawn by chance, order and held gradients go on too."""
    network = {"network": f"{__name__}.Forgetful", "network_options": {}}
    options = {"max_epochs": 2, "save_batches": 2, "gradient_lag": True, "optimizer": "lamb", **network}
    whole = train(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", stop_after=cut, **options)
    later = train(tmp_path / "parts", **options)
    assert later.weights == whole.weights[-len(later.weights) :]
    assert len(later.weights) == 8 - 4 * cut[0] - 2 * (cut[1] // 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay_factor": 1.5}, "--decay_factor: is 1.5; give more than 0 and less than 1"),
        ({"decay_at": [0, 3]}, "--decay_at: is 0; give at least 1"),
        ({"clip_share": -1.0}, "--clip_share: is -1; give at least 0"),
        ({"optimizer": "lamb", "optimizer_options": {"momentum": 1}}, "Lamb cannot be made of"),
        ({"optimizer": "torch.optim.SGD", "optimizer_options": {"momentum": -1}}, "SGD cannot be made of"),
    ],
)
def test_options_that_no_step_can_be_taken_with_are_refused(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        train(tmp_path / "run", **options)


def test_a_discriminator_takes_no_lagging_gradients():
    judge = {"discriminator": "torch.nn.Conv2d", "discriminator_options": LINEAR["network_options"]}
    with pytest.raises(InputError, match="are not for a discriminator"):
        AdversarialTask(gradient_lag=True, **judge, **LINEAR)


def test_batch_norms_of_several_processes_are_made_one_by_a_flag(tmp_path):
    options = {"max_epochs": 1, "monitor": "val_loss", "accelerator": "cpu", "devices": 2, "progress": False}
    for wanted in (True, False):
        trainer = make_trainer(tmp_path, tracker="none", sync_batch_norm=wanted, **options)
        assert (trainer.strategy._layer_sync is not None) == wanted


def test_rates_that_do_not_fall():
    assert fall_in_steps(7.5, [], 0.1) == 1
