"""GMT, which surveys are gridded and maps drawn with; it is loaded where it is used, and nowhere else."""

from __future__ import annotations

from typing import Any

from fieldwise.errors import InputError

REMEDY = (
    "`make gmt` installs GMT, or `conda install -c conda-forge gmt pygmt`, "
    "or `apt install gmt libgmt-dev` and `pip install pygmt`"
)


def load_gmt() -> Any:
    """Import PyGMT, which loads the shared library of GMT.

    Raises
    ------
    InputError
        When PyGMT, or the GMT that it calls, is missing or too old.

    Examples
    --------
    >>> load_gmt().__name__
    'pygmt'
    """
    try:
        import pygmt
    except Exception as error:  # beside ImportError those of PyGMT, which has no name without its library
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"GMT: surveys and maps of beds need it, but {reason}; {REMEDY}") from error
    return pygmt
