"""A trained or released emulator as a plain function from fields to velocities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.networks.cells import keep_matrices
from fieldwise.networks.equivariant import EquivariantConvNet, Symmetrised
from fieldwise.recipes.ice_flow.networks import StressScaled
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import RECIPE, make_signature
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature
from fieldwise.tasks import FieldTask, choose_device, load_checkpoint

KERAS = "model.h5"


@dataclass(frozen=True)
class Emulator:
    """A network on its device, and what it reads and gives."""

    network: torch.nn.Module
    signature: Signature
    device: torch.device
    path: Path

    @torch.inference_mode()
    def apply(self, inputs: np.ndarray, ice: np.ndarray) -> np.ndarray:
        """Map fields (input, y, x) to velocities (output, y, x), rows from north to south, 0 off the ice."""
        scaled = np.ascontiguousarray(self.signature.apply(inputs))
        answer = self.network(torch.from_numpy(scaled)[None].to(self.device))[0].float().cpu().numpy()
        return self.signature.undo(answer) * ice + np.float32(0)  # no minus nothing


def load_emulator(
    run: str | Path,
    *,
    weights: str = "best",
    accelerator: str = "auto",
    symmetrise: bool = False,
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
    >>> from fieldwise.networks.convnet import ConvNet
    >>> names = {"inputs": {"thk": 2000.0}, "outputs": {"ubar": 1000.0}}
    >>> emulator = load_emulator(save_emulator(ConvNet(1, 1, layers=1), tempfile.mkdtemp(), **names))
    >>> thickness = np.full((1, 4, 5), 100, dtype=np.float32)
    >>> np.unique(emulator.apply(thickness, thickness[0] > 200)).tolist()  # no ice, no flow
    [0.0]
    """
    run, device = Path(run), choose_device(accelerator)
    checkpoint = run / "checkpoints" / f"{weights}.ckpt"
    if checkpoint.exists():
        emulator = _from_checkpoint(checkpoint, device)
    elif (run / KERAS).exists():
        emulator = _from_keras(run, device)
    else:
        raise InputError(
            f"{run}: holds neither checkpoints/{weights}.ckpt nor {KERAS}; train one with "
            "`fieldwise ice_flow train`"
        )
    if symmetrise:
        network = Symmetrised(emulator.network, vectors=emulator.signature.vectors())
        emulator = replace(emulator, network=network)
    return emulator


def _from_checkpoint(checkpoint: Path, device: torch.device) -> Emulator:
    task = load_checkpoint(checkpoint, FieldTask)
    signature = Signature.from_dict(task.description, checkpoint)
    if signature.recipe != RECIPE:
        raise InputError(f"{checkpoint}: is no checkpoint of {RECIPE}")
    return Emulator(_unfold(task.network).eval().to(device), signature, device, checkpoint)


def _unfold(network: torch.nn.Module) -> torch.nn.Module:
    """Put plain kernels, which need not be turned anew each time, in the place of equivariant ones."""
    if isinstance(network, StressScaled):
        network.network = _unfold(network.network)
    network = network.to_plain() if isinstance(network, EquivariantConvNet) else network
    keep_matrices(network)
    return network


def _from_keras(run: Path, device: torch.device) -> Emulator:
    """Load a released emulator, or one that was written for other models."""
    from fieldwise.interop.emulators import load_emulator as load_released

    released = load_released(run)
    signature = make_signature(released.inputs, released.outputs)
    return Emulator(released.network.eval().to(device), signature, device, run / KERAS)


def read_inputs(emulator: Emulator, case: Case, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Read what an emulator needs of a frame: its inputs (input, y, x), and where ice can flow (y, x).

    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": [[[0.0, 50.0, 90.0]]]}).cases()
    >>> signature = make_signature({"thk": 2000.0}, {"ubar": 1000.0})
    >>> emulator = Emulator(torch.nn.Identity(), signature, torch.device("cpu"), Path())
    >>> inputs, ice = read_inputs(emulator, case, 0)
    >>> inputs.tolist(), ice.tolist()
    ([[[0.0, 50.0, 90.0]]], [[False, True, True]])
    """
    return case.stack(emulator.signature.fields("inputs"), frame=frame), find_ice(case, frame)
