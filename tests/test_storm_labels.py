"""Two labellers on made weather whose truth is known, and one on a real field."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import CYCLONE, RIVER
from fieldwise.physics.extreme_weather.components import label_components
from fieldwise.physics.extreme_weather.cyclones import depth_on_cells, gale_on_cells
from fieldwise.physics.extreme_weather.labels import label_by_transport, label_by_vapour
from fieldwise.physics.extreme_weather.rivers import find_moist_rivers, find_strong_rivers
from fieldwise.physics.extreme_weather.sphere import GlobalGrid, distance_km
from fieldwise.sandbox.extreme_weather import Season

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
MANY = {"cyclone": 1.0, "river": 1.5, "cold_low": 1.2, "moist_blob": 1.2, "short_filament": 1.2}
LABELLERS = {"vapour": label_by_vapour, "transport": label_by_transport}


GRIDS = {"1.5 degrees": (121, 240), "2.5 degrees": (73, 144)}


@pytest.fixture(scope="module", params=GRIDS.values(), ids=GRIDS)
def season(request):
    """Fifty-one hours: long enough for cyclones to have had gales for two days; the same on both grids."""
    season = Season(GlobalGrid.regular(*request.param), steps=18, seed=11, per_day=MANY)
    return season, list(season)


@pytest.fixture(scope="module", params=sorted(LABELLERS))
def labelled(request, season):
    made, moments = season
    labels = LABELLERS[request.param]([moment.fields for moment in moments], made.hours, made.grid)
    return made, moments, labels


@pytest.mark.parametrize(("kind", "label", "least_steps"), [("cyclone", CYCLONE, 18), ("river", RIVER, 6)])
def test_planted_events_are_found(labelled, kind, label, least_steps):
    """Of those at half their strength or more for long; found: a third of one is marked, half the time."""
    season, moments, labels = labelled
    events = season.events()
    strong = events[(events["kind"] == kind) & (events["strength"] > 0.5)]
    found = []
    for instance, times in strong.groupby("instance"):
        marked = [moments[step].instances == instance for step in times["step"]]
        hits = [
            (labels.classes[step][cells] == label).mean() >= 1 / 3
            for step, cells in zip(times["step"], marked, strict=True)
            if cells.any()
        ]
        if len(hits) >= least_steps:
            found.append(np.mean(hits) >= 0.5)
    assert len(found) >= 3
    assert np.mean(found) >= 0.95


def test_decoys_are_refused(labelled):
    """Marked: a part of a label lies over a decoy's middle and over nothing that was planted."""
    season, moments, labels = labelled
    events = season.events()
    decoys = events[(events["label"] == 0) & (events["strength"] > 0.3)]
    assert decoys["kind"].nunique() == 3
    assert decoys["instance"].nunique() >= 12
    marked = dict.fromkeys(decoys["instance"], 0)
    for row in decoys.itertuples():
        for label in (CYCLONE, RIVER):
            parts = label_components(labels.classes[row.step] == label)
            here = parts[season.grid.cell_at(row.latitude, row.longitude)]
            if here and not moments[row.step].classes[parts == here].any():
                marked[row.instance] += 1
    often = [count > 0.1 * (decoys["instance"] == instance).sum() for instance, count in marked.items()]
    assert np.mean(often) <= 0.05


def test_tracks_follow_planted_cyclones(labelled):
    """Each track is of one planted cyclone, and none of them has two; places are right to a quarter cell."""
    season, moments, labels = labelled
    owners, away = {}, []
    truth = season.events()
    for row in labels.cyclones.itertuples():
        step = int(np.flatnonzero(season.hours == row.hour)[0])
        instance = moments[step].instances[season.grid.cell_at(row.latitude, row.longitude)]
        owners.setdefault(row.track, set()).add(int(instance))
        places = truth[(truth["step"] == step) & (truth["label"] == CYCLONE)]
        away.append(distance_km(row.latitude, row.longitude, places["latitude"], places["longitude"]).min())
    assert np.mean(away) < season.grid.spacing_km / 4
    owned = [instances - {0} for instances in owners.values()]
    assert len(owned) >= 3
    assert all(len(instances) == 1 for instances in owned)
    assert len(set.union(*owned)) == len(owned)
    assert (labels.cyclones["wind_m_s"] < 80).all()


def test_labels_do_not_depend_on_where_the_seam_is(season):
    """The same weather with columns from 180 degrees west on, and rows from the south: the same classes."""
    made, moments = season
    grid = made.grid
    turned = GlobalGrid(grid.latitude[::-1], grid.longitude - 180)
    some = [moment.fields for moment in moments[:2]]
    half = grid.longitude.size // 2
    other = [
        {name: np.roll(values, half, axis=1)[::-1] for name, values in fields.items()} for fields in some
    ]
    for label in LABELLERS.values():
        first = label(some, [0, 3], grid, least_hours=3)
        second = label(other, [0, 3], turned, least_hours=3)
        assert first.classes.max() == RIVER
        assert (first.classes == CYCLONE).any()
        differing = first.classes != np.roll(second.classes[:, ::-1], -half, axis=2)
        assert differing.mean() < 1e-4  # ties of rounding
        assert len(first.cyclones) == len(second.cyclones)


def test_thresholds_follow_the_cells():
    """Walsh and others 2007: 17.5 m/s on no cells at all, 10 m/s on 300 km; depth goes with its square."""
    assert gale_on_cells(150.0) == pytest.approx(13.75)
    assert depth_on_cells(27.8) == 1
    assert depth_on_cells(300.0) == pytest.approx((10 / 16.805) ** 2)


@pytest.mark.parametrize("label", LABELLERS.values(), ids=LABELLERS)
def test_a_time_without_a_cyclone_is_bridged(season, label):
    """The weather of one time is calm: tracks end there, or with bridging go on, and no cell is marked."""
    made, moments = season
    fields = [moment.fields for moment in moments[:5]]
    fields[2] = {name: np.full_like(values, values.mean()) for name, values in fields[2].items()}
    options = {"least_hours": 6.0}
    cut, bridged = (
        label(fields, made.hours[:5], made.grid, bridge_steps=steps, **options) for steps in (0, 1)
    )
    assert set(cut.cyclones["hour"]) == {*made.hours[:2], *made.hours[3:5]}
    assert not cut.cyclones["bridged"].any()
    for kind in ("cyclones", "rivers"):
        tracks = getattr(bridged, kind)
        assert tracks["bridged"].any()
        assert set(tracks.loc[tracks["bridged"], "hour"]) == {made.hours[2]}
    assert bridged.cyclones["track"].nunique() < cut.cyclones["track"].nunique()
    assert not bridged.classes[2].any()
    assert ((bridged.classes == cut.classes) | (bridged.classes == CYCLONE)).all()  # some last long only now


def test_lacking_channels_and_times_are_refused(season):
    made, moments = season
    fields = {name: values for name, values in moments[0].fields.items() if name not in ("T200", "PSL")}
    with pytest.raises(InputError, match="lack PSL, T200"):
        label_by_vapour([fields], [0], made.grid)
    with pytest.raises(InputError, match="2 of 1 times"):
        label_by_vapour([moments[0].fields], [0, 3], made.grid)
    with pytest.raises(InputError, match=r"TMQ: is of shape|TMQ: has shape|shape \("):
        label_by_vapour([moments[0].fields], [0], GlobalGrid.regular(91, 180))


def test_rivers_of_a_real_day():
    """MERRA, 28 February 2017: the strongest transport outside the tropics, off Chile, lies in a river."""
    path = FILES / "merra_iwv_ivt_20170228_00.nc"
    if not path.exists():
        pytest.skip(f"{FILES} holds no {path.name}; set FIELDWISE_DATA to the folder that does")
    with xr.open_dataset(path, engine="scipy") as day:
        grid = GlobalGrid(day["lat"].values, day["lon"].values)
        transport, vapour = day["IVT"].values[0], day["IWV"].values[0]
    marked = find_strong_rivers(transport, grid)
    beyond = np.where(np.abs(grid.latitude)[:, None] > 25, transport, 0)
    peak = np.unravel_index(beyond.argmax(), grid.shape)
    assert marked[peak]
    assert grid.latitude[peak[0]] == pytest.approx(-40, abs=6)
    assert grid.longitude[peak[1]] == pytest.approx(-79, abs=6)
    assert 0.02 < (marked * grid.area_km2).sum() / grid.area_km2.sum() < 0.06
    assert 0 < (find_moist_rivers(vapour, grid) * grid.area_km2).sum() / grid.area_km2.sum() < 0.03
