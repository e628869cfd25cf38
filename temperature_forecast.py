# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Temperature forecasts
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/temperature_forecast.ipynb)
#
# Twelve hourly maps of temperature at 2 m, and the twelve to come: a video to be continued
# ([Gong et al. 2022](https://doi.org/10.5194/gmd-15-8931-2022)). What will come is not known, so one map for each hour is an average of
# what may come, smoother than weather is. A network that takes noise draws *members* instead, each of which could come, and its
# spread tells how sure it is.
#
# By default everything is a **sandbox**: made weather that drifts with the wind, under a sun that clouds dim. How well anybody can forecast it is
# known exactly, and a forecast that were better would have seen the answer. Set `source` to a `FILE.yaml` that names your own hours
# (ERA5, WeatherBench; GRIB, NetCDF, Zarr), and the rest is the same.

# %% tags=["colab"]
# On Google Colab this fetches and installs the project with GMT; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    here = "/content/fieldwise"
    if not os.path.isdir(here):
        clone = ["git", "clone", "--depth", "1", "https://github.com/YOUR_ORGANISATION/fieldwise", here]
        subprocess.run(clone, check=True)
    # GMT, for maps; where it cannot be had, make says why, and what needs no GMT runs.
    subprocess.run(["make", "-C", here, "gmt"], check=False)
    # Colab has a kernel and widgets of its own: they stay as they are.
    install = [sys.executable, "-m", "pip", "install", "--quiet", f"{here}[comet,tuning]"]
    subprocess.run(install, check=True)
    os.chdir(here)

# %% tags=["parameters"]
source = "sandbox"  # or the path of a FILE.yaml
data = "data/temperature_forecast"  # prepared folder, to be written
run = "model/temperature_forecast"  # run folders, to be written
seed = 7  # of the sandbox and of training
days = 90.0  # of the sandbox, all splits together
cells = 48  # of its rows and columns
wind = "steady"  # or two_valued: one of two is drawn every twelve hours
context = 12  # hours that are read
horizon = 12  # hours that are forecast
max_epochs = 6
member_epochs = 2  # of the network that draws
members = 32
every = 3  # hours between two init times of forecasts with members

# %%
from pathlib import Path

import xarray as xr
from IPython.display import Image, display

from fieldwise.recipes import temperature_forecast
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import format_table, pick

# %% [markdown]
# ## Hours
#
# `prepare` brings hours into one order and parts them by periods, with a whole sequence left out between two of them: no hour that a
# test sees was near one that was learnt. Scales are those of training alone.

# %%
folder = temperature_forecast.prepare(
    source=source, out=Path(data), seed=seed, days=days, cells=cells, wind=wind, progress=False
)
case = Prepared(folder).cases("training")[0]
print(f"{case}: {case.frames} hours of {case.shape} cells; {', '.join(case.files)}")

# %%
maps = xr.DataArray(
    case.read_frames("t2m", frames=slice(0, 24, 6)),
    dims=("hour", "y", "x"),
    coords={"hour": range(0, 24, 6)},
    name="2 m temperature",
    attrs={"units": case.variables["t2m"].units},
)
maps.plot.imshow(col="hour", yincrease=False, cmap="RdYlBu_r", aspect=1.1, size=3)
# %% [markdown]
# What the air brings is drawn anew, a little every hour, so the best possible forecast has an error too, and it grows:

# %%
best = case.facts.get("best_possible", {}).get("t2m", {}).get("mse", [])
for lead in (1, 3, 6, 12):
    if lead <= min(horizon, len(best)):
        print(f"{lead:2d} h: MSE {best[lead - 1]:.2f} K2")

# %% [markdown]
# ## One map for each hour
#
# The default network makes hour after hour from the last one as weather does it: fields are carried along by a linear convolution, and
# then changed cell by cell where the sun shines. It learns to go on from its own maps; at first, some true ones are shown. Others
# are `convlstm`, `predrnn`, `simvp`, `savp`, `vae` and `weatherbench`, or any import path.
#
# Scheduled feedback after Bengio et al. (2015): after `step` steps, this share of the maps are true ones.
#
#     >>> from fieldwise.tasks.rollout import share_of_truth
#     >>> [round(share_of_truth(step, 100.0), 2) for step in (0, 500, 1000)]
#     [0.99, 0.4, 0.0]

# %%
temperature_forecast.train(
    data=folder,
    run=Path(run) / "mean",
    context=context,
    horizon=horizon,
    max_epochs=max_epochs,
    seed=seed,
    resume=False,
    tracker="none",
)
display(Image(Path(run) / "mean" / "figures" / "loss_curves.png", width=600))

# %% [markdown]
# ## Judgement
#
# Forecasts stand beside what costs nothing: the same hour yesterday (`persistence`), yesterday's weather and what is left of today's
# difference from it (`damped_persistence`), and the mean of the hour (`climatology`). Bands are those from 5 to 95 % of weeks, or
# days where there are few, drawn again and again.

# %%
forecasts = temperature_forecast.predict(
    run=Path(run) / "mean", data=folder, out=Path(run) / "mean" / "prediction", progress=False
)
scores = temperature_forecast.evaluate(
    run=Path(run) / "mean", data=folder, prediction=forecasts, progress=False
)
display(Image(Path(run) / "mean" / "figures" / "leads.png", width=900))

# %%
display(Image(sorted((Path(run) / "mean" / "figures").glob("cases_*.png"))[0], width=900))
display(Image(sorted((Path(run) / "mean" / "figures").glob("quantiles_*.png"))[-1], width=700))

# %% [markdown]
# ## Members
#
# The same network with noise, trained by a proper score (the CRPS of two members), draws forecasts each of which could come.

# %%
temperature_forecast.train(
    data=folder,
    run=Path(run) / "members",
    network="stochastic_advection",
    context=context,
    horizon=horizon,
    max_epochs=member_epochs,
    seed=seed,
    resume=False,
    tracker="none",
)
drawn = temperature_forecast.predict(
    run=Path(run) / "members",
    data=folder,
    out=Path(run) / "members" / "prediction",
    members=members,
    every=every,
    progress=False,
)
temperature_forecast.evaluate(run=Path(run) / "members", data=folder, prediction=drawn, progress=False)
display(Image(Path(run) / "members" / "figures" / "leads.png", width=900))
display(Image(Path(run) / "members" / "figures" / "ranks.png", width=500))

# %% [markdown]
# ## Beside each other
#
# Experiments are compared on the init times that all of them forecast.

# %%
compared = temperature_forecast.compare(
    runs=[Path(run) / "mean", Path(run) / "members"], out=Path(run) / "comparison"
)
for figure in sorted((Path(run) / "comparison" / "figures").glob("*.png")):
    display(Image(figure, width=800))

# %%
print(format_table(pick(scores["scores"], measure="mse", lead_h=horizon)))
print(f"scores: {Path(run) / 'mean' / 'scores.json'}")
