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
# # Training: a super-resolution network that draws the bed
#
# The network is an ESRGAN. Its **generator** takes the coarse bed and the indirect data and draws a bed four
# times finer; its **discriminator** learns to tell drawn beds from real ones, and so teaches the generator what
# a real bed looks like where the data do not say. [data_prep](data_prep.ipynb) has cut the tiles.
#
# Two choices differ from the original, and can be switched back with `departure = False`: inputs have their
# regional trend taken off, and what is predicted is the *departure from the cubic interpolation* of the coarse bed.
# Absolute elevations of thousands of metres hide the metres that matter; departures are learnt many times faster.

# %% tags=["parameters"]
data = "data"  # prepared folder
run = "model"  # run folder: checkpoints, logs, figures
inputs = ["bed_lowres", "surface_elevation", "ice_velocity", "snow_accumulation"]  # the published ones
departure = True  # False: raw metres in and out, as the original
num_residual_blocks = 2  # the paper's is 12
residual_scaling = 0.2
max_epochs = 8
batch_size = 16
learning_rate = 1e-3
decay_epochs = 8  # over which the learning rate falls to nothing
weight_decay = 1.0
augment = "north_south"  # tiles are mirrored at random, with their velocities
content_weight = 1e-2  # published
adversarial_weight = 2e-2  # published; 0 trains a plain network, without a discriminator
adversarial_from_epoch = 6  # first learn what the data say, then to draw what they do not
topographic_weight = 0.0  # published: 2e-3
structural_weight = 0.05  # published: 5.25
seed = 7
resume = True  # go on where an earlier run was cut off

# %%
from pathlib import Path

from IPython.display import Image

from fieldwise.networks.esrgan import Discriminator, Generator
from fieldwise.recipes import bed_topography
from fieldwise.tasks import load_task
from fieldwise.tracking import read_metrics

# %% [markdown]
# ## The two networks
#
# With twelve residual-in-residual dense blocks the generator has the published number of parameters, and so has
# the discriminator:

# %%
for network in (Generator(), Discriminator()):
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{type(network).__name__:<14} {count:>12,} parameters")

# %% [markdown]
# ## Training
#
# Four losses pull at the generator: the mean error in metres (`content`), the dissimilarity of local structure
# (`structural`), the departure of its 1 km means from the coarse bed (`topographic`), and what the discriminator
# thinks of it (`adversarial`). The weights that do best on the validation tiles are kept; held-out
# surveys have no say in it. A run that is cut off goes on from its last epoch.
#
# Two weights are lower here than published. The coarse bed of the sandbox is interpolated between flight lines ten
# kilometres apart, so its means are tens of metres off and no constraint to hold on to (`topographic`); and structure
# that cannot be known is better left smooth than drawn in the wrong place, if RMSE is to judge (`structural`).

# %%
best = bed_topography.train(
    data=Path(data),
    run=Path(run),
    inputs=inputs,
    departure=departure,
    num_residual_blocks=num_residual_blocks,
    residual_scaling=residual_scaling,
    max_epochs=max_epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    decay_epochs=decay_epochs,
    weight_decay=weight_decay,
    augment=augment,
    content_weight=content_weight,
    adversarial_weight=adversarial_weight,
    adversarial_from_epoch=adversarial_from_epoch,
    topographic_weight=topographic_weight,
    structural_weight=structural_weight,
    seed=seed,
    resume=resume,
)

# %%
Image(filename=Path(run) / "figures" / "loss_curves.png")

# %%
metrics = read_metrics(run)
validation = metrics.dropna(subset=["val_rmse_m"])
print(f"best validation RMSE {validation['val_rmse_m'].min():.2f} m")

# %% [markdown]
# ## A checkpoint describes itself
#
# It holds the names, units, spacings and scales of everything that goes in and comes out, and is read
# without unpickling anything but numbers.

# %%
load_task(best).hparams["description"]
