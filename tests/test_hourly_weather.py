"""Hourly weather in whatever files: the same fields from all of them, cropped, parted, and kept apart."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hourly_files import (
    LATITUDE,
    LONGITUDE,
    START,
    dataset_of,
    truth_of,
    write_first,
    write_netcdf,
    write_second,
    write_tree,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.physics.temperature_forecast.sunshine import EPOCH
from fieldwise.recipes import temperature_forecast
from fieldwise.samples.hours import months
from fieldwise.samples.hours.files import Wanted, find_series
from fieldwise.samples.hours.gribs import list_messages, read_message
from fieldwise.samples.hours.months import extract_months
from fieldwise.samples.hours.periods import Period, cut_runs, keep_apart, part_by_folds, read_periods
from fieldwise.samples.hours.regions import Region
from fieldwise.samples.hours.requests import read_request
from fieldwise.samples.prepared import SPLITS, Prepared

FIRST_HOUR = (START - pd.Timestamp("2000-01-01")) / pd.Timedelta("1h")
MODEL_HALF_LEVELS = (0.0, 5000.0, 10000.0, 0.0, 0.0, 0.1, 0.6, 1.0)


def request_of(folder, path, variables="[t2m]", **more):
    file = folder / "own.yaml"
    extra = "".join(f"\n{key}: {value}" for key, value in more.items())
    file.write_text(f"path: {path}\nvariables: {variables}{extra}\n")
    return read_request(file)


def extract(folder, path, variables="[t2m]", **more):
    extracted = extract_months(request_of(folder, path, variables, **more), folder / "out", workers=2)
    return extracted, list(extracted.frames(slice(0, len(extracted.hours))))


def check_truth(extracted, frames, hours, *, name="t2m", add=0.0, tolerance=2e-3):
    np.testing.assert_array_equal(extracted.hours, FIRST_HOUR + np.asarray(hours))
    np.testing.assert_allclose(extracted.latitude, LATITUDE)
    np.testing.assert_allclose((extracted.longitude - LONGITUDE) % 360, 0)
    for hour, fields in zip(hours, frames, strict=True):
        np.testing.assert_allclose(fields[name], truth_of(hour, add=add), atol=tolerance)


def test_grib_of_edition_1_tells_what_it_is(tmp_path):
    path = tmp_path / "a.grb"
    model = write_first(truth_of(6), START, 130, kind=109, level=3, pv=MODEL_HALF_LEVELS)
    path.write_bytes(write_first(truth_of(5), START + pd.Timedelta("5h"), 167, padding=38) + model)
    surface, level = list_messages(path)
    assert (surface.name, surface.kind, surface.hour) == ("2t", "surface", FIRST_HOUR + 5)
    assert (level.name, level.kind, level.level, level.hour) == ("t", "model", 3, FIRST_HOUR)
    assert level.coefficients == pytest.approx(MODEL_HALF_LEVELS, abs=1e-6)
    values, latitude, longitude = read_message(path, surface)
    np.testing.assert_allclose(values, truth_of(5), atol=2e-3)
    np.testing.assert_allclose(latitude, LATITUDE)
    np.testing.assert_allclose((longitude - LONGITUDE) % 360, 0)


@pytest.mark.parametrize(
    ("product", "pv", "told"),
    [
        ((0, 0, 103, 2), (), ("2t", "surface", 0)),
        ((2, 2, 103, 10), (), ("10u", "surface", 0)),
        ((0, 0, 100, 85000), (), ("t", "pressure", 850)),
        ((0, 0, 105, 3), MODEL_HALF_LEVELS, ("t", "model", 3)),
        ((6, 1, 1, 0), (), ("tcc", "surface", 0)),
    ],
)
def test_grib_of_edition_2_tells_what_it_is(tmp_path, product, pv, told):
    """Written by GDAL."""
    path = write_second(tmp_path / "a.grib2", truth_of(7), START + pd.Timedelta("7h"), product=product, pv=pv)
    (message,) = list_messages(path)
    assert (message.name, message.kind, message.level, message.hour) == (*told, FIRST_HOUR + 7)
    assert message.coefficients == pytest.approx(pv, abs=1e-6)
    np.testing.assert_allclose(read_message(path, message)[0], truth_of(7), atol=1e-3)


HOURS = list(range(40, 56))  # over the end of January


def test_all_formats_give_the_same(tmp_path):
    messages = [write_first(truth_of(hour), START + pd.Timedelta(hours=hour), 167) for hour in HOURS]
    (tmp_path / "many.grib").write_bytes(b"".join(messages))
    write_netcdf(tmp_path / "a.nc", HOURS[:5])
    write_netcdf(tmp_path / "b.nc", HOURS[5:], name="2m_temperature")
    for version in (2, 3):
        kind = {"zarr_format": version, "consolidated": version == 2}
        dataset_of(HOURS).to_zarr(tmp_path / f"store{version}.zarr", **kind)
    for path in ("many.grib", "'[ab].nc'", f"'{tmp_path}/[ab].nc'", "store2.zarr", "store3.zarr"):
        check_truth(*extract(tmp_path, path), HOURS)


def test_weatherbench_has_a_folder_for_each_variable(tmp_path):
    """Each with a file a year, and temperature on levels."""
    wrap = tmp_path / "wb"
    write_netcdf(wrap / "2m_temperature" / "2m_temperature_2013_5.625deg.nc", HOURS, name="t2m")
    levels = [
        dataset_of(HOURS, name="t", add=add).expand_dims(level=[level])
        for level, add in ((500, -9), (850, -4))
    ]
    (wrap / "temperature").mkdir()
    xr.concat(levels, "level").to_netcdf(wrap / "temperature" / "t_2013.nc", engine="h5netcdf")
    extracted, frames = extract(tmp_path, "wb", "[t2m, t850]")
    check_truth(extracted, frames, HOURS)
    check_truth(extracted, frames, HOURS, name="t850", add=-4)
    entry = "{t500: {name: t, level_hpa: 500, units: K}, t650: {name: t, level_hpa: 650}}"
    extracted, frames = extract(tmp_path, "wb", entry)
    check_truth(extracted, frames, HOURS, name="t500", add=-9)
    share = np.log(650 / 500) / np.log(850 / 500)
    check_truth(extracted, frames, HOURS, name="t650", add=-9 + 5 * share)


def test_years_and_months_of_ambs(tmp_path):
    """Surface and model levels in files of their own; the middle of level 3 lies at 850 hPa."""
    write_tree(tmp_path / "era5", HOURS)
    variables = "{t2m: {}, tcc: {}, t850: {}, t600: {name: t, level_hpa: 600}}"
    extracted, frames = extract(tmp_path, "era5", variables)
    check_truth(extracted, frames, HOURS)
    check_truth(extracted, frames, HOURS, name="t850", add=-90)
    share = np.log(600 / 425) / np.log(850 / 425)  # between 425 hPa, level 2, and 850 hPa
    check_truth(extracted, frames, HOURS, name="t600", add=-60 - 30 * share, tolerance=0.01)
    assert extracted.units == {"t2m": "K", "tcc": "1", "t850": "K", "t600": "K"}
    assert 0 <= min(each["tcc"].min() for each in frames) < max(each["tcc"].max() for each in frames) <= 1


def test_a_month_that_fails_is_told_and_the_others_stay(tmp_path, monkeypatch):
    tree = write_tree(tmp_path / "era5", HOURS)
    broken = sorted((tree / "2013" / "02").glob("*_sf.grb"))[2]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-60])
    with pytest.raises(
        InputError, match=r"1 of 2 months failed: 2013-02: .*_sf.grb: breaks off in the message"
    ):
        extract(tmp_path, "era5")
    (january,) = (tmp_path / "out" / "ExtractedData").rglob("*.nc")
    before = january.stat().st_mtime_ns
    broken.write_bytes(whole)
    done = []
    extract_month = months._extract_month
    monkeypatch.setattr(
        months, "_extract_month", lambda month, *rest: done.append(month) or extract_month(month, *rest)
    )
    check_truth(*extract(tmp_path, "era5"), HOURS)
    assert done == ["2013-02"]
    assert january.stat().st_mtime_ns == before


def test_celsius_beside_kelvin_is_brought_to_kelvin_and_told(tmp_path):
    write_netcdf(tmp_path / "a.nc", HOURS[:8])
    write_netcdf(tmp_path / "b.nc", HOURS[8:], units="degC", add=-273.15)
    extracted, frames = extract(tmp_path, "'*.nc'")
    check_truth(extracted, frames, HOURS)
    assert extracted.notes == ["t2m: brought from degC to K"]


def test_crop_from_a_corner_crosses_the_zero_meridian(tmp_path):
    write_netcdf(tmp_path / "a.nc", HOURS)
    extracted, frames = extract(tmp_path, "a.nc", area="{corner: [49.0, -0.5], cells: [4, 3]}")
    assert extracted.latitude.tolist() == [50.0, 49.5, 49.0]
    assert ((extracted.longitude + 180) % 360 - 180).tolist() == [-0.5, 0.0, 0.5, 1.0]
    assert (np.diff(extracted.longitude) > 0).all()
    np.testing.assert_allclose(frames[0]["t2m"], truth_of(HOURS[0])[4:7, 3:7], atol=1e-3)


@given(
    south=st.integers(-80, 60),
    west=st.integers(-180, 359),
    columns=st.integers(2, 60),
    rows=st.integers(2, 10),
    first=st.sampled_from([0.0, -180.0, 11.25]),
    flipped=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_crop_is_the_cells_that_lie_in_it(south, west, columns, rows, first, flipped):
    """Whatever longitude the data begin at, and whichever way latitudes go."""
    latitude = np.linspace(90, -90, 145)[:: -1 if flipped else 1]
    longitude = first + np.arange(0, 360, 1.25)
    down, along = Region(corner=(south, west), cells=(columns, rows)).cut(latitude, longitude)
    assert (len(down), len(along)) == (rows, columns)
    np.testing.assert_allclose(np.diff(latitude[down]), -1.25)
    np.testing.assert_allclose(np.diff(longitude[along]) % 360, 1.25)
    assert abs(latitude[down[-1]] - south) <= 0.625
    assert abs((longitude[along[0]] - west + 180) % 360 - 180) <= 0.625
    box = (latitude[down[0]], longitude[along[0]], latitude[down[-1]], longitude[along[-1]])
    for one, other in zip(
        Region(box=tuple(map(float, box))).cut(latitude, longitude), (down, along), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@st.composite
def some_periods(draw):
    edges = sorted(draw(st.sets(st.integers(0, 2000), min_size=4, max_size=12)))
    named = [draw(st.sampled_from([*SPLITS, None])) for _ in edges[1:]]
    return [Period(split, *ends) for split, ends in zip(named, pairwise(edges)) if split]


@given(periods=some_periods(), buffer_h=st.integers(0, 100))
def test_splits_share_no_hour_and_keep_their_distance(periods, buffer_h):
    kept = keep_apart(periods, buffer_h)
    hours = {split: {h for p in kept if p.split == split for h in range(p.first, p.end)} for split in SPLITS}
    for one, other in (("training", "validation"), ("training", "test"), ("validation", "test")):
        if hours[one] and hours[other]:
            near = min(abs(a - b) for a in _ends(kept, one) for b in _ends(kept, other))
            assert near > buffer_h
            assert not hours[one] & hours[other]
    whole = {h for p in periods if p.split == "test" for h in range(p.first, p.end)}
    assert hours["test"] == whole  # what is judged is not given away
    assert all(
        hours[s] <= {h for p in periods if p.split == s for h in range(p.first, p.end)} for s in SPLITS
    )


def _ends(periods, split):
    return [end for p in periods if p.split == split for end in (p.first, p.end - 1)]


@given(
    length=st.integers(200, 900), folds=st.integers(3, 6), missing=st.sets(st.integers(0, 199), max_size=5)
)
@settings(max_examples=40, deadline=None)
def test_folds_test_every_hour_once_and_runs_have_no_gaps(length, folds, missing):
    hours = np.setdiff1d(np.arange(1000, 1000 + length), [1000 + each for each in missing])
    assume(hours[0] == 1000)
    tested = []
    for fold in range(folds):
        periods = part_by_folds(hours, folds, fold)
        tested += [h for p in periods if p.split == "test" for h in range(p.first, p.end)]
        try:
            runs = cut_runs(hours, keep_apart(periods, 12), sequence_h=6, gaps="split")
        except InputError:
            continue
        for period, cells in runs:
            assert (np.diff(hours[cells]) == 1).all()
            assert (hours[cells][0], hours[cells][-1] + 1) == (period.first, period.end)
    assert sorted(tested) == list(range(1000, 1000 + length))


def test_months_and_days_are_read(tmp_path):
    file = tmp_path / "split.json"
    said = {
        "train": {"2012": [1, 2], "2013": [2]},
        "val": {"2012": [4]},
        "test": [["2013-03-01", "2013-03-02"]],
    }
    file.write_text(json.dumps(said))
    assert [str(period) for period in read_periods(file)] == [
        "training 2012-01-01T00 to 2012-02-29T23",
        "validation 2012-04-01T00 to 2012-04-30T23",
        "training 2013-02-01T00 to 2013-02-28T23",
        "test 2013-03-01T00 to 2013-03-02T23",
    ]


def test_only_months_that_are_named_are_extracted(tmp_path):
    """A month that is broken does not matter where no split names it."""
    write_netcdf(tmp_path / "era5" / "2013" / "02" / "a.nc", range(48, 48 + 28 * 24))
    (tmp_path / "era5" / "2013" / "03").mkdir()
    (tmp_path / "era5" / "2013" / "03" / "a.nc").write_text("broken")
    request_of(tmp_path, "era5")
    days = {"train": ["2013-02-01", "2013-02-10"], "val": ["2013-02-12", "2013-02-15"]}
    days |= {"test": ["2013-02-20", "2013-02-28"]}
    (tmp_path / "split.json").write_text(json.dumps({name: [ends] for name, ends in days.items()}))
    source = {"source": str(tmp_path / "own.yaml"), "split": tmp_path / "split.json"}
    out = temperature_forecast.prepare(**source, out=tmp_path / "data", progress=False)
    frames = [case.frames for case in Prepared(out).cases()]
    assert frames == [240, 4 * 24, 9 * 24]


def test_prepared_folder_over_months_and_gaps(tmp_path):
    """Stretches cross the end of a month, a missing hour parts them, and the sun is that of the place."""
    write_netcdf(tmp_path / "a.nc", [hour for hour in range(240) if hour != 60])
    request_of(tmp_path, "a.nc", area="{box: [51, -1, 49, 1]}")
    options = {"source": str(tmp_path / "own.yaml"), "out": tmp_path / "data", "progress": False}
    shares = {"shares": (0.5, 0.25, 0.25), "buffer_hours": 12}
    out = temperature_forecast.prepare(**options, **shares, gaps="split")
    prepared = Prepared(out, recipe="temperature_forecast")
    training = prepared.cases("training")
    assert [case.frames for case in training] == [60, 59]
    assert [case.frames for case in prepared.cases("validation", "test")] == [36, 60]
    assert training[0].shape == (5, 5)
    assert training[0].frame_times[48] == (np.datetime64("2013-02-01T00", "h") - EPOCH).astype(int)
    np.testing.assert_allclose(training[1].stack(["t2m"], frame=3)[0], truth_of(64)[2:7, 2:7], atol=1e-3)
    noon, night = (training[0].stack(["sunshine"], frame=frame)[0] for frame in (12, 0))
    assert night.max() == 0
    # 2013-01-30 12 UTC at 50 N: the sun stands 17.7 degrees south of the equator.
    assert noon[2, 2] == pytest.approx(np.cos(np.radians(50 + 17.7)), abs=0.01)
    told = json.loads((out / "metadata.json").read_text())
    assert told["dataset"] == "Y2013M01to02-5_5-49.00N359.00E-t2m"
    assert told["data_split"] == {
        "training": {"2013": [1, 2]},
        "validation": {"2013": [2]},
        "test": {"2013": [2]},
    }
    tree = temperature_forecast.prepare(**options, **shares, gaps="split", tree=True)
    assert tree == tmp_path / "data" / "PreprocessedData" / told["dataset"]
    assert Prepared(tree).description["globe"] == prepared.description["globe"]
    globe = prepared.description["globe"]
    assert globe["latitude"] == [51.0, 50.5, 50.0, 49.5, 49.0]


def test_fields_are_found_by_level_and_by_name(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", HOURS)
    assert find_series(path, Wanted.named("t2m")).hours[0] == FIRST_HOUR + HOURS[0]
    assert find_series(path, Wanted.named("t850")) is None
