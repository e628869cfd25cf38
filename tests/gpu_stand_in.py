"""A stand-in for CuPy that holds its arrays in the machine's memory but keeps CuPy's rules.

Arrays are not converted by NumPy, and an array beside one of NumPy is refused, in sums, as an index, and as
an argument. Only functions that CuPy has under the same name are there; each call is recorded. So code that
runs on it takes no silent way back to the machine's memory. Whether CuPy's numbers agree, a GPU must tell.
"""

import types

import numpy as np
import scipy.ndimage

# Those that fieldwise may use; all stand in CuPy's reference of version 13.
FUNCTIONS = [
    "all", "any", "arange", "asarray", "bincount", "clip", "concatenate", "empty", "floor", "full",
    "gradient", "isfinite", "isnan", "maximum", "minimum", "nanmean", "nanmedian", "nonzero", "ones", "pad",
    "sqrt", "stack", "take", "tensordot", "where", "zeros", "zeros_like", "full_like",
]  # fmt: skip
FILTERS = ("correlate1d", "gaussian_filter", "distance_transform_edt")
MADE_ON_HOST = ("asarray",)  # the ways onto the GPU


class ndarray:  # noqa: N801  CuPy's name
    """An array that NumPy cannot see into."""

    __array_ufunc__ = None  # NumPy's operators give way to those below
    __module__ = "cupy"

    def __init__(self, values):
        self._values = np.asarray(values)

    def get(self):
        """Bring it to the machine's memory, as CuPy has it."""
        return self._values.copy()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use .get()")

    def __array_namespace__(self, *_, **__):
        return MODULE

    def __array_function__(self, function, _types, arguments, keywords):
        return getattr(MODULE, function.__name__)(*arguments, **keywords)

    def __getitem__(self, key):
        return wrap(self._values[unwrap(key)])

    def __setitem__(self, key, value):
        self._values[unwrap(key)] = unwrap(value)

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        return bool(self._values)

    def __float__(self):
        return float(self._values)

    def __int__(self):
        return int(self._values)

    dtype, shape, ndim, size, nbytes = (
        property(lambda self, name=name: getattr(self._values, name))
        for name in ("dtype", "shape", "ndim", "size", "nbytes")
    )
    T = property(lambda self: wrap(self._values.T))


def unwrap(value):
    """Take arrays out of their wrapping; one of NumPy has no place among them."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(unwrap(item) for item in value)
    return value


def wrap(value):
    """CuPy's functions give arrays, never scalars."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(value)
    return tuple(wrap(item) for item in value) if isinstance(value, tuple) else value


def _through(function, name, *, record=True):
    def call(*arguments, **keywords):
        if record:
            CALLS.append(name)
        if name in MADE_ON_HOST:
            given = arguments[0]._values if isinstance(arguments[0], ndarray) else arguments[0]
            return ndarray(function(given, *arguments[1:], **keywords))
        taken = {key: unwrap(value) for key, value in keywords.items()}
        return wrap(function(*unwrap(arguments), **taken))

    return call


def _method(name):
    def call(self, *arguments, **keywords):
        return wrap(getattr(self._values, name)(*unwrap(arguments), **keywords))

    return call


OPERATORS = [
    "add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "rtruediv", "itruediv",
    "floordiv", "pow", "neg", "invert", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "abs",
]  # fmt: skip
METHODS = [
    "any", "all", "astype", "copy", "cumsum", "max", "mean", "min", "ravel", "reshape", "sum", "transpose",
]  # fmt: skip
for _name in [f"__{operator}__" for operator in OPERATORS] + METHODS:
    setattr(ndarray, _name, _method(_name))
for _name in ("iadd", "isub", "imul", "itruediv"):  # in place, and the wrapping stays

    def _in_place(self, other, *, name=_name):
        getattr(self._values, f"__{name}__")(unwrap(other))
        return self

    setattr(ndarray, f"__{_name}__", _in_place)

CALLS: list[str] = []
MODULE = types.ModuleType("cupy")
FILTER_MODULE = types.ModuleType("cupyx.scipy.ndimage")
MODULE.ndarray, MODULE.generic = ndarray, type("generic", (), {})
MODULE.__version__, MODULE.is_available = "13.0", lambda: True
MODULE.nan, MODULE.newaxis = np.nan, None
for _name in FUNCTIONS:
    setattr(MODULE, _name, _through(getattr(np, _name), _name))
for _name in FILTERS:
    setattr(FILTER_MODULE, _name, _through(getattr(scipy.ndimage, _name), _name))


def install(monkeypatch):
    """Have `import cupy` find the stand-in until the test is over; give the list of recorded calls."""
    import sys

    CALLS.clear()
    for name, module in {
        "cupy": MODULE,
        "cupyx": types.ModuleType("cupyx"),
        "cupyx.scipy": types.ModuleType("cupyx.scipy"),
        "cupyx.scipy.ndimage": FILTER_MODULE,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return CALLS
