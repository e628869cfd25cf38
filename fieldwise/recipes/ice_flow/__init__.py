"""An emulator of ice flow: velocities from the shape of a glacier, as a solver would give them.

After Jouvet et al. (2021), https://doi.org/10.1017/jog.2021.120.
"""

from fieldwise.recipes.ice_flow.evaluate import evaluate
from fieldwise.recipes.ice_flow.predict import predict
from fieldwise.recipes.ice_flow.prepare import prepare
from fieldwise.recipes.ice_flow.train import train
from fieldwise.recipes.ice_flow.tune import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
