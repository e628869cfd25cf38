"""Games against a discriminator: who learns when, from what, and what is added to its loss."""

from copy import deepcopy

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.losses.games import discriminator_loss
from fieldwise.tasks import AdversarialTask, load_checkpoint

CONVOLUTION = "torch.nn.Conv2d"
PLAIN = {"network": CONVOLUTION, "network_options": {"in_channels": 2, "out_channels": 1, "kernel_size": 1}}
PLAIN |= {"optimizer": "torch.optim.SGD", "learning_rate": 0.1, "clip_norm": 0.0}


def options_of(channels):
    return {"in_channels": channels, "out_channels": 1, "kernel_size": 1}


def make_task(seed=0, **options):
    torch.manual_seed(seed)
    judge = {"discriminator": CONVOLUTION, "discriminator_options": options_of(1)}
    return AdversarialTask(**(PLAIN | judge | options))


def make_batches(count, size=2):
    random = torch.Generator().manual_seed(4)
    inputs = torch.randn(count, size, 2, 4, 4, generator=random)
    return [{"inputs": each, "targets": each[:, :1] + 0.5} for each in inputs]


def join(batches):
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def fit(task, batches, *, epochs=1, folder=None, **options):
    settings = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
    }
    trainer = lightning.Trainer(max_epochs=epochs, enable_model_summary=False, **(settings | options))
    trainer.fit(task, DataLoader(batches, batch_size=None))
    return trainer


def weights_of(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()]).clone()


@pytest.mark.parametrize("game", ["relativistic", "bce", "least_squares", "wasserstein"])
def test_a_step_of_each_game_is_down_its_gradient(game):
    """Both turns by hand: first the discriminator's, then the network's against the new discriminator."""
    task, (batch,) = make_task(game=game, losses={"mse": 2.0}, adversarial_weight=0.5), make_batches(1)
    network, judge = deepcopy(task.network), deepcopy(task.discriminator)
    fit(task, [batch])
    drawn = network(batch["inputs"])
    real, fake = judge(batch["targets"]), judge(drawn.detach())
    discriminator_loss(real, fake, game=game).backward()
    for weight in judge.parameters():
        weight.data -= 0.1 * weight.grad
    torch.testing.assert_close(weights_of(task.discriminator), weights_of(judge))
    real, fake = judge(batch["targets"]).detach(), judge(drawn)
    softplus = nn.functional.softplus
    opinion = {
        "relativistic": softplus(real.mean() - fake).mean() + softplus(real - fake.mean()).mean(),
        "bce": softplus(-fake).mean(),
        "least_squares": (fake - 1).square().mean() / 2,
        "wasserstein": -fake.mean(),
    }[game]
    (2 * (drawn - batch["targets"]).square().mean() + 0.5 * opinion).backward()
    expected = torch.cat([(weight - 0.1 * weight.grad).flatten() for weight in network.parameters()])
    torch.testing.assert_close(weights_of(task.network), expected.detach())


def test_smoothed_labels_are_those_of_a_cross_entropy():
    real, fake = torch.randn(5, 1), torch.randn(5, 1)
    entropy = nn.functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.full_like(real, 0.9)) + entropy(fake, torch.zeros_like(fake))
    found = discriminator_loss(real, fake, game="bce", smoothing=0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    expected = entropy(real - fake.mean(), torch.full_like(real, 0.9))
    expected += entropy(fake - real.mean(), torch.zeros_like(fake))
    assert discriminator_loss(real, fake, smoothing=0.1).item() == pytest.approx(expected.item(), rel=1e-5)
    expected = ((real - 0.9) ** 2).mean() / 2 + (fake**2).mean() / 2
    found = discriminator_loss(real, fake, game="least_squares", smoothing=0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("penalty", "expected"), [("r1", 8 * 4.0**2 / 2), ("wgan_gp", (8**0.5 * 4 - 1) ** 2)]
)
def test_penalties_are_of_the_slopes_of_scores(penalty, expected):
    """Scores are four times the sum of eight cells: every slope is 4."""

    class Sum(nn.Linear):
        def forward(self, fields):
            return self.weight * fields.sum((1, 2, 3))[:, None]

    task = make_task(penalty=penalty, penalty_weight=0.5, penalty_every=3)
    task.discriminator, task.log = Sum(1, 1, bias=False), lambda *_, **__: None
    nn.init.constant_(task.discriminator.weight, 4.0)
    batch = {"inputs": torch.rand(2, 2, 2, 4), "targets": torch.rand(2, 1, 2, 4)}
    drawn = torch.rand(2, 1, 2, 4)

    def loss_in(step):
        return task._loss_of_discriminator(task.discriminator, batch, drawn, step).item()

    steps = [loss_in(step) for step in range(7)]
    plain = discriminator_loss(task.discriminator(batch["targets"]), task.discriminator(drawn)).item()
    lazily = plain + 3 * 0.5 * expected  # thrice as much in every third step
    assert steps == pytest.approx([lazily, plain, plain, lazily, plain, plain, lazily], rel=1e-5)


def test_a_penalty_reaches_the_weights_of_the_discriminator():
    task, (batch,) = make_task(penalty="r1", game="wasserstein", penalty_weight=1.0), make_batches(1)
    task.log = lambda *_, **__: None
    task._loss_of_discriminator(task.discriminator, batch, batch["targets"], 0).backward()
    weight = task.discriminator.weight  # the game's own gradient is zero: real and fake are the same
    # Half of 16 cells with the slope w each: its derivative is 16 w.
    assert weight.grad.item() == pytest.approx(16 * weight.item(), rel=1e-5)


def test_the_discriminator_begins_when_it_is_told(tmp_path):
    task = make_task(adversarial_from_epoch=2)
    start, seen = weights_of(task.discriminator), []
    task.on_train_epoch_end = lambda: seen.append(bool((weights_of(task.discriminator) != start).any()))
    fit(task, make_batches(2), epochs=3)
    assert seen == [False, False, True]


def test_losses_may_fall_away_once_the_discriminator_has_begun():
    task = make_task(game="bce", adversarial_from_epoch=1, losses_until_adversarial=True)
    (batch,), kept = make_batches(1), []
    task.on_train_epoch_end = lambda: kept.append(deepcopy(task.network))
    fit(task, [batch], epochs=2)
    start, network = make_task().network, kept[0]
    (start(batch["inputs"]) - batch["targets"]).abs().mean().backward()
    expected = torch.cat([(weight - 0.1 * weight.grad).flatten() for weight in start.parameters()])
    torch.testing.assert_close(weights_of(network), expected.detach())
    network.zero_grad()
    nn.functional.softplus(-task.discriminator(network(batch["inputs"]))).mean().backward()
    expected = torch.cat([(weight - 0.1 * weight.grad).flatten() for weight in network.parameters()])
    torch.testing.assert_close(weights_of(task.network), expected.detach())


def test_a_discriminator_has_a_rate_and_options_of_its_own():
    options = {"optimizer": "adam", "optimizer_options": {"betas": [0.0, 0.9], "eps": 1e-6}}
    own = {"discriminator_rate": 0.4, "discriminator_optimizer_options": {"betas": [0.5, 0.99]}}
    task, rates = make_task(decay_epochs=2, **options, **own), []
    task.on_train_epoch_end = lambda: rates.append([each.param_groups[0]["lr"] for each in task.optimizers()])
    optimizers = fit(task, make_batches(1), epochs=2).optimizers
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    assert [(group["betas"], group["eps"]) for group in groups] == [((0.0, 0.9), 1e-6), ((0.5, 0.99), 1e-6)]
    assert np.array(rates) == pytest.approx(np.array([[0.1, 0.4], [0.05, 0.2]]))


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_kernels_of_a_discriminator_are_divided_by_their_norms(spectral_norm):
    options = {"discriminator_options": options_of(1) | {"kernel_size": 3}, "learning_rate": 0.01}
    task = make_task(spectral_norm=spectral_norm, **options)
    fit(task, make_batches(3))
    kernel = task.discriminator.train().weight.detach().flatten(1)
    assert (torch.linalg.matrix_norm(kernel, ord=2).item() == pytest.approx(1, abs=1e-5)) is spectral_norm


def test_the_network_learns_in_every_third_step_through_all_epochs():
    task, turns = make_task(critic_ratio=3), []
    update = task._update

    def note(network, *rest):
        turns.append("n" if network is task.network else "d")
        update(network, *rest)

    task._update = note
    fit(task, make_batches(4), epochs=2)
    assert "".join(turns) == "dddn" + "dddn" + "dd"  # steps 1 to 3, 4 to 6, and 7 and 8


@pytest.mark.parametrize("game", ["bce", "wasserstein"])
def test_gradients_of_two_batches_make_the_step_of_one_twice_as_large(game):
    batches, ends = make_batches(4), []
    for accumulate, given in ((2, batches), (1, [join(batches[:2]), join(batches[2:])])):
        task = make_task(game=game)
        task.accumulate = accumulate
        fit(task, given)
        ends.append((weights_of(task.network), weights_of(task.discriminator)))
    torch.testing.assert_close(ends[0], ends[1])
    assert (ends[0][0] != weights_of(make_task().network)).all()


def test_what_is_left_over_at_the_end_of_an_epoch_makes_a_step():
    batches, ends = make_batches(3), []
    for accumulate, given in ((2, batches), (1, [join(batches[:2]), batches[2]])):
        task = make_task(game="bce")
        task.accumulate = accumulate
        fit(task, given)
        ends.append((weights_of(task.network), weights_of(task.discriminator)))
    torch.testing.assert_close(ends[0], ends[1])


def test_a_discriminator_sees_the_inputs_where_it_is_told():
    task = make_task(conditional=True, discriminator_options=options_of(4))
    inputs = {"fine": torch.rand(2, 2, 4, 4), "coarse": torch.rand(2, 1, 2, 2)}
    shown = task.show(torch.rand(2, 1, 4, 4), {"inputs": inputs})
    assert torch.equal(shown[:, 1:3], inputs["fine"])
    assert torch.equal(shown[:, 3, 2:, :2], inputs["coarse"][:, 0, 1:, :1].expand(2, 2, 2))
    task = make_task(conditional=True, discriminator_options=options_of(3))
    fit(task, make_batches(1))


def test_noise_on_what_is_shown_fades():
    task = make_task(instance_noise=0.5, noise_epochs=4)
    field, spreads = torch.zeros(64, 1, 16, 16), []
    task.on_train_epoch_end = lambda: spreads.append(task._blur(field).std().item())
    fit(task, make_batches(1), epochs=6)
    assert spreads == pytest.approx([0.5, 0.375, 0.25, 0.125, 0, 0], rel=0.03)
    assert task.eval()._blur(field) is field


def test_a_checkpoint_brings_the_game_back(tmp_path):
    task = make_task(game="least_squares", penalty="r1", signature={"recipe": "own"})
    fit(task, make_batches(1)).save_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    loaded = load_checkpoint(tmp_path / "task.ckpt", AdversarialTask)
    assert (loaded.game, loaded.penalty, loaded.signature) == ("least_squares", "r1", {"recipe": "own"})
    assert torch.equal(weights_of(loaded), weights_of(task))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "chess"}, "game: is 'chess'; give relativistic, bce, least_squares or wasserstein"),
        ({"penalty": "fine"}, "penalty: is 'fine'; give none, r1 or wgan_gp"),
        ({"discriminator_rate": 0.0}, "discriminator_rate: is 0, with which nothing is learnt"),
        ({"critic_ratio": 0}, "critic_ratio: is 0; give at least 1"),
        ({"label_smoothing": 0.7}, "label_smoothing: is 0.7; give 0 or more and less than 0.5"),
        ({"game": "wasserstein", "label_smoothing": 0.1}, "the Wasserstein game has no labels"),
        ({"members": 2, "losses": {"crps": 1.0}}, "against a discriminator one is drawn"),
        ({"discriminator": "os.mkdir"}, "os.mkdir is no Module"),
        ({"discriminator_options": {}}, r"torch.nn.Conv2d cannot be made of \{\}"),
    ],
)
def test_refuses_what_does_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        make_task(**options)
