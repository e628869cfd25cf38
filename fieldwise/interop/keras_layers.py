"""Layers of Keras as modules of torch, both ways: `to_module` and `to_layer`.

Keras keeps channels last, torch first. A kernel is (y, x, in, out) there and (out, in, y, x) here, that of a
transposed convolution (y, x, out, in) there and (in, out, y, x) here: one permutation serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.errors import InputError

Config = dict[str, Any]
Weights = list[np.ndarray]

# Functions that a layer names in its settings, with Keras' own slopes.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
POOLINGS: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class Concatenation(nn.Module):
    """Put features beside each other."""

    def forward(self, *features: Tensor) -> Tensor:
        """Stack (batch, channels, y, x) along the channels."""
        return torch.cat(features, dim=1)


class Addition(nn.Module):
    """Add features of one shape."""

    def forward(self, *features: Tensor) -> Tensor:
        """Sum (batch, channels, y, x)."""
        return sum(features[1:], start=features[0])


class Enlargement2d(nn.ConvTranspose2d):
    """A transposed convolution cut to stride times the extent of its input: Keras' padding "same"."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve (batch, in_channels, y, x) to (batch, out_channels, stride * y, stride * x)."""
        result = super().forward(features, output_size)
        for axis in (2, 3):
            stride = self.stride[axis - 2]
            excess = self.kernel_size[axis - 2] - stride  # of which the smaller half is cut in front
            result = result.narrow(axis, excess // 2, features.shape[axis] * stride)
        return result


class Enlargement3d(nn.ConvTranspose3d):
    """A transposed convolution whose kernel is as large as its stride."""


ENLARGEMENTS: dict[int, Any] = {2: Enlargement2d, 3: Enlargement3d}


def to_module(kind: str, config: Config, weights: Weights, place: str) -> nn.Module:
    """Build the module that computes what a layer of Keras computes, without an activation in its settings.

    Parameters
    ----------
    kind : str
        Name of the layer's class.
    config : dict
        Its settings as Keras 2 or 3 saves them.
    weights : list of arrays
        In Keras' order and layout.
    place : str
        File and layer, for errors.

    Raises
    ------
    InputError
        If the layer, one of its settings or its weights have no counterpart here.

    Examples
    --------
    >>> to_module("LeakyReLU", {"alpha": 0.1}, [], "model.h5, layer a")(torch.tensor([-10.0])).item()
    -1.0
    >>> to_module("Lambda", {}, [], "model.h5, layer b")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model.h5, layer b: layers of type Lambda are not known; Activation, Add, ...
    """
    if kind not in READERS:
        known = ", ".join(sorted(READERS))
        raise InputError(f"{place}: layers of type {kind} are not known; {known} are")
    _require(config, place, data_format=("channels_last", None), dilation_rate=(1, None), groups=(1, None))
    return READERS[kind](config, weights, place)


def _read_convolution(config: Config, weights: Weights, place: str, *, dimensions: int) -> nn.Module:
    _require(config, place, strides=(1, None), padding=("same", "valid"))
    kernel = _check_weights(config, weights, place, dimensions)
    sides = kernel.shape[:dimensions]
    # torch pads alike on both sides by a number, unlike for even kernels only by the word
    same: Any = tuple(side // 2 for side in sides) if all(side % 2 for side in sides) else "same"
    padding = same if config["padding"] == "same" else 0
    module = CONVOLUTIONS[dimensions](*kernel.shape[-2:], sides, padding=padding, bias=len(weights) == 2)
    return _load_weights(module, weights)


def _read_enlargement(config: Config, weights: Weights, place: str, *, dimensions: int) -> nn.Module:
    _require(config, place, padding=("same",), output_padding=(None,))
    kernel = _check_weights(config, weights, place, dimensions, transposed=True)
    sides, strides = kernel.shape[:dimensions], _numbers(config["strides"], dimensions)
    if sides != strides and (dimensions == 3 or any(side < step for side, step in zip(sides, strides))):
        raise InputError(f"{place}: kernel {sides} with strides {strides} is not known; equal ones are")
    out_channels, in_channels = kernel.shape[-2:]
    module = ENLARGEMENTS[dimensions](in_channels, out_channels, sides, strides, bias=len(weights) == 2)
    return _load_weights(module, weights)


def _read_pooling(config: Config, weights: Weights, place: str, *, dimensions: int) -> nn.Module:
    _require(config, place, padding=("valid",))
    _refuse_weights(weights, place)
    pool = _numbers(config["pool_size"], dimensions)
    strides = pool if config.get("strides") is None else _numbers(config["strides"], dimensions)
    return POOLINGS[dimensions](pool, strides)


def _read_rectifier(config: Config, weights: Weights, place: str) -> nn.Module:
    _require(config, place, max_value=(None,), threshold=(0, None))
    _refuse_weights(weights, place)
    slope = float(config.get("negative_slope") or 0)
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


def _read_leaky_rectifier(config: Config, weights: Weights, place: str) -> nn.Module:
    _refuse_weights(weights, place)
    slope = config["negative_slope"] if "negative_slope" in config else config.get("alpha", 0.3)
    return nn.LeakyReLU(float(slope))


def _read_activation(config: Config, weights: Weights, place: str) -> nn.Module:
    _refuse_weights(weights, place)
    return make_named_activation(config["activation"], place)


def _read_dropout(config: Config, weights: Weights, place: str) -> nn.Module:
    _refuse_weights(weights, place)
    return nn.Dropout(float(config["rate"]))


def _read_concatenation(config: Config, weights: Weights, place: str) -> nn.Module:
    _require(config, place, axis=(-1, None))
    _refuse_weights(weights, place)
    return Concatenation()


def _read_addition(config: Config, weights: Weights, place: str) -> nn.Module:
    _refuse_weights(weights, place)
    return Addition()


READERS: dict[str, Callable[[Config, Weights, str], nn.Module]] = {
    "Conv2D": partial(_read_convolution, dimensions=2),
    "Conv3D": partial(_read_convolution, dimensions=3),
    "Conv2DTranspose": partial(_read_enlargement, dimensions=2),
    "Conv3DTranspose": partial(_read_enlargement, dimensions=3),
    "MaxPooling2D": partial(_read_pooling, dimensions=2),
    "MaxPooling3D": partial(_read_pooling, dimensions=3),
    "ReLU": _read_rectifier,
    "LeakyReLU": _read_leaky_rectifier,
    "Activation": _read_activation,
    "Dropout": _read_dropout,
    "Concatenate": _read_concatenation,
    "Add": _read_addition,
}


def make_named_activation(name: Any, place: str) -> nn.Module:
    """Make the module of a function that a layer names in its settings.

    >>> make_named_activation("relu", "model.h5, layer a")
    ReLU()
    """
    if name in (None, "linear"):
        return nn.Identity()
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise InputError(f"{place}: activation {name} is not known; linear, {', '.join(ACTIVATIONS)} are")
    return ACTIVATIONS[name]()


def to_layer(module: nn.Module) -> tuple[str, Config, Weights] | None:
    """Give class, settings and weights of the layer that computes what a module does, in Keras 2's words.

    Keras 3 reads them, too. None is for what Keras has no plain layer for.

    >>> kind, config, weights = to_layer(nn.Conv2d(4, 32, 3, padding=1))
    >>> kind, config["filters"], config["padding"], [array.shape for array in weights]
    ('Conv2D', 32, 'same', [(3, 3, 4, 32), (32,)])
    >>> to_layer(nn.LSTM(1, 1)) is None
    True
    """
    if isinstance(module, nn.LeakyReLU):
        return "LeakyReLU", {"alpha": module.negative_slope}, []
    if isinstance(module, nn.Dropout):
        return "Dropout", {"rate": module.p}, []
    if isinstance(module, Concatenation):
        return "Concatenate", {"axis": -1}, []
    if isinstance(module, Addition):
        return "Add", {}, []
    for name, make in ACTIVATIONS.items():
        if type(module) is type(make()):
            return "Activation", {"activation": name}, []
    for dimensions in (2, 3):
        if isinstance(module, POOLINGS[dimensions]):
            pool, strides = (_numbers(value, dimensions) for value in (module.kernel_size, module.stride))
            config = {"pool_size": pool, "strides": strides, "padding": "valid"}
            return f"MaxPooling{dimensions}D", _with_format(config), []
        if isinstance(module, CONVOLUTIONS[dimensions]):
            return _describe_convolution(module, dimensions)
        if isinstance(module, nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d):
            return _describe_enlargement(module, dimensions)
    return None


def _describe_convolution(module: Any, dimensions: int) -> tuple[str, Config, Weights] | None:
    same = module.padding in ("same", tuple(side // 2 for side in module.kernel_size))
    plain = module.groups == 1 and set(module.stride) == set(module.dilation) == {1}
    if not plain or not (same or set(module.padding) == {0}):
        return None
    config = _describe_kernel(module, "same" if same else "valid", module.out_channels)
    return f"Conv{dimensions}D", config, _store_weights(module)


def _describe_enlargement(module: Any, dimensions: int) -> tuple[str, Config, Weights] | None:
    cut = isinstance(module, Enlargement2d) or module.kernel_size == module.stride
    plain = module.groups == 1 and set(module.dilation) == {1} and not any(module.output_padding)
    if not plain or not cut or any(module.padding):
        return None
    config = _describe_kernel(module, "same", module.out_channels) | {"output_padding": None}
    return f"Conv{dimensions}DTranspose", config, _store_weights(module)


def _describe_kernel(module: Any, padding: str, filters: int) -> Config:
    return _with_format(
        {
            "filters": filters,
            "kernel_size": list(module.kernel_size),
            "strides": list(module.stride),
            "padding": padding,
            "dilation_rate": list(module.dilation),
            "activation": "linear",
            "use_bias": module.bias is not None,
        }
    )


def _with_format(config: Config) -> Config:
    return config | {"data_format": "channels_last"}


def _store_weights(module: Any) -> Weights:
    spatial = range(2, module.weight.ndim)
    arrays = [module.weight.detach().permute(*spatial, 1, 0)]
    if module.bias is not None:
        arrays.append(module.bias.detach())
    return [np.ascontiguousarray(array.float().cpu().numpy()) for array in arrays]


def _load_weights(module: Any, weights: Weights) -> nn.Module:
    with torch.no_grad():
        last = weights[0].ndim
        kernel = weights[0].transpose(last - 1, last - 2, *range(last - 2))
        module.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel, dtype=np.float32)))
        if len(weights) == 2:
            module.bias.copy_(torch.from_numpy(np.ascontiguousarray(weights[1], dtype=np.float32)))
    return module


def _check_weights(
    config: Config, weights: Weights, place: str, dimensions: int, *, transposed: bool = False
) -> np.ndarray:
    """Return the kernel, if it and the bias have the shapes that the settings speak of."""
    filters = config["filters"]
    expected = 2 if config.get("use_bias", True) else 1
    if len(weights) != expected:
        raise InputError(f"{place}: {len(weights)} arrays of weights instead of {expected}; export it again")
    kernel = weights[0]
    sides = _numbers(config["kernel_size"], dimensions)
    fits = kernel.ndim == dimensions + 2 and kernel.shape[:dimensions] == sides
    if (
        not fits
        or kernel.shape[-2 if transposed else -1] != filters
        or any(bias.shape != (filters,) for bias in weights[1:])
    ):
        shapes = ", ".join(str(array.shape) for array in weights)
        raise InputError(
            f"{place}: weights of shape {shapes} do not fit {filters} filters of {sides}; export it again"
        )
    if not all(np.isfinite(array).all() for array in weights):
        raise InputError(f"{place}: some weights are not finite; train again, the training had diverged")
    return kernel


def _refuse_weights(weights: Weights, place: str) -> None:
    if weights:
        raise InputError(f"{place}: {len(weights)} arrays of weights instead of none; export it again")


def _require(config: Config, place: str, **allowed: tuple[Any, ...]) -> None:
    for key, values in allowed.items():
        value = config.get(key)
        plain = value[0] if isinstance(value, list) and len(set(value)) == 1 else value
        if plain not in values:
            known = " or ".join(str(item) for item in values if item is not None) or "nothing"
            raise InputError(f"{place}: {key} is {value}, which is not known; {known} is")


def _numbers(value: Any, dimensions: int) -> tuple[int, ...]:
    return (value,) * dimensions if isinstance(value, int) else tuple(value)
