"""Steps of old_weights.feature."""

import os
import shutil

import numpy as np
import pytest
import rasterio
import torch
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.interop.chainer_npz import load_chainer_npz, save_chainer_npz
from fieldwise.networks.esrgan import Discriminator, Generator, draw_small_weights
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.samples.prepared import DESCRIPTION

scenarios("old_weights.feature")

CORNER = np.array([-1_500_000.0, -305_000.0])


def box(west, east, south, north):
    return tuple((1000 * np.array([west, south, east, north]) + np.tile(CORNER, 2)).tolist())


def make_old_generator(blocks):
    """Make a generator that draws hundreds of metres from raw metres, its taps moved by up to 2 cells."""
    torch.manual_seed(blocks)
    generator = Generator(num_residual_blocks=blocks, residual_scaling=0.2)
    draw_small_weights(generator, share=0.8)
    for layer in (generator.final_conv_layer1, generator.final_conv_layer2):
        layer.start_plain()
        torch.nn.init.uniform_(layer.offset_conv.bias, -2, 2)
    return generator.eval()


@pytest.fixture
def draw(dataset, tmp_path):
    """Give a function that draws a box with some weights to a file."""

    def run(weights, bounds, file="map.tif", **options):
        given = {"run": tmp_path / "run", "data": dataset.folder, "out": tmp_path / file, "progress": False}
        path = tmp_path / weights if weights.endswith(".npz") else weights
        return bed_topography.predict(**given, weights=str(path), bounds=bounds, halo_cells=24, **options)

    return run


@given(parsers.re(r"old weights of (?P<blocks>\d) residual blocks? in old\.npz"), target_fixture="generator")
def _(blocks, tmp_path):
    generator = make_old_generator(int(blocks))
    save_chainer_npz(generator, tmp_path / "old.npz")
    return generator


@given("a generator with old weights of 1 residual block", target_fixture="generator")
def _():
    return make_old_generator(1)


@given("nothing is wrong with them")
def _():
    pass


@given("they are a text file")
def _(tmp_path):
    (tmp_path / "old.npz").write_text("W: 1 2 3\n")


def change(path, **arrays):
    """Write a .npz anew, with arrays added, replaced or, where they are None, left out."""
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files} | arrays
    np.savez(path, **{name: array for name, array in content.items() if array is not None})


@given("they would run a command")
def _(tmp_path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "map.tif"),)

    change(tmp_path / "old.npz", **{"pre_residual_conv_layer/b": np.array([Command()], dtype=object)})


@given(parsers.parse("they lack {key}"))
def _(key, tmp_path):
    change(tmp_path / "old.npz", **{key: None})


@given(parsers.parse("they have {key} besides"))
def _(key, tmp_path):
    change(tmp_path / "old.npz", **{key: np.zeros(3)})


@given(parsers.parse("{key} is 1 x 1"))
def _(key, tmp_path):
    change(tmp_path / "old.npz", **{key: np.zeros((64, 128, 1, 1))})


@given("they are those of a discriminator")
def _(tmp_path):
    save_chainer_npz(Discriminator(), tmp_path / "old.npz")


@given("the data lack snow_accumulation", target_fixture="dataset")
def _(dataset, tmp_path):
    folder = shutil.copytree(dataset.folder, tmp_path / "data")
    description = yaml.safe_load((folder / DESCRIPTION).read_text())
    del description["variables"]["snow_accumulation"]
    (folder / DESCRIPTION).write_text(yaml.safe_dump(description))
    return open_region(folder)


@when(
    parsers.parse(
        "I ask old.npz for the bed from {west:g} to {east:g} km and from {south:g} to {north:g} km of the "
        "sandbox's corner"
    ),
    target_fixture="map_file",
)
def _(draw, west, east, south, north):
    return draw("old.npz", box(west, east, south, north))


@when("I save it for Chainer and load it once more", target_fixture="copy")
def _(generator, tmp_path):
    save_chainer_npz(generator, tmp_path / "saved.npz")
    copy = Generator(num_residual_blocks=1, residual_scaling=0.2)
    load_chainer_npz(tmp_path / "saved.npz", copy)
    return copy


@when("I ask old.npz for the bed with a residual scaling of 0.2, and once more of 0.1", target_fixture="maps")
def _(draw):
    bounds = box(20, 23, 30, 32)
    files = [
        draw("old.npz", bounds, f"{name}.tif", residual_scaling=share)
        for name, share in (("unnamed", None), ("fifth", 0.2), ("tenth", 0.1))
    ]
    return [read(file) for file in files]


@when(parsers.parse("I try to draw the bed with {weights}"), target_fixture="complaint")
def _(draw, weights):
    with pytest.raises(InputError) as caught:
        draw(weights, box(20, 23, 30, 32))
    return str(caught.value)


def read(file):
    with rasterio.open(file) as opened:
        return opened.read(1)


@then(parsers.parse("the map has {rows:d} rows and {columns:d} columns of 250 m"))
def _(map_file, rows, columns):
    with rasterio.open(map_file) as opened:
        assert opened.shape == (rows, columns)
        assert opened.res == (250, 250)


@then("it shows the bed that the generator draws from raw metres, to less than 1 cm")
def _(map_file, dataset, generator):
    with rasterio.open(map_file) as opened:
        window = np.array(opened.bounds)
    # Six kilometres more on each side, as the halo, and one that the network takes off.
    wide = np.array([window + 6000 * np.array([-1, -1, 1, 1])])
    arrays = dataset.read([each.name for each in generator.input_block.inputs], window=wide, padding=1000)
    with torch.no_grad():
        drawn = generator({name: torch.from_numpy(values).float() for name, values in arrays.items()})
    expected = drawn[0, 0, 24:-24, 24:-24].numpy()
    assert np.abs(read(map_file) - expected).max() < 0.01
    assert 10 < np.ptp(expected) < 10_000


@then("there was no need of a trained run")
def _(tmp_path):
    assert not (tmp_path / "run" / "checkpoints").exists()


@then("every weight is the same to the last bit")
def _(generator, copy):
    state = copy.state_dict()
    assert all(torch.equal(state[name], value) for name, value in generator.state_dict().items())


@then("the first map is that without a residual scaling named, and the second is another")
def _(maps):
    unnamed, fifth, tenth = maps
    np.testing.assert_array_equal(fifth, unnamed)
    assert np.abs(tenth - fifth).max() > 0.1


@then("there is no map")
def _(tmp_path):
    assert not (tmp_path / "map.tif").exists()
