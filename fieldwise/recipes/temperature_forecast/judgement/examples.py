"""Small forecasts of a made field, for examples and tests."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.recipes.temperature_forecast.cases import RECIPE
from fieldwise.recipes.temperature_forecast.judgement.forecasts import Opened, open_forecasts
from fieldwise.recipes.temperature_forecast.judgement.references import References, fit_references
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared, draft_folder
from fieldwise.samples.signatures import Variable
from fieldwise.samples.weather.records import TIME

NOISE = 2.0  # K, what changes from hour to hour


def make_hours(
    *, hours: int = 60, shape: tuple[int, int] = (8, 8), folder: Path | None = None, **facts: Any
) -> Prepared:
    """Write a prepared folder of a diurnal cycle under noise, one case of training and one of test.

    >>> [str(case) for case in make_hours().cases()]
    ['training/first', 'test/second']
    """
    folder, random = folder or Path(tempfile.mkdtemp()), np.random.default_rng(0)
    with draft_folder(folder, recipe=RECIPE) as draft:
        draft.facts |= {"best_possible": {"t2m": {"mse": [0.1, 0.2]}}, **facts}
        for start, (name, split) in enumerate((("first", "training"), ("second", "test"))):
            times = start * 24.0 * 400 + np.arange(hours)
            cycle = 280 + 5 * np.cos(2 * np.pi * times / 24)
            values = cycle[:, None, None] + NOISE * random.normal(size=(hours, *shape))
            home = draft.folder / split / name
            home.mkdir(parents=True)
            np.save(home / "time.npy", times)
            np.save(home / "t2m.npy", values.astype(np.float32))
            files: dict[str, str | float] = {"t2m": f"{split}/{name}/t2m.npy"}
            variables = {"t2m": Variable("t2m", units="K")}
            case = Case(name, split, draft.folder, variables, files, 1.0, shape, spacing_units="degrees")
            draft.add(replace(case, frames=hours, times=f"{split}/{name}/time.npy", time=dict(TIME)))
    return Prepared(folder)


def write_forecasts(
    path: Path, case: Case, *, horizon: int = 2, error: float = 0.5, members: int = 0, seed: int = 0
) -> Path:
    """Write forecasts of a case that are too warm by an error, from every hour on that has a future.

    >>> path = write_forecasts(Path(tempfile.mkdtemp()) / "second.nc", make_hours().cases("test")[0])
    >>> xr.open_dataset(path, engine="h5netcdf", decode_times=False)["t2m"].shape
    (58, 2, 8, 8)
    """
    truth = case.read_frames("t2m")
    starts = np.arange(case.frames - horizon)
    future = np.stack([truth[start + 1 : start + 1 + horizon] for start in starts])
    dims = ("init_time", "fcst_hour", "lat", "lon")
    made: dict[str, Any] = {"t2m": (dims, future + np.float32(error))}
    if members:
        noise = np.random.default_rng(seed).normal(0, error, (len(starts), members, *future.shape[1:]))
        drawn = future[:, None] + noise.astype(np.float32)
        made = {
            "t2m": (dims, drawn.mean(axis=1)),
            "t2m_member": (("init_time", "member", *dims[1:]), drawn),
        }
    places = {
        "init_time": ("init_time", case.frame_times[starts], dict(TIME)),
        "fcst_hour": np.arange(1, horizon + 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset(made, places).to_netcdf(path, engine="h5netcdf")
    return path


def make_forecasts(*, hours: int = 60, **options: Any) -> tuple[list[Opened], References]:
    """Make forecasts of two hours ahead, and fit their baselines.

    >>> (opened,), references = make_forecasts()
    >>> opened.leads_h.tolist(), references.damped.is_fitted
    ([1.0, 2.0], True)
    """
    prepared = make_hours(hours=hours)
    cases = prepared.cases("test")
    path = write_forecasts(Path(tempfile.mkdtemp()) / "second.nc", cases[0], **options)
    opened = open_forecasts(path, cases)
    return opened, fit_references(prepared.cases("training"), "t2m", horizon=2)
