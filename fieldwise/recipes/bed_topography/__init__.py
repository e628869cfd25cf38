"""Bed topography under ice: a fine map of the bed from coarse and indirect data (DeepBedMap).

After Leong & Horgan (2020), https://doi.org/10.5194/tc-14-3687-2020.
"""

from fieldwise.recipes.bed_topography.evaluate import evaluate
from fieldwise.recipes.bed_topography.predict import predict
from fieldwise.recipes.bed_topography.prepare import prepare
from fieldwise.recipes.bed_topography.train import train
from fieldwise.recipes.bed_topography.tune import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
