"""Forecasts over lead times: what they are compared with, how far off they are, and how sure that is."""

from fieldwise.scores.forecasts.baselines import DampedPersistence, persist_day, persist_last
from fieldwise.scores.forecasts.blocks import (
    BlockBootstrap,
    choose_block_days,
    interval_of,
    number_blocks,
    tell_differences,
    tell_leads,
)
from fieldwise.scores.forecasts.climatology import (
    Climatology,
    ClimatologySums,
    month_and_hour,
    read_climatology,
)
from fieldwise.scores.forecasts.measures import (
    anomaly_correlation,
    area_weights,
    gradient_ratio,
    mean_absolute_error,
    mean_error,
    mean_over_cells,
    mean_squared_error,
    peak_signal_to_noise,
    structural_similarity,
)
from fieldwise.scores.forecasts.quantiles import ConditionalQuantiles
from fieldwise.scores.forecasts.results import (
    ForecastScores,
    list_measures,
    mean_by_hour,
    mean_scores,
    read_results,
    resample_blocks,
    score_hours,
    score_leads,
    share_forecasts,
    tell_hours,
    write_results,
)

__all__ = [
    "BlockBootstrap",
    "Climatology",
    "ClimatologySums",
    "ConditionalQuantiles",
    "DampedPersistence",
    "ForecastScores",
    "anomaly_correlation",
    "area_weights",
    "choose_block_days",
    "gradient_ratio",
    "interval_of",
    "list_measures",
    "mean_absolute_error",
    "mean_by_hour",
    "mean_error",
    "mean_over_cells",
    "mean_scores",
    "mean_squared_error",
    "month_and_hour",
    "number_blocks",
    "peak_signal_to_noise",
    "persist_day",
    "persist_last",
    "read_climatology",
    "read_results",
    "resample_blocks",
    "score_hours",
    "score_leads",
    "share_forecasts",
    "structural_similarity",
    "tell_differences",
    "tell_hours",
    "tell_leads",
    "write_results",
]
