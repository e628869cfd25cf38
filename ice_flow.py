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
# # An emulator of ice flow
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/ice_flow.ipynb)
#
# How fast a glacier flows follows from its shape: ice creeps under its own weight, slides over its bed, and drags
# its neighbours along. A solver of the Blatter–Pattyn equations takes seconds for a frame of 64 × 64 cells; a model
# of a glacier through a century asks for thousands of frames. A network that has seen the solver's answers gives
# its own in milliseconds ([Jouvet et al. 2021](https://doi.org/10.1017/jog.2021.120)).
#
# By default everything is a **sandbox**: made mountain valleys in which glaciers grow and shrink, with the
# solver's velocity for every snapshot. Set `source` to a folder with your own `train/CASE/ex.nc` and
# `test/CASE/ex.nc`, or to a `FILE.yaml`, and all that follows is the same.

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
source = "sandbox"  # or a folder with train/CASE/ex.nc, or the path of a FILE.yaml
data = "data/ice_flow"  # prepared folder, to be written
run = "model/ice_flow"  # run folder, to be written
seed = 7  # of the sandbox and of training
size_cells = 64  # edge of the sandbox's frames
valleys = 24
snapshots = 8  # of each valley
maptype = "g15"  # which fields are read and given
layers = 4
dilations = [1, 2, 4, 2]  # cells from tap to tap of the kernels: 9 cells are seen to every side
filters = 24
learning_rate = 3e-3
max_epochs = 20
figure_frames = 2  # frames of each test glacier to draw
observed = "../shared/data"  # folder with aletsch_observation.nc and dle_model_f12/, where there is one

# %%
import os
from pathlib import Path

from IPython.display import Image, display

from fieldwise import figures
from fieldwise.recipes import ice_flow
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.samples.prepared import Prepared

# %% [markdown]
# ## Glaciers
#
# `prepare` makes the valleys or opens your files, brings every frame to one orientation (rows from north to
# south), derives the slopes of the surface, and refuses what has gaps. Whole valleys are set apart: some to select weights
# on (`validation`), some to judge on (`test`), since two frames of one glacier are too much alike to test one
# with the other.

# %%
folder = ice_flow.prepare(
    source=source, out=Path(data), seed=seed, size_cells=size_cells, valleys=valleys, snapshots=snapshots
)
prepared = Prepared(folder)
for case in prepared.cases():
    print(f"{case!s:<24}{case.frames:>4} frames of {case.shape} cells of {case.spacing:g} m")

# %%
case = prepared.cases("training")[0]
shown = {name: case.field(name, case.frames // 2).assign_attrs(units="m") for name in ("thk", "usurf")}
figures.draw_inputs(shown)

# %% [markdown]
# ## Training
#
# Two choices make little data go a long way.
#
# **Physics outside the network.** With the usual exponents, Blatter–Pattyn flow has two exact symmetries: stiffer ice
# on a stickier bed in proportion is slower by the cube of it, and glaciers of one shape differ by powers of
# their size. The network therefore sees ice without units and answers with the *stress* that moves it; the velocity is the
# cube of that. Shallow ice is the answer zero, and what is learnt is how stress spreads sideways.
#
# **No direction is special.** The kernels of the network come in all eight turned and mirrored versions, so that a glacier
# turned by 90° flows as it did, turned by 90°. A flow of 2 to the east and 1 to the north, after a quarter turn:
#
#     >>> import torch
#     >>> from fieldwise.symmetries import turn_channels
#     >>> flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)
#     >>> turn_channels(flow, 1, [(0, 1)]).flatten().tolist()
#     [-1.0, 2.0]
#
# Rock takes no part: the map ends for the network where the ice ends, and only the ice is computed.
#
# `--network cnn --scaling plain` is the original's network, without any of this.

# %%
best = ice_flow.train(
    data=folder,
    run=Path(run),
    maptype=maptype,
    layers=layers,
    dilations=dilations,
    filters=filters,
    batch_size=2,
    patch_size=-1,  # whole frames: only the ice is computed, and none of it is cut
    learning_rate=learning_rate,
    max_epochs=max_epochs,
    decay_epochs=max_epochs,
    seed=seed,
    resume=False,
    tracker="none",
)
display(Image(Path(run) / "figures" / "loss_curves.png", width=600))

# %% [markdown]
# ## Prediction
#
# Whole frames of the valleys that neither training nor selection has seen; exactly 0 off the ice. The solver
# computes one frame of each too, so that both times come from this machine.

# %%
prediction = ice_flow.predict(run=Path(run), data=folder, out=Path(run) / "prediction", solver_frames=1)

# %% [markdown]
# ## Judgement
#
# The *relative L1 error of the speed* is the sum of errors over the sum of speeds, over the ice. The *direction
# cosine* tells whether the ice goes the right way. The *symmetry error* is by how much turning the input changes the
# answer, *leakage* the flow where there is no ice, and the *energy gap* how far the predicted flow is from the least
# energy, which is what the equations ask for.

# %%
scores = ice_flow.evaluate(run=Path(run), data=folder, prediction=prediction, figure_frames=figure_frames)

# %%
test = prepared.cases("test")[0]
display(Image(sorted((Path(run) / "figures").glob(f"{test.name}_*.png"))[0], width=800))

# %% [markdown]
# ## A real glacier
#
# Aletsch glacier in the Alps, as satellites have seen it move, beside a released emulator of the original and ours, which
# has seen made valleys only. Where the files are not at hand this part is passed over.

# %%
from fieldwise.recipes.ice_flow.judgement import (
    compare_with_observed,
    format_comparison,
    prepare_observed,
    read_observed_velocity,
)

shared = Path(os.environ.get("FIELDWISE_DATA", observed))
aletsch = shared / "aletsch_observation.nc"
if aletsch.exists() and (shared / "dle_model_f12").exists():
    glacier = prepare_observed(aletsch, Path(data) / "aletsch", crs="EPSG:32632")
    seen = read_observed_velocity(aletsch, crs="EPSG:32632")
    emulators = {"released": load_emulator(shared / "dle_model_f12"), "ours": load_emulator(run)}
    compared = {name: compare_with_observed(each, glacier, seen) for name, each in emulators.items()}
    print(format_comparison(compared))
else:
    print(f"{aletsch}: not at hand")

# %%
print(f"scores: {Path(run) / 'scores.json'}")
