"""Tracks by global assignment, what they come to, and their files."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.components import label_components
from fieldwise.physics.extreme_weather.labels import track_masks
from fieldwise.physics.extreme_weather.sphere import GlobalGrid, distance_km
from fieldwise.physics.extreme_weather.tracks import link_events
from fieldwise.scores.tracks import (
    TrackSums,
    add_cover,
    basin_of,
    find_landfalls,
    genesis_map,
    read_tracks,
    summarise_tracks,
    take_census,
    write_geojson,
    write_tracks,
)

HOURS = 3.0 * np.arange(9)


def nodes(*places, **columns):
    return pd.DataFrame(places, columns=["latitude", "longitude"]).assign(**columns)


def paths(tracks):
    return {number: track["longitude"].round(6).tolist() for number, track in tracks.groupby("track")}


def crossing(shuffled):
    """Two storms whose ways cross in the middle, 30 km apart; each step's nodes in any order."""
    rng = np.random.default_rng(7)
    steps = []
    for hour in HOURS:
        storms = [
            (15 + hour / 12, 140 + hour / 12, "eastward"),
            (17.3 - hour / 12, 142 - hour / 12, "westward"),
        ]
        order = rng.permutation(2) if shuffled else [0, 1]
        steps.append(pd.DataFrame([storms[i] for i in order], columns=["latitude", "longitude", "name"]))
    return steps


@pytest.mark.parametrize("shuffled", [False, True])
def test_crossing_storms_keep_their_tracks(shuffled):
    steps = crossing(shuffled)
    nearest = min(
        distance_km(*step.iloc[0, :2].astype(float), *step.iloc[1, :2].astype(float)) for step in steps
    )
    assert nearest < 35
    tracks = link_events(steps, HOURS)
    assert tracks["track"].nunique() == 2
    assert (tracks.groupby("track")["name"].nunique() == 1).all()
    assert (tracks[["merged_into", "split_from"]] == 0).all(axis=None)


def test_a_gap_of_one_of_two_crossing_storms_is_bridged_and_none_stolen():
    steps = crossing(False)
    steps[4] = steps[4].iloc[:1]  # only the eastward one is seen where they cross
    tracks = link_events(steps, HOURS, bridge_steps=1)
    seen = tracks[~tracks["bridged"]]
    assert (seen.groupby("track")["name"].nunique() == 1).all()
    assert tracks["track"].value_counts().tolist() == [9, 9]
    filled = tracks[tracks["bridged"]].iloc[0]
    assert filled[["hour", "latitude", "longitude"]].tolist() == pytest.approx([12.0, 16.3, 141.0], abs=0.01)
    assert link_events(steps, HOURS)["track"].nunique() == 3


def test_assignment_is_the_best_of_all():
    """Of five storms that all jump, the sum of distances is the least of all 120 permutations."""
    rng = np.random.default_rng(3)
    first, second = rng.uniform([-30, 100], [30, 140], (2, 5, 2))
    tracks = link_events([nodes(*first), nodes(*second)], [0, 24], speed_limit_km_day=2e4)
    chosen = summarise_tracks(tracks)["distance_km"].sum()
    best = min(
        sum(distance_km(*first[i], *second[j]) for i, j in enumerate(order))
        for order in itertools.permutations(range(5))
    )
    assert chosen == pytest.approx(best)
    # A greedy choice, nearest pair first, costs more here: the test can tell them apart.
    costs = np.array([[distance_km(*a, *b) for b in second] for a in first])
    greedy = 0.0
    for _ in range(5):
        i, j = np.unravel_index(costs.argmin(), costs.shape)
        greedy += costs[i, j]
        costs[i], costs[:, j] = np.inf, np.inf
    assert greedy > best * 1.01


def test_a_storm_across_the_date_line_is_one():
    steps = [nodes((12.0, (178.5 + hour / 6) % 360)) for hour in HOURS]
    steps[4:] = [
        nodes((12.0, 178.5 + hour / 6 - 360)) for hour in HOURS[4:]
    ]  # however longitudes are counted
    tracks = link_events(steps, HOURS)
    assert tracks["track"].nunique() == 1
    assert tracks["longitude"].tolist()[:5] == [178.5, 179.0, 179.5, -180.0, -179.5]
    assert summarise_tracks(tracks).loc[1, "distance_km"] == pytest.approx(
        4 * 111.195 * np.cos(np.radians(12)), rel=1e-3
    )


def test_none_moves_faster_than_the_limit():
    steps = [nodes((10.0, 100.0)), nodes((10.0, 103.0))]  # 328 km in 3 hours: 2627 km a day
    assert link_events(steps, [0, 3])["track"].nunique() == 2
    assert link_events(steps, [0, 3], speed_limit_km_day=2650)["track"].nunique() == 1
    assert link_events(steps, [0, 3], slack_km=130)["track"].nunique() == 1


def test_merging_and_splitting_are_told():
    two = [nodes((20.0, 100.0), (20.0, 100.0 + apart)) for apart in (4.0, 3.0, 2.2)]
    one = [nodes((20.0, 100.2)), nodes((20.0, 100.4))]
    tracks = link_events(two + one + two[::-1], 3.0 * np.arange(8))
    ends = tracks.groupby("track").last()
    assert ends.loc[2, "merged_into"] == 1
    assert tracks.groupby("track").first().loc[3, "split_from"] == 1
    assert (ends.loc[[1, 3], "merged_into"] == 0).all()


def test_masks_that_join_are_told_by_their_overlap():
    grid = GlobalGrid.regular(91, 180)
    masks = np.zeros((3, *grid.shape), dtype=bool)
    masks[0, 20:24, 178:] = masks[0, 20:24, :4] = masks[0, 20:24, 8:11] = True
    masks[1, 20:24, 178:] = masks[1, 20:24, :11] = True  # both are one, over the seam
    masks[2] = masks[1]
    tracks = track_masks(masks, [0, 6, 12], grid)
    assert tracks["track"].value_counts().to_dict() == {1: 3, 2: 1}
    assert tracks.set_index("track").loc[2, "merged_into"] == 1
    assert track_masks(masks, [0, 6, 12], grid, least_km2=6e5)["track"].unique().tolist() == [1]


def disc(grid, latitude, longitude, reach_km=450.0):
    return distance_km(grid.latitude[:, None], grid.longitude[None], latitude, longitude) <= reach_km


def test_masks_of_crossing_storms_keep_their_tracks():
    """Two discs become one part of the mask for half a day; bridged, each goes on as what it was."""
    grid, hours = GlobalGrid.regular(181, 360), 3.0 * np.arange(17)
    ways = [(15 + hours / 6, 171 + 0.4 * hours), (16 + hours / 6, 190 - 0.4 * hours)]  # over the date line
    masks = np.zeros((17, *grid.shape), dtype=bool)
    for step in range(17):
        for latitude, longitude in ways:
            masks[step] |= disc(grid, latitude[step], longitude[step], 250.0)
    joined = [bool(label_components(mask).max() == 1) for mask in masks]
    assert 1 < sum(joined) < 8
    tracks = track_masks(masks, hours, grid, speed_limit_km_day=1600, bridge_steps=7)
    assert tracks["track"].nunique() == 2
    for _, track in tracks.groupby("track"):
        seen = track[~track["bridged"]]
        apart = seen[~np.isin(seen["hour"], hours[joined])]
        away = [
            distance_km(
                apart["latitude"], apart["longitude"], *(np.interp(apart["hour"], hours, way) for way in one)
            )
            for one in ways
        ]
        assert min(each.max() for each in away) < 120  # one and the same, before and after


def test_without_bridging_joining_and_parting_is_told():
    grid, hours = GlobalGrid.regular(91, 180), 6.0 * np.arange(5)
    apart = [14.0, 10.0, 4.0, 10.0, 14.0]
    masks = np.array([disc(grid, 20, 180 - gap) | disc(grid, 20, 180 + gap) for gap in np.array(apart) / 2])
    tracks = track_masks(masks, hours, grid)
    assert tracks["track"].nunique() == 3
    merged, split = tracks.query("merged_into > 0").iloc[0], tracks.query("split_from > 0").iloc[0]
    assert (merged["hour"], split["hour"]) == (6.0, 18.0)
    assert merged["merged_into"] == split["split_from"]


def test_storms_are_counted_as_wholes():
    """Of two planted storms of a day one is seen at 5 of 9 times, the other at 4; a third one is false."""
    grid, hours = GlobalGrid.regular(91, 180), 3.0 * np.arange(9)
    first, second, third = (disc(grid, 20, longitude) for longitude in (0.0, 90.0, 180.0))
    true = np.array([first | second] * 9)
    told = np.array([third | (first & (step < 5)) | (second & (step >= 5)) for step in range(9)])
    short = told & (np.arange(9) < 3)[:, None, None]  # six hours
    follow = lambda masks: track_masks(masks, hours, grid)  # noqa: E731
    cover = lambda masks, others: add_cover(follow(masks), masks, others, hours, grid.area_km2)  # noqa: E731
    sums = TrackSums()
    sums.add(cover(told, true), cover(true, told))
    assert (sums.true, sums.hits, sums.found) == (2, 1, 0.5)
    assert (sums.predicted, sums.alarms, sums.false) == (2, 1, 0.5)  # 5 times are 12 hours, 4 are 9
    nothing = TrackSums()
    nothing.add(cover(short, true), cover(short, short))
    assert np.isnan([nothing.found, nothing.false]).all()


def test_a_quarter_of_the_area_is_seen():
    """A disc of 450 km and one as large, moved: their lens is (2 acos h - 2 h sqrt(1 - h2)) / pi of it."""
    grid = GlobalGrid.regular(721, 1440)
    masks = np.array([disc(grid, 0, 179.9)])
    tracks = track_masks(masks, [0.0], grid)
    for away_km in (300.0, 600.0):
        half = away_km / 2 / 450
        lens = 2 * (np.arccos(half) - half * np.sqrt(1 - half**2)) / np.pi
        others = np.array([disc(grid, 0, 179.9 + away_km / 111.195)])
        covered = add_cover(tracks, masks, others, np.array([0.0]), grid.area_km2)["covered"]
        assert covered.tolist() == pytest.approx([lens], abs=0.01)


@pytest.mark.parametrize(
    ("name", "latitude", "longitude", "basin"),
    [
        ("Katrina, in the Gulf", 26.0, -88.0, "NA"),
        ("in the Caribbean, off Panama", 10.5, -80.0, "NA"),
        ("in the Gulf of Panama", 8.0, -79.5, "EP"),
        ("Patricia, off Mexico", 19.0, -105.0, "EP"),
        ("in the Gulf of Tehuantepec", 15.0, -95.0, "EP"),
        ("in the Bay of Campeche", 19.5, -94.0, "NA"),
        ("just east of the date line", 20.0, -179.9, "EP"),
        ("Haiyan, off the Philippines", 11.0, 126.0, "WP"),
        ("Nargis, off Burma", 16.0, 94.0, "NI"),
        ("in the Mediterranean", 36.0, 18.0, "NA"),
        ("Idai, off Mozambique", -19.8, 36.0, "SI"),
        ("west of Australia", -18.0, 115.0, "SI"),
        ("Yasi, off Queensland", -17.0, 150.0, "SP"),
        ("off Peru", -15.0, -80.0, "SP"),
        ("Catarina, off Brazil", -28.0, -45.0, "SA"),
    ],
)
def test_basins(name, latitude, longitude, basin):
    assert basin_of(latitude, longitude) == basin, name
    assert basin_of(latitude, longitude + 360) == basin


def test_a_census_counts_what_was_put_there():
    grid, hours = GlobalGrid.regular(91, 180), [0.0, 6.0, 12.0]
    masks = np.array([disc(grid, 10, 179 + step) | disc(grid, -40, 20) & (step < 2) for step in range(3)])
    census = take_census(track_masks(masks, hours, grid), masks, hours, grid)
    assert census["present"].values.tolist() == [2, 2, 1]
    assert int(census["genesis"].max()) == int(census["occurrence"].max()) == 1
    assert census["frequency"].sel(
        lat=[10.0, -40.0, 60.0], lon=[180.0, 20.0, 20.0]
    ).values.diagonal().tolist() == (pytest.approx([100.0, 200 / 3, 0.0]))
    weights = np.cos(np.radians(census["lat"]))
    born = float(((census["genesis"] > 0) * weights).sum() / (weights.sum() * 180))
    assert born == pytest.approx(2 * (1 - np.cos(555 / 6371)) / 2, rel=0.1)  # two caps of 555 km


def test_hours_out_of_order_are_refused():
    with pytest.raises(InputError, match="later than the last"):
        link_events([nodes((0.0, 0.0))] * 2, [3, 3])
    with pytest.raises(InputError, match="speed limit of 0 km/day"):
        link_events([nodes((0.0, 0.0))], [0], speed_limit_km_day=0)


def test_tracks_come_back_from_their_file(tmp_path):
    tracks = link_events(crossing(False), HOURS).assign(wind_m_s=30.0, pressure_pa=98_765.0)
    path = write_tracks(tmp_path / "tracks.csv", tracks)
    back = read_tracks(path)
    for name in ("track", "hour", "bridged", "merged_into", "split_from"):
        assert (back[name] == tracks[name]).all(), name
    np.testing.assert_allclose(back[["latitude", "longitude"]], tracks[["latitude", "longitude"]], atol=1e-4)
    np.testing.assert_allclose(back["wind_m_s"], 30.0, atol=0.03)  # a tenth of a knot
    np.testing.assert_allclose(back["pressure_pa"], 98_765.0)
    names, units = path.read_text().splitlines()[:2]
    assert names.split(",")[4:11] == ["NAME", "ISO_TIME", "NATURE", "LAT", "LON", "WMO_WIND", "WMO_PRES"]
    assert {line.split(",")[3] for line in path.read_text().splitlines()[2:]} == {"WP"}
    assert units.split(",")[7:11] == ["degrees_north", "degrees_east", "kts", "mb"]
    (tmp_path / "other.csv").write_text("LAT,LON\n1,2\n")
    with pytest.raises(InputError, match="has no SID, ISO_TIME"):
        read_tracks(tmp_path / "other.csv")


def test_empty_tracks_are_written_and_read(tmp_path):
    tracks = link_events([nodes()] * 2, [0, 3])
    assert len(read_tracks(write_tracks(tmp_path / "none.csv", tracks))) == 0
    assert json.loads(write_geojson(tmp_path / "none.geojson", tracks).read_text())["features"] == []


def test_geojson_is_read_by_others(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    steps = [nodes((12.0, 178.5 + hour / 6)) for hour in HOURS]
    path = write_geojson(tmp_path / "tracks.geojson", link_events(steps, HOURS))
    (line,) = geopandas.read_file(path).geometry
    assert line.geom_type == "MultiLineString"
    assert line.bounds == pytest.approx((-180, 12, 180, 12))
    assert line.length == pytest.approx(4.0)  # degrees


def test_landfall_and_genesis():
    grid = GlobalGrid.regular(181, 360)
    tracks = link_events([nodes((10.0, 100.0 + hour / 3)) for hour in HOURS], HOURS)
    land = np.broadcast_to(grid.longitude >= 104, grid.shape)
    landfall = find_landfalls(tracks, land, grid).iloc[0]
    assert landfall["hour"] == pytest.approx(10.5, abs=0.3)  # where cells of 104 degrees begin
    assert landfall["longitude"] == pytest.approx(103.5, abs=0.1)
    born = genesis_map(tracks, grid, reach_km=300)
    assert grid.area_km2[born > 0].sum() == pytest.approx(np.pi * 300**2, rel=0.1)
    assert born[grid.cell_at(10.0, 100.0)] == 1
