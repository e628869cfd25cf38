"""Options of the verbs, checked before anything is read or written."""

from __future__ import annotations

from fieldwise.errors import InputError


def require_at_least(least: float, **options: float | None) -> None:
    """Refuse options below a least value; None stands for a default.

    >>> require_at_least(1, block_cells=512, patience=None)
    >>> require_at_least(1, block_cells=0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --block_cells: is 0; give at least 1
    """
    for name, value in options.items():
        if value is not None and not value >= least:
            raise InputError(f"--{name}: is {value:g}; give at least {least:g}")
