"""Training: what a step changes, what resumes, what a checkpoint gives back and what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from fieldwise.errors import InputError
from fieldwise.recipes.bed_topography.generator import BedTask, choose_options
from fieldwise.tasks import load_checkpoint

INPUTS = [
    {"name": "bed_lowres", "channels": 1, "spacing_m": 1000.0},
    {"name": "ice_velocity", "channels": 2, "spacing_m": 500.0},
]
TILES = 6


class ShuffleByEpoch(Sampler[int]):
    """Yield the tiles in an order that depends on the epoch alone."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return TILES

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(TILES, generator=torch.Generator().manual_seed(self.epoch)).tolist())


def draw_tiles(number: int = TILES, seed: int = 0) -> list[dict[str, Any]]:
    """Return tiles whose bed departs from a base at -500 m by ten times what the velocity shows."""
    generator = torch.Generator().manual_seed(seed)
    tiles = []
    for _ in range(number):
        velocity = torch.randn(2, 22, 22, generator=generator)
        coarse = torch.randn(1, 11, 11, generator=generator)
        base = torch.full((1, 36, 36), -500.0)
        departure = 10 * velocity[:1, 2:-2, 2:-2].repeat_interleave(2, 1).repeat_interleave(2, 2)
        tiles.append(
            {
                "inputs": {"bed_lowres": coarse, "ice_velocity": velocity},
                "base": base,
                "targets": base + departure,
                "bed_lowres": torch.full((1, 11, 11), -500.0),
            }
        )
    return tiles


def make_task(**changes: Any) -> BedTask:
    torch.manual_seed(5)
    settings: dict[str, Any] = {"inputs": INPUTS, "num_residual_blocks": 1, "departure_scale_m": 10.0}
    return BedTask(**choose_options(**(settings | changes)))


@torch.no_grad()
def draw(batch: dict[str, Any], task: BedTask) -> Tensor:
    return task.eval().draw(batch)


def loaders(batch_size: int = 3) -> tuple[DataLoader, DataLoader]:
    training: Any = draw_tiles()
    validation: Any = draw_tiles(seed=1)
    return (
        DataLoader(training, batch_size=batch_size, sampler=ShuffleByEpoch()),
        DataLoader(validation, batch_size=batch_size),
    )


def make_trainer(folder: Path, epochs: int, **changes: Any) -> lightning.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
        "callbacks": [ModelCheckpoint(folder, filename="last", every_n_epochs=epochs)],
    }
    return lightning.Trainer(**(settings | changes))


def assert_same_bits(one: torch.nn.Module, other: torch.nn.Module) -> None:
    theirs = other.state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[BedTask, lightning.Trainer, Path]:
    """Four epochs straight, with a discriminator."""
    folder = tmp_path_factory.mktemp("straight")
    task = make_task(signature={"units": "m", "scales": {"ice_velocity": [1.5, 2]}})
    trainer = make_trainer(folder, 4)
    trainer.fit(task, *loaders())
    return task, trainer, folder


def test_two_and_two_epochs_give_the_bits_of_four(
    trained: tuple[BedTask, lightning.Trainer, Path], tmp_path: Path
) -> None:
    straight, *_ = trained
    first = make_task()
    make_trainer(tmp_path, 2).fit(first, *loaders())
    resumed = make_task()
    torch.nn.init.ones_(resumed.network.pre_residual_conv_layer.weight)  # the checkpoint alone must count
    trainer = make_trainer(tmp_path, 4)
    trainer.fit(resumed, *loaders(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert_same_bits(straight, resumed)
    moments, resumed_moments = (
        [state["exp_avg_sq"] for optimizer in each.optimizers for state in optimizer.state.values()]
        for each in (trained[1], trainer)
    )
    assert all(torch.equal(one, other) for one, other in zip(moments, resumed_moments, strict=True))
    with pytest.raises(AssertionError, match=r"network\."):
        assert_same_bits(straight, first)


def test_logs_what_the_epoch_was_like(trained: tuple[BedTask, lightning.Trainer, Path]) -> None:
    logged = trained[1].callback_metrics
    assert {"loss_generator", "loss_discriminator", "rmse_m"} <= set(logged)
    assert {"val_rmse_m", "val_psnr", "val_psnr_published", "val_ssim", "val_loss"} <= set(logged)
    assert all(torch.isfinite(value) for value in logged.values())


def test_validation_error_is_over_all_tiles(trained: tuple[BedTask, lightning.Trainer, Path]) -> None:
    task, trainer, _ = trained
    tiles = draw_tiles(seed=1)
    errors = []
    for tile in tiles:
        inputs = {name: field[None] for name, field in tile["inputs"].items()}
        errors.append(draw({"inputs": inputs, "base": tile["base"][None]}, task)[0] - tile["targets"])
    rmse = torch.stack(errors).square().mean().sqrt().item()
    assert trainer.callback_metrics["val_rmse_m"].item() == pytest.approx(rmse, rel=1e-5)
    beds = torch.stack([tile["targets"] for tile in tiles])
    for name, data_range in (("val_psnr", float(beds.max() - beds.min())), ("val_psnr_published", 2.0**32)):
        decibels = 20 * np.log10(data_range / rmse)
        assert trainer.callback_metrics[name].item() == pytest.approx(decibels, rel=1e-5)


def test_a_checkpoint_describes_itself(trained: tuple[BedTask, lightning.Trainer, Path]) -> None:
    task, _, folder = trained
    loaded = load_checkpoint(folder / "last.ckpt", BedTask)
    assert loaded.signature == {"units": "m", "scales": {"ice_velocity": [1.5, 2]}}
    assert loaded.hparams["network_options"]["inputs"] == INPUTS
    assert not loaded.training
    batch = default_collate(draw_tiles(2))
    assert torch.equal(draw(batch, loaded), draw(batch, task))


def test_departure_is_in_metres_over_any_window() -> None:
    inputs = {"bed_lowres": torch.randn(1, 1, 7, 9), "ice_velocity": torch.randn(1, 2, 14, 18)}
    batch = {"inputs": inputs, "base": torch.zeros(1, 1, 20, 28)}
    one, ten = make_task(departure_scale_m=1.0), make_task(departure_scale_m=10.0)
    departure = draw(batch, ten)
    assert departure.shape == (1, 1, 20, 28)
    torch.testing.assert_close(departure, 10 * draw(batch, one))


def test_the_loss_is_as_published() -> None:
    ones = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    batch = {"targets": 10 * ones, "bed_lowres": torch.full((2, 1, 5, 5), 9.0, dtype=torch.float64)}
    task = make_task()
    loss, terms = task.add_up(ones, batch)
    scores = [torch.tensor(values, dtype=torch.float64)[:, None] for values in ((0.5, -0.8), (-1.2, 0.5))]
    assert task.add_opinion(loss, *scores).item() == pytest.approx(4.35108415, abs=5e-9)
    assert [terms[name].item() for name in terms][:2] == [9, 8]


def test_the_loss_is_the_sum_of_its_terms() -> None:
    ones = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    batch = {"targets": 10 * ones, "bed_lowres": torch.full((2, 1, 5, 5), 9.0, dtype=torch.float64)}
    task = make_task(content_weight=1.0, topographic_weight=10.0, structural_weight=0.0)
    assert task.add_up(ones, batch)[0].item() == pytest.approx(9 + 10 * 8)


class Spy(BedTask):
    """Note what each turn changes, and the running statistics before it."""

    seen: list[tuple[torch.nn.Module, set[str], bool, Tensor]]

    def _update(self, network: torch.nn.Module, optimizer: Any, losses: Any, count: int) -> None:
        assert self.discriminator is not None
        before = {name: tensor.clone() for name, tensor in self.discriminator.state_dict().items()}
        generator = [parameter.clone() for parameter in self.network.parameters()]
        super()._update(network, optimizer, losses, count)
        after = self.discriminator.state_dict()
        changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        drawn_anew = any(not torch.equal(a, b) for a, b in zip(generator, self.network.parameters()))
        self.seen.append((network, changed, drawn_anew, before["batch_norm1.running_mean"]))


def test_discriminator_and_generator_learn_one_after_the_other(tmp_path: Path) -> None:
    torch.manual_seed(5)
    task = Spy(**choose_options(INPUTS, num_residual_blocks=1, departure_scale_m=10.0))
    task.seen = []
    make_trainer(tmp_path, 1, callbacks=[], enable_checkpointing=False, limit_val_batches=0).fit(
        task, loaders()[0]
    )
    assert [network for network, *_ in task.seen] == 2 * [task.discriminator, task.network]
    for network, changed, generator_changed, _ in task.seen:
        assert generator_changed is (network is task.network)
        assert bool(changed) is (network is task.discriminator)
    statistics = [running_mean for *_, running_mean in task.seen]
    assert not torch.equal(statistics[0], statistics[1])
    assert torch.equal(statistics[1], statistics[2])  # not touched while the generator learnt
    assert not torch.equal(statistics[2], statistics[3])
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_discriminator_pulls_on_the_generator() -> None:
    """With the adversarial term alone the generator's gradient is not zero (in DeepBedMap it was)."""
    task = make_task(content_weight=0.0, topographic_weight=0.0, structural_weight=0.0)
    batch = default_collate(draw_tiles(3))
    task._loss_of_network(task.draw(batch), batch).backward()
    gradient = task.network.final_conv_layer2.deform_conv.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_without_adversarial_weight_there_is_no_discriminator_and_the_loss_falls(tmp_path: Path) -> None:
    task = make_task(adversarial_weight=0, learning_rate=1e-3)
    assert task.discriminator is None
    best = ModelCheckpoint(tmp_path, monitor="val_rmse_m")
    trainer = make_trainer(tmp_path, 20, callbacks=[best])
    trainer.fit(task, *loaders())
    assert len(trainer.optimizers) == 1
    assert "loss_discriminator" not in trainer.callback_metrics
    # The departure has a standard deviation of 10 m, which is what a network that draws nothing misses.
    assert trainer.callback_metrics["rmse_m"].item() < 9
    assert best.best_model_score is not None
    assert best.best_model_score.item() < 9.5


def test_a_last_batch_of_one_tile_teaches_the_generator_only(tmp_path: Path) -> None:
    task = make_task()
    make_trainer(tmp_path, 1).fit(task, *loaders(batch_size=5))
    with pytest.raises(InputError, match=r"batches of 1 teach a discriminator .* nothing"):
        make_trainer(tmp_path, 1).fit(task, *loaders(batch_size=1))


def test_divergence_is_an_error_that_names_the_learning_rate(tmp_path: Path) -> None:
    training, _ = loaders()
    training.dataset[0]["targets"][0, 3, 3] = float("nan")
    task = make_task(adversarial_weight=0)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    trainer = make_trainer(tmp_path, 1)
    with pytest.raises(InputError, match=r"the loss of Generator is nan; lower learning_rate, now 0.00016"):
        trainer.fit(task, DataLoader(training.dataset, batch_size=6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signature": {"scales": [np.float64(1.5)]}}, r"signature.scales\[0\] is a numpy.float64"),
        ({"learning_rate": np.float64(1e-4)}, "learning_rate is a numpy.float64"),
        ({"inputs": [{"name": "bed", "spacing": 1000.0}]}, "give dicts of name, channels and spacing_m"),
        ({"inputs": [{"name": "bed", "channels": 1, "spacing_m": 300.0}]}, "does not divide"),
    ],
)
def test_refuses_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(**changes)


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


def test_refuses_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    path, victim = tmp_path / "x.ckpt", tmp_path / "victim"
    contents: list[tuple[Any, str]] = [
        ({"hyper_parameters": {}, "state_dict": Malice(victim)}, "cannot be read as a checkpoint"),
        ({"state_dict": {}}, "holds no hyper_parameters"),
        ([1, 2], "holds no hyper_parameters"),
        ({"hyper_parameters": {"width": 3}, "state_dict": {}}, "of another network"),
        (
            {"hyper_parameters": choose_options(INPUTS, num_residual_blocks=1), "state_dict": {}},
            "of another network .*loading state_dict",
        ),
    ]
    for content, message in contents:
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as caught:
            load_checkpoint(path, BedTask)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n", b"PK\x03\x04 truncated"])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    for each in (path, tmp_path, tmp_path / "missing.ckpt"):
        with pytest.raises(InputError, match=r"cannot be read as a checkpoint .* give a \.ckpt file"):
            load_checkpoint(each, BedTask)
