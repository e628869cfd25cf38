"""Forecasts in their files beside what came and what they are compared with, one init time in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.drafts import check_inside
from fieldwise.errors import InputError, first_line, times
from fieldwise.recipes.temperature_forecast.judgement.references import References
from fieldwise.samples.cases import Case
from fieldwise.samples.weather.globes import count_hours

SUFFIXES = (".nc", ".zarr")
DERIVED = ("_spread", "_quantile", "_member")
AXES = ("init_time", "fcst_hour")
ROUNDING_H = 1e-3


@dataclass(frozen=True)
class Forecast:
    """What was forecast from one init time on, and what came.

    Parameters
    ----------
    case, init_h
        Which; hours since the year 2000.
    valid_h
        (lead,) hours since the year 2000.
    observed
        (lead, y, x).
    maps
        Forecasts by name, (lead, y, x) each.
    members
        (member, lead, y, x), or None.
    normal
        (lead, y, x) climatology.
    of_ensemble
        Whether the prediction is the mean of members, be they kept or not.
    exact
        (lead,) MSE of the exact forecast from this init time on, where the data knows it.
    """

    case: str
    init_h: float
    valid_h: np.ndarray
    observed: np.ndarray
    maps: dict[str, np.ndarray]
    members: np.ndarray | None
    normal: np.ndarray
    of_ensemble: bool = False
    exact: np.ndarray | None = None


@dataclass(frozen=True)
class Opened:
    """The forecasts of a case, opened but not read.

    Parameters
    ----------
    case
        What they are judged by.
    path
        Of their file.
    dataset
        What it holds.
    target
        Field that is judged.
    init_h, leads_h
        (init_time,) hours since the year 2000, and (fcst_hour,).
    """

    case: Case
    path: Path
    dataset: xr.Dataset
    target: str
    init_h: np.ndarray
    leads_h: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """The leads in frames of the case."""
        return np.rint(self.leads_h / float(self.case.facts.get("step_h", 1))).astype(int)

    @cached_property
    def frames(self) -> np.ndarray:
        """The frame of the case that is each init time."""
        known = self.case.frame_times
        places = np.searchsorted(known, self.init_h - ROUNDING_H).clip(max=len(known) - 1)
        off = np.abs(known[places] - self.init_h) > ROUNDING_H
        if off.any():
            raise InputError(
                f"{self.path}: init time {self.init_h[off][0]:g} h since 2000 is none of case {self.case}; "
                "predict again with this data"
            )
        return places

    @cached_property
    def exact(self) -> np.ndarray | None:
        """The MSE of the exact forecast from each frame on, (frame, lead), where the data knows it."""
        best = self.case.facts.get("best_possible", {}).get(self.target, {})
        file = best.get("files", {}).get(self.case.name)
        if file is None:
            return None
        errors = np.load(check_inside(self.case.folder, file, f"{self.case}: best_possible"))
        return errors if errors.shape[1] >= self.steps.max() else None

    def choose(self, *, history: int) -> np.ndarray:
        """Give the places in the file of init times with so many frames before, and all leads observed."""
        frames = self.frames
        return np.flatnonzero((frames >= history) & (frames + self.steps.max() < self.case.frames))

    def read(self, place: int, references: References) -> Forecast:
        """Read what was forecast from one init time on."""
        frame, case = int(self.frames[place]), self.case
        first = max(0, frame - references.day)
        history = [case.stack([self.target], frame=each)[0] for each in range(first, frame + 1)]
        observed = np.stack([case.stack([self.target], frame=int(frame + step))[0] for step in self.steps])
        valid = self.init_h[place] + self.leads_h
        normal = references.climatology.at(valid)
        maps = {"prediction": self._values(self.target, place)}
        members = None
        if f"{self.target}_member" in self.dataset:
            members = self._values(f"{self.target}_member", place)
            maps["member"] = members[0]
        maps |= references.forecast(history, normal)
        known = (float(self.init_h[place]), valid, observed, maps, members, normal)
        exact = None if self.exact is None else self.exact[frame, self.steps - 1]
        return Forecast(case.name, *known, f"{self.target}_spread" in self.dataset, exact)

    def _values(self, name: str, place: int) -> np.ndarray:
        chosen = self.dataset[name].isel(init_time=place)
        if "member" in chosen.dims:
            chosen = chosen.transpose("member", "fcst_hour", ...)
        values = chosen.to_numpy()
        if not np.isfinite(values).all():
            raise InputError(
                f"{self.path}: {name} misses values at init time {self.init_h[place]:g} h since 2000; "
                "predict again"
            )
        return values


def open_forecasts(
    prediction: str | Path, cases: Sequence[Case], *, target: str | None = None
) -> list[Opened]:
    """Open the forecasts of each case: of a folder CASE.nc or CASE.zarr, or the one file of one case.

    Parameters
    ----------
    prediction
        What the verb predict wrote.
    cases
        That they are judged by.
    target
        Field that is judged; by default t2m, or the only one that was forecast.

    Raises
    ------
    InputError
        Where a file is missing, is damaged, or holds no such forecasts on the cells of its case.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"t2m": np.zeros((30, 2, 3))}).cases()[0]
    >>> open_forecasts("model/prediction", [case])
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/prediction: no such file; write it with `fieldwise ... predict`
    """
    prediction, found = Path(prediction), []
    if not prediction.exists():
        raise InputError(
            f"{prediction}: no such file; write it with `fieldwise temperature_forecast predict`"
        )
    for case in cases:
        paths = [prediction]
        if prediction.suffix not in SUFFIXES:
            paths = [prediction / f"{case.name}{suffix}" for suffix in SUFFIXES]
        path = next((each for each in paths if each.exists()), None)
        if path is None or (path == prediction and len(cases) > 1):
            raise InputError(f"{prediction}: holds no {case.name}.nc; predict all cases of {case.split}")
        found.append(_open(path, case, target))
    leads = {tuple(each.leads_h) for each in found}
    if len(leads) > 1:
        raise InputError(f"{prediction}: its files have other leads than each other; predict all again")
    return found


def _open(path: Path, case: Case, target: str | None) -> Opened:
    options = {"engine": "zarr"} if path.suffix == ".zarr" else {"engine": "h5netcdf"}
    try:
        dataset = xr.open_dataset(path, decode_times=False, decode_timedelta=False, **options)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as NetCDF or Zarr ({first_line(error)})") from None
    forecast = [
        str(name)
        for name, each in dataset.data_vars.items()
        if each.dims[:2] == AXES and each.ndim == 4 and not str(name).endswith(DERIVED)
    ]
    chosen = target or ("t2m" if "t2m" in forecast else forecast[0] if len(forecast) == 1 else None)
    if chosen is None or chosen not in forecast:
        there = ", ".join(forecast) or "no forecasts"
        raise InputError(f"{path}: holds {there}; name the field to judge with --target")
    case.check_has([chosen], why="judging")
    if dataset[chosen].shape[2:] != tuple(case.shape):
        cells = times(dataset[chosen].shape[2:])
        raise InputError(f"{path}: has {cells} cells, case {case} {times(case.shape)}; predict again")
    said = dataset["init_time"].attrs
    try:
        hours = count_hours(dataset["init_time"].to_numpy(), said.get("units", ""))
    except InputError as error:
        raise InputError(f"{path}: init_time: {error}") from None
    opened = Opened(case, path, dataset, chosen, hours, dataset["fcst_hour"].to_numpy().astype(float))
    if opened.steps.tolist() != list(range(1, opened.steps.size + 1)):
        told = ", ".join(f"{lead:g}" for lead in opened.leads_h)
        raise InputError(f"{path}: fcst_hour is {told}; predict each step of the data from the first on")
    return opened


def read_forecasts(opened: Sequence[Opened], references: References, *, history: int) -> Iterator[Forecast]:
    """Read all forecasts that can be judged, one after the other.

    Parameters
    ----------
    history
        Frames that each init time must have before it.

    >>> import tempfile
    >>> from fieldwise.recipes.temperature_forecast.judgement.references import fit_references
    >>> from fieldwise.samples.examples import make_prepared
    >>> hours = np.arange(60.0).reshape(60, 1, 1) * np.ones((1, 2, 3))
    >>> (case,) = make_prepared({"t2m": hours}, name="march").cases()
    >>> times = {"init_time": ("init_time", [25.0], {"units": "hours since 2000-01-01"}), "fcst_hour": [1, 2]}
    >>> made = np.full((1, 2, 2, 3), 30.0)
    >>> forecasts = xr.Dataset({"t2m": (("init_time", "fcst_hour", "lat", "lon"), made)}, times)
    >>> path = Path(tempfile.mkdtemp()) / "march.nc"
    >>> forecasts.to_netcdf(path, engine="h5netcdf")
    >>> references = fit_references([case], "t2m", horizon=2)
    >>> (read,) = read_forecasts(open_forecasts(path, [case]), references, history=24)
    >>> read.observed[:, 0, 0].tolist(), {name: maps[:, 0, 0].tolist() for name, maps in read.maps.items()}
    ([26.0, 27.0], {'prediction': [30.0, 30.0], 'persistence': [2.0, 3.0], ... 'last_value': [25.0, 25.0]})
    """
    for each in opened:
        for place in each.choose(history=history):
            yield each.read(int(place), references)
