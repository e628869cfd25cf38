"""Networks, losses, gradients and a training step against the same in Chainer."""

import math
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.interop.chainer_npz import load_chainer_npz, save_chainer_npz
from fieldwise.losses.cells import content_loss
from fieldwise.losses.games import adversarial_loss, discriminator_loss
from fieldwise.losses.structure import structural_similarity, topographic_loss
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Discriminator, Generator
from fieldwise.recipes.bed_topography.generator import BedTask, choose_options

reference = pytest.importorskip(
    "chainer_reference",
    reason="Chainer is not installed: make chainer",
    exc_type=ModuleNotFoundError,
)
chainer, functions = reference.chainer, reference.functions
RATIOS = {"X": 1, "W1": 10, "W2": 2, "W3": 1}
LEARNING_RATE = 1e-3


@pytest.fixture(autouse=True)
def _same_weights_each_time() -> None:
    np.random.seed(3)  # which Chainer draws from
    torch.manual_seed(3)


def draw_batch(size: int = 2, rows: int = 11, columns: int = 11, dtype: Any = np.float64) -> dict:
    """Draw inputs and true tiles of order one."""
    random = np.random.default_rng(11)
    shapes = {
        name: (size, 1 + (name == "W2"), ratio * rows, ratio * columns) for name, ratio in RATIOS.items()
    }
    shapes["Y"] = (size, 1, 4 * (rows - 2), 4 * (columns - 2))
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def to_tensors(batch: dict) -> dict[str, Tensor]:
    return {channels.name: torch.from_numpy(batch[name]) for channels, name in zip(DEEPBEDMAP_INPUTS, RATIOS)}


def make_pair(folder: Path, network: Any, ours: nn.Module, *, offsets: float = 1.5) -> None:
    """Give a network of Chainer weights at which no signal fades, and ours the same through a file."""
    random = np.random.default_rng(2)
    for name, parameter in network.namedparams():
        if name.endswith("offset_conv/b"):
            parameter.array[:] = offsets * random.uniform(-1, 1, parameter.shape)
        elif "offset_conv" not in name and name.endswith("/W"):
            parameter.array *= 8  # of a tenth of He's weights
    chainer.serializers.save_npz(folder / "weights.npz", network, compression=False)
    load_chainer_npz(folder / "weights.npz", ours)


def make_generators(folder: Path, *, blocks: int = 1, dtype: Any = np.float64, **options: Any) -> tuple:
    with chainer.using_config("dtype", dtype):
        theirs = reference.Generator(num_residual_blocks=blocks, residual_scaling=0.2)
    ours = Generator(num_residual_blocks=blocks, residual_scaling=0.2, **options)
    ours = ours.double() if dtype == np.float64 else ours
    return theirs, ours


def make_discriminators(folder: Path, dtype: Any = np.float64) -> tuple:
    with chainer.using_config("dtype", dtype):
        theirs = reference.Discriminator()
    ours = Discriminator().double() if dtype == np.float64 else Discriminator()
    make_pair(folder, theirs, ours)
    return theirs, ours


def assert_close(ours: Tensor, theirs: Any, share: float = 1e-5) -> None:
    """Compare to a share of the largest value."""
    expected = getattr(theirs, "array", theirs)
    assert np.abs(ours.detach().numpy() - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize(
    ("blocks", "size", "rows", "columns"), [(1, 2, 11, 11), (2, 1, 11, 14), (1, 1, 5, 9), (3, 3, 3, 4)]
)
def test_generators_agree(tmp_path: Path, blocks: int, size: int, rows: int, columns: int) -> None:
    theirs, ours = make_generators(tmp_path, blocks=blocks, dtype=np.float32)
    make_pair(tmp_path, theirs, ours)
    batch = draw_batch(size, rows, columns, np.float32)
    expected = theirs(*(batch[name] for name in RATIOS))
    assert expected.shape == (size, 1, 4 * (rows - 2), 4 * (columns - 2))
    with torch.no_grad():
        assert_close(ours(to_tensors(batch)), expected)


def test_offsets_beyond_the_bound_agree_without_it(tmp_path: Path) -> None:
    theirs, bounded = make_generators(tmp_path)
    _, free = make_generators(tmp_path, largest_offset=math.inf)
    make_pair(tmp_path, theirs, bounded, offsets=14.0)
    load_chainer_npz(tmp_path / "weights.npz", free)
    batch = draw_batch()
    expected = theirs(*(batch[name] for name in RATIOS)).array
    with torch.no_grad():
        assert_close(free(to_tensors(batch)), expected, 1e-10)
        assert np.abs(bounded(to_tensors(batch)).numpy() - expected).max() > 0.01 * np.abs(expected).max()


def test_gradients_of_generators_agree(tmp_path: Path) -> None:
    theirs, ours = make_generators(tmp_path)
    make_pair(tmp_path, theirs, ours)
    batch = draw_batch()
    given = {name: chainer.Variable(batch[name]) for name in RATIOS}
    theirs.cleargrads()
    functions.sum(theirs(*given.values()) * batch["Y"]).backward()
    inputs = {name: field.requires_grad_() for name, field in to_tensors(batch).items()}
    (ours(inputs) * torch.from_numpy(batch["Y"])).sum().backward()
    for variable, field in zip(given.values(), inputs.values()):
        assert field.grad is not None
        assert_close(field.grad, variable.grad)
    for (name, gradient), expected in zip(gradients(ours, tmp_path).items(), gradients_of(theirs)):
        assert expected[0] == name
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-8 * np.abs(expected[1]).max())


def gradients(network: nn.Module, folder: Path) -> dict[str, np.ndarray]:
    """Give the gradients of our network under the names that Chainer's weights are saved under."""
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    save_chainer_npz(network, folder / "gradients.npz")
    with np.load(folder / "gradients.npz") as archive:
        return {key: archive[key] for key in sorted(archive.files)}


def gradients_of(network: Any) -> list[tuple[str, np.ndarray]]:
    return sorted((name.lstrip("/"), parameter.grad) for name, parameter in network.namedparams())


@pytest.mark.parametrize("training", [True, False])
def test_discriminators_agree(tmp_path: Path, training: bool) -> None:
    theirs, ours = make_discriminators(tmp_path, np.float32)
    tiles = draw_batch(16, dtype=np.float32)["Y"]  # of four alone, the last batch norm would magnify rounding
    with chainer.using_config("train", training), torch.no_grad():
        for factor in (1.0, 3.0):  # the second time the running means are others
            assert_close(ours.train(training)(torch.from_numpy(factor * tiles)), theirs(factor * tiles))
    state = ours.state_dict()
    for number in range(1, 10):
        norm = theirs[f"batch_norm{number}"]
        assert_close(state[f"batch_norm{number}.running_mean"], norm.avg_mean)
        assert_close(state[f"batch_norm{number}.running_var"], norm.avg_var)
        assert np.ptp(norm.avg_var) > 0 or not training


def test_gradients_of_discriminators_agree(tmp_path: Path) -> None:
    theirs, ours = make_discriminators(tmp_path)
    tiles = draw_batch(4)["Y"]
    variable, tensor = chainer.Variable(tiles), torch.from_numpy(tiles).requires_grad_()
    theirs.cleargrads()
    with chainer.using_config("train", True):
        reference.discriminator_loss(theirs(variable), theirs(-tiles)).backward()
    discriminator_loss(ours(tensor), ours(-tensor.detach())).backward()
    assert tensor.grad is not None
    assert_close(tensor.grad, variable.grad)
    for name, expected in gradients_of(theirs):
        owner, _, last = name.rpartition("/")
        layer = ours.get_submodule(owner)
        gradient = layer.weight.grad if last in ("W", "gamma") else layer.bias.grad
        assert isinstance(gradient, Tensor)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-12)


def test_losses_agree() -> None:
    random = np.random.default_rng(4)
    prediction, truth = random.normal(size=(2, 3, 1, 16, 20)) * 30
    lowres = random.normal(size=(3, 1, 6, 7)) * 30
    real, fake = random.normal(size=(2, 3, 1))
    x, y, z, r, f = (torch.from_numpy(array) for array in (prediction, truth, lowres, real, fake))
    pairs = {
        content_loss(x, y): reference.content_loss(prediction, truth),
        adversarial_loss(r, f): reference.adversarial_loss(real, fake),
        topographic_loss(x, z): reference.topographic_loss(prediction, lowres),
        structural_similarity(x, y): reference.structural_similarity(prediction, truth),
        discriminator_loss(r, f): reference.discriminator_loss(real, fake),
        loss_of_generator(x, y, z, (r, f)): reference.generator_loss(prediction, truth, lowres, real, fake),
    }
    for ours, theirs in pairs.items():
        assert ours.item() == pytest.approx(float(theirs.array), rel=1e-9)
    assert len({round(value.item(), 6) for value in pairs}) == 6


def test_gradients_of_losses_agree() -> None:
    random = np.random.default_rng(6)
    prediction, truth = random.normal(size=(2, 2, 1, 12, 12))
    lowres, scores = random.normal(size=(2, 1, 5, 5)), random.normal(size=(2, 2, 1))
    variables = [chainer.Variable(array) for array in (prediction, scores[1])]
    reference.generator_loss(variables[0], truth, lowres, scores[0], variables[1]).backward()
    x, f = (torch.from_numpy(array).requires_grad_() for array in (prediction, scores[1]))
    real = torch.from_numpy(scores[0])
    loss_of_generator(x, torch.from_numpy(truth), torch.from_numpy(lowres), (real, f)).backward()
    for tensor, variable in zip((x, f), variables):
        np.testing.assert_allclose(tensor.grad, variable.grad, rtol=1e-8, atol=1e-12)


def make_task() -> BedTask:
    inputs = [vars(channels) for channels in DEEPBEDMAP_INPUTS]
    return BedTask(
        **choose_options(inputs, num_residual_blocks=1, residual_scaling=0.2, learning_rate=LEARNING_RATE)
    ).double()


def loss_of_generator(prediction: Tensor, truth: Tensor, lowres: Tensor, scores: tuple) -> Tensor:
    """Return the weighted sum of the four terms, as the task adds them up."""
    task = make_task()
    loss, _ = task.add_up(prediction, {"targets": truth, "bed_lowres": lowres})
    return task.add_opinion(loss, *scores)


def take_step(task: BedTask, batch: dict) -> None:
    """Let the task train on one batch, by its own training step."""
    bed = torch.from_numpy(batch["Y"])
    given = {"inputs": to_tensors(batch), "targets": bed, "bed_lowres": torch.from_numpy(batch["X"])}
    trainer = lightning.Trainer(
        max_steps=2,  # it counts the steps of both optimisers
        accelerator="cpu",
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, torch.utils.data.DataLoader([given | {"base": torch.zeros_like(bed)}], batch_size=None))


@pytest.fixture
def before_a_step(tmp_path: Path) -> tuple[BedTask, Any, Any]:
    task = make_task()
    generator, _ = make_generators(tmp_path)
    with chainer.using_config("dtype", np.float64):
        discriminator = reference.Discriminator()
    make_pair(tmp_path, generator, task.network)
    make_pair(tmp_path, discriminator, task.discriminator)
    return task, generator, discriminator


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a `validation_step`")
def test_all_weights_agree_after_a_step_of_both_networks(before_a_step: tuple, tmp_path: Path) -> None:
    task, generator, discriminator = before_a_step
    start = [value.clone() for value in task.parameters()]
    batch = draw_batch(3)
    # In the first step Chainer's eps weighs 1 / sqrt(1 - 0.999) as much as PyTorch's (see make_adam).
    optimizers = [
        reference.make_adam(network, learning_rate=LEARNING_RATE, eps=1e-8 * math.sqrt(1 - 0.999))
        for network in (generator, discriminator)
    ]
    reference.train_step(generator, discriminator, tuple(optimizers), batch)
    take_step(task, batch)
    for network, ours in ((generator, task.network), (discriminator, task.discriminator)):
        save_chainer_npz(ours, tmp_path / "ours.npz")
        chainer.serializers.save_npz(tmp_path / "theirs.npz", network)
        with np.load(tmp_path / "ours.npz") as found, np.load(tmp_path / "theirs.npz") as expected:
            assert set(found.files) == set(expected.files)
            for key in set(found.files) - {f"batch_norm{number}/N" for number in range(1, 10)}:
                # Adam's first step is as long as the learning rate, whatever the gradient; but for rounding,
                # which is all that some have.
                np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-6 * LEARNING_RATE)
    for (name, value), old in zip(task.named_parameters(), start):
        # The relativistic losses do not feel a number added to all scores.
        if name != "discriminator.linear_2.bias":
            assert (value - old).abs().max().item() > 0.5 * LEARNING_RATE, name


def test_the_opinion_of_the_discriminator_reaches_the_generator(before_a_step: tuple) -> None:
    """What the original's code cuts off: its adversarial term does not depend on the generator's weights."""
    _, generator, discriminator = before_a_step
    batch = draw_batch(3)
    found = []
    for cut in (False, True):
        drawn = generator(*(batch[name] for name in RATIOS))
        with chainer.using_config("train", False):
            fake, real = discriminator(drawn), discriminator(batch["Y"]).array
        if cut:
            fake, real = fake.array, np.ones_like(real)
        generator.cleargrads()
        reference.generator_loss(drawn, batch["Y"], batch["X"], real, fake).backward()
        found.append(generator.post_residual_conv_layer.W.grad.copy())
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found[1]).max()


def test_chainer_reads_what_we_write(tmp_path: Path) -> None:
    generator, discriminator = Generator(num_residual_blocks=1), Discriminator()
    for ours, theirs in (
        (generator, reference.Generator(num_residual_blocks=1)),
        (discriminator, reference.Discriminator()),
    ):
        save_chainer_npz(ours, tmp_path / "ours.npz")
        chainer.serializers.load_npz(tmp_path / "ours.npz", theirs, strict=True)
        chainer.serializers.save_npz(tmp_path / "theirs.npz", theirs, compression=False)
        with np.load(tmp_path / "ours.npz") as found, np.load(tmp_path / "theirs.npz") as expected:
            assert set(found.files) == set(expected.files)
            for key in found.files:
                np.testing.assert_array_equal(found[key], expected[key])
