"""The made weather: events by seed alone, fields in balance, and files of DeepCAM's layout."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import CHANNELS, UNITS
from fieldwise.physics.extreme_weather.components import label_components
from fieldwise.physics.extreme_weather.sphere import GlobalGrid, bearing, coriolis, distance_km
from fieldwise.samples.weather.deepcam import read_sample, write_sample
from fieldwise.sandbox.extreme_weather import Season, write_season
from fieldwise.sandbox.extreme_weather.atmosphere import Atmosphere
from fieldwise.sandbox.extreme_weather.events import draw_event
from fieldwise.sandbox.extreme_weather.filaments import make_river
from fieldwise.sandbox.extreme_weather.lows import make_cyclone

GRID = GlobalGrid.regular(91, 180)
MANY = {"cyclone": 1.0, "river": 1.2, "cold_low": 1.0, "moist_blob": 1.0, "short_filament": 1.0}
CALM = dict.fromkeys(MANY, 0.0)


@pytest.fixture(scope="module")
def season():
    return Season(GRID, steps=8, per_day=MANY)


def test_an_event_is_the_same_in_two_seasons(season):
    """To the bit, in a season that begins later and has other events, and in the mask it is planted with."""
    other = replace(season, start=season.start + 9, steps=2, per_day=CALM | {"river": 1.2, "moist_blob": 0.2})
    mine = {event.number: event for event in season.drawn if event.kind == "river"}
    theirs = {event.number: event for event in other.drawn if event.kind == "river"}
    shared = sorted(mine.keys() & theirs.keys())
    assert len(shared) >= 3
    hour = float(other.hours[0])
    for number in shared:
        one, two = (event.patch(GRID, hour) for event in (mine[number], theirs[number]))
        assert all((one.fields[name] == two.fields[name]).all() for name in one.fields)
        assert (one.mask == two.mask).all()
    crowded, alone = season[3].instances, other[0].instances
    cells = (alone > 0) & ~np.isin(crowded, crowded[season[3].classes == 1])
    assert cells.any()
    assert (crowded[cells] == alone[cells]).all()


def test_another_seed_has_other_events_and_other_weather(season):
    other = replace(season, seed=8)
    assert {event.birth_h for event in season.drawn}.isdisjoint(event.birth_h for event in other.drawn)
    assert np.abs(season[0].fields["PSL"] - other[0].fields["PSL"]).std() > 100


def test_events_begin_as_often_as_asked():
    """In 40 days at 1.5 a day 60 begin, give or take one at either end."""
    season = Season(GRID, steps=320, per_day=CALM | {"river": 1.5})
    births = np.array([event.birth_h for event in season.drawn])
    assert abs(((births >= season.hours[0]) & (births < season.hours[0] + 960)).sum() - 60) <= 1


def test_fields_are_as_the_atmosphere_s(season):
    """Ranges of today's climate, and the order of the channels."""
    fields = season[2].fields
    assert tuple(fields) == CHANNELS
    assert UNITS.keys() == set(CHANNELS)
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in fields.values())
    ranges = {
        "TMQ": (0, 85),
        "PSL": (88_000, 106_000),
        "T500": (220, 290),
        "T200": (200, 240),
        "Z1000": (-1000, 500),
        "Z200": (10_000, 13_500),
        "QREFHT": (1e-5, 0.03),
        "PRECT": (0, 1e-4),
    }
    for name, (least, most) in ranges.items():
        assert least <= fields[name].min() <= fields[name].max() <= most, name
    assert 22 < np.average(fields["TMQ"], weights=GRID.area_km2) < 30  # about 25 kg/m2 on Earth
    assert 285 < np.average(fields["TREFHT"], weights=GRID.area_km2) < 291


def test_weather_is_one_across_the_seam(season):
    """Steps from the last column to the first are no greater than others are."""
    for name, values in season[5].fields.items():
        across = np.abs(values[:, 0] - values[:, -1]).max()
        assert across <= np.abs(np.diff(values, axis=1)).max(), name


def test_calm_weather_is_in_geostrophic_balance():
    """Away from the equator winds of waves follow pressure: f k x v = -grad p / rho."""
    grid = GlobalGrid.regular(181, 360)
    primary = Atmosphere(grid, seed=7).primary(0.0)
    rows = slice(30, 50)  # 60 to 41 degrees north
    latitude, pressure = grid.latitude[rows, None], primary["PSL"][rows]
    slope = (np.roll(pressure, -1, axis=1) - np.roll(pressure, 1, axis=1)) / np.radians(2)
    wanted = slope / (1.2 * coriolis(latitude) * 6.371e6 * np.cos(np.radians(latitude)))
    found = primary["V850"][rows]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.05 * found.std()


def test_a_cyclone_balances_its_pressure():
    """On a fine grid: v^2 / r + |f| v is the slope of its pressure over density, read off the fields."""
    storm = draw_event(make_cyclone, seed=7, kind="cyclone", number=11, per_day=1.0)
    hour = storm.birth_h + storm.life_h / 2
    middle = storm.place(hour)
    radius = np.linspace(20, 900, 1500)
    north = middle[0] + np.degrees(radius / 6371.0)
    fields, marked = storm.render(north, np.full_like(north, middle[1]), hour)
    wind = np.hypot(fields["U850"], fields["V850"])
    slope = np.gradient(fields["PSL"], radius * 1e3)
    balance = wind**2 / (radius * 1e3) + abs(coriolis(middle[0])) * wind
    np.testing.assert_allclose(balance[5:-5], slope[5:-5] / 1.15, rtol=0.01, atol=1e-6)
    eastward = fields["U850"] * np.sign(middle[0])
    assert (eastward[marked] < 0).all()  # poleward of the middle, cyclonic winds blow from the east
    assert fields["T500"][0] > fields["T500"][-1]


def test_a_storm_is_the_same_on_every_grid():
    """Its mean over the sphere of pressure and vapour, on cells of 1 and of 2.5 degrees."""
    storm = draw_event(make_cyclone, seed=7, kind="cyclone", number=11, per_day=1.0)
    hour, sums = storm.birth_h + storm.life_h / 2, []
    for rows, columns in ((73, 144), (181, 360)):
        grid = GlobalGrid.regular(rows, columns)
        patch = storm.patch(grid, hour)
        weight = grid.area_km2[patch.window.cells]
        sums.append([(weight * patch.fields[name]).sum() for name in ("PSL", "TMQ", "T500")])
    np.testing.assert_allclose(*sums, rtol=0.02)


def test_a_river_goes_on_across_the_seam():
    """Rivers are wherever they are: one that reaches over 0 degrees is one part, and flows along its axis."""
    rivers = (draw_event(make_river, seed=7, kind="river", number=n, per_day=1.2) for n in range(40))
    for river in rivers:
        hour = river.birth_h + river.life_h / 2
        rows, columns = river.axis(hour)
        if columns.min() < 355 and columns.max() > 366:
            break
    patch = river.patch(GRID, hour)
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[patch.window.cells] = patch.mask
    assert mask[:, 0].any()
    assert mask[:, -1].any()
    assert label_components(mask).max() == 1
    fields, _ = river.render(rows[40:120], columns[40:120], hour)
    along = bearing(rows[40:120], columns[40:120], rows[41:121], columns[41:121])
    turned = np.arctan2(fields["U850"], fields["V850"]) - along
    assert np.abs(np.sin(turned)).max() < 0.05
    assert (np.cos(turned) > 0).all()


def test_a_season_comes_back_from_its_files(season, tmp_path):
    short = replace(season, steps=3)
    paths = write_season(tmp_path, short, run=2)
    assert [path.name for path in paths] == [f"data-2001-08-01-0{step}-2.h5" for step in range(3)]
    moment, sample = short[1], read_sample(paths[1])
    assert sample.time == moment.time
    assert sample.run == 2
    for name in CHANNELS:
        assert (sample.fields[name] == moment.fields[name]).all(), name
    assert (sample.labels[0] == moment.classes).all()
    assert (sample.instances == moment.instances).all()
    assert len(sample.labels) == 2
    assert sample.grid.shape == GRID.shape
    only = read_sample(paths[1], channels=("PSL",))
    assert list(only.fields) == ["PSL"]


def test_files_are_laid_out_as_deepcam_s(season, tmp_path):
    """As others read them: channels last, rows from the south; mean, greatest, least and deviation."""
    moment = season[0]
    path = write_sample(tmp_path, moment.time, moment.fields, (moment.classes,))
    with h5py.File(path) as file:
        data, stats, labels = (file[f"climate/{name}"][...] for name in ("data", "data_stats", "labels_0"))
    assert data.dtype == np.float32
    assert data.shape == (91, 180, 16)
    assert (data[0, :, 7] == moment.fields["PSL"][-1]).all()
    assert (labels[10] == moment.classes[80]).all()
    tmq = moment.fields["TMQ"].astype(float)
    np.testing.assert_allclose(stats[:, 0], [tmq.mean(), tmq.max(), tmq.min(), tmq.std()], rtol=1e-6)


def test_files_that_cannot_be_used_are_refused(season, tmp_path):
    moment = season[0]
    path = write_sample(tmp_path, moment.time, moment.fields, (moment.classes,))
    with pytest.raises(InputError, match="lack TMQ; a sample has all of"):
        write_sample(tmp_path, moment.time, {n: v for n, v in moment.fields.items() if n != "TMQ"}, ())
    with pytest.raises(InputError, match="three-hourly"):
        write_sample(tmp_path, moment.time + 1, moment.fields, ())
    with pytest.raises(InputError, match="know no SST"):
        read_sample(path, channels=("TMQ", "SST"))
    with pytest.raises(InputError, match="is not there"):
        read_sample(tmp_path / "data-1999-01-01-00-1.h5")
    with pytest.raises(InputError, match="is no name of a sample"):
        read_sample(tmp_path / "data-1999-13-01-00-1.h5")
    with h5py.File(path, "a") as file:
        file["climate/labels_0"][3, 4] = 7
    with pytest.raises(InputError, match="labels_0 holds 7; classes are 0 to 2"):
        read_sample(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_sample(path)


def test_truth_tells_where_events_are(season):
    """The table's places lie in the masks of their events, where these are marked."""
    events, moment = season.events(), season[4]
    here = events[(events["step"] == 4) & (events["label"] == 1)]
    assert len(here) >= 2
    for event in here.itertuples():
        marked = moment.instances == event.instance
        if marked.any():
            away = distance_km(event.latitude, event.longitude, GRID.latitude[:, None], GRID.longitude)
            assert away[marked].min() < GRID.spacing_km
            assert away[marked].max() < 900
    assert set(np.unique(moment.instances[moment.classes == 1])) <= set(here["instance"])
