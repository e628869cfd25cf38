"""NumPy or CuPy: the same code for arrays in the machine's memory and on a GPU.

Functions on fields take the module of the arrays that they are given. What NumPy would convert silently
CuPy refuses: an array on the GPU beside one in memory. So whatever is made on the way (indices, weights) is
made in, or handed to, the module of the values.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal

import numpy as np

from fieldwise.errors import InputError

ArrayModule = Literal["numpy", "cupy"]


def module_of(values: Any) -> ModuleType:
    """Give the module that an array belongs to.

    >>> module_of(np.zeros(3)).__name__
    'numpy'
    """
    return importlib.import_module(type(values).__module__.partition(".")[0])


def ndimage_of(values: Any) -> ModuleType:
    """Give the filters for images that go with an array: those of SciPy, or CuPy's own.

    >>> ndimage_of(np.zeros(3)).__name__
    'scipy.ndimage'
    """
    name = module_of(values).__name__
    return importlib.import_module("scipy.ndimage" if name == "numpy" else f"{name}x.scipy.ndimage")


def to_host(values: Any) -> np.ndarray:
    """Bring an array to the machine's memory; one that is there comes back as it is.

    >>> values = np.zeros(3)
    >>> to_host(values) is values
    True
    """
    return values.get() if hasattr(values, "get") else np.asarray(values)


def choose_module(name: ArrayModule) -> ModuleType:
    """Give the module of a name, or say what it lacks.

    Raises
    ------
    InputError
        Where the name is unknown, CuPy is not installed, or no GPU is found.

    >>> choose_module("numpy").__name__
    'numpy'
    >>> choose_module("torch")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --arrays: is 'torch'; give numpy or cupy
    """
    if name == "numpy":
        return np
    if name != "cupy":
        raise InputError(f"--arrays: is {name!r}; give numpy or cupy")
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise InputError(
            "--arrays: CuPy is not installed; `pip install 'fieldwise[cupy]'`, or give numpy"
        ) from error
    if not cupy.is_available():
        raise InputError("--arrays: CuPy finds no GPU; give numpy")
    return cupy
