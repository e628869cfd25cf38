"""Hourly maps of temperature some hours ahead, from the maps of the hours before.

After Gong et al. (2022), https://doi.org/10.5194/gmd-15-8931-2022.
"""

from fieldwise.recipes.temperature_forecast.prepare import prepare

__all__ = ["prepare"]
