"""What a network is shown and judged by while it goes on through time."""

import pytest
import torch
from small_forecasts import Drift, make_world

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast.plan import describe_fields
from fieldwise.samples.sequences import Span, make_sequence_loaders
from fieldwise.tasks.rivals import AdversarialRolloutTask, SAVPTask
from fieldwise.tasks.rollout import RolloutTask, share_of_truth


def make_task(network="Stepper", *, kind=RolloutTask, channels=1, **options):
    network_options = {"channels": channels} if network != "Drift" else {}
    known = {"losses": {"mse": 1.0}, "context": 3, "horizon": 4} | options
    return kind(network=f"small_forecasts.{network}", network_options=network_options, **known)


def batch_of(size=2, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (torch.randn(size, hours, channels, 6, 6, generator=generator) for hours in (3, 4))
    return {"inputs": inputs, "targets": targets}


def test_error_of_the_exact_shift_is_the_closed_form(tmp_path):
    """sigma^2 (1 - rho^(2 L)) at lead L: what no forecast can know."""
    rho, cells = 0.9, (24, 24)
    cases = make_world(tmp_path / "data", (60, 60, 20), cells=cells, rho=rho, sunny=False).cases("validation")
    options = {"fields": ["t2m"], "forcing": [], "context": 2, "horizon": 6}
    signature = describe_fields(cases, target="t2m", **options)
    _, loader = make_sequence_loaders(cases, cases, signature, Span(2, 6), batch_size=50, seed=0)
    (batch,) = loader
    task = make_task("Drift", context=2, horizon=6, signature=signature.to_dict())
    task.network = Drift(rho=rho)
    squares = (task.draw(batch) - batch["targets"]).square().mean((0, 2, 3, 4))
    variance = 9 / signature.outputs[0].scale.spread ** 2
    expected = [variance * (1 - rho ** (2 * lead)) for lead in range(1, 7)]
    assert squares.tolist() == pytest.approx(expected, rel=0.05)  # of 26 to 52 independent maps of 576 cells
    assert task.add_up(task.draw(batch), batch)[0].item() == pytest.approx(squares.mean().item(), rel=1e-5)


def test_the_share_of_truth_by_hand():
    assert share_of_truth(0, 900) == pytest.approx(900 / 901)
    assert share_of_truth(900, 900) == pytest.approx(900 / (900 + 2.718281828))
    assert share_of_truth(10**9, 900) < 1e-12


def test_scheduled_feedback_shows_the_truth_at_first_and_nothing_later():
    """With all true maps fed, each forecast is one step from the truth; with none, steps add up."""
    task, batch = make_task(feedback="scheduled"), batch_of()
    task.train()
    step, true = task.network.step, batch["targets"]
    task.step, task.feedback_steps = 0, 1e12
    with torch.no_grad():
        before = torch.cat([batch["inputs"][:, -1:], true[:, :-1]], dim=1).flatten(0, 1)
        torch.testing.assert_close(task.draw(batch).flatten(0, 1), before + step(before))
        task.step, task.feedback_steps = 10**9, 900.0
        free = make_task()
        free.network = task.network
        torch.testing.assert_close(task.draw(batch), free.draw(batch))


def test_validation_is_always_free():
    task, batch = make_task(feedback="scheduled", feedback_steps=1e12), batch_of()
    task.eval()
    with torch.no_grad():
        before = task.draw(batch)
        batch["targets"] += 100.0
        torch.testing.assert_close(task.draw(batch), before)


def test_other_channels_count_by_their_weight_in_training_alone():
    task, batch = make_task(channels=3, others_weight=0.5), batch_of(channels=3)
    prediction = torch.zeros_like(batch["targets"])
    squares = batch["targets"].square().mean((0, 1, 3, 4)).tolist()
    task.train()
    expected = squares[0] + 0.5 * (squares[1] + squares[2]) / 2
    assert task.add_up(prediction, batch)[0].item() == pytest.approx(expected, rel=1e-5)
    task.eval()
    assert task.add_up(prediction, batch)[0].item() == pytest.approx(squares[0], rel=1e-5)


def test_leads_weigh_by_their_power():
    """Squares of maps that are off by 1, divided by the root of the lead: 1 + 1/2 + 1/3 + 1/4 over 4."""
    task, batch = make_task(lead_power=0.5), batch_of()
    loss = task.add_up(batch["targets"] + 1, batch)[0].item()
    assert loss == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, rel=1e-5)


def test_ensembles_are_scored_over_batch_and_time():
    """The fair CRPS of two members by hand: mean distance from the truth less half that of the two."""
    task, batch = make_task("NoisyStepper", members=2, losses={"crps": 1.0}), batch_of()
    torch.manual_seed(1)
    members = task.draw_members(batch)
    assert members.shape == (2, 2, 4, 1, 6, 6)
    off = (members - batch["targets"]).abs().mean()
    apart = (members[0] - members[1]).abs().mean()
    assert apart > 0.1
    assert task.add_up(members, batch)[0].item() == pytest.approx((off - apart / 2).item(), rel=1e-4)


HOME = "fieldwise.networks.forecasting"


def video_batch(channels=2):
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randn(2, hours, channels, 16, 16, generator=generator) for hours in (3, 4))
    return {"inputs": inputs, "targets": targets}


def test_a_discriminator_sees_the_target_alone():
    task = make_task(
        kind=AdversarialRolloutTask,
        channels=2,
        discriminator=f"{HOME}.discriminators.SequenceDiscriminator",
        discriminator_options={"channels": 1, "features": [4, 4]},
        game="bce",
    )
    batch = video_batch()
    shown = task.show(batch["targets"], batch)
    assert torch.equal(shown, batch["targets"][:, :, :1])
    assert dict(task.hparams)["horizon"] == 4  # travels in the checkpoint, as do options of all its classes
    assert dict(task.hparams)["game"] == "bce"


@pytest.fixture
def savp():
    small = {"channels": 2, "features": 4, "code_features": 4, "code": 3}
    torch.manual_seed(0)
    return SAVPTask(
        network=f"{HOME}.savp.SAVP",
        network_options=small,
        losses={"mae": 100.0},
        kl_weight=0.01,
        context=3,
        horizon=4,
        discriminator="fieldwise.tasks.rivals.PairOfJudges",
        discriminator_options={"channels": 1, "features": 4},
        game="least_squares",
        adversarial_weight=0.2,
    ).train()


def test_savp_learns_by_the_codes_of_the_truth(savp):
    """Losses are of the first half alone, with the divergence of its codes, by hand."""
    batch = video_batch()
    drawn = savp.draw(batch)
    assert not torch.equal(drawn[:2], drawn[2:])
    mean, log_variance = savp.network.encode(torch.cat([batch["inputs"], batch["targets"]], dim=1))
    normal = [torch.distributions.Normal(*each) for each in ((mean, (log_variance / 2).exp()), (0.0, 1.0))]
    apart = torch.distributions.kl_divergence(*normal).sum(-1).mean()
    error = (drawn[:2, :, 0] - batch["targets"][:, :, 0]).abs().mean()
    expected = 100 * error + 0.01 * apart
    assert savp.add_up(drawn, batch)[0].item() == pytest.approx(expected.item(), rel=1e-4)


def test_each_judge_of_savp_has_its_own_forecasts(savp):
    batch = video_batch()
    drawn, true = savp.show(savp.draw(batch), batch), savp.show(batch["targets"], batch)
    assert torch.equal(true[:2], true[2:])
    savp.discriminator.eval()  # whose norms change with each look in training
    scores = savp.discriminator(drawn)
    torch.testing.assert_close(scores[:2], savp.discriminator.of_known(drawn[:2]))
    torch.testing.assert_close(scores[2:], savp.discriminator.of_drawn(drawn[2:]))
    savp.eval()
    assert len(savp.draw(batch)) == 2  # in validation and prediction codes are drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedback": "sometimes"}, "--feedback: is 'sometimes'; give free or scheduled"),
        ({"network": "Drift", "feedback": "scheduled"}, "--feedback: Drift .*; give free"),
        ({"horizon": 0}, "--horizon: is 0; give at least 1"),
        ({"kl_weight": 0.1}, "--kl_weight: Stepper has no code"),
        ({"feedback_steps": 0.0}, "--feedback_steps: is 0; give more than 0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_task(**options)
