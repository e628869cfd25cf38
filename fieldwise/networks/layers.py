"""What a network is made of, told by the network itself: its layers, and which feeds which.

A network is run once on an example. Whatever its modules receive and return is noted on the way, as are the
functions between them that join, add or resample. The result is a plain list, in the order of computation,
that drawings and tables are made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

INPUT, SUM, CONCATENATION = "input", "sum", "concatenation"
JOINTS: dict[Callable, str] = {  # functions between modules that are steps of their own
    torch.cat: CONCATENATION,
    torch.concat: CONCATENATION,
    functional.interpolate: "interpolation",
    functional.max_pool2d: "max pooling",
    functional.max_pool3d: "max pooling",
    functional.avg_pool2d: "mean pooling",
    functional.avg_pool3d: "mean pooling",
}
SUMS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__}
ACTIVATIONS: dict[Callable, str] = {
    torch.relu: "ReLU",
    torch.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    functional.relu: "ReLU",
    functional.leaky_relu: "LeakyReLU",
    functional.elu: "ELU",
    functional.gelu: "GELU",
    functional.silu: "SiLU",
    functional.sigmoid: "sigmoid",
    functional.tanh: "tanh",
    functional.softmax: "softmax",
    Tensor.relu: "ReLU",
    Tensor.sigmoid: "sigmoid",
    Tensor.tanh: "tanh",
}


@dataclass(frozen=True)
class Layer:
    """One step of a network.

    Parameters
    ----------
    name : where it stands in the network, such as ``input_block.conv_on_bed_lowres``
    kind : class of the module, or ``input``, ``sum``, ``concatenation``, or the name of a function
    sources : names of the layers whose results it reads
    channels : that it reads, all sources together
    shape : of its result, without the batch: (channels, y, x)
    kernel, stride : of a convolution or pooling, one number a dimension; empty where there is none
    parameters : how many numbers it has learnt
    activation : what its result passes through, such as ``LeakyReLU``; empty for nothing
    scaling : factor on the last source of a sum
    modules : classes of the modules that it lies in, outermost first, one for each word of the name but the
        last
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    channels: int
    shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    parameters: int = 0
    activation: str = ""
    scaling: float = 1.0
    modules: tuple[str, ...] = ()


def list_layers(network: nn.Module, *example: Tensor | Mapping[str, Tensor]) -> list[Layer]:
    """List the layers of a network in the order of computation, from a forward pass on an example.

    A module without modules in it is one layer. So is a module that uses the weights of a part without
    calling the part, as a deformable convolution does.

    Parameters
    ----------
    network : in whatever mode; it is run in evaluation mode and left as it was
    example : what the network takes: tensors (batch, channels, ...), or a mapping from names to them

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 1))
    >>> for layer in list_layers(network, torch.zeros(1, 1, 9, 12)):
    ...     print(layer.name, layer.kind, layer.shape, layer.parameters, layer.activation, layer.sources)
    input input (1, 9, 12) 0  ()
    0 Conv2d (8, 9, 12) 80 LeakyReLU ('input',)
    2 Conv2d (1, 9, 12) 9  ('0',)
    """
    with evaluating(network), torch.no_grad():
        trace = _Trace(_modules_taken_whole(network, example))
        trace.note_inputs(example)
        with trace.watching(network), trace:
            network(*example)
    return list(trace.layers.values())


def count_parameters(network: nn.Module) -> int:
    """Count the numbers that a network learns.

    >>> count_parameters(nn.Conv2d(2, 3, 1))  # 2 x 3 weights and 3 biases
    9
    """
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keep batch norms from learning and dropout from dropping, for a while.

    >>> network = nn.BatchNorm2d(1)
    >>> with evaluating(network):
    ...     network.training
    False
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _modules_taken_whole(network: nn.Module, example: tuple) -> dict[nn.Module, str]:
    """Find the modules that are one layer, and their names."""
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_hook(lambda module, *_: called.add(module)) for module in network.modules()
    ]
    try:
        network(*example)
    finally:
        for hook in hooks:
            hook.remove()

    def is_bypassed(part: nn.Module) -> bool:
        own = next(part.parameters(recurse=False), None) is not None
        return part not in called and (own or any(is_bypassed(inner) for inner in part.children()))

    whole: dict[nn.Module, str] = {}
    for name, module in network.named_modules():  # outer ones come before those in them
        parts = list(module.children())
        if module in called and (not parts or any(is_bypassed(part) for part in parts)):
            whole[module] = name
    return whole


class _Trace(TorchFunctionMode):
    """Notes which layer each tensor comes from, while a network runs."""

    def __init__(self, whole: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.layers: dict[str, Layer] = {}
        self._whole = whole
        self._inside: list[str] = []  # names of the modules that are running, outermost first
        self._classes: dict[str, str] = {}  # of all modules, by name
        self._layer: nn.Module | None = None  # the one that is running, within which nothing is noted
        self._sources: dict[int, tuple[str, ...]] = {}  # of each tensor, by its id
        self._kept: list[Tensor] = []  # alive until the end, lest another tensor get its id

    def note_inputs(self, example: tuple) -> None:
        """Note what the network is given."""
        for position, item in enumerate(example):
            named = item if isinstance(item, Mapping) else {f"input{position or ''}": item}
            for name, tensor in named.items():
                layer = Layer(name, INPUT, (), tensor.shape[1], tuple(tensor.shape[1:]))
                self._add(layer, tensor)

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Follow the modules of a network as they start and end."""
        self._classes = {name: type(module).__name__ for name, module in network.named_modules()}
        hooks = []
        for name, module in network.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._start, name)))
            hooks.append(module.register_forward_hook(self._end))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, name: str, module: nn.Module, given: tuple) -> None:
        self._inside.append(name)
        if self._layer is None and module in self._whole:
            self._layer = module

    def _end(self, module: nn.Module, given: tuple, made: Any) -> None:
        self._inside.pop()
        if module is not self._layer:
            return
        self._layer = None
        tensors = list(_tensors(given))
        made_tensors = list(_tensors(made))
        if type(module).__module__ == "torch.nn.modules.activation":
            self._pass_on(tensors, made_tensors, activation=type(module).__name__)
        elif isinstance(module, nn.Dropout | nn.Identity | nn.Flatten | nn.Unflatten):
            self._pass_on(tensors, made_tensors)
        else:
            layer = Layer(
                self._free_name(self._whole[module]),
                type(module).__name__,
                self._sources_of(tensors),
                sum(tensor.shape[1] for tensor in tensors if tensor.ndim > 1),
                tuple(made_tensors[0].shape[1:]),
                kernel=_sizes(module, "kernel_size"),
                stride=_sizes(module, "stride"),
                parameters=count_parameters(module),
            )
            self._add(layer, *made_tensors)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if self._layer is not None:
            return made
        tensors = [tensor for tensor in _tensors((args, kwargs)) if id(tensor) in self._sources]
        results = list(_tensors(made))
        if not tensors or not results:
            return made
        if func in ACTIVATIONS:
            self._pass_on(tensors, results, activation=ACTIVATIONS[func])
        elif func in JOINTS or (func in SUMS and len(self._sources_of(tensors)) > 1):
            kind = JOINTS.get(func, SUM)
            layer = Layer(
                self._free_name(".".join(filter(None, [self._inside[-1], kind.replace(" ", "_")]))),
                kind,
                self._sources_of(tensors),
                sum(tensor.shape[1] for tensor in tensors),
                tuple(results[0].shape[1:]),
                scaling=float(kwargs.get("alpha", 1.0)),
            )
            self._add(layer, *results)
        else:
            self._pass_on(tensors, results)
        return made

    def _add(self, layer: Layer, *tensors: Tensor) -> None:
        words = layer.name.split(".")
        outer = (".".join(words[:length]) for length in range(1, len(words)))
        self.layers[layer.name] = replace(layer, modules=tuple(self._classes[name] for name in outer))
        for tensor in tensors:
            self._sources[id(tensor)] = (layer.name,)
            self._kept.append(tensor)

    def _pass_on(self, given: list[Tensor], made: list[Tensor], *, activation: str = "") -> None:
        """Note that tensors come from where others come from."""
        sources = self._sources_of(given)
        for name in sources if activation else ():
            self.layers[name] = replace(self.layers[name], activation=activation)
        for tensor in made:
            self._sources[id(tensor)] = sources
            self._kept.append(tensor)

    def _sources_of(self, tensors: Iterable[Tensor]) -> tuple[str, ...]:
        every = [name for tensor in tensors for name in self._sources.get(id(tensor), ())]
        return tuple(dict.fromkeys(every))

    def _free_name(self, name: str) -> str:
        """Tell steps apart that are done again in one module."""
        number, free = 1, name
        while free in self.layers:
            number += 1
            free = f"{name}_{number}"
        return free


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _sizes(module: nn.Module, attribute: str) -> tuple[int, ...]:
    """Give the size of a kernel or stride, of a module or of the last part of it that has one."""
    for part in reversed(list(module.modules())):
        sizes = getattr(part, attribute, None)
        if isinstance(sizes, tuple):
            return tuple(sizes)
        if isinstance(sizes, int):
            return (sizes,) * 2
    return ()
