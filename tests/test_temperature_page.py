"""docs/temperature_forecast.md: each command, in order, on a week of 16 x 20 cells in folders of AMBS."""

import getpass
import glob
import inspect
import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import hourly_files
import numpy as np
import pytest
import xarray as xr
from hourly_files import START, write_first, write_netcdf, write_tree
from test_documentation import ROOT, commands_of

from fieldwise.cli import main
from fieldwise.recipes import temperature_forecast
from fieldwise.recipes.temperature_forecast.networks import NETWORKS
from fieldwise.recipes.temperature_forecast.preparation.sources import open_months
from fieldwise.samples.hours.periods import read_periods
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.rules import read_yaml
from fieldwise.scores import pick, read_scores, value_of
from fieldwise.scores.forecasts import read_results

PAGE = (ROOT / "docs" / "temperature_forecast.md").read_text(encoding="utf-8")
FILES = {"cv1.json": "json", "weatherbench.json": "json", "europe.yaml": "yaml", "weatherbench.yaml": "yaml"}
# What the copy has, instead of thirteen years and two: days of three months, by hours since START.
DAYS = {"train": ["2013-01-30", "2013-02-01"], "val": ["2013-03-30", "2013-03-31"]}
DAYS |= {"test": ["2013-06-01", "2013-06-02"]}
SHORTER = {
    "--experiment convlstm --network convlstm": "--experiment convlstm --network convlstm "
    "--network_options.features 4",
    "--network savp": "--network savp --network_options.features 4 --network_options.code_features 4 "
    "--discriminator_options.features 4",
    "--network simvp --p": "--network simvp --network_options.features 4 "
    "--network_options.translator_features 8 --p",
    "--network convlstm predrnn simvp": "--network small_forecasts.Stepper",
    "--max_epochs 5 20": "--max_epochs 1 1",
    "--trials 30": "--trials 1",
    "--max_epochs 20": "--max_epochs 1",
    "--max_epochs 10": "--max_epochs 1",
    "--max_epochs 50": "--max_epochs 1",
    "--experiment drawn": "--experiment drawn --max_epochs 1 --stride 12",
    "--stride 1": "--stride 12",
    "--folds 5 --fold 1": "--folds 3 --fold 1 --buffer_hours 0",
    "--members 10": "--members 2",
}
QUIET = {
    "prepare": "--progress false",
    "train": "--progress false --accelerator cpu --tracker none",
    "tune": "--progress false --accelerator cpu --tracker none",
    "predict": "--progress false --accelerator cpu --every 2",
    "evaluate": "--progress false --figures false",
    "compare": "--figures false",
}


LATITUDE, LONGITUDE = np.arange(51.0, 43.4, -0.5), np.arange(-2.0, 7.9, 0.5) % 360
CELLS = (16, 20)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.M | re.S)


def hours_of(days):
    first, last = (np.datetime64(day, "h") for day in days)
    begin = int((first - START.to_datetime64().astype("datetime64[h]")).astype(int))
    return range(begin, begin + int((last - first).astype(int)) + 24)


def weather(hour, *, add=0.0):
    """A warm and a cold side that the wind carries along, under a diurnal cycle: K, (rows, columns)."""
    rows, columns = np.mgrid[: CELLS[0], : CELLS[1]]
    return 280.0 + add + 3 * np.sin(0.4 * columns + 0.3 * rows - 0.21 * hour) + 2 * np.sin(hour * np.pi / 12)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Follow the page."""
    home = tmp_path_factory.mktemp("user")
    hours = [hour for days in DAYS.values() for hour in hours_of(days)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        places = {"LATITUDE": LATITUDE, "LONGITUDE": LONGITUDE, "GRIDS": {"lat": LATITUDE, "lon": LONGITUDE}}
        for name, value in ({"truth_of": weather} | places).items():
            patch.setattr(hourly_files, name, value)
        write_tree(home / "era5", hours)
        write_netcdf(home / "weatherbench" / "2m_temperature" / "2m_temperature_2013.nc", hours)
        texts = {language: iter(blocks(language)) for language in ("json", "yaml")}
        for name, language in sorted(FILES.items(), key=lambda each: "weather" in each[0]):
            text = next(texts[language])
            text = json.dumps({split: [ends] for split, ends in DAYS.items()}) if language == "json" else text
            text = text.replace("[38.4, 0.0], cells: [92, 56]", "[43.5, -2.0], cells: [20, 16]")
            (home / name).write_text(text)
        for words in commands_of(PAGE):
            if "climatology.nc" in words:
                exec(blocks("python")[1], {})
            line = shlex.join(words).replace("'", "")
            for long, short in SHORTER.items():
                line = line.replace(long, short)
            parts = [part for word in shlex.split(line) for part in glob.glob(word) or [word]]
            assert main([*parts, *shlex.split(QUIET.get(words[1], ""))]) == 0, line
    return home


def test_shorter_is_what_the_page_has():
    lines = " ".join(" ".join(words) for words in commands_of(PAGE))
    assert {long for long in SHORTER if long not in lines} == set()


def test_every_verb_is_on_the_page():
    verbs = [words[1] for words in commands_of(PAGE) if words[0] == "temperature_forecast"]
    assert {*verbs} == {*temperature_forecast.__all__}


def test_periods_of_the_page_are_those_of_the_paper(tmp_path):
    """Eleven years, one and one, whole months; and OpenSTL's six, one and two."""
    for text, years in zip(blocks("json"), ([11, 1, 1], [6, 1, 2]), strict=True):
        (tmp_path / "split.json").write_text(text)
        periods = read_periods(tmp_path / "split.json")
        assert [round((each.end - each.first) / (24 * 365.25)) for each in periods] == years


def test_the_page_leads_to_the_papers_measures(home):
    """For both networks, and each lead from 1 to 12 hours, beside what they are compared with."""
    for name in ("convlstm", "savp"):
        (run,) = (home / "model" / "cv1").glob(f"*_{getpass.getuser()}_{name}")
        rows = pick(read_scores(run / "scores.json")["scores"], name="prediction", measure="mse")
        assert [row["lead_h"] for row in rows if "lead_h" in row] == list(range(1, 13))
        assert {"psnr", "psnr_published", "ssim", "ssim_published", "acc", "gradient_ratio"} <= {
            row["measure"] for row in read_scores(run / "scores.json")["scores"]
        }
        assert {"persistence", "damped_persistence", "climatology"} <= {*read_results(run)["name"].values}
    rows = read_scores(home / "model" / "cv1" / "comparison" / "scores.json")["scores"]
    assert {"ConvLSTM", "SAVP"} <= {row["name"] for row in pick(rows, measure="skill_score")}


def test_yesterday_is_as_far_off_as_it_is(home):
    """The front moves on by 0.21 x 24 radians a day, and the hour of the day stays: by hand."""
    (run,) = (home / "model" / "cv1").glob("*_convlstm")
    rows = pick(read_scores(run / "scores.json")["scores"], name="persistence", measure="mse", lead_h=1)
    case = Prepared(home / "data" / "cv1").cases("test")[0]
    truth = case.read_frames("t2m").astype(float)
    weights = np.cos(np.radians(LATITUDE))[:, None]
    squares = [(truth[frame + 1] - truth[frame - 23]) ** 2 for frame in range(25, 36, 2)]
    expected = np.average(squares, weights=np.broadcast_to(weights, np.shape(squares)))
    assert value_of(rows) == pytest.approx(expected, rel=1e-3)
    assert expected > 1


def test_the_tree_holds_what_the_page_asks_for(home):
    case = Prepared(home / "data" / "cv1").cases("training")[0]
    assert (case.frames, case.shape) == (72, CELLS)
    np.testing.assert_allclose(case.read_frames("t2m")[30], weather(30), atol=0.01)
    np.testing.assert_allclose(case.read_frames("t850")[30], weather(30, add=-90), atol=0.01)
    fold = Prepared(home / "data" / "fold1").cases("test")[0]
    assert fold.frames == 48  # of the second third of the time only March has files
    assert not (home / "data" / "cv1" / "ExtractedData").exists()


def test_the_climatology_is_the_one_of_the_file(home):
    """Without it, months with no training days take the mean of the hour; the file knows each month's."""
    with xr.open_dataset(home / "climatology.nc", engine="h5netcdf") as normal:
        assert normal["t2m"].sel(month=6, hour=5).shape == CELLS
        june = [weather(hour) for hour in hours_of(DAYS["test"])][5::24]
        np.testing.assert_allclose(normal["t2m"].sel(month=6, hour=5), np.mean(june, axis=0), atol=0.01)


def test_a_download_from_the_climate_data_store_is_read(tmp_path, monkeypatch):
    """A stand-in for cdsapi gives an hour of one month; temperature lies on the pressure itself."""
    asked = []

    def retrieve(dataset, request, target):
        asked.append((dataset, request["year"], request["month"], target))
        day = START.replace(year=int(request["year"][0]), month=int(request["month"][0]), day=1)
        if (day.year, day.month) != (2013, 2):
            return Path(target).touch()
        assert len(request["day"]) == 31
        assert request["time"][23] == "23:00"
        assert request["area"] == [54.9, 0, 38.4, 27.3]  # 56 x 92 cells of 0.3 degrees
        messages = [[167, 1, 0], [164, 1, 0]] if "single" in dataset else [[130, 100, 850]]
        with Path(target).open("wb") as file:
            for number, kind, level in messages:
                value = np.full((9, 9), 0.5 if number == 164 else 280.0)
                file.write(write_first(value, day, number, kind=kind, level=level))
        return None

    client = SimpleNamespace(retrieve=retrieve)
    monkeypatch.setitem(sys.modules, "cdsapi", SimpleNamespace(Client=lambda: client))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(blocks("python")[0], {})
    assert len(asked) == len({each[-1] for each in asked}) == 13 * 12 * 2
    (tmp_path / "own.yaml").write_text("{path: era5, variables: [t2m, tcc, t850]}")
    for path in Path("era5").glob("*/*/*"):
        if path.stat().st_size == 0:
            path.unlink()
    extracted, _ = open_months(tmp_path / "own.yaml", tmp_path, workers=1)
    assert {name: values[0, 0] for name, values in next(extracted.frames(slice(0, 1))).items()} == {
        "t2m": 280.0,
        "tcc": 0.5,
        "t850": 280.0,
    }


def test_every_option_that_is_named_is_there():
    """In prose and in the tables, but for the column of AMBS."""
    known = {
        name
        for verb in temperature_forecast.__all__
        for name in inspect.signature(getattr(temperature_forecast, verb)).parameters
    }
    ours = re.sub(r"^\| [^|]*\|", "", PAGE, flags=re.M)
    ours = re.sub(r"^fieldwise scripts.*?(?=^```)", "", ours, flags=re.M | re.S)
    named = set(re.findall(r"--([a-z_]+)", ours))
    assert len(named) > 40
    assert named <= known | {"scheduler", "ask", "config"}, named - known
    networks = re.search(r"^\| `--model` \|(.*)$", PAGE, flags=re.M)[1]
    assert set(re.findall(r"`([a-z_]+)`", networks)) <= {*NETWORKS}


def test_scripts_of_the_page_are_for_its_cluster(home):
    text = (home / "scripts" / "convlstm" / "2_train.sh").read_text()
    assert "#SBATCH --account=deepacf" in text
    assert "srun fieldwise temperature_forecast train --data data/cv1 --run model/convlstm" in text
    assert read_yaml(home / "europe.yaml")["variables"] == ["t2m", "tcc", "t850"]
