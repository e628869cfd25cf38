"""Map types, .dat files and scales."""

import pytest

from fieldwise.errors import InputError
from fieldwise.recipes.ice_flow.mapping import (
    MAP_TYPES,
    pair_vectors,
    read_map,
    suggest_scales,
    write_map,
)

SHAPE = ["thk", "slopsurfx", "slopsurfy"]
LAWS = ["arrhenius", "slidingco"]
MEAN, SURFACE, BED = ["ubar", "vbar"], ["uvelsurf", "vvelsurf"], ["uvelbase", "vvelbase"]


@pytest.mark.parametrize(
    ("maptype", "inputs", "outputs"),
    [
        ("f2", SHAPE, MEAN),
        ("f10", [*SHAPE, "strflowctrl"], MEAN),
        ("f11", [*SHAPE, *LAWS], MEAN),
        ("f12", [*SHAPE, "strflowctrl"], [*MEAN, *SURFACE]),
        ("f13", [*SHAPE, *LAWS], [*MEAN, *SURFACE]),
        ("f14", [*SHAPE, "strflowctrl"], [*BED, *MEAN, *SURFACE]),
        ("f15", [*SHAPE, *LAWS], [*BED, *MEAN, *SURFACE]),
        ("f16", [*SHAPE, "strflowctrl"], [*BED, "wvelbase", *MEAN, *SURFACE, "wvelsurf"]),
        ("f17", [*SHAPE, *LAWS], [*BED, "wvelbase", *MEAN, *SURFACE, "wvelsurf"]),
    ],
)
def test_map_types_are_the_published_ones(maptype, inputs, outputs):
    found = read_map(maptype)
    assert list(found.inputs) == inputs
    assert list(found.outputs) == outputs


def test_mass_balance_reads_twelve_months():
    found = read_map("smb")
    assert len(found.inputs) == 24
    assert found.inputs["precipitation_11"] == 10
    assert found.inputs["air_temp_0"] == 20
    assert found.outputs == {"smb": 10}


def test_scales_are_the_published_ones():
    found = read_map("f17")
    assert list(found.inputs.values()) == [2000, 1.5, 1.5, 100, 100]
    assert found.outputs["ubar"] == 1000
    assert found.outputs["wvelsurf"] == 100
    assert read_map("f10").inputs["strflowctrl"] == 200


@pytest.mark.parametrize("maptype", MAP_TYPES)
def test_dat_files_are_read_back_as_they_were_written(maptype, tmp_path):
    written = read_map(maptype)
    write_map(written, tmp_path)
    assert read_map(tmp_path) == written


def test_a_folder_may_be_named_like_a_preset(tmp_path):
    folder = tmp_path / "f99"
    folder.mkdir()
    write_map(read_map("f2"), folder)
    assert read_map(folder) == read_map("f2")


def test_an_unknown_map_type_lists_the_known_ones():
    with pytest.raises(InputError, match=r"--maptype: f3 is neither one of f2, f10, .* nor a folder"):
        read_map("f3")


def test_suggested_scales_are_round_and_keep_directions():
    largest = {"thk": 731.0, "slopsurfx": 0.2, "slopsurfy": 1.1, "ubar": 1000.0, "vbar": 3.0}
    suggested = {"thk": 1000, "slopsurfx": 2, "slopsurfy": 2, "ubar": 1000, "vbar": 1000}
    assert suggest_scales(largest) == suggested


def test_vectors_are_found_by_name():
    names = ["vbar", "ubar", "slopsurfy", "slopsurfx", "usurf", "thk", "uonly"]
    assert pair_vectors(names) == [("ubar", "vbar"), ("slopsurfx", "slopsurfy")]
