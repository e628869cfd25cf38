"""Sequences out of cases: what is in them, how many there are, and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_forecasts import CELLS, make_world

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast.plan import describe_fields
from fieldwise.samples.sequences import Span, list_sequences, make_sequence_loaders

WHOLE = (slice(None), slice(None))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "data")


def signature_of(cases, **changes):
    options = {"fields": ["t2m", "t850"], "forcing": ["sunshine"], "context": 3, "horizon": 2} | changes
    return describe_fields(cases, target="t2m", **options)


def test_a_sequence_holds_its_hours_scaled_by_training(world):
    (case,), (judged,) = world.cases("training"), world.cases("test")
    signature = signature_of([case])
    sequences = list_sequences([judged], signature, Span(3, 2, stride=4), forcing=["sunshine"])
    assert len(sequences) == 9  # the first hours are 0, 4, ..., 32 of 40; 36 would end in 40
    sample = sequences[2](*WHOLE)
    learnt, told = (one.read_frames("t850").astype(np.float64) for one in (case, judged))
    expected = (told[8:13] - learnt.mean()) / learnt.std()
    np.testing.assert_allclose(sample["inputs"][:, 1], expected[:3], atol=1e-5)
    np.testing.assert_allclose(sample["targets"][:, 1], expected[3:], atol=1e-5)
    assert sample["forcing"].shape == (5, 1, *CELLS)
    assert np.corrcoef(sample["forcing"].ravel(), judged.read_frames("sunshine")[8:13].ravel())[0, 1] > 0.9999


def test_a_part_of_the_cells_is_that_part(world):
    (case,) = world.cases("training")
    reader = list_sequences([case], signature_of([case]), Span(3, 2), forcing=["sunshine"])[7]
    whole, part = reader(*WHOLE), reader(slice(2, 5), slice(4, 12))
    for name, values in whole.items():
        np.testing.assert_array_equal(part[name], values[..., 2:5, 4:12])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 30))
def test_sequences_fit_and_no_further_one_would(context, horizon, stride, frames):
    starts = [*Span(context, horizon, stride).starts(frames)]
    length = context + horizon
    assert starts == [first for first in range(0, frames, stride) if first + length <= frames]


def test_no_sequence_leaves_its_case(tmp_path):
    """Cases whose fields say in which they are: every sequence is all of one."""
    cases = make_world(tmp_path / "data").cases()
    for number, case in enumerate(cases):
        np.save(case.folder / case.files["t2m"], np.full((case.frames, *CELLS), number, dtype=np.float32))
    sequences = list_sequences(cases, signature_of(cases, fields=["t2m"]), Span(3, 2), forcing=["sunshine"])
    assert len(sequences) == sum(case.frames - 4 for case in cases)
    for reader in sequences:
        sample = reader(*WHOLE)
        assert np.unique(np.concatenate([sample["inputs"], sample["targets"]])).size == 1


def test_order_is_a_function_of_seed_and_epoch(world):
    cases = world.cases("training")
    signature = signature_of(cases)

    def order(seed, epoch):
        loader, _ = make_sequence_loaders(
            cases, cases, signature, Span(3, 2), batch_size=4, seed=seed, forcing=["sunshine"]
        )
        loader.sampler.set_epoch(epoch)
        return [first for first, *_ in loader.sampler]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(1, 1)) == [*range(56)]


def test_cases_of_different_cells_make_no_batch(tmp_path):
    one, other = (make_world(tmp_path / str(rows), cells=(rows, 12)).cases("training") for rows in (8, 9))
    with pytest.raises(InputError, match=r"have \(8, 12\) and \(9, 12\) cells"):
        make_sequence_loaders(one, other, signature_of(one), Span(3, 2), batch_size=4, seed=0)


def test_a_sequence_longer_than_a_case(world):
    with pytest.raises(InputError, match=r"--context 30 --horizon 12: take 42 frames, .*test has 40; give"):
        Span(30, 12).check(world.cases("training", "test"))
