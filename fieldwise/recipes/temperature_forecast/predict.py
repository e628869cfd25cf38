"""A trained network applied to the hours of a case: the verb predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    from fieldwise.recipes.temperature_forecast.predictor import ForecastPredictor
    from fieldwise.samples.cases import Case

SUFFIXES = (".nc", ".zarr")
MEMBERS = 10  # of a network with noise


def predict(
    *,
    run: Path = Path("model/temperature_forecast"),
    data: Path = Path("data/temperature_forecast"),
    out: Path = Path("model/temperature_forecast/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    init_times: list[int | str] | None = None,
    every: int = 1,
    fields: list[str] | None = None,
    members: int | None = None,
    keep_members: bool = True,
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95),
    seed: int = 0,
    weights: str = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Forecast maps from each hour that has a context, and write them by init time and hour ahead.

    Args:
        run: Run folder of a trained network. What a forecast takes is written to its latency.json.
        data: Prepared folder.
        out: FILE.nc (CF-NetCDF) or FILE.zarr of one case, or a folder for CASE.nc of each case. A run that
            is cut off goes on.
        split: Which cases.
        case: Name of one case.
        init_times: Hours at which forecasts begin, the last ones that they know: numbers of the hours in the
            case, from 0, or dates such as 2019-03-25T06. By default all that have a context before and a
            horizon after them.
        every: Hours between two of them, where none are named.
        fields: Forecast fields to write; by default the target.
        members: Forecasts that a network with noise draws: their mean, spread and quantiles are written. By
            default 10.
        keep_members: Whether to write the members too.
        quantiles: Parts of the members that lie below.
        seed: Of the noise; a member is the same for one seed and init time whatever else is drawn.
        weights: The best by validation, or the last.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        The file or folder.
    """
    require_at_least(1, every=every, members=members)
    require_at_least(0, seed=seed)
    from fieldwise.recipes.temperature_forecast.cases import RECIPE
    from fieldwise.recipes.temperature_forecast.predictor import load_forecaster
    from fieldwise.samples.prepared import Prepared
    from fieldwise.verbs.predict import check_out, predict_to

    out = Path(out)
    cases = Prepared(data, recipe=RECIPE).cases(split, name=case)
    check_out(out, cases, SUFFIXES, "forecasts are written as .nc or .zarr")
    forecaster = load_forecaster(run, weights=weights, accelerator=accelerator)
    forecaster.written = choose_written(forecaster, fields)
    drawn = members or (MEMBERS if forecaster.stochastic else 1)
    chosen = [choose_frames(forecaster, each, init_times, every) for each in cases]
    seconds: list[float] = []
    for each, frames in zip(cases, chosen):
        predict_to(
            out if out.suffix in SUFFIXES else out / f"{each.name}.nc",
            forecaster,
            each,
            frames=frames,
            members=drawn if forecaster.stochastic or drawn > 1 else 0,
            keep_members=keep_members and drawn > 1,
            quantiles=quantiles,
            seed=seed,
            block_cells=max(each.shape),
            halo_cells=0,
            progress=progress,
            seconds=seconds,
        )
    if seconds:
        record_latency(Path(run), forecaster, seconds, members=drawn)
    return out


def choose_written(forecaster: ForecastPredictor, fields: list[str] | None) -> list[str]:
    """Give the fields to write: those asked for, or the target; one that is not forecast is refused.

    >>> from types import SimpleNamespace
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> signature = Signature("own", (), (Variable("t2m"), Variable("tcc")), facts={"target": "t2m"})
    >>> forecaster = SimpleNamespace(signature=signature, path="best.ckpt")
    >>> choose_written(forecaster, None), choose_written(forecaster, ["tcc"])
    (['t2m'], ['tcc'])
    >>> choose_written(forecaster, ["msl"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: --fields: msl is not forecast by best.ckpt; give some of t2m, tcc
    """
    known = forecaster.signature.fields("outputs")
    unknown = [name for name in fields or () if name not in known]
    if fields == []:
        raise InputError(f"--fields: names none; give some of {', '.join(known)}")
    if unknown:
        raise InputError(
            f"--fields: {', '.join(unknown)} is not forecast by {forecaster.path}; give some of "
            f"{', '.join(known)}"
        )
    return fields or [forecaster.signature.facts["target"]]


def choose_frames(
    forecaster: ForecastPredictor, case: Case, init_times: Sequence[int | str] | None, every: int
) -> list[int]:
    """Give the frames at which forecasts begin, and refuse those that lack a context, or forcing after it.

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> (case,) = make_prepared({"t2m": np.zeros((7, 1, 1))}).cases()
    >>> signature = Signature("own", (Variable("t2m"),), ())
    >>> sizes = {"context": 2, "horizon": 3, "known": []}
    >>> forecaster = SimpleNamespace(signature=signature, path="best.ckpt", **sizes)
    >>> choose_frames(forecaster, case, None, 2), choose_frames(forecaster, case, [6], 1)
    ([1, 3], [6])
    """
    from fieldwise.samples.sequences import Span

    case.check_has(forecaster.signature.fields("inputs"), why=f"the network {forecaster.path}")
    span = Span(forecaster.context, forecaster.horizon, every)
    first, ahead = span.context - 1, span.horizon if forecaster.known else 0
    if init_times is None:
        span.check([case])
        return [first + start for start in span.starts(case.frames)]
    frames = [find_frame(case, each) for each in init_times]
    twice = [text for number, text in enumerate(init_times) if frames[number] in frames[:number]]
    if twice:
        raise InputError(f"--init_times: {twice[0]} is named twice; name each hour once")
    for text, frame in zip(init_times, frames):
        if frame < first:
            raise InputError(
                f"--init_times: {text} has {frame + 1} hours of case {case} up to it, and the network reads "
                f"{span.context}; begin later"
            )
        if frame + ahead >= case.frames:
            raise InputError(
                f"--init_times: {text} lacks {', '.join(each.name for each in forecaster.known)} of the "
                f"{ahead} hours after it in case {case}; begin earlier"
            )
    return frames


def find_frame(case: Case, init_time: int | str) -> int:
    """Give the number of the frame that is meant by its number or date.

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> time = {"units": "hours since 2000-01-01", "calendar": "standard"}
    >>> case = SimpleNamespace(frames=3, frame_times=np.array([24.0, 25.0, 26.0]), time=time)
    >>> find_frame(case, 2), find_frame(case, "2000-01-02T01")
    (2, 1)
    """
    import numpy as np

    if str(init_time).isdecimal():
        if int(init_time) < case.frames:
            return int(init_time)
        raise InputError(f"--init_times: is {init_time}; case {case} has {case.frames} hours, from 0")
    try:
        wanted = np.datetime64(init_time, "s")
    except ValueError:
        raise InputError(
            f"--init_times: {init_time!r} is neither the number of an hour nor a date such as 2019-03-25T06"
        ) from None
    dates = _dates_of(case)
    found = np.flatnonzero(dates == wanted)
    if not len(found):
        ends = f"{dates[0]} to {dates[-1]}"
        raise InputError(f"--init_times: {init_time} is no hour of case {case}, which has {ends}")
    return int(found[0])


def _dates_of(case: Case) -> Any:
    """Give the dates of all frames, to the second."""
    import xarray as xr

    times = xr.Dataset(coords={"time": ("time", case.frame_times, dict(case.time))})
    return xr.decode_cf(times)["time"].values.astype("datetime64[s]")


def record_latency(run: Path, forecaster: ForecastPredictor, seconds: list[float], *, members: int) -> Path:
    """Write what a forecast takes, the median over all but the first, which warms up, to latency.json.

    >>> import tempfile, torch
    >>> from types import SimpleNamespace
    >>> parts = {"horizon": 12, "device": torch.device("cpu"), "network": torch.nn.Conv2d(1, 1, 1)}
    >>> path = record_latency(Path(tempfile.mkdtemp()), SimpleNamespace(**parts), [9.0, 0.5], members=1)
    >>> path.read_text().split(",")[0]
    '{\\n  "seconds_per_forecast": 0.5'
    """
    import numpy as np

    from fieldwise.networks.layers import count_parameters
    from fieldwise.runs.provenance import write_json

    content = {
        "seconds_per_forecast": float(np.median(seconds[1:] or seconds)),
        "forecasts": len(seconds),
        "members": members,
        "horizon": forecaster.horizon,
        "device": forecaster.device.type,
        "parameters": count_parameters(forecaster.network),
    }
    return write_json(content, run / "latency.json")
