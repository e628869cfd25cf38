"""Which network maps the fields, and its use as a plain function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds
from fieldwise.networks.cells import keep_matrices
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import EquivariantConvNet, Symmetrised
from fieldwise.networks.stress_scaled import StressScaled
from fieldwise.physics.ice_flow.slopes import FLOWING_M
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import (
    DEPTHS,
    ICE_SLOPES,
    RECIPE,
    SLOPES,
    SPACING,
    STANDARD_NAMES,
    THICKNESS,
    make_signature,
    scales_of,
)
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.predictors import Arrays, Predictor, load_predictor

NETWORKS = {
    "cnn": "fieldwise.networks.convnet.ConvNet",
    "unet": "fieldwise.networks.unet.UNet",
    "equivariant": "fieldwise.networks.equivariant.EquivariantConvNet",
}
SCALED = "fieldwise.networks.stress_scaled.StressScaled"
ICE = "ice"  # where it can flow, among what an emulator reads
AXES = {"u": "x", "v": "y", "w": "z"}


def describe_network(
    network: str, signature: Signature, options: dict[str, Any], *, scaling: str
) -> tuple[str, dict[str, Any]]:
    """Give import path and arguments of a network for what it is to read and give.

    Parameters
    ----------
    network
        `cnn`, `unet`, `equivariant`, or an import path of one that takes `in_channels` and `out_channels`.
    options
        Further arguments.
    scaling
        `physics` for :class:`~fieldwise.networks.stress_scaled.StressScaled` around it, `plain` for the
        network itself.

    >>> from fieldwise.recipes.ice_flow.signatures import read_signature
    >>> describe_network("cnn", read_signature("f2"), {"layers": 8}, scaling="plain")
    ('fieldwise.networks.convnet.ConvNet', {'in_channels': 3, 'out_channels': 2, 'layers': 8})
    >>> describe_network("cnn", make_signature({"thk": 1.0}, {"ubar": 1.0}), {}, scaling="physics")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --scaling: the mapping reads no slopsurfx, slopsurfy; ...
    """
    if network not in NETWORKS and "." not in network:
        raise InputError(f"--network: is {network!r}; give one of {', '.join(NETWORKS)}, or an import path")
    inputs, outputs = scales_of(signature, "inputs"), scales_of(signature, "outputs")
    path, vectors = NETWORKS.get(network, network), signature.vectors()
    if scaling == "physics":
        given: dict[str, Any] = {"network": path, "network_options": options, "vectors": vectors}
        return SCALED, given | {"inputs": inputs, "outputs": outputs, **_describe_physics(inputs, outputs)}
    channels: dict[str, Any] = {"in_channels": len(inputs), "out_channels": len(outputs)}
    if network == "equivariant":
        channels["vectors"] = vectors
    return path, channels | options


def _describe_physics(inputs: dict[str, float], outputs: dict[str, float]) -> dict[str, Any]:
    """Tell which part each field has in the flow; a mapping other than from shape to velocity is refused."""
    slopes = ICE_SLOPES if ICE_SLOPES[0] in inputs else SLOPES
    roles = {"thickness": THICKNESS, "slope_x": slopes[0], "slope_y": slopes[1]}
    lacking = [name for name in roles.values() if name not in inputs]
    strange = [name for name in outputs if name[:1] not in AXES or name[1:] not in DEPTHS]
    if lacking or strange:
        reason = f"reads no {', '.join(lacking)}" if lacking else f"gives {', '.join(strange)}"
        raise InputError(f"--scaling: the mapping {reason}; physics scales velocities only, give plain")
    laws = {"rate_factor": "arrhenius", "sliding_coefficient": "slidingco", "spacing": SPACING}
    roles |= {role: name for role, name in laws.items() if name in inputs}
    return {"roles": roles, "flows": {name: (AXES[name[0]], DEPTHS[name[1:]]) for name in outputs}}


class Emulator(Predictor):
    """A network with what it reads and gives, as a plain function from fields to velocities.

    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.array([[[0.0, 50.0, 90.0]]])}).cases()
    >>> emulator = Emulator(nn.Identity(), make_signature({"thk": 2000.0}, {"ubar": 1000.0}))
    >>> inputs, ice = emulator.read_frame(case, 0)
    >>> ice.tolist(), emulator.apply(inputs, ice).tolist()
    ([[False, True, True]], [[[0.0, 25.0, 45.0]]])
    """

    standard_names = STANDARD_NAMES

    def __init__(self, network: nn.Module, signature: Signature, **options: Any) -> None:
        super().__init__(_unfold(network), signature, **options)

    def read(self, case: Case, window: Bounds, frame: int) -> Arrays:
        """Read the inputs in a window, which may reach beyond the case, and where ice can flow."""
        known = [Variable(THICKNESS)] if THICKNESS in case.files else []
        thickness = case.read(known, window=window, frame=frame)
        arrays = super().read(case, window, frame)
        shape = next(iter(arrays.values())).shape[-2:]
        ice = thickness[THICKNESS] > FLOWING_M if known else np.ones((1, *shape), dtype=bool)
        return {**arrays, ICE: ice}

    def covers(self, arrays: Arrays, shape: tuple[int, ...]) -> np.ndarray:
        """Mark the ice."""
        return arrays[ICE][0]

    def __call__(self, arrays: Arrays) -> np.ndarray:
        """Map what was read of a window to velocities, and to where inputs leave what training has seen."""
        return self.flag_beyond(self.apply(self.signature.stack(arrays), arrays[ICE][0]), arrays)

    @torch.inference_mode()
    def apply(self, inputs: np.ndarray, ice: np.ndarray) -> np.ndarray:  # type: ignore[override]
        """Map fields (input, y, x) to velocities (output, y, x), rows from north to south, 0 off the ice."""
        scaled = np.ascontiguousarray(self.signature.apply(inputs))
        answer = self.network(torch.from_numpy(scaled)[None].to(self.device))[0].float().cpu().numpy()
        return self.signature.undo(answer) * ice + np.float32(0)  # no minus nothing

    def read_frame(self, case: Case, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Read what :meth:`apply` takes of a frame."""
        return case.stack(self.signature.fields("inputs"), frame=frame), find_ice(case, frame)


def _unfold(network: nn.Module) -> nn.Module:
    """Put plain kernels, which need not be turned anew each time, in the place of equivariant ones."""
    if isinstance(network, StressScaled):
        network.network = _unfold(network.network)
    network = network.to_plain() if isinstance(network, EquivariantConvNet) else network
    if isinstance(network, ConvNet):
        keep_matrices(network)
    return network


def load_emulator(
    run: str | Path, *, weights: str = "best", accelerator: str = "auto", symmetrise: bool = False
) -> Emulator:
    """Load an emulator from the run folder of `train`, or from one that holds model.h5 and the .dat files.

    Parameters
    ----------
    run
        Folder.
    weights
        best or last, of a run.
    symmetrise
        Average over the eight ways to turn the map: any network becomes free of preferred directions, at
        eight times the cost.

    Raises
    ------
    InputError
        Where the folder holds neither, or what it holds is no emulator of ice flow.

    Examples
    --------
    One that another program may have written, here a network that has learnt nothing:

    >>> import tempfile
    >>> from fieldwise.interop.emulators import save_emulator
    >>> names = {"inputs": {"thk": 2000.0}, "outputs": {"ubar": 1000.0}}
    >>> emulator = load_emulator(save_emulator(ConvNet(1, 1, layers=1), tempfile.mkdtemp(), **names))
    >>> thickness = np.full((1, 4, 5), 100, dtype=np.float32)
    >>> np.unique(emulator.apply(thickness, thickness[0] > 200)).tolist()  # no ice, no flow
    [0.0]
    """
    emulator: Emulator = load_predictor(
        run,
        recipe=RECIPE,
        weights=weights,
        accelerator=accelerator,
        kind=Emulator,
        foreign={".h5": _load_released},
    )
    if symmetrise:
        emulator.network = Symmetrised(emulator.network, vectors=emulator.signature.vectors())
        emulator.fingerprint += " symmetrised"
    return emulator


def _load_released(path: Path, device: torch.device) -> Emulator:
    """Load a released emulator, or one that was written for other models."""
    from fieldwise.interop.emulators import load_emulator as load_files
    from fieldwise.runs import hash_file

    released = load_files(path.parent)
    signature = make_signature(released.inputs, released.outputs)
    return Emulator(released.network, signature, device=device, path=path, fingerprint=hash_file(path))
