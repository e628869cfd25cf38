"""Forecasts drawn: over leads and hours, by what was forecast, case by case, ranks, and what they cost."""

from fieldwise.figures.forecasts.cases import draw_cases
from fieldwise.figures.forecasts.leads import draw_hours, draw_latency, draw_leads
from fieldwise.figures.forecasts.pairs import draw_conditional_quantiles, draw_ranks

__all__ = [
    "draw_cases",
    "draw_conditional_quantiles",
    "draw_hours",
    "draw_latency",
    "draw_leads",
    "draw_ranks",
]
