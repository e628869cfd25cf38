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
max_epochs = 14
batch_size = 16
learning_rate = 4e-4
num_residual_blocks = 2  # the paper's is 12
residual_scaling = 0.2
adversarial_weight = 2e-2  # 0 trains a plain network, without a discriminator
departure = True  # False: raw metres in and out, as the original
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

# %%
best = bed_topography.train(
    data=Path(data),
    run=Path(run),
    max_epochs=max_epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    num_residual_blocks=num_residual_blocks,
    residual_scaling=residual_scaling,
    adversarial_weight=adversarial_weight,
    departure=departure,
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
