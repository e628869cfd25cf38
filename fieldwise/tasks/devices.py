"""Where a network runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fieldwise.errors import InputError


def choose_device(accelerator: str) -> torch.device:
    """Name the device of an accelerator: cpu, gpu, or auto, the best that there is.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if accelerator not in ("cpu", "gpu", "auto"):
        raise InputError(f"--accelerator: is {accelerator!r}; give cpu, gpu or auto")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("--accelerator: no GPU was found; give cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def few_threads(network: Any) -> Iterator[None]:
    """Compute a network that is small, as it says itself (`computes_in_full`), in one thread.

    Several would wait for each other longer than they compute: a step of training that takes 47 ms in one
    thread took 63 to 81 ms in two.

    >>> from types import SimpleNamespace
    >>> before = torch.get_num_threads()
    >>> with few_threads(SimpleNamespace(computes_in_full=True)):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    if getattr(network, "computes_in_full", False):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
