"""Map types, .dat files and scales."""

import pytest

from fieldwise.errors import InputError
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import (
    MAP_TYPES,
    make_signature,
    read_signature,
    scales_of,
    write_map,
)
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.frames import fit_ranges, round_scales
from fieldwise.samples.signatures import group_fields

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
    found = read_signature(maptype)
    assert found.fields("inputs") == inputs
    assert found.fields("outputs") == outputs


def test_mass_balance_reads_twelve_months():
    inputs, outputs = (scales_of(read_signature("smb"), side) for side in ("inputs", "outputs"))
    assert len(inputs) == 24
    assert inputs["precipitation_11"] == 10
    assert inputs["air_temp_0"] == 20
    assert outputs == {"smb": 10}


def test_scales_are_the_published_ones():
    inputs, outputs = (scales_of(read_signature("f17"), side) for side in ("inputs", "outputs"))
    assert list(inputs.values()) == [2000, 1.5, 1.5, 100, 100]
    assert outputs["ubar"] == 1000
    assert outputs["wvelsurf"] == 100
    assert scales_of(read_signature("f10"), "inputs")["strflowctrl"] == 200


@pytest.mark.parametrize("maptype", MAP_TYPES)
def test_dat_files_are_read_back_as_they_were_written(maptype, tmp_path):
    written = read_signature(maptype)
    write_map(written, tmp_path)
    assert read_signature(tmp_path) == written


def test_a_folder_may_be_named_like_a_preset(tmp_path):
    folder = tmp_path / "f99"
    folder.mkdir()
    write_map(read_signature("f2"), folder)
    assert read_signature(folder) == read_signature("f2")


def test_an_unknown_map_type_lists_the_known_ones():
    with pytest.raises(InputError, match=r"--maptype: f3 is neither one of f2, f10, .* nor a folder"):
        read_signature("f3")


def test_suggested_scales_are_round_and_keep_directions():
    largest = {"thk": 731.0, "slopsurfx": 0.2, "slopsurfy": -1.1, "ubar": 1000.0, "vbar": 3.0}
    names = list(largest)
    asked = make_signature(dict.fromkeys(names[:3], 1.0), dict.fromkeys(names[3:], 1.0))
    fitted = fit_ranges(asked, make_prepared(largest, shape=(4, 4)).cases(), where=find_ice)
    assert fitted.outputs[0].range == (-1000, 1000)
    suggested = round_scales(fitted)
    assert scales_of(suggested, "inputs") == {"thk": 1000, "slopsurfx": 2, "slopsurfy": 2}
    assert scales_of(suggested, "outputs") == {"ubar": 1000, "vbar": 1000}


def test_vectors_are_found_by_name():
    names = ["vbar", "ubar", "slopsurfy", "slopsurfx", "usurf", "thk", "uonly"]
    vectors = [each.fields for each in group_fields(names, units={}) if each.vector]
    assert vectors == [("ubar", "vbar"), ("slopsurfx", "slopsurfy")]


def test_components_apart_or_of_unlike_scales_stay_scalars():
    apart = make_signature({"slopsurfx": 1.5, "thk": 1.0, "slopsurfy": 1.5}, {"ubar": 1.0, "vbar": 2.0})
    assert apart.vectors() == {"inputs": [], "targets": []}
    assert apart.fields("inputs") == ["slopsurfx", "thk", "slopsurfy"]
