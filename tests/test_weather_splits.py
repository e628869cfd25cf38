"""Records of weather parted by years or as DeepCAM does, and the transport of vapour made of its parts."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes import extreme_weather
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.weather.deepcam import write_sample
from fieldwise.samples.weather.globes import read_seasons
from fieldwise.samples.weather.records import EPOCH, Record, part_as_deepcam, part_by_years

GRID = GlobalGrid.regular(5, 8)
SHARES = (0.8, 0.1, 0.1)


def make_record(hours, name="run_1"):
    paths = tuple(Path(f"{name}_{number:06d}.h5") for number in range(len(hours)))
    return Record(name, GRID, np.asarray(hours, dtype=float), lambda place: {"place": np.array(place)}, paths)


def years_of(record):
    return set((EPOCH + record.hours.astype(int)).astype("datetime64[Y]").astype(str).tolist())


def test_years_are_in_one_split_whatever_the_run():
    """Of 10 years two are kept back, though one run begins three years later and ends before the last."""
    hours = 24.0 * np.arange(10 * 365)  # from 2000 to December 2009
    late = hours[(hours >= 24 * 3 * 366) & (hours < 24 * 8.5 * 365)]
    parts = part_by_years([make_record(hours), make_record(late, "run_2")], SHARES, gap_h=0)
    splits = {part.name: years_of(part) for part in parts}
    assert splits["run_1_training"] == {str(year) for year in range(2000, 2008)}
    assert (splits["run_1_validation"], splits["run_1_test"]) == ({"2008"}, {"2009"})
    assert splits["run_2_training"] <= splits["run_1_training"]
    assert splits["run_2_validation"] == {"2008"}
    assert sum(map(len, parts)) == len(hours) + len(late)


def test_a_year_begins_after_a_gap_and_reads_its_own_places():
    hours = 24.0 * np.arange(4 * 365)
    parts = part_by_years([make_record(hours)], SHARES, gap_h=240)
    for earlier, later in itertools.pairwise(parts):
        assert later.hours[0] - earlier.hours[-1] >= 240
    for part in parts:
        assert [24.0 * place for place in part.places] == part.hours.tolist()


def test_too_few_years_are_refused():
    with pytest.raises(InputError, match="there are times of 1 years"):
        part_by_years([make_record(3.0 * np.arange(100))], SHARES, gap_h=0)
    with pytest.raises(InputError, match="there is no time for validation"):
        part_by_years([make_record([0.0, 9000.0, 18000.0])], SHARES, gap_h=1e6)


def test_deepcam_has_as_many_samples_as_are_published():
    """121,266 for training (Kurth et al.) and 15,158 for validation, of runs one after the other."""
    sizes = [100_000, 51_583]
    parts = part_as_deepcam([make_record(3.0 * np.arange(size), f"run_{size}") for size in sizes])
    counts = {
        split: sum(len(part) for part in parts if part.split == split) for split in ("training", "test")
    }
    assert counts == {"training": 121_266, "test": 15_159}


def test_deepcam_shuffles_with_the_generator_of_old():
    """The list that `numpy.random.seed(12345)` and `numpy.random.shuffle` make of 20 sorted names."""
    record = make_record(3.0 * np.arange(20))
    (learnt, judged, kept) = part_as_deepcam([record])
    state = np.random.get_state()
    np.random.seed(12345)
    order = np.random.permutation(20)
    np.random.set_state(state)
    assert sorted(learnt.places) == sorted(order[:16].tolist())
    assert sorted(judged.places) == sorted(order[16:18].tolist())
    assert sorted(kept.places) == sorted(order[18:].tolist())
    assert (np.diff(kept.hours) > 0).all()


def test_a_random_split_says_that_it_leaks(tmp_path, capsys):
    random = np.random.default_rng(0)
    for number in range(20):
        fields = {name: random.normal(size=(16, 32)) + number for name in CHANNELS}
        time = np.datetime64("2001-08-01T00") + 3 * number
        write_sample(tmp_path / "samples", time, fields, (random.integers(0, 3, (16, 32)),))
    options = {"source": str(tmp_path / "samples"), "split": "deepcam_random", "progress": False}
    with pytest.raises(InputError, match="give --labellers false"):
        extreme_weather.prepare(out=tmp_path / "data", **options)
    prepared = Prepared(extreme_weather.prepare(out=tmp_path / "data", labellers=False, **options))
    assert "leaks" in capsys.readouterr().out
    cases = [prepared.cases(split)[0] for split in ("training", "validation", "test")]
    assert [case.frames for case in cases] == [16, 2, 2]
    for case in cases:  # values are those of their times; 13872 hours from 2000 on the first
        numbers = (case.frame_times - 13872) / 3
        means = case.read_frames("TMQ").reshape(case.frames, -1).mean(1)
        np.testing.assert_allclose(means, numbers, atol=0.2)


def write_levels(folder, *, units="hPa", levels=(1000.0, 850.0, 500.0), ground=None):
    """Winds of 10 m/s to the east and 5 to the north, and 10 g/kg of humidity, on three levels."""
    dims = ("time", "level", "lat", "lon")
    shape = (2, len(levels), *GRID.shape)
    fields = {"u": 10.0, "v": 5.0, "q": 0.01}
    content = {name: (dims, np.full(shape, value)) for name, value in fields.items()}
    content["tcwv"] = (("time", "lat", "lon"), np.ones((2, *GRID.shape)))
    if ground is not None:
        content["PS"] = (("time", "lat", "lon"), np.full((2, *GRID.shape), ground))
    axes = {"lat": GRID.latitude, "lon": GRID.longitude, "level": ("level", list(levels), {"units": units})}
    time = ("time", [0, 3], {"units": "hours since 2001-01-01"})
    xr.Dataset(content, {**axes, "time": time}).to_netcdf(folder / "own.nc", engine="h5netcdf")
    variables = "{TMQ: tcwv, PS: PS}" if ground is not None else "{TMQ: tcwv}"
    entry = f"{{path: own.nc, variables: {variables}, transport: {{eastward: u, northward: v, humidity: q}}}}"
    (folder / "own.yaml").write_text(f"cases: {{storm: {entry}}}")
    return folder / "own.yaml"


@pytest.mark.parametrize(
    ("options", "depth_pa"),
    [
        ({}, 50_000),
        ({"units": "Pa", "levels": (50_000.0, 85_000.0, 100_000.0)}, 50_000),
        ({"ground": 90_000.0}, 35_000),  # the lowest level lies in a mountain
    ],
    ids=["hPa", "Pa, upside down", "mountain"],
)
def test_transport_is_made_of_winds_and_humidity(tmp_path, options, depth_pa):
    """Winds and humidity the same at all levels: their product times the depth, over g."""
    (record,) = read_seasons(write_levels(tmp_path, **options))
    wanted = np.hypot(10, 5) * 0.01 * depth_pa / 9.80665
    np.testing.assert_allclose(record.read(1)["IVT"], np.full(GRID.shape, wanted), rtol=1e-12)


def test_prepare_keeps_the_transport_that_is_known(tmp_path):
    own = write_levels(tmp_path)
    own.write_text(own.read_text().replace("path:", "split: test, path:"))
    out = extreme_weather.prepare(source=str(own), out=tmp_path / "data", labellers=False, progress=False)
    case = Prepared(out).cases("test")[0]
    assert case.stack(["IVT"]).mean() == pytest.approx(np.hypot(10, 5) * 0.01 * 50_000 / 9.80665, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ({"units": "K"}, ("", ""), "levels level are in K; give them in hPa or Pa"),
        ({"levels": (1000.0, 500.0, 850.0)}, ("", ""), "give two levels or more in order"),
        ({}, ("humidity: q", "humidity: tcwv"), "tcwv has lat, lon; give pressure levels, lat and lon"),
        ({}, ("humidity: q", "humidity: hus"), "lacks hus; it has u, v, q, tcwv"),
        (
            {},
            ("humidity: q", "vapour: q"),
            r"transport is .*; give \{eastward: u, northward: v, humidity: q\}",
        ),
    ],
)
def test_levels_that_do_not_fit_are_named(tmp_path, options, change, words):
    own = write_levels(tmp_path, **options)
    own.write_text(own.read_text().replace(*change))
    with pytest.raises(InputError, match=words):
        read_seasons(own)[0].read(0)
