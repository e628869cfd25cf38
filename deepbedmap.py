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
    # GMT, for maps; where it cannot be had, make says why, and what needs no GMT runs.
    subprocess.run(["make", "-C", here, "gmt"], check=False)
    # Colab has a kernel and widgets of its own: they stay as they are.
    install = [sys.executable, "-m", "pip", "install", "--quiet", f"{here}[comet,tuning]"]
    subprocess.run(install, check=True)
    os.chdir(here)

# %% tags=["parameters"]
data = "data"  # prepared folder
run = "model"  # run folder with a trained generator
out = "model/deepbedmap_dem.tif"  # the map
bounds = None  # west, south, east, north; None for the whole region
block_cells = 256
ensemble_members = 16  # beds drawn by a network that knows what it does not know; 0 leaves them out
ensemble_epochs = 2  # in which it goes on learning from this region
ensemble_seed = 7

# %%
import json
from pathlib import Path

from IPython.display import Image, display

from fieldwise import figures
from fieldwise.fields.formats import open_field
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.figures import print_figure
from fieldwise.recipes.bed_topography.regions.material import gather
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.scores import pick

# %%
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
# no part of a tile is judged too, beside a **bound**: the Wiener filter, the best that any linear method could do.
#
#     >>> from fieldwise.scores import rmse
#     >>> rmse([1.0, 2.0, float("nan")], [1.0, 4.0, 5.0])  # the root of (0 + 4) / 2: what is missing has no say
#     1.4142135623730951

# %%
scores = bed_topography.evaluate(run=Path(run), data=Path(data), prediction=Path(path), figures=False)

# %%
for row in pick(scores["scores"], against="held-out picks", measure="rmse"):
    if "low" in row:  # of a single flight nobody knows how far another would differ
        interval = f"95 % interval {row['low']:.2f} to {row['high']:.2f} m (flights resampled)"
        print(f"{row['name']:<12} RMSE {row['value']:6.2f} m, {interval}")

# %% [markdown]
# ## Members
#
# What the surface does not tell and no flight has seen cannot be known; it can be drawn, as often as is asked for, so that each
# bed is as rough as the real one. A network that comes with the package has learnt this from made sectors, each a world of its own,
# and reads the radar too. Here it goes on learning from what the flights over this region tell: blocks of the region take turns,
# so that no pick is told and asked for at once. Where that betters nothing, by flights that are kept for it, it stays as it came.
# Of its members the map holds mean, spread and quantiles; where they differ, nobody knows.

# %%
if ensemble_members:
    home = Path(run) / "members"
    bed_topography.train(
        data=Path(data),
        run=home,
        max_epochs=ensemble_epochs,
        seed=ensemble_seed,
        tracker="none",
        resume=False,
    )
    drawn = bed_topography.predict(
        run=home,
        data=Path(data),
        out=Path(run) / "members.tif",
        members=ensemble_members,
        keep_members=True,
        bounds=bounds,
        block_cells=block_cells,
    )
    worth = bed_topography.evaluate(run=home, data=Path(data), prediction=drawn, figures=False)

# %%
if ensemble_members:
    material = gather(open_region(data), drawn)
    for name in ("members", "members_flight", "members_worth"):
        figure = print_figure(name, material, home / "figures")
        print(figure.caption)
        if figure.png:
            display(Image(figure.png, width=700))

# %%
print(f"map:    {path}")
print(f"scores: {Path(run) / 'scores.json'}")
print(json.dumps(scores.get("surveys", {}), indent=1))
