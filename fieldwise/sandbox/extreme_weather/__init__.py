"""Made weather with tropical cyclones, atmospheric rivers and decoys, whose truth is known."""

from fieldwise.sandbox.extreme_weather.seasons import Moment, Season, write_season

__all__ = ["Moment", "Season", "write_season"]
