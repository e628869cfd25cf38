"""The two text files beside an emulator's weights that name its fields and say by what they are divided.

`fieldin.dat` and `fieldout.dat` of 2Dto2D-DLE and of the Instructed Glacier Model hold one line a channel, in
the order of the channels: name, scale with six decimals, each followed by a blank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError


def read_field_scales(path: str | Path) -> dict[str, float]:
    """Read names and scales of an emulator's inputs or outputs, in the order of its channels.

    Empty lines are passed over; a field is divided by its scale on the way in, multiplied on the way out.

    Raises
    ------
    InputError
        With the number of the line, where it is no name and number, names a field again, or has a scale that
        is not a positive number.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "fieldin.dat"
    >>> _ = path.write_text("thk 2000.000000 \\nslopsurfx 1.500000 \\n")
    >>> read_field_scales(path)
    {'thk': 2000.0, 'slopsurfx': 1.5}
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise InputError(
            f"{path} cannot be read ({reason}); give a file with lines like thk 2000.000000"
        ) from None
    scales: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, scale = _read_line(line, f"{path}, line {number}")
        if name in scales:
            raise InputError(f"{path}, line {number}: {name} comes a second time; name every field once")
        scales[name] = scale
    if not scales:
        raise InputError(f"{path} names no field; give a file with lines like thk 2000.000000")
    return scales


def _read_line(line: str, place: str) -> tuple[str, float]:
    words = line.split()
    try:
        name, scale = words[0], float(words[1])
        if len(words) > 2 or "_" in words[1]:  # Python alone reads 2_000 as a number
            raise ValueError
    except (IndexError, ValueError):
        shown = line.strip()[:60]
        raise InputError(f"{place}: {shown!r} is no name and scale; write it like thk 2000.000000") from None
    _check_scale(name, scale, place)
    return name, scale


def write_field_scales(scales: Mapping[str, float], path: str | Path) -> Path:
    """Write names and scales in the order of the channels, byte for byte as 2Dto2D-DLE does.

    Raises
    ------
    InputError
        If a name is no single word, or a scale is not positive or loses digits with six decimals.

    Examples
    --------
    >>> import tempfile
    >>> write_field_scales({"thk": 2000, "slopsurfx": 1.5}, Path(tempfile.mkdtemp()) / "a.dat").read_text()
    'thk 2000.000000 \\nslopsurfx 1.500000 \\n'
    """
    if not scales:
        raise InputError(f"{path}: there are no fields to write; name at least one with its scale")
    for name, scale in scales.items():
        if len(name.split()) != 1 or name != name.strip():
            raise InputError(f"{path}: field {name!r} is no single word; name it without blanks")
        _check_scale(name, scale, str(path))
        if not math.isclose(float(f"{scale:.6f}"), scale, rel_tol=1e-5):
            raise InputError(
                f"{path}: scale {scale} of {name} loses digits with the six decimals of this format; "
                "choose a larger or rounder scale"
            )
    text = "".join(f"{name} {scale:.6f} \n" for name, scale in scales.items())
    with replace_when_done(path) as partial:
        partial.write_bytes(text.encode())
    return Path(path)


def _check_scale(name: str, scale: float, place: str) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(
            f"{place}: scale of {name} is {scale:g}, which nothing can be divided by; give a positive number"
        )
