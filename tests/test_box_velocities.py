"""The velocity that a predictor of boxes gives beside the displacement."""

import numpy as np
import pytest
import torch

from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.unet import UNet
from fieldwise.recipes.structure_formation.predictor import RATE, BoxPredictor
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.predictors import STYLE, WHOLE

GROWTH = 0.7


def make_predictor(kind, **options):
    torch.manual_seed(2)
    network = kind(2, 2, dimensions=2, features=4, style_numbers=1, **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    linear, moved = (
        Variable(name, (f"{name}_x", f"{name}_y"), "Mpc h-1", scale=Scale(0.0, 6.0), vector=True)
        for name in ("displacement_linear", "displacement")
    )
    facts = {"style": ["growth_factor"]}
    predictor = BoxPredictor(network, Signature("own", (linear,), (moved,), stacked=True, facts=facts))
    predictor.add_velocity()
    return predictor


def predict(predictor, linear, growth=GROWTH, **beside):
    arrays = {"displacement_linear": linear, STYLE: np.float32([growth]), RATE: np.float32(80.0), **beside}
    return predictor.apply(arrays)


@pytest.mark.parametrize(("kind", "options"), [(ResidualEmulator, {"blocks": 2}), (UNet, {})])
def test_velocities_of_tiles_are_those_of_the_whole_box(kind, options):
    predictor = make_predictor(kind, **options)
    margin = predictor.network.margin
    box = np.random.default_rng(1).normal(size=(2, 48, 48)).astype(np.float32)
    whole = predict(predictor, box, **{WHOLE: np.array(True)})
    assert whole.shape == (4, 48, 48)
    tile = np.pad(box, [(0, 0), *[(margin, margin)] * 2], mode="wrap")[:, : 8 + 2 * margin, : 8 + 2 * margin]
    np.testing.assert_allclose(predict(predictor, tile), whole[:, :8, :8], rtol=1e-4, atol=1e-4)


def test_velocity_is_how_fast_the_displacement_changes_with_the_growth_factor():
    """The linear displacement grows with the growth factor, which the style is."""
    predictor = make_predictor(ResidualEmulator, blocks=1)
    predictor.network.double()
    predictor._to_tensor = lambda values: torch.from_numpy(np.asarray(values, dtype=np.float64))[None]
    box = np.random.default_rng(1).normal(size=(2, 8, 8))
    step = 1e-2
    later, sooner = (
        predict(predictor, box * growth / GROWTH, growth, **{WHOLE: np.array(True)})[:2]
        for growth in (GROWTH + step, GROWTH - step)
    )
    velocity = predict(predictor, box, **{WHOLE: np.array(True)})[2:]
    expected = 80.0 * (later - sooner) / (2 * step)
    assert np.abs(velocity - expected).max() < 1e-3 * np.abs(expected).max()
