"""Fields learnt from fields: losses, clipping, rates, divergence, what a checkpoint brings back."""

from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fieldwise.errors import InputError
from fieldwise.losses.cells import masked_mae
from fieldwise.losses.ensembles import fair_crps
from fieldwise.networks.imports import import_by_path
from fieldwise.samples.loaders import make_patch_loader
from fieldwise.tasks import FieldTask, load_checkpoint
from fieldwise.tasks.rates import PlateauDecay

LINEAR = {"in_channels": 2, "out_channels": 1, "kernel_size": 1}


def half_error(prediction, batch, signature):
    """A loss of one's own, found by its import path."""
    return signature["half"] * masked_mae(prediction, batch["targets"], batch["mask"])


def make_task(**options):
    torch.manual_seed(0)
    return FieldTask(**({"network": "torch.nn.Conv2d", "network_options": LINEAR} | options))


def make_batch(value=1.0):
    return {
        "inputs": torch.full((2, 2, 4, 4), value),
        "targets": torch.zeros(2, 1, 4, 4),
        "mask": torch.ones(2, 1, 4, 4),
    }


def fit(task, batch, *, epochs=1, folder=None):
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    arrays = {name: values.numpy() for name, values in batch.items()}
    readers = [
        lambda rows, columns, number=number: {name: each[number] for name, each in arrays.items()}
        for number in range(len(arrays["inputs"]))
    ]
    trainer.fit(task, make_patch_loader(readers, batch_size=2))
    return trainer


def total_loss(task, batch):
    return task.add_up(task.draw(batch), batch)[0].item()


@pytest.mark.parametrize(
    ("losses", "expected"),
    [({"mae": 1}, 3), ({"mse": 1}, 9), ({"mae": 2, "mse": 0.5}, 10.5)],
)
def test_losses_are_summed_with_their_weights(losses, expected):
    task = make_task(network="torch.nn.Identity", network_options={}, losses=losses)
    batch = make_batch() | {"inputs": torch.full((2, 1, 4, 4), 3.0)}
    assert total_loss(task, batch) == expected


def test_a_loss_of_ones_own_sees_batch_and_signature():
    name = f"{__name__}.half_error"
    task = make_task(
        network="torch.nn.Identity", network_options={}, losses={name: 4.0}, signature={"half": 0.5}
    )
    assert total_loss(task, make_batch() | {"inputs": torch.full((2, 1, 4, 4), 3.0)}) == 6


def test_cells_outside_the_mask_do_not_count():
    batch = make_batch() | {"inputs": torch.full((2, 1, 4, 4), 3.0)}
    batch["inputs"][:, :, 2:] = 1e6
    batch["mask"][:, :, 2:] = 0
    task = make_task(network="torch.nn.Identity", network_options={}, losses={"mae": 1, "mse": 1})
    assert total_loss(task, batch) == 3 + 9


@pytest.mark.parametrize("clip_norm", [0.25, 0.0])
def test_the_norm_of_the_gradient_is_clipped_as_a_whole(clip_norm):
    task = make_task(clip_norm=clip_norm)
    seen, configure = [], task.configure_optimizers

    def norm(*_):
        seen.append(torch.cat([weight.grad.flatten() for weight in task.parameters()]).norm().item())

    def configure_and_listen():
        optimizer = configure()
        optimizer.register_step_post_hook(norm)
        return optimizer

    task.configure_optimizers = configure_and_listen
    fit(task, make_batch(100.0))
    if clip_norm:
        assert seen[0] == pytest.approx(clip_norm, rel=1e-4)
    else:
        assert seen[0] > 100


def test_l2_counts_kernels_and_not_biases():
    task = make_task(l2=0.1)
    task.log = lambda *_, **__: None
    plain = task.add_up(task.draw(make_batch()), make_batch())[0]
    with torch.no_grad():
        total = task.training_step(make_batch(), 0)
    assert total.item() == pytest.approx(plain.item() + 0.1 * task.network.weight.square().sum().item())


def test_the_rate_falls_along_half_a_cosine():
    task = make_task(learning_rate=0.1, decay_epochs=4)
    rates = []
    task.on_train_epoch_end = lambda: rates.append(task.trainer.optimizers[0].param_groups[0]["lr"])
    fit(task, make_batch(), epochs=6)
    expected = [0.1, 0.085355, 0.05, 0.014645, 0, 0]  # 0.05 (1 + cos(pi k / 4))
    assert rates == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_rate_falls_where_the_validation_loss_does_not(epochs):
    plateau, weight = PlateauDecay(epochs, 0.5), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    oracle = ReduceLROnPlateau(optimizer, factor=0.5, patience=epochs - 1, threshold=0, eps=0)
    losses = [*torch.rand(40, generator=torch.Generator().manual_seed(1)).tolist(), float("nan"), -1.0, -1.0]
    for loss in losses:
        plateau.note(loss)
        oracle.step(loss)
        assert plateau.share == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau.lowered > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plateau_epochs": 2, "decay_epochs": 9}, "plateau_epochs: does not go with --decay_epochs; give 0"),
        ({"plateau_epochs": -1}, "plateau_epochs: is -1; give at least 0"),
        ({"plateau_factor": 1.0}, "plateau_factor: is 1; give more than 0 and less than 1"),
    ],
)
def test_rates_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_task(**options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_stops_training_with_a_remedy(value):
    task = make_task()
    before = task.network.weight.clone()
    with pytest.raises(InputError, match=r"training diverged in epoch 0: .*lower learning_rate, now 0.0001"):
        fit(task, make_batch(value))
    torch.testing.assert_close(task.network.weight, before)


@pytest.mark.parametrize(("last", "after"), [(False, 3), (True, 1)])
def test_on_a_gpu_several_values_are_looked_at_together(monkeypatch, last, after):
    """Of the three that are looked at together the first is bad; at the end of an epoch none waits."""
    monkeypatch.setattr(FieldTask, "glance_every", 3)
    task = make_task()
    monkeypatch.setattr(FieldTask, "trainer", SimpleNamespace(is_last_batch=last, current_epoch=0))
    values = [torch.tensor(value) for value in (torch.nan, 1.0, 1.0)]
    for value in values[: after - 1]:
        task.check_finite(value, task.network, "loss")
    with pytest.raises(InputError, match="training diverged in epoch 0: the loss of Conv2d is nan"):
        task.check_finite(values[after - 1], task.network, "loss")


def test_a_checkpoint_brings_task_weights_and_signature_back(tmp_path):
    task = make_task(signature={"inputs": ["thk", "usurf"]}, losses={"mse": 1.0})
    trainer = fit(task, make_batch(), folder=tmp_path)
    trainer.save_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    loaded = load_checkpoint(tmp_path / "task.ckpt", FieldTask)
    assert loaded.signature == {"inputs": ["thk", "usurf"]}
    assert loaded.losses == {"mse": 1.0}
    assert torch.equal(loaded.network.weight, task.network.weight)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.mkdir", "os.mkdir is no Module"),
        ("pathlib.Path", "pathlib.Path is no Module"),
        ("torch.nn.Nothing", "cannot be imported"),
        ("no_such_package.Net", "cannot be imported"),
        ("Conv2d", "cannot be imported"),
    ],
)
def test_only_networks_are_taken_for_a_network(path, message):
    with pytest.raises(InputError, match=message):
        import_by_path(path, kind=nn.Module)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"torch.nn.Conv2d cannot be made of .*: .*unexpected keyword"):
        make_task(network_options=LINEAR | {"colour": "blue"})


def test_crps_of_members_is_that_of_all_pairs():
    members, truth = torch.randn(5, 2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    pairs = (members[:, None] - members[None]).abs().sum((0, 1)) / (5 * 4)
    expected = (members - truth).abs().mean(0) - pairs / 2
    assert fair_crps(members, truth).item() == pytest.approx(expected.mean().item(), rel=1e-5)
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :2] = 1
    assert fair_crps(members, truth, mask).item() == pytest.approx(expected[:, :, :2].mean().item(), rel=1e-5)


class Scattered(nn.Module):
    """Draws from a normal distribution of a mean and a spread that are learnt."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.mean + self.spread * torch.randn_like(inputs)


def test_members_learn_mean_and_spread_of_what_they_are_shown():
    task = make_task(
        network=f"{__name__}.Scattered",
        network_options={},
        losses={"crps": 1.0},
        members=4,
        learning_rate=0.1,
        decay_epochs=100,
    )
    targets = 2 + 3 * torch.randn(2, 1, 32, 32)
    fit(task, {"inputs": torch.zeros(2, 1, 32, 32), "targets": targets}, epochs=100)
    assert task.network.mean.item() == pytest.approx(targets.mean().item(), abs=0.15)
    assert abs(task.network.spread.item()) == pytest.approx(targets.std().item(), abs=0.3)


@pytest.mark.parametrize(("loss", "members"), [("mae", 2), ("crps", 1)])
def test_a_loss_of_one_field_judges_no_ensemble(loss, members):
    with pytest.raises(
        InputError, match=f"loss {loss}: does not judge {members} predictions of a field; take"
    ):
        make_task(losses={loss: 1.0}, members=members)


class Sum(nn.Module):
    def forward(self, inputs):
        return inputs["fine"] + inputs["coarse"].repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_inputs_come_by_name_too():
    batch = {"inputs": {"fine": torch.ones(2, 1, 4, 4), "coarse": torch.full((2, 1, 2, 2), 2.0)}}
    batch["targets"] = torch.zeros(2, 1, 4, 4)
    task = make_task(network=f"{__name__}.Sum", network_options={}, losses={"mse": 1.0})
    assert total_loss(task, batch) == 9


def test_any_optimiser_is_made_with_its_options():
    task = make_task(optimizer="torch.optim.SGD", optimizer_options={"momentum": 0.5}, weight_decay=0.1)
    (group,) = task.configure_optimizers().param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-4, 0.5, 0.1)
    task = make_task(optimizer_options={"betas": [0.0, 0.99]})
    assert task.configure_optimizers().param_groups[0]["betas"] == (0.0, 0.99)
    with pytest.raises(InputError, match=r"Adam cannot be made of .*: .*unexpected keyword"):
        make_task(optimizer_options={"colour": "blue"}).configure_optimizers()
