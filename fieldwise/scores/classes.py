"""Judge classes of cells: overlap both ways, events, and how far probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.components import label_components
from fieldwise.scores.tables import make_score

COVERED = 0.25  # of its area, from which on an event counts as seen by the other side
BINS = 10  # of probabilities


@dataclass
class ClassSums:
    """Overlap of predicted and true classes, image by image and pooled over the cells of all.

    Of an image it is the intersection over union of each class, 1 where neither has the class, as DeepCAM
    judges; pooled, the intersections and the unions of all images are summed first.

    Parameters
    ----------
    classes
        Their names.

    >>> sums = ClassSums(("calm", "storm"))
    >>> sums.add(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))  # IoU 1/2 and 2/3
    >>> sums.add(np.array([[0, 0]]), np.array([[0, 0]]))  # 1, and 1 of what neither has
    >>> sums.per_image.round(4).tolist(), sums.pooled.round(4).tolist()
    ([0.75, 0.8333], [0.75, 0.6667])
    >>> sums.confusion.tolist()  # true classes in rows
    [[3, 0], [1, 2]]
    """

    classes: Sequence[str]
    confusion: np.ndarray = field(init=False)
    images: int = 0
    _of_images: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        count = len(self.classes)
        self.confusion, self._of_images = np.zeros((count, count), dtype=np.int64), np.zeros(count)

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add an image: two arrays of one shape that hold the numbers of classes."""
        count = len(self.classes)
        pairs = true.astype(np.int64).ravel() * count + predicted.astype(np.int64).ravel()
        confusion = np.bincount(pairs, minlength=count**2).reshape(count, count)
        self.confusion += confusion
        self._of_images += _overlap(confusion)
        self.images += 1

    @property
    def per_image(self) -> np.ndarray:
        """The overlap of each class, mean over images."""
        if not self.images:
            raise InputError("there is no image to judge; give one at least")
        return self._of_images / self.images

    @property
    def pooled(self) -> np.ndarray:
        """The overlap of each class over the cells of all images."""
        return _overlap(self.confusion)

    def rows(self, against: str, name: str) -> list[dict[str, Any]]:
        """Give scores: of each class ``at`` its name, and the mean over classes.

        >>> sums = ClassSums(("calm", "storm"))
        >>> sums.add(np.array([[0, 1]]), np.array([[0, 0]]))
        >>> [(row["measure"], row.get("at"), row["value"]) for row in sums.rows("truth", "prediction")][:3]
        [('iou_per_image', None, 0.25), ('iou_per_image', 'calm', 0.5), ('iou_per_image', 'storm', 0.0)]
        """
        return [
            make_score(against, measure, "1", name, value, at=at)
            for measure, values in (("iou_per_image", self.per_image), ("iou_pooled", self.pooled))
            for at, value in zip((None, *self.classes), (values.mean(), *values), strict=True)
        ]


def _overlap(confusion: np.ndarray) -> np.ndarray:
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def measure_cover(mask: np.ndarray, other: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the area of each connected part of a mask of the globe, and how much of it another one covers.

    Parameters
    ----------
    mask, other
        (rows, columns) bool.
    area
        (rows, columns), of the cells.

    Returns
    -------
    tuple of numpy.ndarray
        (parts,) each, in the order of their numbers.

    >>> mask, other = np.array([[1, 1, 0, 1, 0]]) > 0, np.array([[0, 1, 1, 0, 0]]) > 0
    >>> [areas.tolist() for areas in measure_cover(mask, other, np.full((1, 5), 3.0))]
    [[6.0, 3.0], [3.0, 0.0]]
    """
    parts = label_components(mask).ravel()
    return np.bincount(parts, area.ravel())[1:], np.bincount(parts, (area * other).ravel())[1:]


@dataclass
class EventSums:
    """How many true events are found, and how many of those predicted are false, image by image.

    An event is a connected part of a mask of the globe; it is seen by the other mask where that covers a
    quarter of its area or more.

    Parameters
    ----------
    area
        (rows, columns): of the cells.
    least
        Area from which on a part counts as an event.

    >>> sums = EventSums(np.ones((1, 9)))
    >>> sums.add(np.array([[1, 1, 0, 0, 0, 1, 0, 0, 0]]) > 0, np.array([[0, 1, 0, 1, 0, 0, 0, 0, 0]]) > 0)
    >>> sums.found, sums.false  # one of two; and one of two is nowhere near
    (0.5, 0.5)
    """

    area: np.ndarray
    least: float = 0.0
    true: int = 0
    hits: int = 0
    predicted: int = 0
    alarms: int = 0

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add an image: two masks, (rows, columns) bool."""
        seen = self._count_seen(true, predicted)
        self.true, self.hits = self.true + seen.size, self.hits + int(seen.sum())
        real = self._count_seen(predicted, true)
        self.predicted, self.alarms = self.predicted + real.size, self.alarms + int((~real).sum())

    def _count_seen(self, mask: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Tell of each part of a mask whether another one covers enough of it."""
        whole, covered = measure_cover(mask, other, self.area)
        return (covered >= COVERED * whole)[whole >= self.least]

    @property
    def found(self) -> float:
        """Share of the true events that are found; NaN where there are none."""
        return self.hits / self.true if self.true else float("nan")

    @property
    def false(self) -> float:
        """Share of the predicted events that are false; NaN where there are none."""
        return self.alarms / self.predicted if self.predicted else float("nan")


@dataclass
class ReliabilitySums:
    """How often something happens that was held for so probable, by tenths of probability.

    >>> sums = ReliabilitySums()
    >>> sums.add(np.array([0.04, 0.06, 0.92]), np.array([False, True, True]))
    >>> table = sums.table()
    >>> table["probability"][:1].round(2).tolist(), table["share"][[0, 9]].tolist(), table["count"].tolist()
    ([0.05], [0.5, 1.0], [2, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    happened: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    total: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probability: np.ndarray, happened: np.ndarray) -> None:
        """Add cells: how probable it was held, 0 to 1, and whether it was so."""
        values = np.asarray(probability, dtype=float).ravel()
        bins = np.minimum((values * BINS).astype(int), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)
        self.happened += np.bincount(bins, np.asarray(happened, dtype=float).ravel(), minlength=BINS)
        self.total += np.bincount(bins, values, minlength=BINS)

    def table(self) -> dict[str, np.ndarray]:
        """Give ``probability``, mean of a bin, ``share`` of cells where it was so, ``count`` of cells."""
        known = np.where(self.counts > 0, self.counts, np.nan)
        return {"probability": self.total / known, "share": self.happened / known, "count": self.counts}
