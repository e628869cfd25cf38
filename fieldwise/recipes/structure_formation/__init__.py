"""Fields of cosmology learnt from fields: what gravity makes of initial conditions, and finer ones of coarse.

After map2map: He et al. (2019), https://doi.org/10.1073/pnas.1821458116; Li et al. (2021),
https://doi.org/10.1073/pnas.2022038118.
"""

from fieldwise.recipes.structure_formation.evaluate import evaluate
from fieldwise.recipes.structure_formation.predict import predict
from fieldwise.recipes.structure_formation.prepare import prepare
from fieldwise.recipes.structure_formation.train import train
from fieldwise.recipes.structure_formation.tune import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
