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
# # Extreme weather
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/extreme_weather.ipynb)
#
# Tropical cyclones and atmospheric rivers do most of the harm that weather does. Climate models make both by the thousand, and
# somebody has to find them. Rules find them in fields of moisture, wind and pressure, but no two sets of rules agree; a network
# learns which class each cell of the globe has ([Kurth et al. 2018](https://arxiv.org/abs/1810.01993),
# [Prabhat et al. 2021](https://doi.org/10.5194/gmd-14-107-2021)) and says how sure it is.
#
# By default everything is a **sandbox**: made seasons, every three hours, with cyclones, rivers and decoys (cold lows, moist blobs,
# short filaments) that are known to the cell. Set `source` to a folder of DeepCAM's samples, or to a `FILE.yaml` that names your own
# files, and the rest is the same.

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
source = "sandbox"  # or a folder of DeepCAM's samples, or the path of a FILE.yaml
data = "data/extreme_weather"  # prepared folder, to be written
run = "model/extreme_weather"  # run folder, to be written
seed = 7  # of the sandbox and of training
spacing_degrees = 2.8  # of the sandbox's cells
days = 60.0  # of its seasons together
network = "unet"  # or cgnet, deeplab, tiramisu
network_options = {"blocks": 4, "filters": 16}
learning_rate = 3e-3
max_epochs = 12

# %%
from pathlib import Path

import numpy as np
import xarray as xr
from IPython.display import Image, display

from fieldwise.figures import draw_class_maps
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.cases import grid_of_case, judges_of
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import format_table, pick

# %% [markdown]
# ## Seasons
#
# `prepare` brings fields into one order, from north to south, labels them by two rules, and parts them by whole seasons or periods: of
# three-hourly data drawn at random each test would have its neighbours in training.

# %%
folder = extreme_weather.prepare(
    source=source,
    out=Path(data),
    seed=seed,
    spacing_degrees=spacing_degrees,
    days=days,
    progress=False,
)
case = Prepared(folder).cases("training")[0]
print(f"{case}: {case.frames} times of {case.shape} cells; {', '.join(case.files)}")

# %% [markdown]
# What was planted, and what the rules make of it. The first are those of DeepCAM's labels (TECA: spin, warm core, moisture of the column),
# the second go by closed contours of pressure and by the transport of moisture.

# %%
grid, frame = grid_of_case(case), case.frames // 2
vapour = xr.DataArray(
    case.stack(["TMQ"], frame=frame)[0],
    {"lat": grid.latitude, "lon": grid.longitude},
    name="TMQ",
    attrs={"units": "kg m-2", "long_name": "column water vapour"},
)
told = {name: case.stack([name], frame=frame)[0] for name in judges_of(case)}
draw_class_maps(vapour, told, case.facts["classes"])

# %% [markdown]
# ## Training
#
# The globe has no edge: what leaves the map in the east comes in from the west, and beyond a pole the meridian goes on southward. The
# networks pad so. Cyclones fill less than a thousandth of the globe, so the rarer a class is, the more its cells count. Mirrored at the
# equator, with the wind from the south turned to one from the north, a globe is one more to learn from.
#
# Weights are kept where the *intersection over union* of predicted and true cells, averaged over classes and images, is largest:
#
#     >>> import torch
#     >>> from fieldwise.tasks.classes import iou_of_images
#     >>> predicted, true = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
#     >>> iou_of_images(predicted, true, 2)  # 1/2 of class 0 and 2/3 of class 1
#     tensor([0.5833])

# %%
extreme_weather.train(
    data=folder,
    run=Path(run),
    network=network,
    network_options=network_options,
    learning_rate=learning_rate,
    decay_epochs=max_epochs,
    max_epochs=max_epochs,
    seed=seed,
    resume=False,
    tracker="none",
)
display(Image(Path(run) / "figures" / "loss_curves.png", width=600))

# %% [markdown]
# ## Masks, probabilities, tracks
#
# `predict` writes a class for each cell and how probable each is, as CF-NetCDF, and follows what it finds from time to time: tracks as
# CSV in the columns of IBTrACS and as GeoJSON, where they meet land, and a census of how many there are, where and when.

# %%
prediction = extreme_weather.predict(run=Path(run), data=folder, out=Path(run) / "prediction", progress=False)
test = Prepared(folder).cases("test")[0]
with xr.open_dataset(prediction / f"{test.name}.nc") as maps:
    shares = {
        name: float(np.mean(maps["class"] == number)) for number, name in enumerate(test.facts["classes"])
    }
print("; ".join(f"{name}: {share:.2%} of the cells" for name, share in shares.items()))
print(*sorted(path.name for path in prediction.iterdir()), sep=", ")

# %% [markdown]
# ## Judgement
#
# Against what was planted, the network stands beside both rules. Against the first rules, the second ones tell how well anybody could do
# who does not know the truth. Events are counted time by time, and as whole storms and rivers, over all their times.

# %%
scores = extreme_weather.evaluate(run=Path(run), data=folder, prediction=prediction, progress=False)

# %%
shown = sorted((Path(run) / "figures").glob(f"{test.name}_[0-9]*.png"))[-1]
display(Image(shown, width=900))
for kind in ("cyclones", "rivers"):
    display(Image(Path(run) / "figures" / f"{test.name}_{kind}.png", width=900))
display(Image(Path(run) / "figures" / "confusion.png", width=400))
display(Image(Path(run) / "figures" / "reliability.png", width=400))

# %%
print(format_table(pick(scores["scores"], measure="iou_per_image")))
print(f"scores: {Path(run) / 'scores.json'}")
