"""Sequences of hours out of cases: what came before, what comes after, and what is known of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from fieldwise.errors import InputError, require_at_least
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.loaders import Frame, FrameSampler, make_patch_loader
from fieldwise.samples.signatures import Signature, Variable


@dataclass(frozen=True)
class Span:
    """How many frames a sequence has, and how many lie between the beginnings of two.

    Parameters
    ----------
    context, horizon
        Frames that are read, and those after them that are to be told.
    stride
        Frames from the beginning of a sequence to that of the next.

    Raises
    ------
    InputError
        Where one is below 1.

    >>> [*Span(context=2, horizon=3, stride=2).starts(8)]  # the last has frames 2 to 6
    [0, 2]
    >>> Span(context=0, horizon=3)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --context: is 0; give at least 1
    """

    context: int
    horizon: int
    stride: int = 1

    def __post_init__(self) -> None:
        """Refuse what makes no sequence."""
        require_at_least(1, context=self.context, horizon=self.horizon, stride=self.stride)

    def starts(self, frames: int) -> range:
        """Give the first frames of the sequences that so many frames hold."""
        return range(0, frames - self.context - self.horizon + 1, self.stride)

    def check(self, cases: Iterable[Case]) -> None:
        """Refuse a case that is too short for one sequence."""
        length = self.context + self.horizon
        for case in cases:
            if case.frames < length:
                raise InputError(
                    f"--context {self.context} --horizon {self.horizon}: take {length} frames, and case "
                    f"{case} has {case.frames}; give fewer, or prepare longer cases"
                )


def stack_frames(
    case: Case, variables: Sequence[Variable], frames: slice, *, cells: Cells = ()
) -> np.ndarray:
    """Read frames of variables, scaled: (frame, channel, *cells) float32.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.scales import Scale
    >>> (case,) = make_prepared({"t2m": np.arange(6.0).reshape(3, 1, 2)}).cases()
    >>> stack_frames(case, [Variable("t2m", scale=Scale(1.0, 2.0))], slice(1, 3)).tolist()
    [[[[0.5, 1.0]]], [[[1.5, 2.0]]]]
    """
    channels = [
        each.scale.apply(case.read_frames(name, frames=frames, cells=cells))
        for each in variables
        for name in each.fields
    ]
    return np.stack(channels, axis=1).astype(np.float32, copy=False)


def list_sequences(
    cases: Iterable[Case], signature: Signature, span: Span, *, forcing: Sequence[str] = ()
) -> list[Frame]:
    """Give a reader for every sequence, as :func:`fieldwise.samples.loaders.make_patch_loader` takes it.

    No sequence leaves its case, and nothing is read before it is asked for.

    Parameters
    ----------
    signature
        Its outputs are read from the context and told of the horizon.
    forcing
        Inputs of it that are known of the horizon too, such as how strongly the sun shines.

    Returns
    -------
    list
        Rows and columns to `inputs` (context, channel, y, x) and `targets` (horizon, channel, y, x), both of
        the signature's outputs, and `forcing` (context + horizon, forcing, y, x); all scaled.

    >>> from fieldwise.samples.examples import make_prepared
    >>> cases = make_prepared({"t2m": np.arange(5.0).reshape(5, 1, 1), "sun": np.ones((5, 1, 1))}).cases()
    >>> signature = Signature("own", (Variable("t2m"), Variable("sun")), (Variable("t2m"),))
    >>> first, second = list_sequences(cases, signature, Span(3, 1), forcing=["sun"])
    >>> {name: values.ravel().tolist() for name, values in second(slice(None), slice(None)).items()}
    {'inputs': [1.0, 2.0, 3.0], 'targets': [4.0], 'forcing': [1.0, 1.0, 1.0, 1.0]}
    """
    known = [each for each in signature.inputs if each.name in forcing]
    reader = partial(_read, signature.outputs, known, span)
    return [partial(reader, case, first) for case in cases for first in span.starts(case.frames)]


def _read(
    told: Sequence[Variable], known: Sequence[Variable], span: Span, case: Case, first: int, *cells: slice
) -> dict[str, Any]:
    frames = slice(first, first + span.context + span.horizon)
    values = stack_frames(case, told, frames, cells=cells)
    sample = {"inputs": values[: span.context], "targets": values[span.context :]}
    return sample | ({"forcing": stack_frames(case, known, frames, cells=cells)} if known else {})


def make_sequence_loaders(
    learnt: Sequence[Case],
    judged: Sequence[Case],
    signature: Signature,
    span: Span,
    *,
    batch_size: int,
    seed: int,
    forcing: Sequence[str] = (),
) -> tuple[DataLoader, DataLoader]:
    """Serve sequences to learn from, in an order of seed and epoch alone, and those to judge by in theirs.

    Of those to judge by each begins where the one before it ended its context: all hours have their say, and
    validation does not take longer than it tells.

    Raises
    ------
    InputError
        Where cases differ in their cells, so that they make no batch, or are too short for a sequence.

    >>> from fieldwise.samples.examples import make_prepared
    >>> cases = make_prepared({"t2m": np.zeros((40, 4, 6))}).cases()
    >>> signature = Signature("own", (Variable("t2m"),), (Variable("t2m"),))
    >>> loaders = make_sequence_loaders(cases, cases, signature, Span(12, 12), batch_size=10, seed=7)
    >>> [[tuple(batch["inputs"].shape) for batch in loader] for loader in loaders]
    [[(10, 12, 1, 4, 6), (7, 12, 1, 4, 6)], [(2, 12, 1, 4, 6)]]
    """
    span.check([*learnt, *judged])
    shapes = {case.shape: case for case in [*learnt, *judged]}
    if len(shapes) > 1:
        one, other = list(shapes.values())[:2]
        raise InputError(
            f"cases {one} and {other}: have {one.shape} and {other.shape} cells, which make no batch; "
            "prepare them alike"
        )
    sequences = list_sequences(learnt, signature, span, forcing=forcing)
    apart = Span(span.context, span.horizon, max(span.stride, span.context))
    return (
        make_patch_loader(sequences, batch_size=batch_size, sampler=FrameSampler(len(sequences), seed=seed)),
        make_patch_loader(list_sequences(judged, signature, apart, forcing=forcing), batch_size=batch_size),
    )
