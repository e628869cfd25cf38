# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inference: the bed of the whole region, judged
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/deepbedmap.ipynb)
#
# The trained generator of [srgan_train](srgan_train.ipynb) is fully convolutional: it draws a bed for a window of
# any size. A region is drawn block by block, each block with a *halo* of further cells around it. How wide the
# halo must be is measured from the network itself, so that no seam of more than a centimetre is left. Memory
# depends on the block alone, and a killed run goes on where it was.

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
    subprocess.run(["make", "-C", here, "gmt"], check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", f"{here}[notebooks,comet,tuning]"]
    subprocess.run(install, check=True)
    os.chdir(here)

# %% tags=["parameters"]
data = "data"  # prepared folder
run = "model"  # run folder with a trained generator
out = "model/deepbedmap_dem.tif"  # the map
bounds = None  # west, south, east, north; None for the whole region
block_cells = 256

# %%
import json
from pathlib import Path

from fieldwise import figures
from fieldwise.fields.formats import open_field
from fieldwise.recipes import bed_topography
from fieldwise.samples.datasets import Dataset

# %%
dataset = Dataset(data)
path = bed_topography.predict(
    run=Path(run), data=Path(data), out=Path(out), bounds=bounds, block_cells=block_cells
)
bed = open_field(path)
bed

# %%
figures.draw_map(bed).show(width=700)

# %% [markdown]
# ## Judgement
#
# Would another method have done as well? The map is compared with two that anyone could make from the coarse bed
# alone, cubic interpolation and a spline in tension, at radar picks that neither training nor
# selection has seen. RMSE tells how far off a map is; the **roughness ratio** tells whether it looks like a bed: 1
# is as rough as the truth, 0 is a billiard table. In the sandbox the truth is known, so every cell that is
# no part of a tile is judged too, beside the Wiener filter, the best that any linear method could do.
#
#     >>> from fieldwise.scores.fields import rmse
#     >>> rmse([1.0, 2.0, float("nan")], [1.0, 4.0, 5.0])  # the root of (0 + 4) / 2: what is missing has no say
#     1.4142135623730951

# %%
scores = bed_topography.evaluate(run=Path(run), data=Path(data), prediction=Path(path), figures=False)

# %%
for name, (low, high) in scores.get("rmse_m_interval", {}).items():
    print(
        f"{name:<12} RMSE {scores['rmse_m'][name]:6.2f} m, 95 % interval {low:.2f} to {high:.2f} m (flights resampled)"
    )

# %%
print(f"map:    {path}")
print(f"scores: {Path(run) / 'scores.json'}")
print(json.dumps(scores.get("surveys", {}), indent=1))
