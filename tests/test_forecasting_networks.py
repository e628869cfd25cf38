"""Networks that forecast: what they read and what they must not, closed forms, sizes that are published."""

import math

import pytest
import torch
from forecasting_networks import (
    ALL,
    AT_ONCE,
    CELLS,
    CHANNELS,
    CONTEXT,
    DRAWING,
    FED,
    HORIZON,
    draw_blobs,
    make,
    noise_of,
    sequences,
)
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convolutions.cdna import move
from fieldwise.networks.forecasting import frames
from fieldwise.networks.forecasting.advection import Advection
from fieldwise.networks.forecasting.convlstm import ConvLSTM, ConvLSTMCell, _Renewal
from fieldwise.networks.forecasting.daily_cycle import DailyCycle
from fieldwise.networks.forecasting.discriminators import SequenceDiscriminator, VideoDiscriminator
from fieldwise.networks.forecasting.predrnn import PredRNN, SpatiotemporalCell
from fieldwise.networks.forecasting.savp import SAVP, CodedLayer
from fieldwise.networks.forecasting.simvp import SimVP


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("padding", "cells"), [("reflect", (17, 22)), ("zeros", CELLS), ("zonal", (16, 32))])
def test_every_network_makes_as_many_frames_as_asked(name, padding, cells):
    network = make(name, padding=padding)
    for horizon in (1, HORIZON, 6):
        inputs, forcing, _ = sequences(cells, horizon)
        with torch.no_grad():
            made = network(inputs, horizon=horizon, forcing=forcing, **noise_of(name, cells=cells))
        assert made.shape == (2, horizon, CHANNELS, *cells)
        assert made.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_truth_is_not_read_unless_fed(name):
    inputs, forcing, truth = sequences()
    network, never = make(name), torch.zeros(2, HORIZON, dtype=torch.bool)
    with torch.no_grad():
        free = network(inputs, forcing=forcing, **noise_of(name))
        for fed in (None, never):
            for true in (truth, torch.full_like(truth, torch.nan)):
                again = network(inputs, forcing=forcing, truth=true, fed=fed, **noise_of(name))
                assert torch.equal(again, free)


@pytest.mark.parametrize("name", FED)
@pytest.mark.parametrize("step", [1, 3])
def test_a_true_frame_is_read_where_fed_and_changes_no_earlier_frame(name, step):
    inputs, forcing, truth = sequences()
    network, fed = make(name), torch.zeros(2, HORIZON, dtype=torch.bool)
    fed[0, step] = True
    with torch.no_grad():
        free = network(inputs, forcing=forcing, **noise_of(name))
        made = network(inputs, forcing=forcing, truth=truth, fed=fed, **noise_of(name))
    assert torch.equal(made[0, :step], free[0, :step])
    assert all((made[0, step:] - free[0, step:]).abs().amax((1, 2, 3)) > 1e-4)
    assert torch.equal(made[1], free[1])  # of the other sample nothing was fed


@pytest.mark.parametrize("name", FED)
def test_no_frame_knows_what_comes_later(name):
    """With all frames fed: a true frame changes those after it alone; so does the forcing of an hour."""
    inputs, forcing, truth = sequences()
    network, fed = make(name), torch.ones(2, HORIZON, dtype=torch.bool)
    later, sunny = truth.clone(), forcing.clone()
    later[:, 1] += 1
    sunny[:, CONTEXT + 2] += 1
    with torch.no_grad():
        made, of_truth, of_forcing = (
            network(inputs, forcing=light, truth=true, fed=fed, **noise_of(name))
            for light, true in ((forcing, truth), (forcing, later), (sunny, truth))
        )
    for changed in (of_truth, of_forcing):  # both show in the third frame first
        assert torch.equal(changed[:, :2], made[:, :2])
        assert (changed[:, 2] - made[:, 2]).abs().max() > 1e-4


@pytest.mark.parametrize("name", AT_ONCE)
def test_networks_that_answer_at_once_read_all_that_is_known(name):
    inputs, forcing, _ = sequences()
    inputs.requires_grad_(), forcing.requires_grad_()
    network = make(name)
    network(inputs, forcing=forcing, **noise_of(name))[:, 0].sum().backward()
    for known in (inputs, forcing):
        assert (known.grad.abs().amax((0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_a_rolled_periodic_world_gives_the_rolled_forecast(name):
    """With the noise of the same cells; numbers for the whole map are those of its first cells."""
    options = {"numbers": 0} if name in ("stochastic convlstm", "stochastic simvp") else {}
    network, (inputs, forcing, _), by = make(name, **options), sequences(), (8, -8)
    with torch.no_grad():
        made = network(inputs, forcing=forcing, **noise_of(name))
        code = {"noise": lambda level, shape, like: noise_of(name)["noise"](level, shape, like)}
        moved = noise_of(name, origin=(-8, 8)) if name != "savp" else code
        rolled = network(inputs.roll(by, (-2, -1)), forcing=forcing.roll(by, (-2, -1)), **moved)
    torch.testing.assert_close(rolled, made.roll(by, (-2, -1)), rtol=1e-4, atol=1e-4)
    assert (made - made.roll(by, (-2, -1))).abs().max() > 0.1


@pytest.mark.parametrize("name", DRAWING)
def test_members_differ_and_are_drawn_again_to_the_bit(name):
    network, (inputs, forcing, _) = make(name), sequences()

    def draw(member):
        with torch.no_grad():
            return network(inputs, forcing=forcing, **noise_of(name, member))

    first, second, again = draw(0), draw(1), draw(0)
    assert torch.equal(first, again)
    assert ((first - second).abs().amax((2, 3, 4)) > 1e-3).all()
    together = draw([0, 1])  # one each of the samples
    torch.testing.assert_close(together, torch.stack([first[0], second[1]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DRAWING)
def test_planes_drawn_together_are_those_drawn_one_by_one(name, monkeypatch):
    network, (inputs, forcing, _), world = make(name), sequences(), noise_of(name, [3, 4])["noise"]

    def draw(noise):
        with torch.no_grad():
            return network(inputs, forcing=forcing, noise=noise)

    alone = draw(lambda level, shape, like: world(level, shape, like))
    assert torch.equal(draw(world), alone)
    monkeypatch.setattr(frames, "AT_ONCE", 2 * CELLS[0] * CELLS[1])
    assert torch.equal(draw(world), alone)


def test_fresh_noise_is_drawn_where_none_is_given():
    for name in DRAWING:
        network, (inputs, forcing, _) = make(name), sequences()
        first, second = (network(inputs, forcing=forcing) for _ in range(2))
        assert not torch.equal(first, second)


def test_a_cell_of_one_number_is_the_formula():
    """One cell, one feature, worked out by hand for two frames of 1 and -2."""
    cell = ConvLSTMCell(1, 1, 1, padding="zeros").double()
    of_inputs, of_hidden, bias = [0.5, -1.0, 2.0, 1.5], [1.0, 0.5, -0.5, -1.0], [0.1, 0.2, 0.3, 0.4]
    with torch.no_grad():
        cell.of_inputs.weight.copy_(torch.tensor(of_inputs).view(4, 1, 1, 1))
        cell.of_hidden.weight.copy_(torch.tensor(of_hidden).view(4, 1, 1, 1))
        cell.of_inputs.bias.copy_(torch.tensor(bias))
    shown, memory = cell(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1, 1).double())
    squash, hidden, kept, expected = (lambda x: 1 / (1 + math.exp(-x))), 0.0, 0.0, []
    for value in (1.0, -2.0):
        write, keep, show, made = (
            w * value + u * hidden + b for w, u, b in zip(of_inputs, of_hidden, bias, strict=True)
        )
        kept = squash(keep) * kept + squash(write) * math.tanh(made)
        hidden = squash(show) * math.tanh(kept)
        expected.append(hidden)
    assert shown.flatten().tolist() == pytest.approx(expected, rel=1e-6)  # weights are of float32
    assert memory.cell.item() == pytest.approx(kept, rel=1e-6)


@pytest.mark.parametrize("normed", [False, True])
def test_reading_all_frames_at_once_is_reading_them_one_by_one(normed):
    cell, frames = (
        ConvLSTMCell(3, 4, 5, padding="reflect", normed=normed).double(),
        torch.randn(2, 5, 3, 6, 7),
    )
    together, memory = cell(frames.double())
    alone, kept = [], None
    for frame in frames.double().split(1, dim=1):
        shown, kept = cell(frame, kept)
        alone.append(shown)
    torch.testing.assert_close(together, torch.cat(alone, dim=1))
    torch.testing.assert_close(memory.cell, kept.cell)


def test_gradients_of_the_memory_are_its_difference_quotients():
    draw = lambda features: torch.randn(2, features, 2, 3, dtype=torch.double, requires_grad=True)  # noqa: E731
    assert torch.autograd.gradcheck(_Renewal.apply, (draw(8), draw(2)))
    assert torch.autograd.gradcheck(lambda gates: _Renewal.apply(gates, None), (draw(8),))


def test_the_zigzag_memory_is_that_of_the_layer_below():
    """A cell whose own memory shows nothing gives what the other memory makes: worked out by the formula."""
    cell = SpatiotemporalCell(1, 1, 1, padding="zeros").double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.of_zigzag.weight[2] = 2.0  # what is made of the memory
        cell.mix.weight[0, 1] = 3.0  # what is shown of it
    hidden, own, zigzag = cell(torch.zeros(1, 1, 1, 1).double(), None, torch.full((1, 1, 1, 1), 0.5).double())
    expected = 0.5 * math.tanh(1.0) + 0.5 / (1 + math.exp(-1))  # the gate of keeping starts at sigmoid(1)
    assert own.item() == 0
    assert zigzag.item() == pytest.approx(expected)
    assert hidden.item() == pytest.approx(0.5 * math.tanh(3 * expected))


@pytest.mark.parametrize(
    ("make_network", "published"),
    [
        (lambda: ConvLSTM(3), 25 * (3 + 64) * 256 + 256 + 64 * 3 + 3),
        (lambda: PredRNN(1, features=128, layers=4, patch=4), 23.84e6),
        (lambda: SimVP(1), 12.76e6),
        (lambda: SimVP(1, translator="convmixer"), 1.14e6),
    ],
)
def test_sizes_are_the_published_ones(make_network, published):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in make_network().parameters())
    assert count == pytest.approx(published, rel=5e-3)


def test_the_code_reaches_every_layer_of_savp_on_a_map_without_edge():
    """Where planes of the code were joined to a convolution, the norm after it would take them out again."""
    inputs, forcing, _ = sequences()
    network = make("savp")
    code = torch.randn(2, CONTEXT + HORIZON - 1, 16, requires_grad=True)
    network(inputs, forcing=forcing, code=code).square().sum().backward()
    assert (code.grad.abs().amax((0, 2)) > 0).all()  # of every transition, the known ones too
    layers = [layer for layer in network.modules() if isinstance(layer, CodedLayer)]
    assert len(layers) == 4
    assert all(layer.of_numbers.weight.grad[:, :16].abs().max() > 0 for layer in layers)


def test_the_code_of_the_truth_is_one_of_each_transition():
    """Mean and variance of a transition depend on its two frames alone; a code of these moments is drawn."""
    network, (inputs, forcing, truth) = make("savp"), sequences()
    frames = torch.cat([inputs, truth], dim=1)
    with torch.no_grad():
        mean, log_variance = network.encode(frames)
        alone, _ = network.encode(frames[:, 2:4])
    assert mean.shape == log_variance.shape == (2, CONTEXT + HORIZON - 1, 16)
    torch.testing.assert_close(alone[:, 0], mean[:, 2])
    with pytest.raises(InputError, match=r"code is \(2, 5, 16\), not \(2, 6, 16\)"):
        network(inputs, forcing=forcing, code=mean[:, 1:])


def test_codes_of_the_prior_are_normal_numbers():
    network = make("savp")
    drawn = network.draw_code(
        torch.zeros(400, 1, CHANNELS, 4, 4), 10, noise_of("savp", [*range(400)])["noise"]
    )
    assert drawn.shape == (400, 10, 16)
    assert drawn.mean().item() == pytest.approx(0, abs=4 / 64000**0.5)
    assert drawn.var().item() == pytest.approx(1, abs=4 * (2 / 64000) ** 0.5)


def test_a_vae_without_variance_draws_nothing():
    network, (inputs, forcing, _) = make("vae"), sequences()
    with torch.no_grad():
        network.moments.weight[16:].zero_()
        network.moments.bias[16:] = -1e9
        first, second = (network(inputs, forcing=forcing, **noise_of("vae", member)) for member in (0, 1))
        assert network.encode(inputs)[1].max() == -10  # of the logarithm of the variance
    assert (first - second).abs().max() < 0.02  # standard deviations of e^-5
    assert (first - second).abs().max() > 0


def test_video_discriminators_see_the_order_of_frames_and_are_not_steep():
    torch.manual_seed(0)
    judge, frames = VideoDiscriminator(2, features=4), torch.randn(3, 6, 2, 16, 16)
    for _ in range(50):  # each pass refines the estimate of the largest singular value
        score, features = judge.judge(frames)
    judge.eval()
    largest = [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        for layer in [*judge.convolutions, judge.score]
    ]
    assert largest == pytest.approx([1.0] * 8, rel=0.02)
    assert score.shape == (3, 1)
    assert len(features) == 7
    backward = judge(frames.flip(1))
    assert (backward - judge(frames)).abs().max() > 1e-5
    torch.testing.assert_close(judge(frames[:1]), judge(frames)[:1])


def test_parameters_of_the_sequence_discriminator_are_those_of_its_layers():
    with torch.device("meta"):
        judge = SequenceDiscriminator(3)
    kernels = 3 * 4 * 4 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    assert sum(each.numel() for each in judge.parameters()) == kernels + 64 + 2 * (128 + 256 + 512) + 512 + 1
    with pytest.raises(InputError, match="at least 1 frames of 16 x 16 cells"):
        judge(torch.zeros(1, 12, 3, 8, 8, device="meta"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"inputs": torch.zeros(2, CONTEXT, 3, *CELLS)}, r"reads \(batch, context, 2, y, x\), not \(2, 3, 3"),
        ({"forcing": None}, r"forcing is None, not \(2, 7, 1, 16, 24\)"),
        ({"forcing": torch.zeros(2, CONTEXT, 1, *CELLS)}, r"forcing is \(2, 3, 1, 16, 24\)"),
        ({"truth": torch.zeros(2, 2, CHANNELS, *CELLS)}, r"truth is \(2, 2, 2, 16, 24\)"),
        ({"fed": torch.ones(2, HORIZON, dtype=torch.bool)}, "truth is None"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
@pytest.mark.parametrize("name", ["convlstm", "simvp"])
def test_sequences_that_do_not_fit_are_refused(name, changes, match):
    inputs, forcing, _ = sequences()
    given = {"inputs": inputs, "forcing": forcing, **changes}
    with pytest.raises(InputError, match=match):
        make(name)(given.pop("inputs"), **given)


@pytest.mark.parametrize(
    ("make_network", "match"),
    [
        (lambda: ConvLSTM(2, padding="periodic"), "padding is 'periodic'"),
        (lambda: ConvLSTM(0), "channels is 0"),
        (
            lambda: Advection(1, lag=24),
            "--context 12 --horizon 12: 1 frames and a lag of 24 take a context of 25",
        ),
        (lambda: Advection(1, context=25, horizon=25, lag=24), "and a horizon of 24 at most"),
        (
            lambda: DailyCycle(1, context=24),
            "--context 24: a day of 24 frames and the frame before take .* 25",
        ),
        (lambda: DailyCycle(1, forcing=0), "--forcing: is empty, and the daily cycle follows the sun"),
        (lambda: DailyCycle(1, day=1), "--day: is 1; give at least 2"),
        (lambda: DailyCycle(1, relaxation=0), "relaxation is 0; give more than 0"),
        (
            lambda: DailyCycle(1)(torch.zeros(1, 9, 1, 4, 4), forcing=torch.zeros(1, 21, 1, 4, 4)),
            "are 9 hours",
        ),
        (lambda: Advection(1, reach=4), "a kernel has 4 cells a side; give an odd number"),
        (lambda: SimVP(1, translator="vit"), "translator is 'vit'; take gsta or convmixer"),
        (lambda: PredRNN(1, patch=4)(torch.zeros(1, 2, 1, 6, 8)), "no whole patches of 4"),
        (lambda: SAVP(1, code=99)(torch.zeros(1, 2, 1, 8, 8)), "has no 99 numbers"),
        (lambda: SAVP(1).encode(torch.zeros(1, 3, 1, 9, 15)), "maps of 8 x 16 cells or more, not 9 x 15"),
    ],
)
def test_options_that_do_not_fit_are_refused(make_network, match):
    with pytest.raises(InputError, match=match):
        make_network()


def test_half_precision_changes_little_and_moves_maps_exactly():
    frames = draw_blobs(CONTEXT, by=(0, 1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kernel = functional.one_hot(torch.tensor([7]), 25).float().view(1, 1, 5, 5)
        assert torch.equal(
            move(frames[:, 0], kernel, beyond="circular")[:, 0], frames[:, 0].roll((-1, 0), (-2, -1))
        )
    for name in ALL:
        network, (inputs, forcing, _) = make(name), sequences()
        with torch.no_grad():
            full = network(inputs, forcing=forcing, **noise_of(name))
            with torch.autocast("cpu", torch.bfloat16):
                half = network(inputs, forcing=forcing, **noise_of(name))
        assert ((half - full).norm() / full.norm()).item() < 0.05, name
