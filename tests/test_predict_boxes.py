"""Boxes in two and three dimensions, periodic or not, and the members of stochastic networks."""

import os
import re

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from torch import nn

from fieldwise.errors import InputError
from fieldwise.networks.noise import WorldNoise
from fieldwise.networks.valid.blocks import crop
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.srgan import SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.samples.examples import make_box, make_prepared
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains import unseen
from fieldwise.verbs.domains.unseen import warn_beyond
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import BEYOND, Predictor

SHAPES = [(22, 17), (9, 12, 7)]  # which blocks do not divide
BLOCKS = {2: 8, 3: 5}


def made_box(shape, channels=None, **options):
    given = np.random.default_rng(3).normal(size=(channels or len(shape), *shape)).astype(np.float32)
    return make_box({"linear": given}, split="test", **options).cases()[0], torch.from_numpy(given)[None]


def signature_of(case, outputs=("moved",), **options):
    variable = case.variables["linear"]
    fields = tuple(f"{name}_{number}" for name in outputs for number in range(variable.channels))
    given = (Variable("moved", fields, "Mpc h-1"),)
    return Signature("own", (variable,), given, stacked=True, dimensions=len(case.shape), **options)


def draw_weights(network):
    """Give all weights, those that start at zero too, values of which every one counts."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        spread = 1 / np.sqrt(max(1, parameter[0].numel())) if parameter.ndim > 1 else 0.3
        parameter.data = spread * torch.randn(parameter.shape, generator=generator)
    return network


def predict(out, predictor, case, **options):
    predict_to(out, predictor, case, **({"progress": False} | options))
    return np.load(out) if out.suffix == ".npy" else out


def close(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blocks", [1, 3])
def test_blocks_of_a_periodic_box_equal_what_a_network_without_edges_gives(tmp_path, shape, blocks):
    """Of three blocks the network sees 7 cells to each side: a window is wider than the shorter boxes."""
    case, given = made_box(shape)
    size = {"dimensions": len(shape), "features": 4, "blocks": blocks}
    network = draw_weights(ResidualEmulator(len(shape), len(shape), **size))
    with torch.inference_mode():
        whole = network(given)[0].numpy()
    predictor = Predictor(network, signature_of(case))
    assert predictor.padding_cells == 1 + 2 * blocks
    for block_cells in (BLOCKS[len(shape)], None):  # the whole at once needs no margin
        close(predict(tmp_path / "box.npy", predictor, case, block_cells=block_cells), whole)
    window = tuple(slice(0, size) for size in shape)
    assert predictor.read(case, window, 0)["linear"].shape == case.read(["linear"])["linear"].shape


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d])
def test_a_network_with_zeros_around_gets_a_halo_in_a_periodic_box(tmp_path, kind):
    """Even where one block covers the box."""
    axes = 2 if kind is nn.Conv2d else 3
    case, given = made_box((9, 8, 7)[:axes])
    network = draw_weights(kind(axes, axes, 5, padding=2)).requires_grad_(False)
    periodic = nn.functional.pad(given, (2,) * 2 * axes, mode="circular")
    whole = kind(axes, axes, 5)
    whole.load_state_dict(network.state_dict())
    expected = whole(periodic)[0].detach().numpy()
    predictor = Predictor(network, signature_of(case))
    for block_cells in (4, None):
        close(predict(tmp_path / "box.npy", predictor, case, block_cells=block_cells), expected)


def test_beyond_a_box_that_is_not_periodic_its_outermost_cells_are_repeated(tmp_path):
    case, given = made_box((11, 9), periodic=False)
    network = draw_weights(ResidualEmulator(2, 2, dimensions=2, features=4, blocks=1))
    predictor = Predictor(network, signature_of(case))
    around = torch.from_numpy(np.pad(given, [(0, 0)] * 2 + [(3, 3)] * 2, mode="edge"))
    with torch.inference_mode():
        close(predict(tmp_path / "box.npy", predictor, case, block_cells=4), network(around)[0].numpy())


def test_a_network_that_halves_the_cells_has_windows_of_whole_multiples(tmp_path):
    case, given = made_box((20, 12))
    network = draw_weights(UNet(2, 2, dimensions=2, features=4)).eval()
    predictor = Predictor(network, signature_of(case))
    assert (predictor.padding_cells, predictor.alignment_cells(case)) == (20, 4)
    around = torch.from_numpy(np.pad(given, [(0, 0)] * 2 + [(20, 20)] * 2, mode="wrap"))
    with torch.inference_mode():
        whole = network(around)[0].numpy()
    for block_cells in (7, None):  # the first is rounded up to 8
        close(predict(tmp_path / "box.npy", predictor, case, block_cells=block_cells), whole)


def test_a_part_of_a_box_is_asked_for_by_its_cells(tmp_path, capsys):
    case, _ = made_box((9, 12, 7), spacing=4.0, spacing_units="Mpc h-1")
    network = draw_weights(ResidualEmulator(3, 3, features=4, blocks=1))
    predictor = Predictor(network, signature_of(case))
    whole = predict(tmp_path / "box.npy", predictor, case)
    window = slice(2, 7), slice(3, 12), slice(0, 7)
    capsys.readouterr()
    path = predict(tmp_path / "part.nc", predictor, case, window=window, block_cells=4)
    assert re.fullmatch(rf"{path}: 1 frame of 5 x 9 x 7 cells in \d+\.\d s\n", capsys.readouterr().out)
    with xr.open_dataset(path, engine="h5netcdf") as part:
        close(part["moved_1"].values, whole[1][window])
        assert part["moved_1"].dims == ("x", "y", "z")
        assert part["x"].values.tolist() == [8, 12, 16, 20, 24]
        assert (part["x"].units, part["moved_1"].units) == ("Mpc h-1", "Mpc h-1")
        assert part.attrs["Conventions"] == "CF-1.8"
    for wrong in ((slice(4, 4), *window[1:]), (slice(-1, 20), *window[1:])):
        with pytest.raises(InputError, match=r"^case test/box: window [^\n]* is no part of 9 x 12 x 7 cells"):
            predict(tmp_path / "part.npy", predictor, case, window=wrong)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_kinds_of_files_hold_the_same(tmp_path, shape):
    case, _ = made_box(shape)
    size = {"dimensions": len(shape), "features": 2, "blocks": 1}
    network = draw_weights(ResidualEmulator(len(shape), len(shape), **size))
    predictor, files = Predictor(network, signature_of(case)), {}
    for suffix in (".npy", ".nc", ".zarr"):
        out = tmp_path / f"box{suffix}"
        files[suffix] = predict(out, predictor, case, block_cells=BLOCKS[len(shape)])
    assert files[".npy"].dtype == np.float32
    for engine, suffix in (("h5netcdf", ".nc"), ("zarr", ".zarr")):
        with xr.open_dataset(files[suffix], engine=engine) as box:
            stacked = np.stack([box[name].values for name in signature_of(case).fields("outputs")])
            np.testing.assert_array_equal(stacked, files[".npy"])
    assert sorted(os.listdir(tmp_path)) == ["box.nc", "box.npy", "box.zarr"]


class Broken(Predictor):
    """Breaks off once, at the fifth window."""

    calls = 0

    def __call__(self, arrays):
        self.calls += 1
        if self.calls == 5:
            raise RuntimeError("broken off")
        return super().__call__(arrays)


def test_a_box_goes_on_where_it_was_broken_off(tmp_path):
    case, given = made_box((9, 12, 7))
    network = draw_weights(ResidualEmulator(3, 3, features=2, blocks=1))
    broken, out, seconds = Broken(network, signature_of(case)), tmp_path / "box.npy", []
    with pytest.raises(RuntimeError, match="broken off"):
        predict(out, broken, case, block_cells=5, halo_cells=0)
    assert "0_0_5_0.npy" in os.listdir(tmp_path / "box.npy.partial")
    box = predict(out, broken, case, block_cells=5, halo_cells=0, seconds=seconds)
    assert len(seconds) == 2 * 3 * 2 - 4
    network.boundary = "periodic"
    with torch.inference_mode():
        close(box, network(given)[0].numpy())
    assert os.listdir(tmp_path) == ["box.npy"]


def made_generator(dimensions, factor=2):
    widths = {"most_features": 4, "least_features": 4}
    return draw_weights(
        SuperResolutionGenerator(dimensions, dimensions, scale_factor=factor, dimensions=dimensions, **widths)
    )


def made_pair(shape, factor=2):
    """Make a box whose input has coarser cells than what is drawn."""
    coarse = np.random.default_rng(4).normal(size=(len(shape), *shape)).astype(np.float32)
    fine = np.zeros((1, *(factor * size for size in shape)), dtype=np.float32)
    return make_box({"linear": coarse, "fine": fine}, split="test").cases()[0], coarse


@pytest.mark.parametrize(("shape", "factor"), [((6, 7), 2), ((6, 5), 4), ((3, 4, 3), 2)])
def test_members_of_a_finer_field_are_the_same_in_blocks_and_whole(tmp_path, shape, factor):
    """The whole is drawn here by hand: the box continued by the margin, noise that begins as far outside."""
    (case, coarse), axes = made_pair(shape, factor), len(shape)
    network = made_generator(axes, factor)
    margin, factors = network.margin, [factor for factor, _ in network.noise_planes]
    around = torch.from_numpy(np.pad(coarse, [(0, 0)] + [(margin, margin)] * axes, mode="wrap"))[None]
    expected = []
    for member in range(3):
        noise = WorldNoise(7, member, (-margin,) * axes, around.shape[2:], shape, factors)
        with torch.inference_mode():
            expected.append(crop(network(around, noise), network.surplus)[0].numpy())
    predictor, options = Predictor(network, signature_of(case)), {"seed": 7, "keep_members": True}
    for members, block_cells in ((3, 5), (2, None)):
        drawn = predict(
            tmp_path / "box.npy", predictor, case, members=members, block_cells=block_cells, **options
        )
        close(drawn, np.stack(expected[:members]))
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    one = predict(tmp_path / "box.npy", predictor, case, seed=7)
    close(one, expected[0])


def test_noise_goes_on_at_the_other_side_of_a_periodic_box(tmp_path):
    """With nothing but noise drawn, cells next to each other across a side depend on the same numbers."""

    class Smooth(nn.Module):
        margin = 1

        def forward(self, fields, noise):
            shape = (1, 1, *fields.shape[2:])
            return nn.functional.avg_pool2d(noise(0, shape, fields), 3, stride=1).expand(-1, 2, -1, -1)

    case, given = made_box((8, 6))
    drawn = predict(tmp_path / "box.npy", Predictor(Smooth(), signature_of(case)), case, block_cells=3)[0]
    plane = WorldNoise(0, 0, (0, 0), (8, 6))(0, (1, 1, 8, 6), given)
    around = nn.functional.pad(plane, (1, 1, 1, 1), mode="circular")
    close(drawn, nn.functional.avg_pool2d(around, 3, stride=1)[0, 0].numpy())


@pytest.mark.parametrize(("seed", "computed"), [(0, 2), (1, 4)])
def test_members_of_another_seed_start_anew(tmp_path, seed, computed):
    """Of four blocks, two members each, the third breaks off."""
    case, _ = made_box((4, 4))
    predictor, seconds = Broken(Rough(), signature_of(case)), []
    options = {"members": 2, "block_cells": 2, "halo_cells": 0}
    with pytest.raises(RuntimeError, match="broken off"):
        predict(tmp_path / "box.npy", predictor, case, **options)
    predict(tmp_path / "box.npy", predictor, case, seed=seed, seconds=seconds, **options)
    assert len(seconds) == computed


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_ensemble_is_described_by_mean_spread_quantiles_and_members(tmp_path, suffix):
    case, _ = made_pair((3, 4, 3))
    predictor = Predictor(made_generator(3), signature_of(case))
    options = {"members": 5, "quantiles": (0.1, 0.5), "keep_members": True, "block_cells": 4}
    path = predict(tmp_path / f"box{suffix}", predictor, case, **options)
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else "h5netcdf") as box:
        members = box["moved_2_member"]
        assert members.dims == ("member", "x", "y", "z")
        assert (members["member"].values.tolist(), members["member"].standard_name) == (
            [0, 1, 2, 3, 4],
            "realization",
        )
        close(box["moved_2"], members.mean("member"))
        close(box["moved_2_spread"], members.std("member", ddof=1))
        quantiles = box["moved_2_quantile"]
        assert quantiles.dims == ("quantile", "x", "y", "z")
        assert quantiles["quantile"].values.tolist() == [0.1, 0.5]
        close(quantiles[1], np.median(members, axis=0))
        close(quantiles[0], np.sort(members, axis=0)[:2].T.dot([0.6, 0.4]).T)  # 0.1 of 4 steps: 0.4 on
        assert box["moved_2_spread"].cell_methods == "realization: standard_deviation"
        assert (box.attrs["seed"], box.attrs["members"]) == ("0", "5")
    mean = predict(tmp_path / "mean.npy", predictor, case, members=5)
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else "h5netcdf") as box:
        close(mean[2], box["moved_2"].values)


class Rough(nn.Module):
    """Adds noise to a map."""

    def forward(self, fields, noise=None):
        return fields + (noise(0, fields.shape, fields) if noise else torch.randn_like(fields))


def made_map(frames=1):
    depth = np.random.default_rng(2).normal(size=(frames, 12, 14))
    depth[:, 3, 4] = np.nan
    (case,) = make_prepared({"depth": depth}).cases()
    variable = Variable("depth", units="m", scale=Scale(0.0, 2.0), range=(-1.0, 1.0))
    return case, Predictor(Rough(), Signature("own", (variable,), (Variable("depth"),), stacked=True))


def test_members_of_a_map_are_bands_of_a_geotiff(tmp_path):
    case, predictor = made_map()
    options = {"members": 3, "keep_members": True, "quantiles": (0.05, 0.5), "block_cells": 5}
    with rasterio.open(predict(tmp_path / "map.tif", predictor, case, **options)) as result:
        bands = dict(zip(result.descriptions, result.read()))
    assert [*bands] == [
        "depth",
        "depth_spread",
        "depth_q05",
        "depth_q50",
        "depth_member_0",
        "depth_member_1",
        "depth_member_2",
        BEYOND,
    ]
    members = np.stack([bands[f"depth_member_{member}"] for member in range(3)])
    np.testing.assert_allclose(bands["depth"], members.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert np.isnan(members[:, 3, 4]).all()
    assert set(np.unique(bands[BEYOND])) == {0, 1}


def test_a_part_of_a_map_has_the_members_of_the_whole(tmp_path):
    case, predictor = made_map(frames=2)
    options = {"members": 2, "keep_members": True}
    whole = predict(tmp_path / "whole.nc", predictor, case, **options)
    part = predict(tmp_path / "part.nc", predictor, case, window=(750, 500, 2250, 1500), **options)
    with xr.open_dataset(whole) as whole, xr.open_dataset(part) as part:
        assert part["depth_member"].dims == ("time", "member", "y", "x")
        same = whole["depth_member"].sel(x=part.x, y=part.y)
        np.testing.assert_array_equal(part["depth_member"], same)
        assert part["depth_member"].shape == (2, 2, 4, 6)


@pytest.mark.parametrize("strip_rows", [64, 512])
def test_what_lies_beyond_training_in_a_box_is_counted_and_marked(tmp_path, monkeypatch, capsys, strip_rows):
    """One cell in 5 x 4 x 3; a strip is a 32nd of the rows of a map: two rows, or all."""
    monkeypatch.setattr(unseen, "STRIP_ROWS", strip_rows)
    given = np.zeros((1, 5, 4, 3), dtype=np.float32)
    given[0, 4, 0, 1] = 9.0
    case = make_box({"linear": given}, split="test", spacing=2.0, spacing_units="Mpc h-1").cases()[0]
    variable = Variable("linear", range=(0.0, 1.0))
    options = {"stacked": True, "dimensions": 3, "spacings": (4.0,)}
    network = ResidualEmulator(1, 1, features=2, blocks=1)
    predictor = Predictor(network, Signature("own", (variable,), (Variable("moved"),), **options))
    warn_beyond(predictor, case, [0])
    assert capsys.readouterr().out.splitlines() == [
        "warning: case test/box: cells of 2 Mpc h-1, training has seen 4 Mpc h-1; bring them to that with "
        "`prepare`",
        "warning: case test/box: inputs leave what training has seen in 1.7% of the cells: linear 0 to 9 "
        "(trained 0 to 1); see beyond_training in the result",
    ]
    with xr.open_dataset(predict(tmp_path / "box.nc", predictor, case, block_cells=2)) as box:
        np.testing.assert_array_equal(box[BEYOND], given[0] > 1)
    assert predict(tmp_path / "box.npy", predictor, case).shape == (1, 5, 4, 3)  # without the flags


class Styled(nn.Module):
    """Multiplies by the first of its numbers."""

    def forward(self, fields, style):
        return fields * style[:, :1].view(-1, 1, 1, 1)


def test_numbers_of_a_case_reach_the_network(tmp_path, capsys):
    case, given = made_box((8, 6), numbers={"growth_factor": 0.5, "omega_m": 0.6})
    facts = {"style": ["growth_factor", "omega_m"], "style_range": [[0.3, 1.0], [0.1, 0.5]]}
    predictor = Predictor(Styled(), signature_of(case, facts=facts))
    np.testing.assert_array_equal(
        predict(tmp_path / "box.npy", predictor, case, halo_cells=0), 0.5 * given[0]
    )
    warned = capsys.readouterr().out.splitlines()[0]
    assert warned == (
        "warning: case test/box: omega_m is 0.6, training has seen 0.1 to 0.5; what is drawn is a guess"
    )
    other, _ = made_box((8, 6), numbers={"omega_m": 0.3})
    with pytest.raises(InputError, match=r"test/box: lacks the numbers growth_factor; it has omega_m"):
        predict(tmp_path / "box.npy", predictor, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "box.tif"}, r"box\.tif: boxes are written as \.npy, \.nc or \.zarr"),
        ({"members": 2}, "--members: the network takes no noise"),
        ({"keep_members": True}, "--members: the network takes no noise"),
        ({"network": Rough(), "keep_members": True}, "--members: is 0; give at least 2"),
        ({"network": Rough(), "members": 3, "quantiles": (5, 95)}, "--quantiles: are \\[5, 95\\]; give"),
        ({"network": Rough(), "members": 2, "seed": -1}, "--seed: is -1"),
        ({"window": (0, 0, 4, 4)}, r"window \(0, 0, 4, 4\)"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, message):
    options = {"out": "box.npy", "network": nn.Identity()} | options
    case, _ = made_box((8, 6))
    predictor = Predictor(options.pop("network"), signature_of(case))
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        predict(tmp_path / options.pop("out"), predictor, case, **options)
    assert os.listdir(tmp_path) == []
