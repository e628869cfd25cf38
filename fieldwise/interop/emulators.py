"""The three files of an emulator of 2Dto2D-DLE: model.h5, fieldin.dat and fieldout.dat.

``load_emulator(folder)`` gives a network with the names and scales of its fields, ``save_emulator(network,
folder, inputs=..., outputs=...)`` writes one. What a released emulator says of fields in their units:

    emulator = load_emulator("dle_model_f12")
    scaled = torch.stack([fields[name] / scale for name, scale in emulator.inputs.items()])[None]
    answer = emulator.network(scaled)[0]
    velocities = {name: scale * answer[i] for i, (name, scale) in enumerate(emulator.outputs.items())}

where slopsurfx and slopsurfy are the slopes of the surface to the east and to the north, and strflowctrl is
78 for temperate ice (MPa-3 a-1). It does not know where there is ice: multiply with the mask.

Those emulators take rows from south to north, this package from north to south. A network that is loaded
here takes the latter; one that is saved gets kernels for the former.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.interop.field_scales import read_field_scales, write_field_scales
from fieldwise.interop.keras_graphs import KerasNetwork
from fieldwise.interop.keras_h5 import load_keras_h5, save_keras_h5
from fieldwise.interop.keras_traces import trace


@dataclass(frozen=True)
class Emulator:
    """A network with the names and scales of the fields that it reads and writes, in order."""

    network: nn.Module
    inputs: dict[str, float]
    outputs: dict[str, float]


class RowsReversed(nn.Module):
    """A network that takes rows from south to north, for rows from north to south.

    >>> network = nn.Conv2d(1, 1, 3, padding=1)
    >>> rows = torch.arange(4.0).view(1, 1, 4, 1)
    >>> torch.equal(RowsReversed(network)(rows).flip(-2), network(rows.flip(-2)))
    True
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        return self.network(fields.flip(-2)).flip(-2)


def load_emulator(folder: str | Path) -> Emulator:
    """Read model.h5, fieldin.dat and fieldout.dat of a folder, for rows from north to south.

    Raises
    ------
    InputError
        If one of the three cannot be read or they do not fit each other.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.networks.convnet import ConvNet
    >>> network, names = ConvNet(1, 1, layers=1), {"inputs": {"thk": 2000.0}, "outputs": {"ubar": 1000.0}}
    >>> emulator = load_emulator(save_emulator(network, tempfile.mkdtemp(), **names))
    >>> thickness = torch.rand(1, 1, 5, 4)
    >>> emulator.inputs, torch.allclose(emulator.network(thickness), network(thickness), atol=1e-6)
    ({'thk': 2000.0}, True)
    """
    folder = Path(folder)
    inputs, outputs = (read_field_scales(folder / name) for name in ("fieldin.dat", "fieldout.dat"))
    network = load_keras_h5(folder / "model.h5")
    for name, scales, channels in (
        ("fieldin.dat", inputs, network.graph.channels),
        ("fieldout.dat", outputs, network.graph.out_channels),
    ):
        if len(scales) != channels:
            raise InputError(
                f"{folder / name} names {len(scales)} fields ({', '.join(scales)}), but the network of "
                f"model.h5 has {channels} there; give the three files of one emulator"
            )
    return Emulator(RowsReversed(network), inputs, outputs)


def save_emulator(
    network: nn.Module, folder: str | Path, *, inputs: Mapping[str, float], outputs: Mapping[str, float]
) -> Path:
    """Write model.h5, fieldin.dat and fieldout.dat, as 2Dto2D-DLE does, for use in other models.

    Parameters
    ----------
    network : nn.Module
        As of `save_keras_h5`, or what `load_emulator` gives; it takes rows from north to south. What is
        written takes them from south to north.
    folder : path
        Made where it is not there.
    inputs, outputs : mapping of str to float
        Names and scales of the channels, in their order.

    Raises
    ------
    InputError
        If the network has no counterpart in Keras, has other channels, or a scale cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.networks.convnet import ConvNet
    >>> names = {"inputs": {"thk": 2000.0}, "outputs": {"ubar": 1000.0}}
    >>> folder = save_emulator(ConvNet(1, 1, layers=1), tempfile.mkdtemp(), **names)
    >>> sorted(path.name for path in folder.iterdir())
    ['fieldin.dat', 'fieldout.dat', 'model.h5']
    """
    folder = Path(folder)
    if isinstance(network, RowsReversed):
        reversed_network = KerasNetwork(trace(network.network))
    else:
        reversed_network = reverse_kernels(KerasNetwork(trace(network)))
    graph = reversed_network.graph
    if (len(inputs), len(outputs)) != (graph.channels, graph.out_channels):
        raise InputError(
            f"{len(inputs)} inputs and {len(outputs)} outputs are named, but the network has "
            f"{graph.channels} and {graph.out_channels}; name every channel once"
        )
    write_field_scales(inputs, folder / "fieldin.dat")
    write_field_scales(outputs, folder / "fieldout.dat")
    save_keras_h5(reversed_network, folder / "model.h5")
    return folder


def reverse_kernels(network: KerasNetwork) -> KerasNetwork:
    """Give the network that does with rows in one order what this one does with rows in the other.

    >>> from fieldwise.networks.convnet import ConvNet
    >>> network = KerasNetwork(trace(ConvNet(1, 1, layers=2)))
    >>> fields = torch.randn(1, 1, 5, 4)
    >>> torch.allclose(reverse_kernels(network)(fields), RowsReversed(network)(fields), atol=1e-6)
    True
    """
    network = copy.deepcopy(network)
    for node in network.graph.nodes:
        module: Any = node.module
        if not isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            continue
        enlarges = isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d)
        if module.kernel_size != module.stride if enlarges else module.padding == "same":
            raise InputError(
                f"layer {node.name} pads rows unlike on the two sides (kernel of {module.kernel_size}), "
                "which cannot be written for rows from south to north; use kernels with a cell in the middle"
            )
        with torch.no_grad():
            module.weight.copy_(module.weight.flip(-2))
    return network
