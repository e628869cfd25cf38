import numpy as np
import pytest
from scipy import stats

from fieldwise import scores
from fieldwise.errors import InputError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_crps_is_the_double_sum():
    members, truth = noise(7, 5, 6), noise(5, 6, seed=1)
    near = np.abs(members - truth).mean(axis=0)
    pairs = sum(np.abs(one - other) for one in members for other in members) / (7 * 6)
    assert scores.fair_crps(members, truth) == pytest.approx(np.mean(near - pairs / 2), rel=1e-12)


def test_crps_of_a_gaussian():
    """Gneiting & Raftery (2007) give the CRPS of a normal distribution in closed form."""
    mean, deviation, truth = 1.0, 2.0, np.array([0.3, 1.0, 4.0])
    # Members at the quantiles are 4000 draws without chance.
    quantiles = stats.norm.ppf((np.arange(4000) + 0.5) / 4000, mean, deviation)
    z = (truth - mean) / deviation
    density, below = stats.norm.pdf(z), stats.norm.cdf(z)
    expected = deviation * (z * (2 * below - 1) + 2 * density - 1 / np.sqrt(np.pi))
    members = np.repeat(quantiles[:, None], 3, axis=1)
    assert scores.fair_crps(members, truth) == pytest.approx(expected.mean(), abs=1e-3)


def test_crps_is_fair():
    """Few members of the true distribution score as many do: sigma / sqrt(pi) where all are normal."""
    few = scores.fair_crps(noise(2, 200_000), noise(200_000, seed=1))
    assert few == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)


def test_ranks_by_hand_and_ties_by_chance():
    members = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert scores.ranks_of(members, [2.5, 9.0]).tolist() == [2, 3]
    tied = scores.ranks_of(np.zeros((3, 40_000)), np.zeros(40_000), seed=4)
    np.testing.assert_allclose(np.bincount(tied) / 40_000, 0.25, atol=0.01)
    same = scores.ranks_of(np.zeros((3, 40_000)), np.zeros(40_000), seed=4)
    assert (tied == same).all()
    assert (tied != scores.ranks_of(np.zeros((3, 40_000)), np.zeros(40_000), seed=5)).any()


@pytest.mark.parametrize("members", [2, 5, 8, 19, 30])
def test_a_perfect_ensemble_has_the_nominal_coverage(members):
    even = np.full(members + 1, 7)
    assert scores.coverage_of_ranks(even) == pytest.approx(0.9)
    assert scores.coverage_of_ranks(even, share=0.5) == pytest.approx(0.5)


def test_coverage_is_that_of_order_statistics():
    """With 19 members the interval of 90 % runs from the least to the largest member, that of 80 % one in."""
    members, truth = noise(19, 3000), 1.3 * noise(3000, seed=1)
    counts = np.bincount(scores.ranks_of(members, truth), minlength=20)
    ordered = np.sort(members, axis=0)
    for share, low, high in ((0.9, 0, 18), (0.8, 1, 17)):
        inside = (ordered[low] < truth) & (truth < ordered[high])
        assert scores.coverage_of_ranks(counts, share=share) == pytest.approx(inside.mean())
    assert scores.coverage_of_ranks([1, *[0] * 18, 1]) == pytest.approx(0)


def test_coverage_of_members_too_narrow():
    """Members of deviation 1/2 for a truth of 1: of many, the 90 % interval reaches 1.645 / 2."""
    counts = np.bincount(scores.ranks_of(0.5 * noise(199, 5000), noise(5000, seed=1)), minlength=200)
    expected = 2 * stats.norm.cdf(1.645 / 2) - 1
    assert scores.coverage_of_ranks(counts) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("members", [2, 10])
def test_spread_over_error_of_a_perfect_ensemble_is_one(members):
    sums = scores.EnsembleSums()
    sums.add(noise(members, 100_000), noise(100_000, seed=1))
    assert sums.spread_error_ratio == pytest.approx(1, abs=0.01)
    assert sums.error == pytest.approx(np.sqrt(1 + 1 / members), abs=0.01)
    assert sums.coverage(0.9) == pytest.approx(0.9, abs=0.005)


def test_parts_sum_up_to_the_whole():
    members, truth = noise(5, 6, 40), noise(6, 40, seed=1)
    truth[2, :7] = np.nan
    members[3, 4, 0] = np.nan
    whole, parts = scores.EnsembleSums(), scores.EnsembleSums()
    whole.add(members, truth)
    parts.add(members[:, 0], np.full(40, np.nan))  # a part without truth adds nothing
    for rows in (slice(0, 3), slice(3, 6)):
        parts.add(members[:, rows], truth[rows])
    assert whole.cells == parts.cells == 240 - 8
    assert (whole.rank_counts == parts.rank_counts).all()
    assert whole.rank_counts.sum() == 240 - 8
    for score in ("crps", "spread", "error", "spread_error_ratio"):
        assert getattr(parts, score) == pytest.approx(getattr(whole, score))
    known = ~np.isnan(truth) & ~np.isnan(members).any(axis=0)
    assert whole.crps == pytest.approx(scores.fair_crps(members[:, known], truth[known]))
    error = members.mean(axis=0)[known] - truth[known]
    assert whole.error == pytest.approx(np.sqrt(np.mean(error**2)))
    assert whole.spread == pytest.approx(np.sqrt(6 / 5 * members[:, known].var(axis=0, ddof=1).mean()))


def test_spread_tells_where_errors_are():
    width = np.geomspace(0.1, 10, 20_000)
    random = np.random.default_rng(3)
    order = random.permutation(width.size)  # groups are found, not given
    members, truth = (width * random.normal(size=(60, width.size)))[:, order], width * noise(width.size)
    spread, error = scores.spread_and_error(members, truth[order], bins=6)
    np.testing.assert_allclose(spread, error, rtol=0.06)  # 3,333 cells a group: 4 times 1.2 %
    assert spread[-1] > 20 * spread[0]


def test_power_of_members():
    truth = noise(3, 16, 16, 16)
    wavenumber, ratios = scores.member_power_ratios(np.stack([truth, 0.7 * truth]), truth, spacing=4.0)
    np.testing.assert_allclose(ratios, np.array([[1.0], [0.49]]) * np.ones(8))
    np.testing.assert_allclose(wavenumber, scores.power_spectrum(truth, spacing=4.0)[0])


def test_bad_ensembles():
    with pytest.raises(InputError, match="differ"):
        scores.fair_crps(noise(3, 4), noise(5))
    with pytest.raises(InputError, match="2 at least"):
        scores.fair_crps(noise(1, 4), noise(4))
    with pytest.raises(InputError, match="share no cell"):
        scores.fair_crps(noise(2, 1), [np.nan])
    with pytest.raises(InputError, match="share 90"):
        scores.coverage_of_ranks([1, 1], share=90)
    with pytest.raises(InputError, match="no rank"):
        scores.EnsembleSums().coverage()
    with pytest.raises(InputError, match="bins 9"):
        scores.spread_and_error(noise(2, 4), noise(4), bins=9)
    sums = scores.EnsembleSums()
    with pytest.raises(InputError, match="no ensemble"):
        _ = sums.crps
    sums.add(noise(2, 4), noise(4))
    with pytest.raises(InputError, match="from 2 before"):
        sums.add(noise(3, 4), noise(4))
