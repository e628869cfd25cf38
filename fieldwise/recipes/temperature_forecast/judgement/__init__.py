"""Forecasts judged: read beside what came and what they are compared with, scored, told in words, drawn."""
