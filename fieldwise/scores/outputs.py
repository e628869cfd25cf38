"""Whatever a network gives, judged by the signature that describes it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldwise.samples.signatures import Signature
from fieldwise.scores.errors import ErrorSums
from fieldwise.scores.tables import make_score
from fieldwise.scores.vectors import cosines_of, speed_of

NAME = "prediction"


class OutputSums:
    """Scores of what a signature gives, frame by frame: no more than one is in memory.

    Parameters
    ----------
    signature
        Whose outputs are judged: each field, and of vectors their lengths and directions.
    still
        Greatest length of a true vector that has no direction worth comparing.
    unit
        Of all fields, as a table is to show it; by default as the signature has each.

    Examples
    --------
    >>> from fieldwise.samples.signatures import Variable
    >>> flow = Variable("bar", ("ubar", "vbar"), "m/a", vector=True)
    >>> sums = OutputSums(Signature("own", (), (flow,)), still=1.0)
    >>> true = np.array([[10.0, 20.0], [0.0, 0.0]])
    >>> sums.add(true + [[1.0, -3.0], [0.0, 0.0]], true)
    >>> for row in sums.rows("test"):
    ...     print(row["measure"], row["at"], round(row["value"], 4))  # (1 + 3) / 2; root of 10 / 2; 4 / 30
    mae ubar 2.0
    mae vbar 0.0
    rmse ubar 2.2361
    rmse vbar 0.0
    relative_l1 bar 0.1333
    direction_cosine bar 1.0
    """

    def __init__(self, signature: Signature, *, still: float = 0.0, unit: str | None = None) -> None:
        self.still = still
        self.units = {name: unit or each.units for each in signature.outputs for name in each.fields}
        places = [each.name for each in signature.outputs if each.vector]
        self.vectors = dict(zip(places, map(list, signature.vectors()["targets"]), strict=True))
        self.errors = {name: ErrorSums() for name in signature.fields("outputs")}
        self.lengths = {place: ErrorSums() for place in places}
        self.cosines = dict.fromkeys(places, (0.0, 0))  # their sum and number

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add the cells of one frame, (field, cell)."""
        for sums, *values in zip(self.errors.values(), predicted, true, strict=True):
            sums.add(*values)
        for place, pair in self.vectors.items():
            self.lengths[place].add(speed_of(predicted[pair]), speed_of(true[pair]))
            cosines = cosines_of(predicted[pair], true[pair], still=self.still)
            total, count = self.cosines[place]
            self.cosines[place] = total + float(cosines.sum(dtype=np.float64)), count + cosines.size

    def rows(self, against: str) -> list[dict[str, Any]]:
        """Give the errors of fields, then those of lengths and directions of vectors."""
        rows = [
            make_score(against, measure, self.units[name], NAME, getattr(sums, measure), at=name)
            for measure in ("mae", "rmse")
            for name, sums in self.errors.items()
        ]
        rows += [
            make_score(against, "relative_l1", "1", NAME, sums.relative_l1, at=place)
            for place, sums in self.lengths.items()
        ]
        return rows + [
            make_score(against, "direction_cosine", "1", NAME, total / count if count else np.nan, at=place)
            for place, (total, count) in self.cosines.items()
        ]
