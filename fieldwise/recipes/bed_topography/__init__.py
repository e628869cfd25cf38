"""Bed topography under ice: a fine map of the bed from coarse and indirect data (DeepBedMap).

After Leong & Horgan (2020), https://doi.org/10.5194/tc-14-3687-2020.
"""

from typing import TYPE_CHECKING

from fieldwise.recipes import load_when_used

if TYPE_CHECKING:
    from fieldwise.recipes.bed_topography.evaluation import evaluate
    from fieldwise.recipes.bed_topography.prediction import predict
    from fieldwise.recipes.bed_topography.preparation import prepare
    from fieldwise.recipes.bed_topography.training import train
    from fieldwise.recipes.bed_topography.tuning import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
load_when_used(
    __name__,
    prepare="preparation",
    train="training",
    predict="prediction",
    evaluate="evaluation",
    tune="tuning",
)
