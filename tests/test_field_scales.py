"""The .dat files beside an emulator: exact bytes, and every line that cannot be right is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.interop.field_scales import read_field_scales, write_field_scales

# Map type f12 as 2Dto2D-DLE writes it: a blank behind every scale.
F12 = b"thk 2000.000000 \nslopsurfx 1.500000 \nslopsurfy 1.500000 \nstrflowctrl 200.000000 \n"


def test_the_original_bytes(tmp_path):
    path = tmp_path / "fieldin.dat"
    path.write_bytes(F12)
    scales = read_field_scales(path)
    assert scales == {"thk": 2000, "slopsurfx": 1.5, "slopsurfy": 1.5, "strflowctrl": 200}
    assert list(scales) == ["thk", "slopsurfx", "slopsurfy", "strflowctrl"]
    assert write_field_scales(scales, tmp_path / "other" / "fieldin.dat").read_bytes() == F12


@pytest.mark.parametrize("text", ["thk\t2000\r\n\r\n  vbar   1e3", "\ufeffthk 2000\nvbar 1000\n\n"])
def test_other_white_space_and_notations(tmp_path, text):
    path = tmp_path / "fieldin.dat"
    path.write_bytes(text.encode())
    assert read_field_scales(path) == {"thk": 2000, "vbar": 1000}


names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)


@given(st.dictionaries(names, st.integers(1, 10**9).map(lambda number: number / 100), min_size=1))
def test_what_is_written_is_read_back(tmp_path_factory, scales):
    path = tmp_path_factory.mktemp("scales") / "fieldout.dat"
    read = read_field_scales(write_field_scales(scales, path))
    assert read == scales
    assert list(read) == list(scales)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thk 2000\nvbar 1\nthk 1000\n", "line 3: thk comes a second time"),
        ("thk 2000\n\nvbar\n", "line 3: 'vbar' is no name and scale"),
        ("thk 2000 m\n", "line 1: 'thk 2000 m' is no name and scale"),
        ("thk high\n", "line 1: 'thk high' is no name and scale"),
        ("thk 2_000\n", "line 1: 'thk 2_000' is no name and scale"),
        ("thk 0.000000\n", "line 1: scale of thk is 0, which nothing can be divided by"),
        ("thk -1\n", "line 1: scale of thk is -1"),
        ("thk nan\n", "line 1: scale of thk is nan"),
        ("thk inf\n", "line 1: scale of thk is inf"),
        ("\n \n", "names no field"),
        (b"thk 1\n\xff\xfe", r"cannot be read \(no text\)"),
    ],
)
def test_lines_that_cannot_be_right(tmp_path, text, message):
    path = tmp_path / "fieldin.dat"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_field_scales(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.dat cannot be read \(No such file"):
        read_field_scales(tmp_path / "nothing.dat")


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({}, "no fields to write"),
        ({"ice thickness": 2000}, "'ice thickness' is no single word"),
        ({"": 1}, "'' is no single word"),
        ({"thk": 0}, "scale of thk is 0"),
        ({"arrhenius": 2.4e-24}, "2.4e-24 of arrhenius loses digits"),
    ],
)
def test_scales_that_cannot_be_written_leave_the_old_file(tmp_path, scales, message):
    path = tmp_path / "fieldin.dat"
    path.write_bytes(F12)
    with pytest.raises(InputError, match=message):
        write_field_scales(scales, path)
    assert path.read_bytes() == F12
