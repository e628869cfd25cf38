"""Weather whose wind is one of two that nobody can know: whether members go both ways, and each way right.

    python benchmarks/two_valued_wind.py --out FOLDER

Hours of such weather are made, a network that draws is trained by the CRPS, and 16 members are drawn from
each hour at which the wind is drawn anew. Printed are which of the winds they follow, how they correlate with
what either brings, and their CRPS over that of the exact distribution. What follows goes to train, such as
`--max_epochs 8`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.cli import main as run
from fieldwise.physics.temperature_forecast.exact_forecasts import ExactForecast
from fieldwise.recipes import temperature_forecast
from fieldwise.sandbox.temperature_forecast import MadeWeather, make_weather
from fieldwise.scores import crps_of_cells

SEED, DAYS, CELLS, TEST_SHARE, TEST = 7, 60, 24, 0.25, 2  # the test is the third split that is drawn
LEARNT = ["--network", "stochastic_advection", "--network_options", "{ways: 2}", "--horizon", "8"]
TRAINING = [*LEARNT, "--stride", "5", "--batch_size", "4", "--max_epochs", "6"]
LEADS_H, BRANCH_H = (1, 3, 6), 6
FIRST_H, EVERY_H = 24, 36  # of the hours that begin a wind, every third


def draw_members(out: Path, starts: list[int], training: list[str]) -> xr.DataArray:
    """Prepare, train and predict: members of t2m by init time, hour ahead, member and cell."""
    data, trained = out / "data", out / "run"
    if not (data / "dataset.yaml").exists():
        temperature_forecast.prepare(
            out=data,
            seed=SEED,
            days=DAYS,
            cells=CELLS,
            wind="two_valued",
            shares=(0.95 - TEST_SHARE, 0.05, TEST_SHARE),
            progress=False,
        )
    places = ["--data", str(data), "--run", str(trained), "--tracker", "none", "--progress", "false"]
    if run(["temperature_forecast", "train", *places, "--seed", str(SEED), *TRAINING, *training]):
        raise SystemExit(1)
    written = temperature_forecast.predict(
        run=trained, data=data, out=out / "members.nc", init_times=list(starts), members=16, progress=False
    )
    return xr.open_dataset(written, engine="h5netcdf")["t2m_member"].load()


def follow_winds(members: np.ndarray, brought: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Tell which wind each member followed: by its correlation with what each of two would bring.

    Parameters
    ----------
    members, brought
        (member, y, x), and (y, x) for each wind.
    """
    alike = np.array([[np.corrcoef(m.ravel(), b.ravel())[0, 1] for b in brought] for m in members])
    off, middle = (
        np.array([((members - each) ** 2).mean((1, 2)) for each in maps])
        for maps in (brought, [np.mean(brought, axis=0)])
    )
    return {
        "the first wind": alike[:, 0] > alike[:, 1],
        "nearer to what a wind brings than to the middle": off.min(axis=0) < middle[0],
        "correlation with what it brings": alike.max(axis=1),
        "with what the other one brings": alike.min(axis=1),
    }


def judge(members: xr.DataArray, weather: MadeWeather, starts: list[int]) -> None:
    """Print what members did, beside the exact forecast."""
    truth = [fields["t2m"] for fields in weather]
    scores: dict[int, list[tuple[float, float]]] = {lead: [] for lead in LEADS_H}
    told: list[dict[str, np.ndarray]] = []
    for hour, state in enumerate(weather.states()):
        if hour not in starts:
            continue
        drawn = members.isel(init_time=starts.index(hour)).transpose("member", "fcst_hour", ...).to_numpy()
        exact: ExactForecast = weather.exact(state, hour)
        for lead in LEADS_H:
            came, sun = truth[hour + lead], weather.sun(hour + lead)
            ours = crps_of_cells(drawn[:, lead - 1].astype(float), came)
            scores[lead].append((ours.mean(), exact.crps(lead, sun, came).mean()))
        winds = [
            replace(exact, world=replace(weather.world, winds=(wind,)), wind=None)
            for wind in weather.world.winds
        ]
        brought = [each.moments(BRANCH_H, weather.sun(hour + BRANCH_H))[0] for each in winds]
        told.append(follow_winds(drawn[:, BRANCH_H - 1], brought))
    for name in told[0]:
        print(f"{name}: {np.mean([each[name] for each in told]):.3f}")
    both = [0 < each["the first wind"].mean() < 1 for each in told]
    print(f"members go both ways: from {sum(both)} of {len(both)} hours")
    for lead, pairs in scores.items():
        ours, best = np.mean(pairs, axis=0)
        print(f"{lead} h: CRPS {ours:.3f} K, exact {best:.3f} K, ratio {ours / best:.3f}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    asked, training = parser.parse_known_args(arguments)
    hours = round(24 * DAYS * TEST_SHARE)
    starts = list(range(FIRST_H, hours - 2 * max(LEADS_H), EVERY_H))
    weather = make_weather(hours=hours, seed=(SEED, TEST), cells=CELLS, wind="two_valued")
    judge(draw_members(asked.out, starts, training), weather, starts)


if __name__ == "__main__":
    main()
