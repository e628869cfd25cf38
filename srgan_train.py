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
# # Training: a super-resolution network that draws the bed
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_ORGANISATION/fieldwise/blob/main/srgan_train.ipynb)
#
# The network is an ESRGAN. Its **generator** takes the coarse bed and the indirect data and draws a bed four
# times finer; its **discriminator** learns to tell drawn beds from real ones, and so teaches the generator what
# a real bed looks like where the data do not say. [data_prep](data_prep.ipynb) has cut the tiles.
#
# Two choices differ from the original, and can be switched back with `departure = False`: inputs have their
# regional trend taken off, and what is predicted is the *departure from the cubic interpolation* of the coarse bed.
# Absolute elevations of thousands of metres hide the metres that matter; departures are learnt many times faster.
#
# Part of the departure need not be learnt: physics tells how a bed shows in the surface of ice that flows over it
# ([Gudmundsson 2003](https://doi.org/10.1029/2002JB002107)), and `surface_inversion` is that relation undone. The share
# of it that the training tiles bear out is the network's starting point, and the share of the network's own
# departures that the validation tiles bear out is what the map gets.

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
run = "model"  # run folder: checkpoints, logs, figures
inputs = ["surface_elevation", "surface_inversion"]  # smooth ones tell the network which survey it is in
departure = True  # False: raw metres in and out, as the original
num_residual_blocks = 1  # the paper's is 12
residual_scaling = 0.2
max_epochs = 3
batch_size = 16
learning_rate = 5e-5
decay_epochs = 3  # over which the learning rate falls to nothing
weight_decay = 1.0
augment = "north_south"  # tiles are mirrored at random, with their velocities
content_weight = 1e-2  # published
adversarial_weight = 2e-2  # published; 0 trains a plain network, without a discriminator
adversarial_from_epoch = 2  # first learn what the data say, then to draw what they do not
topographic_weight = 0.0  # published: 2e-3
structural_weight = 0.0  # published: 5.25
seed = 7
resume = True  # go on where an earlier run was cut off
tracker = "tensorboard"  # who is told of the run: none, tensorboard, or comet too
tuning_trials = 0  # so many trials of other hyper-parameters, first; the paper's search had 240
tuning_ranges = {  # the published ones are tune's own
    "learning_rate": [5e-4, 2e-3],
    "num_residual_blocks": [1, 3],
    "residual_scaling": [0.1, 0.5],
    "batch_size": [16, 32],
    "max_epochs": [6, 10],
}

# %%
from pathlib import Path

from IPython.display import Image, display

from fieldwise.networks.esrgan import Discriminator, Generator
from fieldwise.networks.layers import count_parameters
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.generator import BedTask
from fieldwise.runs import read_metrics
from fieldwise.tasks import load_checkpoint

# %% [markdown]
# ## The two networks
#
# The discriminator says of a bed whether it looks more real than what the generator draws; its loss is the published one:
#
#     >>> import torch
#     >>> from fieldwise.losses.games import discriminator_loss
#     >>> real, drawn = torch.tensor([[1.1], [-0.5]]), torch.tensor([[-0.3], [1.0]])
#     >>> print(f"{discriminator_loss(real, drawn).item():.6f}")
#     1.566705

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
    network="generator",
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
    tracker=tracker,
)

# %% [markdown]
# How large the networks of this run are, in parameters, beside the published ones, whose generator has twelve
# residual-in-residual dense blocks and reads four inputs:

# %%
task = load_checkpoint(best, BedTask)
for trained, published in ((task.network, Generator()), (task.discriminator, Discriminator())):
    size = "none" if trained is None else f"{count_parameters(trained):,}"
    print(f"{type(published).__name__:<14} {size:>12}   (published {count_parameters(published):>12,})")

# %%
Image(filename=Path(run) / "figures" / "loss_curves.png")

# %%
metrics = read_metrics(run)
validation = metrics.dropna(subset=["val_rmse_m"])
print(f"best validation RMSE {validation['val_rmse_m'].min():.2f} m")

# %% [markdown]
# ## What is kept of a run
#
# The run folder holds the settings, where the weights came from, and the metrics as a table. **TensorBoard** has
# them too, with the parameters beside what they led to, the network's graph, and a picture an epoch: some tiles of
# the validation split as the network draws them. `tensorboard --logdir model/logs` shows it all, and here is
# the last picture.
#
# With `tracker = "comet"` a **Comet** experiment gets the same, and the weights: online where `COMET_API_KEY` is in the
# environment, otherwise as an archive in `logs/comet` that `comet upload` sends later. The key is handed to Comet's
# client and written nowhere. `fieldwise fetch --experiment KEY --run FOLDER` brings a run back, on any machine,
# to predict with or to go on training; in place of the key of the experiment it takes an archive.

# %%
if tracker != "none":
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f"{run}/logs/tensorboard", size_guidance={"images": 0}).Reload()
    display(Image(data=events.Images("validation_tiles")[-1].encoded_image_string))

# %% [markdown]
# ## Searching for hyper-parameters
#
# How deep, how fast, how long? `tune` tries: a tree-structured Parzen estimator proposes learning rate, depth, residual
# scaling, batch size and number of epochs, and Hyperband gives up early those that fall behind, as it does those that
# diverge. What counts is the error on the validation tiles; the held-out surveys have no say. The study is a file: a
# search that was cut off goes on, and several processes started with the same study share the work:
#
# ```sh
# fieldwise bed_topography tune --data data --study model/tuning.db --trials 60
# ```
#
# Without ranges it searches the published ones (Table B1 of the paper: learning rate 1e-4 to 2e-4, 8 to 14 blocks,
# scaling 0.1 to 0.5, batches of 64 or 128, 90 to 150 epochs), which takes a GPU. At its end stands the command
# that trains with what did best.

# %%
if tuning_trials:
    bed_topography.tune(
        data=Path(data),
        study=Path(run) / "tuning.db",
        trials=tuning_trials,
        fixed={
            "inputs": inputs,
            "departure": departure,
            "weight_decay": weight_decay,
            "augment": augment,
            "content_weight": content_weight,
            "adversarial_weight": 0.0,  # what the data say is learnt without an opponent, and sooner
            "topographic_weight": topographic_weight,
            "structural_weight": structural_weight,
        },
        seed=seed,
        **tuning_ranges,
    )
    for path in sorted((Path(run) / "tuning" / "figures").glob("*.png")):
        display(Image(filename=path))

# %% [markdown]
# ## A checkpoint describes itself
#
# It holds the names, units, spacings and scales of everything that goes in and comes out, and is read
# without unpickling anything but numbers.

# %%
task.signature
