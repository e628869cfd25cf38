"""Events followed from time to time: all are assigned at once, so that none takes another's place.

A track is expected where it was heading; which of all assignments costs least in total decides, not which
track asks first. What could not be reached below a speed limit is never assigned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import RADIUS_KM, direction_of, place_of

FORBIDDEN = 1e9  # km; more than all that is allowed together
Hours = Sequence[float] | np.ndarray
OWN = ("track", "hour", "latitude", "longitude", "bridged", "merged_into", "split_from")


@dataclass
class _Track:
    """The events of one track: step and place among the step's nodes; and how its direction changes."""

    nodes: list[tuple[int, int]] = field(default_factory=list)
    velocity: np.ndarray | None = None  # of the unit vector, per hour
    merged_into: int = 0
    split_from: int = 0


@dataclass(frozen=True)
class _Steps:
    """What is to be linked."""

    hours: Hours
    places: list[np.ndarray]  # (nodes, 3) unit vectors a step
    overlaps: Sequence[np.ndarray] | None

    def share(self, step: int, node: int, other: int) -> float:
        """How much of a node of a step and one of the next overlap."""
        return 0.0 if self.overlaps is None else float(self.overlaps[step][node, other])

    def apart(self, step: int, node: int, other: int) -> float:
        """Distance in km of a node of a step from one of the next."""
        return float(_apart(self.places[step][[node]], self.places[step + 1][[other]])[0, 0])


def link_events(
    steps: Sequence[pd.DataFrame],
    hours: Hours,
    *,
    speed_limit_km_day: float = 1600.0,
    slack_km: float = 0.0,
    bridge_steps: int = 0,
    merge_km: float = 300.0,
    overlaps: Sequence[np.ndarray] | None = None,
) -> pd.DataFrame:
    """Link events of successive times to tracks.

    Parameters
    ----------
    steps
        One table a time: ``latitude``, ``longitude``, and whatever else is to stand in the result.
    hours
        Of the times, each later than the one before.
    speed_limit_km_day
        Faster than which none moves; 1600 is TECA's for cyclones.
    slack_km
        How far a place may be off beside: about a cell.
    bridge_steps
        For how many steps in a row an event may be missing. Its places between are put in, along a great
        circle, and marked ``bridged``.
    merge_km
        A track that ends this near to where another goes on has merged into it; one that begins this near
        to where another was has split from it. Where overlaps are given, they tell instead.
    overlaps
        One fewer than the times, each (events of a time, events of the next): which share of the smaller
        event lies in the other, 0 to 1. Events that overlap may follow each other however far their middles
        are apart, and count as nearer for it.

    Returns
    -------
    pandas.DataFrame
        One event a row, by track and hour: ``track`` from 1, ``hour``, ``latitude``, ``longitude`` (-180 to
        180), ``bridged``; ``merged_into``, in the last row of a track, and ``split_from``, in its first, are
        the number of another track or 0; then what the tables had.

    Raises
    ------
    InputError
        Where hours are not in order, or a limit is not usable.

    >>> east = [10.0, 12.0], [10.9, 11.1], [10.2, 11.8]  # two storms pass by each other
    >>> steps = [pd.DataFrame({"latitude": [20.0, 20.2], "longitude": each}) for each in east[:2]]
    >>> steps += [pd.DataFrame({"latitude": [20.2, 20.0], "longitude": east[2]})]
    >>> tracks = link_events(steps, [0, 6, 12])
    >>> tracks.groupby("track")["longitude"].apply(list).tolist()
    [[10.0, 10.9, 11.8], [12.0, 11.1, 10.2]]
    """
    _check(steps, hours, speed_limit_km_day, slack_km, bridge_steps)
    vectors = [direction_of(step["latitude"], step["longitude"]).reshape(-1, 3) for step in steps]
    linked = _Steps(hours, vectors, overlaps)
    tracks: list[_Track] = []
    for step in range(len(steps)):
        open_tracks = [track for track in tracks if step - track.nodes[-1][0] <= bridge_steps + 1]
        taken = _assign(open_tracks, step, linked, speed_limit_km_day, slack_km)
        for node in range(len(vectors[step])):
            if node in taken:
                _extend(taken[node], step, node, linked)
            else:
                tracks.append(_Track([(step, node)]))
    _tell_merging(tracks, linked, merge_km)
    return _tabulate(tracks, steps, linked)


def _check(steps: Sequence[pd.DataFrame], hours: Hours, limit: float, slack: float, bridge: int) -> None:
    if len(steps) != len(hours) or (np.diff(hours) <= 0).any():
        raise InputError(
            f"hours: {len(hours)} of {len(steps)} times; give one a time, each later than the last"
        )
    if not limit > 0 or slack < 0 or bridge < 0:
        raise InputError(
            f"tracking: is given a speed limit of {limit:g} km/day, {slack:g} km of slack, gaps of {bridge} "
            "steps; give a limit above 0 and the others 0 or more"
        )


def _apart(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances in km between unit vectors, (some, others)."""
    chord = np.linalg.norm(some[:, None] - others[None], axis=-1)
    return 2 * RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))


def _assign(
    tracks: list[_Track], step: int, linked: _Steps, limit_km_day: float, slack_km: float
) -> dict[int, _Track]:
    """Choose the track of each node, for all at once, so that the sum of costs is least."""
    places = linked.places[step]
    if not tracks or not len(places):
        return {}
    last = np.stack([linked.places[at][node] for at, node in (track.nodes[-1] for track in tracks)])
    elapsed = np.array([linked.hours[step] - linked.hours[track.nodes[-1][0]] for track in tracks])[:, None]
    moved = np.stack([np.zeros(3) if track.velocity is None else track.velocity for track in tracks])
    expected = last + moved * elapsed
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    shares = np.zeros((len(tracks), len(places)))
    if linked.overlaps is not None:
        for row, track in enumerate(tracks):
            if track.nodes[-1][0] == step - 1:
                shares[row] = linked.overlaps[step - 1][track.nodes[-1][1]]
    cost = _apart(expected, places) * (1 - shares)
    cost[(_apart(last, places) > limit_km_day / 24 * elapsed + slack_km) & (shares <= 0)] = FORBIDDEN
    chosen = zip(*linear_sum_assignment(cost), strict=True)
    return {int(node): tracks[track] for track, node in chosen if cost[track, node] < FORBIDDEN}


def _extend(track: _Track, step: int, node: int, linked: _Steps) -> None:
    before, was = track.nodes[-1]
    way = linked.places[step][node] - linked.places[before][was]
    track.velocity = way / (linked.hours[step] - linked.hours[before])
    track.nodes.append((step, node))


def _tell_merging(tracks: list[_Track], linked: _Steps, merge_km: float) -> None:
    """Note into which track one that ends has merged, and from which one that begins has split."""
    at = {event: number for number, track in enumerate(tracks, 1) for event in track.nodes}

    def other(step: int, nodes: list[tuple[int, int]], *, through: int) -> int:
        """Of pairs of nodes of a step and the next, the nearest whose track goes through both steps."""
        best, found = np.inf, 0
        for node, following in nodes:
            number = at[step + through, following if through else node]
            if tracks[number - 1].nodes[0][0] > step or tracks[number - 1].nodes[-1][0] <= step:
                continue
            share, apart = linked.share(step, node, following), linked.apart(step, node, following)
            touches = share > 0 if linked.overlaps is not None else apart <= merge_km
            if touches and apart * (1 - share) < best:
                best, found = apart * (1 - share), number
        return found

    for track in tracks:
        step, node = track.nodes[-1]
        if step + 1 < len(linked.places):
            after = [(node, following) for following in range(len(linked.places[step + 1]))]
            track.merged_into = other(step, after, through=1)
        step, node = track.nodes[0]
        if step:
            before = [(was, node) for was in range(len(linked.places[step - 1]))]
            track.split_from = other(step - 1, before, through=0)


def _tabulate(tracks: list[_Track], steps: Sequence[pd.DataFrame], linked: _Steps) -> pd.DataFrame:
    """Write one row an event, those of gaps included."""
    rows: list[dict[str, object]] = []
    for number, track in enumerate(tracks, 1):
        for place, (step, node) in enumerate(track.nodes):
            if place:
                rows += _bridge(number, track.nodes[place - 1], (step, node), linked)
            record = steps[step].iloc[node].to_dict()
            ends, begins = place == len(track.nodes) - 1, place == 0
            own = {"track": number, "hour": linked.hours[step], "bridged": False}
            own["longitude"] = record["longitude"] - 360 * np.floor((record.pop("longitude") + 180) / 360)
            own["merged_into"] = track.merged_into if ends else 0
            own["split_from"] = track.split_from if begins else 0
            rows.append(own | record)
    names = [name for step in steps[:1] for name in step.columns if name not in OWN]
    return pd.DataFrame(rows, columns=[*OWN, *names])


def _bridge(
    number: int, start: tuple[int, int], end: tuple[int, int], linked: _Steps
) -> list[dict[str, object]]:
    """Give the rows of a gap between two events of a track."""
    first, last = linked.places[start[0]][start[1]], linked.places[end[0]][end[1]]
    rows: list[dict[str, object]] = []
    for step in range(start[0] + 1, end[0]):
        share = (linked.hours[step] - linked.hours[start[0]]) / (
            linked.hours[end[0]] - linked.hours[start[0]]
        )
        latitude, longitude = (float(value) for value in place_of((1 - share) * first + share * last))
        own = {"track": number, "hour": linked.hours[step], "latitude": latitude, "longitude": longitude}
        rows.append({**own, "bridged": True, "merged_into": 0, "split_from": 0})
    return rows


def overlap_shares(before: np.ndarray, after: np.ndarray, area_km2: np.ndarray) -> np.ndarray:
    """Give how much of numbered parts of two times lies in each other, for `link_events`.

    Parameters
    ----------
    before, after
        (rows, columns), parts numbered from 1 without gaps, 0 where there is none.
    area_km2
        (rows, columns), of the cells.

    Returns
    -------
    numpy.ndarray
        (parts before, parts after): shared area over that of the smaller of both.

    >>> first, second = np.array([[1, 1, 0, 2]]), np.array([[0, 1, 1, 1]])
    >>> overlap_shares(first, second, np.ones((1, 4))).tolist()
    [[0.5], [1.0]]
    """
    rows, columns = int(before.max(initial=0)) + 1, int(after.max(initial=0)) + 1
    both = (before.astype(np.int64) * columns + after).ravel()
    shared = np.bincount(both, area_km2.ravel(), minlength=rows * columns).reshape(rows, columns)
    smaller = np.minimum(shared.sum(axis=1)[1:, None], shared.sum(axis=0)[None, 1:])
    return shared[1:, 1:] / np.maximum(smaller, 1e-12)
