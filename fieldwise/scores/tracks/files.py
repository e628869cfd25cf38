"""Tracks in files: CSV in the columns of IBTrACS, GeoJSON, and where they meet land."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.scores.tracks.basins import basin_of
from fieldwise.scores.tracks.census import summarise_tracks

SINCE = np.datetime64("2000-01-01T00", "h")  # what hours are counted from, unless told
KNOT = 1852 / 3600  # m/s
COLUMNS = {  # of a file, with the units that stand in its second line, as in IBTrACS
    "SID": "",
    "SEASON": "Year",
    "NUMBER": "",
    "BASIN": "",
    "NAME": "",
    "ISO_TIME": "",
    "NATURE": "",
    "LAT": "degrees_north",
    "LON": "degrees_east",
    "WMO_WIND": "kts",
    "WMO_PRES": "mb",
    "MERGED_INTO": "",
    "SPLIT_FROM": "",
    "BRIDGED": "",
}


def write_tracks(
    path: str | Path, tracks: pd.DataFrame, *, since: np.datetime64 = SINCE, nature: str = "TS"
) -> Path:
    """Write tracks as CSV in the columns of IBTrACS: their names, their units, then one place a line.

    ``SID`` is made as in IBTrACS, of year, day of the year and place of the first line. ``NUMBER`` is the
    track's; ``MERGED_INTO``, ``SPLIT_FROM`` and ``BRIDGED`` are added.

    Parameters
    ----------
    path
        To write.
    tracks
        As :func:`~fieldwise.physics.extreme_weather.tracks.link_events` gives them; ``wind_m_s`` and
        ``pressure_pa`` may be missing.
    since
        What hours are counted from.
    nature
        What they are in IBTrACS: TS tropical, ET extratropical, NR not reported.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tracks.csv"
    >>> tracks = pd.DataFrame({"track": 1, "hour": [15.0], "latitude": -16.2, "longitude": 147.3})
    >>> tracks = tracks.assign(bridged=False, merged_into=0, split_from=0, wind_m_s=30.0)
    >>> print(write_tracks(path, tracks).read_text().splitlines()[2])
    2000001S16147,2000,1,SP,UNNAMED,2000-01-01 15:00:00,TS,-16.2,147.3,58.3,,0,0,0
    """
    ordered = tracks.sort_values(["track", "hour"])
    time = pd.to_datetime(since) + pd.to_timedelta(ordered["hour"], unit="h")
    first = ordered.assign(time=time).groupby("track").first()
    names = {number: _name(row) for number, row in first.iterrows()}
    absent = pd.Series(np.nan, index=ordered.index)
    lines = pd.DataFrame(
        {
            "SID": ordered["track"].map(names),
            "SEASON": ordered["track"].map(first["time"].dt.year) if len(first) else [],
            "NUMBER": ordered["track"],
            "BASIN": basin_of(ordered["latitude"], ordered["longitude"]),
            "NAME": "UNNAMED",
            "ISO_TIME": time.dt.strftime("%Y-%m-%d %H:%M:%S") if len(first) else [],
            "NATURE": nature,
            "LAT": ordered["latitude"].astype(float).round(4),
            "LON": ordered["longitude"].astype(float).round(4),
            "WMO_WIND": (ordered.get("wind_m_s", absent) / KNOT).round(1),
            "WMO_PRES": (ordered.get("pressure_pa", absent) / 100).round(2),
            "MERGED_INTO": ordered["merged_into"],
            "SPLIT_FROM": ordered["split_from"],
            "BRIDGED": ordered["bridged"].astype(int),
        }
    )
    path = Path(path)
    text = lines.to_csv(index=False, lineterminator="\n")
    header, _, rest = text.partition("\n")
    with replace_when_done(path) as partial:
        partial.write_text(f"{header}\n{','.join(COLUMNS.values())}\n{rest}", encoding="utf-8")
    return path


def read_tracks(path: str | Path, *, since: np.datetime64 = SINCE) -> pd.DataFrame:
    """Read tracks from CSV in the columns of IBTrACS, such as `write_tracks` writes.

    Where there are no numbers of tracks, as in IBTrACS itself (whose numbers begin anew each year), they are
    given by ``SID``.

    Returns
    -------
    pandas.DataFrame
        As `write_tracks` takes it; winds in m/s, pressures in Pa, missing where they are blank.

    Raises
    ------
    InputError
        Where the file is missing or lacks SID, ISO_TIME, LAT or LON.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tracks.csv"
    >>> _ = path.write_text("SID,ISO_TIME,LAT,LON\\n2005236N23285,2005-08-23 18:00:00,23.1,-75.1\\n")
    >>> read_tracks(path, since=np.datetime64("2005-08-23"))[["track", "hour", "latitude"]].values.tolist()
    [[1.0, 18.0, 23.1]]
    """
    path = Path(path)
    try:
        lines = pd.read_csv(
            path,
            skip_blank_lines=True,
            keep_default_na=False,
            na_values=["", " "],
            low_memory=False,
            skipinitialspace=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}); give a CSV of tracks") from None
    missing = [name for name in ("SID", "ISO_TIME", "LAT", "LON") if name not in lines]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; give the columns of IBTrACS")
    lines = lines[pd.to_datetime(lines["ISO_TIME"], errors="coerce").notna()]  # without that of units
    numbers = {name: place for place, name in enumerate(lines["SID"].unique(), 1)}
    own = "MERGED_INTO" in lines
    hours = (pd.to_datetime(lines["ISO_TIME"]) - pd.to_datetime(since)) / pd.Timedelta(1, "h")
    number_of = {name: pd.to_numeric(lines[name], errors="coerce") for name in COLUMNS if name in lines}
    absent = pd.Series(np.nan, index=lines.index)
    return pd.DataFrame(
        {
            "track": number_of["NUMBER"].astype(int) if own else lines["SID"].map(numbers),
            "hour": hours,
            "latitude": number_of["LAT"],
            "longitude": number_of["LON"],
            "bridged": number_of["BRIDGED"].astype(bool) if own else False,
            "merged_into": number_of["MERGED_INTO"].astype(int) if own else 0,
            "split_from": number_of["SPLIT_FROM"].astype(int) if own else 0,
            "pressure_pa": 100 * number_of.get("WMO_PRES", absent),
            "wind_m_s": KNOT * number_of.get("WMO_WIND", absent),
        }
    ).reset_index(drop=True)


def write_landfalls(path: str | Path, landfalls: pd.DataFrame, *, since: np.datetime64 = SINCE) -> Path:
    """Write where and when tracks meet land as CSV, with names of columns as in IBTrACS.

    Parameters
    ----------
    path
        To write.
    landfalls
        As :func:`~fieldwise.scores.tracks.census.find_landfalls` gives them.
    since
        What hours are counted from.

    >>> import tempfile
    >>> table = pd.DataFrame({"track": [3], "hour": [15.5], "latitude": -16.23, "longitude": 145.4})
    >>> print(write_landfalls(Path(tempfile.mkdtemp()) / "landfalls.csv", table).read_text())
    NUMBER,BASIN,ISO_TIME,LAT,LON
    3,SP,2000-01-01 15:30:00,-16.23,145.4
    <BLANKLINE>
    """
    times = pd.to_datetime(since) + pd.to_timedelta(landfalls["hour"].astype(float), unit="h")
    lines = pd.DataFrame(
        {
            "NUMBER": landfalls["track"],
            "BASIN": basin_of(landfalls["latitude"], landfalls["longitude"]),
            "ISO_TIME": times.dt.strftime("%Y-%m-%d %H:%M:%S"),
            "LAT": landfalls["latitude"].astype(float).round(4),
            "LON": landfalls["longitude"].astype(float).round(4),
        }
    )
    path = Path(path)
    with replace_when_done(path) as partial:
        lines.to_csv(partial, index=False, lineterminator="\n")
    return path


def write_geojson(path: str | Path, tracks: pd.DataFrame, *, since: np.datetime64 = SINCE) -> Path:
    """Write tracks as GeoJSON: a line each, cut at 180 degrees as RFC 7946 asks for, with its summary.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tracks.geojson"
    >>> tracks = pd.DataFrame({"track": 1, "hour": [0.0, 6.0], "latitude": [10.0, 12.0]})
    >>> tracks = tracks.assign(longitude=[179.0, -179.0], merged_into=0, split_from=0)
    >>> (feature,) = json.loads(write_geojson(path, tracks).read_text())["features"]
    >>> feature["geometry"]["coordinates"]
    [[[179.0, 10.0], [180.0, 11.0]], [[-180.0, 11.0], [-179.0, 12.0]]]
    """
    summary = summarise_tracks(tracks)
    features = []
    for number, track in tracks.sort_values("hour").groupby("track"):
        times = pd.to_datetime(since) + pd.to_timedelta(track["hour"], unit="h")
        facts = {name: None if pd.isna(value) else value for name, value in summary.loc[number].items()}
        when = times.dt.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
        properties = {"track": int(number), "times": when, **facts}
        features.append({"type": "Feature", "properties": properties, "geometry": _line(track)})
    path = Path(path)
    with replace_when_done(path) as partial:
        partial.write_text(json.dumps({"type": "FeatureCollection", "features": features}, default=float))
    return path


def _line(track: pd.DataFrame) -> dict[str, Any]:
    """Give a track's geometry, in parts where it goes over 180 degrees."""
    points = [[float(x), float(y)] for x, y in track[["longitude", "latitude"]].round(4).to_numpy()]
    if len(points) == 1:
        return {"type": "Point", "coordinates": points[0]}
    parts = [points[:1]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if abs(x1 - x0) > 180:
            edge = 180.0 if x0 > 0 else -180.0
            share = (edge - x0) / (x1 + 2 * edge - x0)
            between = round(y0 + share * (y1 - y0), 4)
            parts[-1].append([edge, between])
            parts.append([[-edge, between]])
        parts[-1].append([x1, y1])
    if len(parts) == 1:
        return {"type": "LineString", "coordinates": parts[0]}
    return {"type": "MultiLineString", "coordinates": parts}


def _name(first: pd.Series) -> str:
    """Name a track as IBTrACS does: year, day of the year, place of its first line."""
    side = "N" if first["latitude"] >= 0 else "S"
    east = round(first["longitude"]) % 360
    return f"{first['time']:%Y%j}{side}{abs(first['latitude']):02.0f}{east:03d}"
