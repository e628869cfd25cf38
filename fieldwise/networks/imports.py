"""Networks and losses of one's own, named by import path."""

from __future__ import annotations

import importlib
from typing import Any

from fieldwise.errors import InputError


def import_by_path(path: str, *, kind: type | None = None) -> Any:
    """Import what a path such as `package.module.Name` names.

    Parameters
    ----------
    path
        Module and name within it, joined by a dot.
    kind
        Class that it must be a subclass of; without one, anything that can be called will do. A checkpoint
        names its network by path, so nothing else must ever be called on its word.

    Raises
    ------
    InputError
        Where there is no such thing, or it is of another kind.

    >>> import_by_path("torch.nn.Identity", kind=__import__("torch").nn.Module)
    <class 'torch.nn.modules.linear.Identity'>
    >>> import_by_path("os.mkdir", kind=__import__("torch").nn.Module)
    Traceback (most recent call last):
    fieldwise.errors.InputError: os.mkdir is no Module; give the import path of one
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{path!r} cannot be imported ({error}); give package.module.Name") from None
    if kind is not None and not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(f"{path} is no {kind.__name__}; give the import path of one")
    if not callable(found):
        raise InputError(f"{path} cannot be called; give the import path of a function or class")
    return found
