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
# # Figures and tables: what the map shows
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/paper_figures.ipynb)
#
# Every figure and table of Leong & Horgan (2020, [doi 10.5194/tc-14-3687-2020](https://doi.org/10.5194/tc-14-3687-2020)),
# for whatever region the data cover: the made sector by default; where a map shows Antarctica, the places of the
# paper. All of them are written to the run folder's `figures`, as PDF to print and PNG to look at, in the widths
# of a journal's column (8.3 cm), one and a half (12 cm) and page (17 cm). Colours are perceptually even and safe
# for colour-blind readers; lines differ in their dashes too.

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
run = "model"  # run folder
prediction = "model/deepbedmap_dem.tif"  # map to draw
reference = ""  # another map of the bed to compare with, such as lowres/BedMachineAntarctica-v3.nc
reference_variable = ""  # in that file, such as bed
reference_name = ""  # such as BedMachine
data_list = "data_list.yml"  # what the table of data sets is made from

# %%
from pathlib import Path

from IPython.display import Markdown

from fieldwise.recipes.bed_topography.figures import PLATES, print_figure
from fieldwise.recipes.bed_topography.regions.material import gather
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.recipes.bed_topography.tables import save_tables

# %%
material = gather(
    open_region(data),
    Path(prediction),
    run=Path(run),
    reference=Path(reference) if reference else None,
    reference_variable=reference_variable or None,
    reference_name=reference_name or None,
)
folder = Path(run) / "figures"

# %% [markdown]
# ## Data sets
#
# What there is to learn from and to compare with, from `data_list.yml`.

# %%
tables = save_tables(Path(run), folder, data_list=Path(data_list))
Markdown(tables["data_sets"].read_text() if "data_sets" in tables else "No list of data sets here.")

# %% [markdown]
# ## The network
#
# **Figure 1.** Drawn from the network of this run, not by hand: one tile passes through it, and every layer tells what
# it is, what it reads and what it gives. Beneath each box stand the channels and cells of its result. Each input
# is brought to the low-res grid by a convolution of its own; then come the blocks, which are opened below; then
# two steps to twice the resolution each, and two deformable convolutions. Blue lines pass over steps, to be
# stacked with what else comes to a box, or added at a plus.

# %%
print_figure("architecture", material, folder)

# %% [markdown]
# The settings that it was trained with:

# %%
Markdown(tables["hyperparameters"].read_text())

# %% [markdown]
# What it reads, for the whole region: of the ice velocity, the speed.

# %%
print_figure("inputs", material, folder)

# %% [markdown]
# ## The bed
#
# **Figure 2.** The map, with the grounding line, the area of the tiles that the network has learnt from, and the
# places that the other figures look at. Below sea level blue, above it green to white.

# %%
print_figure("bed_map", material, folder)

# %% [markdown]
# **Figure 3.** One place as a landscape, from the south-south-west: what the network draws, what it starts from,
# what it has added, and what to compare with: a reference map, the known truth, or gridded radar.

# %%
print_figure("perspectives", material, folder)

# %% [markdown]
# **Figure 4.** Close-ups. One slope has one shade in all of them, so that what looks rougher is rougher. Look for
# lines along the axes: they would be the grid's or the network's, not the bed's.

# %%
print_figure("closeups", material, folder)

# %% [markdown]
# ## Roughness
#
# **Figure 5.** Standard deviation in 5 × 5 cells. A smooth map may have a smaller error than a rough one and still
# be the worse bed for an ice sheet model: panel b should look like panel c, no smoother and no rougher. A bed
# of half the height is half as rough:
#
#     >>> import numpy as np
#     >>> from fieldwise.fields.grids import Grid, make_field
#     >>> from fieldwise.scores import roughness_ratio
#     >>> grid = Grid(west=0, south=0, east=900, north=900, spacing=100, crs="EPSG:3031")
#     >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
#     >>> round(roughness_ratio(bed / 2, bed), 3)
#     0.5

# %%
print_figure("roughness", material, folder)

# %% [markdown]
# **Figure 6.** The same along the flight from A to B, which no training has seen.

# %%
print_figure("flight", material, folder)

# %% [markdown]
# ## Errors
#
# At all held-out radar picks. A shift of the whole curve would be a bias, such as heights above different
# surfaces leave behind.

# %%
print_figure("error_histogram", material, folder)

# %%
Markdown(
    tables["errors"].read_text() if "errors" in tables else "Not judged yet: run `deepbedmap.ipynb` first."
)

# %% [markdown]
# All files:

# %%
for path in sorted(folder.glob("*")):
    if path.stem in PLATES or path.stem.startswith("table_"):
        print(path)
