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
# # Structure formation
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/structure_formation.ipynb)
#
# Matter in the universe began almost evenly spread. Gravity drew it together: each particle has moved from where it
# started by a *displacement* of some tens of millions of light years, and how these displacements came about is the
# business of simulations that take days. First-order theory (Zel'dovich) says in a second where everything would have gone if nothing had met
# anything; a network learns the rest from a few hundred small simulations
# ([He et al. 2019](https://doi.org/10.1073/pnas.1821458116)). A second network draws the fine structure of a coarse simulation
# ([Li et al. 2021](https://doi.org/10.1073/pnas.2022038118)): not the one answer, since there is none, but as many as
# are asked for, each as rough as the real one.
#
# By default everything is a **sandbox**: boxes with periodic sides whose initial conditions are drawn from the power
# spectrum of the standard model, and what a particle mesh makes of them. Set `source` to a `FILE.yaml` that names your
# own simulations, and the first part is the same.

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
data = "data/structure_formation"  # prepared folders, to be written
run = "model/structure_formation"  # run folders, to be written
seed = 7  # of the sandbox and of training
cells = 64  # of a box in two dimensions, along each axis
boxes = 400  # to learn from
features = 64  # channels of the network
blocks = 4  # pairs of convolutions
max_epochs = 2
boxes_3d = 190  # in three dimensions; 0 leaves them out
cells_3d = 32
epochs_3d = 2
pairs = 480  # of a coarse and a fine box; 0 leaves super-resolution out
pair_epochs = 3
members = 16  # fine fields drawn of each coarse one

# %%
from pathlib import Path

from IPython.display import Image, display

from fieldwise.figures.volumes.slices import draw_densities
from fieldwise.recipes import structure_formation
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import density_of, format_table, pick

# %% [markdown]
# ## Boxes
#
# `prepare` makes the boxes, or opens yours, and refuses what has gaps. Each box holds the displacement of first-order
# theory, which is all that the network will read, that of second order, which it has to beat, and the truth.

# %%
folder = structure_formation.prepare(
    source=source, out=Path(data) / "emulator", seed=seed, cells=cells, boxes=boxes
)
prepared = Prepared(folder)
box = prepared.cases("training")[0]
print(
    f"{box}: {box.shape} cells of {box.spacing:g} {box.spacing_units}; {', '.join(box.variables)}; {box.numbers}"
)

# %% [markdown]
# Where the particles of a box end up is its density: each is shared among the cells around it (*cloud in cell*). Theory makes
# walls and knots too thick, since what should fall back passes through.

# %%
known = {
    "truth": "displacement",
    "first order": "displacement_linear",
    "second order": "displacement_second_order",
}
moved = {name: box.read([field])[field] for name, field in known.items() if field in box.variables}
draw_densities(
    {name: density_of(field, spacing=box.spacing).T for name, field in moved.items()}, spacing=box.spacing
)

# %% [markdown]
# ## Training
#
# The network is a stack of residual convolutions that adds to the linear displacement. Two things make little data go a long way.
#
# **Boxes have no edge.** What leaves on one side comes in on the other, so a convolution that wraps around has every cell of
# a box to learn from. The original pads a box by its own cells and computes them again and again.
#
# **No direction is special.** A box may be turned in 8 ways (48 in three dimensions), with its vectors:
#
#     >>> import torch
#     >>> from fieldwise.symmetries import AxisSymmetry, turn_axes
#     >>> flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)  # two along x, one along y
#     >>> turn_axes(flow, AxisSymmetry(order=(1, 0), flips=(False, True)), [(0, 1)]).flatten().tolist()
#     [1.0, -2.0]

# %%
emulator = Path(run) / "emulator"
options = {"features": features, "blocks": blocks, "seed": seed, "resume": False, "tracker": "none"}
structure_formation.train(data=folder, run=emulator, batch_size=2, max_epochs=max_epochs, **options)
display(Image(emulator / "figures" / "loss_curves.png", width=600))

# %% [markdown]
# ## Prediction and judgement
#
# A box of any size is computed block by block, and every block is what it would be in the whole. The boxes for the test have not been
# seen by training or selection. *Relative L2* is the error's root mean square over that of the displacement; the
# *transfer function* tells whether there is as much structure as in truth at each scale, the *cross-correlation*
# whether it is in the right places. Grey is what is aimed at.

# %%
prediction = structure_formation.predict(
    run=emulator, data=folder, out=emulator / "prediction", progress=False
)
scores = structure_formation.evaluate(run=emulator, data=folder, prediction=prediction)

# %%
test = prepared.cases("test")[0]
display(Image(emulator / "figures" / f"{test.name}_slices.png", width=900))
display(Image(emulator / "figures" / "spectra_displacement.png", width=420))

# %% [markdown]
# ## Three dimensions
#
# The same verbs; only the boxes are others. A longer run goes further, and so does the mean over all 48 symmetries
# (`predict --symmetrise true`); see the README.

# %%
if boxes_3d:
    volumes, deep = Path(data) / "volumes", Path(run) / "volumes"
    structure_formation.prepare(
        out=volumes,
        seed=seed,
        dimensions=3,
        cells=cells_3d,
        boxes=boxes_3d,
        validation_boxes=4,
        test_boxes=12,
    )
    careful = {"learning_rate": 1.2e-3, "clip_norm": 0.5, "optimizer_options": {"betas": [0.9, 0.99]}}
    structure_formation.train(
        data=volumes, run=deep, batch_size=1, max_epochs=epochs_3d, **careful, **options
    )
    structure_formation.predict(run=deep, data=volumes, out=deep / "prediction", progress=False)
    of_volumes = structure_formation.evaluate(run=deep, data=volumes, prediction=deep / "prediction")
    display(Image(next((deep / "figures").glob("*_density.png")), width=900))

# %% [markdown]
# ## Finer than simulated
#
# A coarse box and a fine one of the same matter, each evolved on its own. What the coarse one knows fixes the large
# structures of the fine one; the small ones it leaves open. A network that gives one answer blurs them, one that competes with a
# discriminator invents one version. This one reads noise beside the coarse box and is trained by *proper scores*, which
# are least where its answers are spread as the truth is: over cells, over differences between neighbours, over means of blocks and over
# patches. The noise belongs to the cells of the box, so that a member is the same in blocks and in one piece.

# %%
if pairs:
    twins, resolver = Path(data) / "pairs", Path(run) / "superresolver"
    structure_formation.prepare(out=twins, seed=seed, scale_factor=2, boxes=pairs)
    structure_formation.train(
        data=twins,
        run=resolver,
        batch_size=1,
        learning_rate=3e-3,
        optimizer_options={"betas": [0.9, 0.99]},
        clip_norm=0.5,
        max_epochs=pair_epochs,
        tracker="none",
        seed=seed,
        resume=False,
    )
    structure_formation.predict(
        run=resolver,
        data=twins,
        out=resolver / "prediction",
        members=members,
        keep_members=True,
        progress=False,
    )
    of_members = structure_formation.evaluate(run=resolver, data=twins, prediction=resolver / "prediction")

# %% [markdown]
# Members along a line through a box, with the truth; how often the truth had each rank among them; error against spread; and the power of
# each member beside that of the truth.

# %%
if pairs:
    name = Prepared(twins).cases("test")[0].name
    display(Image(resolver / "figures" / f"{name}_density.png", width=900))
    display(Image(resolver / "figures" / f"{name}_members.png", width=900))
    display(Image(resolver / "figures" / "spectra_displacement.png", width=420))

# %%
print(format_table(pick(scores["scores"], measure="relative_l2")))
print(f"scores: {emulator / 'scores.json'}")
