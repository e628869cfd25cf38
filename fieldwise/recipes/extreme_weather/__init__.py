"""Storms and rivers in weather: which class each cell of the globe has, and the tracks of events.

After Kurth et al. (2018), arXiv:1810.01993, and Prabhat et al. (2021), https://doi.org/10.5194/gmd-14-107-2021.
"""

from fieldwise.recipes.extreme_weather.evaluate import evaluate
from fieldwise.recipes.extreme_weather.predict import predict
from fieldwise.recipes.extreme_weather.prepare import prepare
from fieldwise.recipes.extreme_weather.train import train
from fieldwise.recipes.extreme_weather.tune import tune

__all__ = ["evaluate", "predict", "prepare", "train", "tune"]
