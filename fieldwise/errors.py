"""The one kind of error that is the user's to mend, a case of it, and the commonest checks that raise it."""

import re
from collections.abc import Iterable


class InputError(ValueError):
    """Something that a user gave cannot be used.

    The message names the file or value, says what is wrong and what to do about it, in one line;
    the command line prints it as it is and exits with status 2.

    >>> raise InputError("radar.csv has no column THICK; name one of LAT, LON in the pipeline's header")
    Traceback (most recent call last):
    fieldwise.errors.InputError: radar.csv has no column THICK; name one of LAT, LON in the pipeline's header

    In a notebook the line stands alone, without a traceback, and an option is called as the parameter is:

    >>> InputError("--batch_size: is 0; give at least 1")._render_traceback_()
    ['batch_size: is 0; give at least 1']
    """

    def _render_traceback_(self) -> list[str]:
        """Give IPython what to show in place of a traceback; the cell fails all the same."""
        return [name_parameters(str(self))]


def name_parameters(message: str) -> str:
    """Call options as parameters are called in Python; a command in backticks stays as it is typed.

    >>> name_parameters("--step_cells: is 0; give 4, or run `fieldwise ice_flow train --help`")
    'step_cells: is 0; give 4, or run `fieldwise ice_flow train --help`'
    """
    return re.sub(r"(`[^`]*`)|--(?=[a-z])", lambda found: found[1] or "", message)


class DivergenceError(InputError):
    """Training has come to numbers that are not finite; a lower learning rate may help.

    >>> issubclass(DivergenceError, InputError)
    True
    """


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


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind where it says nothing.

    >>> first_line(OSError("it is gone\\nfor ever")), first_line(KeyError())
    ('it is gone', 'KeyError')
    """
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def times(sizes: Iterable[int]) -> str:
    """Write the sizes of a box as one says them.

    >>> times((128, 128, 64))
    '128 x 128 x 64'
    """
    return " x ".join(map(str, sizes))
