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
# # Data preparation: from survey files and rasters to tiles
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/data_prep.ipynb)
#
# Under the ice of Antarctica lies a landscape that no one has seen. Radar shows it along the lines that
# aeroplanes have flown; between them, maps such as BEDMAP2 interpolate at 1 km and come out smooth. This
# notebook gathers what is known on different grids, and cuts it into *tiles*: small co-registered
# samples that the network of [srgan_train](srgan_train.ipynb) learns from.
#
# By default everything is a **sandbox**: a made sector of Antarctica in the formats and under the file names of
# the real thing, of which the bed is known everywhere. Name your own files in a `FILE.yaml`
# (see the README) and set `source` to it, and all that follows is the same.

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
data = "data"  # prepared folder, to be written
seed = 7  # of the sandbox and of the split
size_km = 250.0  # edge of the sandbox's sector
step_cells = 12  # distance of neighbouring tiles, in cells of 250 m: a third of a tile
validation_fraction = 0.15  # share of the tiles to select weights on
block_tiles = 2.0  # edge of the areas drawn for that, in tiles

# %%
from pathlib import Path

from fieldwise import figures
from fieldwise.fields.tiles import read_bounds, read_tiles
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.figures import draw_inputs
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.recipes.bed_topography.regions.surveys import open_targets, read_held_out

# %% [markdown]
# ## One call
#
# `prepare` opens every raster, brings it to one projection, fills the holes of the fine surface mosaic from the
# coarse one, reads the radar surveys through their JSON pipelines, grids each of them at 250 m with a spline in
# tension, slides a window over what is covered, and cuts all inputs on the same bounds. The rest of
# this page looks at what it wrote.

# %%
folder = bed_topography.prepare(
    source=source,
    out=Path(data),
    seed=seed,
    size_km=size_km,
    step_cells=step_cells,
    validation_fraction=validation_fraction,
    block_tiles=block_tiles,
)
region = open_region(folder)
region.grid

# %% [markdown]
# ## The inputs
#
# Four things are known everywhere: a coarse bed, the ice surface from satellites, how fast the ice flows,
# and how much snow falls. The surface matters most: ice draped over a rough bed shows, faintly, what lies
# beneath, and the faster it slides, the more of it. How much comes through depends on how thick the ice is and
# which way it flows, so the regional ice thickness and surface slope are derived and given to the network too.

# %%
draw_inputs(region)

# %% [markdown]
# ## The ground truth
#
# Dense radar surveys become grids: block medians at 250 m, a spline in tension (0.35), and nothing farther than
# 750 m from a pick. Whole flights and one whole block are *held out*: the network never sees them, neither to
# learn from nor to choose among its weights, and the map is judged on them in the end.

# %%
targets = open_targets(region)
{name: f"{int(field.notnull().sum())} cells" for name, field in targets.items()}

# %%
if region.facts.get("held_out"):
    print(read_held_out(region).groupby("survey")["z"].describe().round(1))

# %% [markdown]
# ## Tiles
#
# Every window of 9 km over the gridded surveys that misses no cell and lies on grounded ice becomes a tile.
# Neighbouring tiles overlap almost wholly, so a random split would let the network see its own
# examination. The split is by area: blocks are drawn for validation, and a buffer of two low-res cells
# keeps training tiles away from them and from all that is held out. Of four windows in blocks of
# 2 the first two, which are neighbours, are put together to one side:
#
#     >>> import numpy as np
#     >>> from fieldwise.fields.tiles import split_by_area
#     >>> windows = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [4, 0, 5, 1], [9, 0, 10, 1]], dtype=float)
#     >>> split_by_area(windows, block=2, buffer=1, fraction=0.5, seed=1)
#     (array([2, 3]), array([0, 1]))

# %%
tiles = read_tiles(folder / "tiles.zarr")
tiles

# %%
outlines = read_bounds(folder / "tiles.geojson", crs=region.crs)
outlines["split"].value_counts()

# %%
figures.draw_map(region.field("bed_lowres"), tiles=outlines).show(width=700)

# %% [markdown]
# A tile of each input, as the network sees it: the same 9 km (inputs with 1 km more on every side), each at
# its own spacing.

# %%
{name: tuple(variable.shape[1:]) for name, variable in tiles.data_vars.items()}

# %%
if region.facts.get("truth"):
    truth = region.open("truth")
    print(f"the known bed: {float(truth.min()):.0f} to {float(truth.max()):.0f} m, {truth.shape} cells")
