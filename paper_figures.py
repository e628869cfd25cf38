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
# # Figures: what the map shows
#
# After the figures of Leong & Horgan (2020), for whatever region the data cover. All of them are written to the
# run folder's `figures`; colours are perceptually even and safe for colour-blind readers.

# %% tags=["parameters"]
data = "data"  # prepared folder
run = "model"  # run folder
prediction = "model/deepbedmap_dem.tif"  # map to draw
seed = 7  # of the run that is drawn

# %%
from pathlib import Path

from IPython.display import Image, display

from fieldwise.datasets import Dataset
from fieldwise.recipes.bed_topography.figures import CAPTIONS, save_figures

# %%
paths = save_figures(Dataset(data), Path(prediction), Path(run) / "figures")
for path in paths:
    print(path)

# %% [markdown]
# One by one:

# %%
for path in paths:
    print(CAPTIONS[path.stem])
    display(Image(filename=path, width=900))
