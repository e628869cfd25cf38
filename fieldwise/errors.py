"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something that a user gave cannot be used.

    The message names the file or value, says what is wrong and what to do about it, in one line;
    the command line prints it as it is and exits with status 2.

    >>> raise InputError("radar.csv has no column THICK; name one of LAT, LON in the pipeline's header")
    Traceback (most recent call last):
    fieldwise.errors.InputError: radar.csv has no column THICK; name one of LAT, LON in the pipeline's header
    """
