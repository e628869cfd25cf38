import json

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_domains import Applied, Noise, predict, smoother
from scipy.ndimage import correlate
from torch import nn
from torch.nn import functional

from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import EquivariantConvNet
from fieldwise.networks.esrgan import Generator
from fieldwise.networks.unet import UNet
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains import halos
from fieldwise.verbs.domains.blocks import lay_out
from fieldwise.verbs.domains.halos import choose_halo
from fieldwise.verbs.domains.probes import is_enough, measure_halo
from fieldwise.verbs.domains.reaches import Reach, reach
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import Predictor

STACKED = Signature("own", (Variable("depth", units="m"),), (Variable("depth", units="m"),), stacked=True)


@settings(max_examples=20, deadline=None)
@given(radius=st.integers(0, 13), alignment=st.integers(1, 5))
def test_measured_halo_is_the_radius_rounded_up(radius, alignment):
    reader = Noise(120, 130)
    options = {"probe_cells": 10, "longest_cells": 16}
    halo = measure_halo(smoother(radius), reader, lay_out(reader.grid, None, alignment), **options)
    assert halo == -(-radius // alignment) * alignment


@pytest.mark.parametrize(("tolerance", "expected"), [(1e-3, 5), ([1e-3, 1e9], 2), ([1e9, 1e-3], 5)])
def test_of_several_outputs_each_has_its_tolerance(tolerance, expected):
    reader, near, far = Noise(90, 90), smoother(2), smoother(5)
    options = {"tolerance": tolerance, "probe_cells": 8, "longest_cells": 16}
    both = lambda inputs: np.stack([near(inputs), far(inputs)])  # noqa: E731
    assert measure_halo(both, reader, lay_out(reader.grid, None, 1), **options) == expected


def test_measured_halo_is_the_longest_where_none_will_do():
    def everything(inputs):
        return inputs["noise"] + np.cumsum(np.ones(inputs["noise"].shape), axis=0)

    reader = Noise(90, 90)
    assert (
        measure_halo(everything, reader, lay_out(reader.grid, None, 1), longest_cells=20, probe_cells=8) == 20
    )


def test_measured_halo_counts_a_value_missing_in_one_as_different():
    def missing_near_the_edge(inputs):  # of the window: the outer 6 cells
        values = np.full(inputs["noise"].shape, np.nan)
        values[6:-6, 6:-6] = 0.0
        return values

    reader = Noise(90, 90)
    assert (
        measure_halo(
            missing_near_the_edge, reader, lay_out(reader.grid, None, 1), longest_cells=16, probe_cells=8
        )
        == 6
    )


def test_measured_halo_makes_tiled_equal_untiled_for_a_long_tail(tmp_path):
    """Weights that fall off by a factor of e each cell: the tolerance decides, not the radius of 16."""
    distance = np.hypot(*np.mgrid[-16:17, -16:17])
    weights = np.exp(-distance)

    def tail(inputs):
        return correlate(inputs["noise"], weights, mode="constant")

    reader = Noise(100, 100)
    halo = measure_halo(tail, reader, lay_out(reader.grid, None, 4), longest_cells=24)
    assert 8 <= halo < 16  # exp(-4) = 2e-2 is too much, exp(-12) = 6e-6 is nothing
    untiled = tail({"noise": reader.values[0]})
    for block_cells in (28, 40, 60):
        options = {"halo_cells": halo, "alignment": 4, "block_cells": block_cells}
        tiled = predict(tail, reader, tmp_path / f"{block_cells}.tif", **options)
        assert np.abs(tiled - untiled).max() < 1e-2


def test_a_halo_is_enough_from_the_radius_on():
    reader = Noise(90, 90)
    assert [is_enough(smoother(5), reader, lay_out(reader.grid, None, 1), halo) for halo in (3, 4, 5, 6)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Conv2d(1, 1, 7, padding=3), (3, 1)),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding=2, dilation=2), nn.BatchNorm2d(2), nn.ReLU()), (2, 1)),
        (nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2)), (4, 2)),
        (nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, 2)), (4, 2)),
        (EquivariantConvNet(1, 2, vectors={"targets": [(0, 1)]}, layers=3, filters=8), (3, 1)),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.InstanceNorm2d(1)), (None, 1)),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 1, 1)), (None, 1)),
        (nn.MultiheadAttention(4, 1), (None, 1)),
    ],
)
def test_reach_by_hand(network, expected):
    assert reach(network) == expected


def test_a_deformable_convolution_has_no_known_reach():
    assert reach(Generator(num_residual_blocks=1)).cells is None


def test_a_module_may_state_its_own_reach():
    class Stated(nn.Module):
        reach_cells, multiple_cells = 5, 4

        def __init__(self):
            super().__init__()
            self.inside = nn.Conv2d(1, 1, 99)

    assert reach(nn.Sequential(Stated(), nn.Conv2d(1, 1, 3))) == Reach(24, 4)


@pytest.mark.parametrize(
    "network",
    [
        ConvNet(1, 1, layers=3, filters=2, kernel_size=5),
        ConvNet(1, 1, layers=3, filters=2, dilations=[1, 4]),
        UNet(1, 1, blocks=3, filters=2),
    ],
)
def test_a_network_sees_no_farther_than_its_reach(network):
    cells, multiple = reach(network)
    size = 2 * cells + 8 * multiple
    fields = torch.rand(1, 1, size, size)
    other = fields.clone()
    other[..., : size - 1 - cells] = 7.0  # all that is too far from the last column
    with torch.inference_mode():
        torch.testing.assert_close(network(fields)[..., -1], network(other)[..., -1], rtol=0, atol=0)
        assert not torch.equal(network(fields), network(other))


def made_case(rows=70, columns=83):
    depth = np.random.default_rng(3).normal(size=(1, rows, columns))
    return make_prepared({"depth": depth}).cases()[0]


class Everywhere(nn.Module):
    """What no list of layers tells: the mean of all that it is shown."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, fields):
        return self.convolution(fields) - functional.adaptive_avg_pool2d(fields, 1)


def settle(predictor, case, block_cells=20):
    layout = lay_out(case.grid, None, predictor.alignment_cells(case))
    return choose_halo(predictor, case, layout, block_cells=block_cells, fingerprint="f", progress=False)


def test_the_halo_is_known_from_the_network_where_it_can_be():
    assert settle(Predictor(nn.Conv2d(1, 1, 7, padding=3), STACKED), made_case()) == 3


def test_one_block_needs_no_halo():
    assert settle(Predictor(nn.Conv2d(1, 1, 7, padding=3), STACKED), made_case(), block_cells=83) == 0


def test_what_sees_farther_than_its_layers_tell_is_found_out(capsys):
    """The whole made case is less wide than the longest halo, which then is the answer, twice."""
    predictor = Predictor(Everywhere(), STACKED)
    assert predictor.reach_cells(made_case()) == 1
    assert settle(predictor, made_case()) > 1


def test_a_measured_halo_is_doubled_and_remembered(tmp_path, monkeypatch):
    reader = Noise(100, 100)
    predictor = Applied(smoother(3), reader)
    predictor.run = tmp_path
    assert settle(predictor, reader.case) == 6
    assert json.loads((tmp_path / "halo.json").read_text()) == {"fingerprint": "f", "value": 6}
    monkeypatch.setattr(halos, "measure_halo", None)  # not asked again
    assert settle(predictor, reader.case) == 6


@pytest.mark.parametrize("block_cells", [13, 32])
@pytest.mark.parametrize("network", [ConvNet(1, 1, layers=3, filters=4), UNet(1, 1, blocks=2, filters=4)])
def test_networks_tiled_equal_untiled(tmp_path, network, block_cells):
    """To six digits of the largest value: another shape may be summed up in another order."""
    case, predictor = made_case(), Predictor(network, STACKED)
    maps = []
    for name, cells in (("tiled", block_cells), ("untiled", 100)):
        path = predict_to(tmp_path / f"{name}.nc", predictor, case, block_cells=cells, progress=False)
        with xr.open_dataset(path, engine="h5netcdf") as written:
            maps.append(written["depth"].values)
    assert maps[0].shape == case.shape
    np.testing.assert_allclose(*maps, atol=1e-6 * np.abs(maps[1]).max())
