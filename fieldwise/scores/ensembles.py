"""Whether an ensemble is as sure as it may be: CRPS, coverage, spread over error, ranks, spectra of members.

Members are (member, ...), the truth (...); a cell where the truth or a member is missing (NaN) is left out.
An ensemble is perfect when the truth could be one of its members: then, of M members, each of the M + 1 ranks
of the truth is as likely, and the measures here have the expectations that they state, whatever M.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.scores.spectra import SpectrumSums


def complete_cells(members: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return members, (member, cell), and truth, (cell,), in the cells that miss no value.

    Raises
    ------
    InputError
        When there are fewer than two members, shapes differ, or no cell is complete.

    Examples
    --------
    >>> members, truth = complete_cells([[1.0, 2.0], [3.0, 4.0]], [np.nan, 5.0])
    >>> members.tolist(), truth.tolist()
    ([[2.0], [4.0]], [5.0])
    """
    drawn, true = _without_missing(members, truth)
    if true.size == 0:
        raise InputError("members and truth share no cell; check that they cover one area")
    return drawn, true


def _without_missing(members: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    drawn, true = np.asarray(members, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if drawn.shape[1:] != true.shape or drawn.ndim == 0:
        raise InputError(f"members {drawn.shape} and truth {true.shape} differ; give (member, ...) and (...)")
    if len(drawn) < 2:
        raise InputError(f"members {len(drawn)} make no ensemble; give 2 at least")
    drawn, true = drawn.reshape(len(drawn), -1), true.ravel()
    known = ~(np.isnan(true) | np.isnan(drawn).any(axis=0))
    return drawn[:, known], true[known]


def fair_crps(members: ArrayLike, truth: ArrayLike) -> float:
    """Return the fair continuous ranked probability score, the mean over cells, in their units.

    Fair means that its expectation is that of infinitely many members, however few there are (Ferro 2014). In
    a cell with the truth y and members x it is the mean distance of x from y, less half the mean distance
    between two different members.

    Examples
    --------
    >>> fair_crps([[1.0], [-3.0]], [0.0])  # (1 + 3) / 2 - 4 / 2
    0.0
    """
    return float(np.mean(crps_of_cells(*complete_cells(members, truth))))


def crps_of_cells(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the fair CRPS of each cell, (member, ...) and (...) to (...); no value may be missing.

    >>> crps_of_cells(np.array([[1.0, 1.0], [-3.0, 1.0]]), np.array([0.0, 3.0])).tolist()
    [0.0, 2.0]
    """
    count = len(members)
    # Sorted, member i is the larger one of i pairs and the smaller one of count - 1 - i.
    signs = 2 * np.arange(count) - (count - 1)
    differences = np.tensordot(signs, np.sort(members, axis=0), 1) / (count * (count - 1))
    return np.abs(members - truth).mean(axis=0) - differences


def ranks_of(members: ArrayLike, truth: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Return how many members lie below the truth in each complete cell; ties are broken by chance.

    Parameters
    ----------
    members, truth : (member, ...) and (...)
    seed : of the chance by which a truth equal to some members comes before, between or after them

    Examples
    --------
    >>> ranks_of([[1.0, 1.0], [2.0, 2.0]], [1.5, 0.0]).tolist()
    [1, 0]
    """
    return _ranks_of_cells(*complete_cells(members, truth), np.random.default_rng(seed))


def _ranks_of_cells(members: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    equal = np.count_nonzero(members == truth, axis=0)
    return np.count_nonzero(members < truth, axis=0) + random.integers(0, equal + 1)


def coverage_of_ranks(counts: ArrayLike, *, share: float = 0.9) -> float:
    """Return how much of the truth lies in the central interval of a perfect ensemble, from a rank histogram.

    Of M members, rank r stands for the probabilities from r / (M + 1) to (r + 1) / (M + 1), and counts with
    the part of these that lies in the interval. So the expected coverage of a perfect ensemble is the share
    itself, for any M. It is the coverage between the j-th lowest and the j-th highest member, interpolated to
    j = (M + 1) (1 − share) / 2. Below 19 members (of a share of 0.9) this is less than 1: then even a truth
    beyond all members counts in part, and coverage cannot fall to 0. Draw 19 or more where it matters.

    Parameters
    ----------
    counts : (M + 1,) how often the truth had each rank
    share : of the interval, between 0 and 1

    Raises
    ------
    InputError
        When the share is not between 0 and 1 or nothing was counted.

    Examples
    --------
    >>> even, too_wide = 20 * [5], [1, *(18 * [4]), 1]
    >>> round(coverage_of_ranks(even), 6), round(coverage_of_ranks(too_wide), 6)
    (0.9, 0.972973)
    """
    if not 0 < share < 1:
        raise InputError(f"share {share} of an interval is not between 0 and 1; give 0.9, for example")
    counts = np.asarray(counts, dtype=np.float64)
    if not counts.sum():
        raise InputError("no rank was counted, so nothing is known of coverage; add members and their truth")
    edges = np.clip(np.linspace(0, 1, len(counts) + 1), (1 - share) / 2, (1 + share) / 2)
    inside = np.diff(edges) * len(counts)
    return float(counts @ inside / counts.sum())


@dataclass
class EnsembleSums:
    """Scores of ensembles that come part by part, such as boxes or blocks; they are those of all cells.

    Parameters
    ----------
    seed : of the chance by which ties between truth and members are broken

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> sums = EnsembleSums()
    >>> for block in range(4):  # the truth is like a member, and half as wide
    ...     sums.add(2 * random.normal(size=(19, 5000)), random.normal(size=5000))
    >>> round(sums.crps, 2), round(sums.coverage(0.9), 2), round(sums.spread_error_ratio, 2)
    (0.65, 0.99, 1.88)
    """

    seed: int = 0
    members: int = 0
    cells: int = 0
    rank_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    crps_total: float = 0.0
    variances: float = 0.0  # sum of the members' unbiased variances
    squares: float = 0.0  # sum of squares of the errors of their mean
    parts: int = 0

    def add(self, members: ArrayLike, truth: ArrayLike) -> None:
        """Add the members, (member, ...), and the truth, (...), of one part; missing cells add nothing.

        Raises
        ------
        InputError
            When shapes differ, or the number of members differs from that before.
        """
        drawn, true = _without_missing(members, truth)
        if self.members not in (0, len(drawn)):
            raise InputError(
                f"members {len(drawn)} differ from {self.members} before; draw as many everywhere"
            )
        random = np.random.default_rng([self.seed, self.parts])
        counts = np.bincount(_ranks_of_cells(drawn, true, random), minlength=len(drawn) + 1)
        self.rank_counts = counts + (self.rank_counts if self.members else 0)
        self.crps_total += float(crps_of_cells(drawn, true).sum())
        self.variances += float(drawn.var(axis=0, ddof=1).sum())
        self.squares += float(np.square(drawn.mean(axis=0) - true).sum())
        self.members, self.cells, self.parts = len(drawn), self.cells + true.size, self.parts + 1

    @property
    def crps(self) -> float:
        """The fair continuous ranked probability score, as of :func:`fair_crps`."""
        return self.crps_total / self._count

    def coverage(self, share: float = 0.9) -> float:
        """The coverage of a central interval, as of :func:`coverage_of_ranks`."""
        return coverage_of_ranks(self.rank_counts, share=share)

    @property
    def spread(self) -> float:
        """The members' root-mean-square spread, times √((M + 1) / M), which is what their mean errs by.

        The mean of M members errs by their scatter too, not only by that of the truth (Fortin et al. 2014).
        """
        return float(np.sqrt((self.members + 1) / self.members * self.variances / self._count))

    @property
    def error(self) -> float:
        """The root-mean-square error of the members' mean."""
        return float(np.sqrt(self.squares / self._count))

    @property
    def spread_error_ratio(self) -> float:
        """Spread over error: 1 of a perfect ensemble, below 1 of one too sure; NaN without error."""
        return self.spread / self.error if self.error else float("nan")

    @property
    def _count(self) -> int:
        if not self.cells:
            raise InputError("no ensemble was added, so there is no score; add members and their truth")
        return self.cells


def spread_and_error(
    members: ArrayLike, truth: ArrayLike, *, bins: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Return spread and error of cells alike in spread: they agree where the spread says where errors are.

    Ten members or fewer know their spread so badly that even of a perfect ensemble the cells of little spread
    err by a tenth more than they spread: these are also cells where it is too small by chance.

    Parameters
    ----------
    members, truth : (member, ...) and (...)
    bins : number of groups, from the cells of least to those of most spread, of equal size

    Returns
    -------
    spread, error : (bins,) of each group, as of :class:`EnsembleSums`

    Raises
    ------
    InputError
        When there are fewer complete cells than groups.

    Examples
    --------
    >>> spread, error = spread_and_error([[1.0, 2.0], [-1.0, -2.0]], [3.0, 4.0], bins=2)
    >>> (spread**2).round(6).tolist(), error.tolist()  # variances 2 and 8, times 3 / 2
    ([3.0, 12.0], [3.0, 4.0])
    """
    drawn, true = complete_cells(members, truth)
    if not 1 <= bins <= true.size:
        raise InputError(f"bins {bins} do not suit {true.size} cells; give 1 to {true.size}")
    variance = drawn.var(axis=0, ddof=1) * (len(drawn) + 1) / len(drawn)
    squares = np.square(drawn.mean(axis=0) - true)
    groups = np.array_split(np.argsort(variance, kind="stable"), bins)
    spread, error = (
        np.sqrt([quantity[cells].mean() for cells in groups]) for quantity in (variance, squares)
    )
    return spread, error


def member_power_ratios(
    members: ArrayLike, truth: ArrayLike, *, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return each member's power over that of the truth in a periodic box.

    A member should be as rough as the truth: 1 throughout. The mean of members is smoother.

    Parameters
    ----------
    members, truth : (member, channel, y, x) or (member, channel, z, y, x), and the same without members
    spacing : side of a cell, such as in Mpc/h

    Returns
    -------
    wavenumber : (shell,) radians a unit of spacing (h/Mpc)
    ratios : (member, shell)

    Examples
    --------
    >>> truth = np.random.default_rng(0).normal(size=(1, 8, 8))
    >>> wavenumber, ratios = member_power_ratios([0.5 * truth, 2 * truth], truth, spacing=1.0)
    >>> ratios[:, 0].round(6).tolist()
    [0.25, 4.0]
    """
    spectra = []
    for member in np.asarray(members):
        spectra.append(SpectrumSums(spacing))
        spectra[-1].add(member, truth)
    if not spectra:
        raise InputError("there are no members, so no spectra; draw one at least")
    return spectra[0].wavenumber, np.stack([each.power_ratio for each in spectra])
