"""Where the time goes: seconds by the name of what was done, from whichever thread did it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

_CLOCKS: list[dict[str, float]] = []
_LOCK = Lock()


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Add up the seconds of every part that is measured within, by its name.

    Parts of several threads go on at the same time, so their sum may be more than what a clock on the wall
    shows.

    >>> with timed() as seconds:
    ...     with measure("reading"):
    ...         pass
    >>> list(seconds), seconds["reading"] >= 0
    (['reading'], True)
    """
    seconds: dict[str, float] = {}
    _CLOCKS.append(seconds)
    try:
        yield seconds
    finally:
        _CLOCKS.remove(seconds)


@contextmanager
def measure(part: str, wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Measure a part, if anybody wants to know.

    Parameters
    ----------
    part
        Its name.
    wait
        Called at its end where it is measured: waits for a GPU, which computes on while the program goes on.

    >>> with measure("writing"):
    ...     pass
    """
    if not _CLOCKS:
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        if wait is not None:
            wait()
        with _LOCK:
            for seconds in _CLOCKS:
                seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - started
