"""An emulator of ice flow: velocities from the shape of a glacier, as a solver would give them.

After Jouvet et al. (2021), https://doi.org/10.1017/jog.2021.120.
"""

from typing import TYPE_CHECKING

from fieldwise.recipes import load_when_used

if TYPE_CHECKING:
    from fieldwise.recipes.ice_flow.evaluation import evaluate
    from fieldwise.recipes.ice_flow.prediction import predict
    from fieldwise.recipes.ice_flow.preparation import prepare
    from fieldwise.recipes.ice_flow.training import train
    from fieldwise.recipes.ice_flow.tuning import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
load_when_used(
    __name__,
    prepare="preparation",
    train="training",
    predict="prediction",
    evaluate="evaluation",
    tune="tuning",
)
