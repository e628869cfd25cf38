"""Temperature maps of the next hours, told from those of the last ones.

After Gong et al. (2022), https://doi.org/10.5194/gmd-15-8931-2022.
"""

from fieldwise.recipes.temperature_forecast.compare import compare
from fieldwise.recipes.temperature_forecast.evaluate import evaluate
from fieldwise.recipes.temperature_forecast.predict import predict
from fieldwise.recipes.temperature_forecast.prepare import prepare
from fieldwise.recipes.temperature_forecast.train import train
from fieldwise.recipes.temperature_forecast.tune import tune

__all__ = ["compare", "evaluate", "predict", "prepare", "train", "tune"]
