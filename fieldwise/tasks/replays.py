"""A network that meets maps of one shape time and again: what a GPU is told is recorded once and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Inputs = Tensor | Mapping[str, Tensor]


class Recording(NamedTuple):
    """A CUDA graph, the tensors that it reads, and the one that it writes."""

    graph: Any
    inputs: Any
    answer: Tensor


class Replayed:
    """A network whose calls are replayed as a CUDA graph once a shape comes a second time.

    Telling a GPU of a thousand small steps takes longer than the steps; a graph tells it once. Where
    recording does not succeed, as on a processor, the network is called plainly. An answer holds until the
    next call.

    >>> doubled = Replayed(lambda inputs: 2 * inputs)
    >>> [doubled(torch.full((1, 1), number)).item() for number in (1.0, 2.0)]
    [2.0, 4.0]
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self._seen: set[Any] = set()
        self._recording: tuple[Any, Recording | None] = None, None  # of the last shape: memory of one alone

    def __call__(self, inputs: Inputs) -> Tensor:
        """Pass inputs through the network."""
        shapes = tuple((name, each.shape, each.dtype) for name, each in _named(inputs).items())
        if shapes not in self._seen or not all(each.is_cuda for each in _named(inputs).values()):
            self._seen.add(shapes)
            return self.network(inputs)
        if self._recording[0] != shapes:
            self._recording = None, None
            self._recording = shapes, record(self.network, inputs)
        recording = self._recording[1]
        if recording is None:
            return self.network(inputs)
        for name, each in _named(inputs).items():
            _named(recording.inputs)[name].copy_(each)
        recording.graph.replay()
        return recording.answer


def record(network: Any, inputs: Inputs) -> Recording | None:
    """Record a call of a network as a CUDA graph; None where it does what cannot be recorded.

    >>> record(lambda inputs: 2 * inputs, torch.zeros(1)) is None  # on a processor
    True
    """
    if not all(each.is_cuda for each in _named(inputs).values()):
        return None
    held = (
        inputs.clone()
        if isinstance(inputs, Tensor)
        else {name: each.clone() for name, each in inputs.items()}
    )
    beside, now = torch.cuda.Stream(), torch.cuda.current_stream()
    beside.wait_stream(now)
    with torch.cuda.stream(beside):
        network(held)  # once plainly: what is made at the first call is no part of the recording
    now.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others read ahead meanwhile
            answer = network(held)
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    return Recording(graph, held, answer)


def _named(inputs: Inputs) -> Mapping[str, Tensor]:
    return {"": inputs} if isinstance(inputs, Tensor) else inputs
