"""A trained or released emulator as a plain function from fields to velocities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.networks.cells import keep_matrices
from fieldwise.networks.equivariant import EquivariantConvNet, Symmetrised
from fieldwise.recipes.ice_flow.mapping import FieldMap
from fieldwise.recipes.ice_flow.networks import StressScaled
from fieldwise.recipes.ice_flow.prepared import PreparedCase
from fieldwise.recipes.ice_flow.samples import flowing
from fieldwise.tasks import FieldTask, choose_device, load_checkpoint

KERAS = "model.h5"


@dataclass(frozen=True)
class Emulator:
    """A network on its device, what it reads and gives, and what it says of itself."""

    network: torch.nn.Module
    fields: FieldMap
    description: dict[str, Any]
    device: torch.device
    path: Path

    @torch.inference_mode()
    def apply(self, inputs: np.ndarray, ice: np.ndarray) -> np.ndarray:
        """Map fields (input, y, x) to velocities (output, y, x), rows from north to south, 0 off the ice."""
        input_scales, output_scales = self._factors
        scaled = torch.from_numpy(np.ascontiguousarray(inputs / input_scales))[None].to(self.device)
        answer = self.network(scaled)[0].float().cpu().numpy()
        return answer * (output_scales * ice) + np.float32(0)  # no minus nothing

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        """What inputs and outputs are divided by: (channel, 1, 1) each."""
        sides = (self.fields.inputs, self.fields.outputs)
        return [np.array(list(side.values()), dtype=np.float32)[:, None, None] for side in sides]


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
    return _symmetrised(emulator) if symmetrise else emulator


def _from_checkpoint(checkpoint: Path, device: torch.device) -> Emulator:
    task = load_checkpoint(checkpoint, FieldTask)
    description = task.signature
    if description.get("recipe") != "ice_flow":
        raise InputError(f"{checkpoint}: is no checkpoint of ice_flow")
    fields = FieldMap(
        *(
            {name: entry["scale"] for name, entry in description[side].items()}
            for side in ("inputs", "outputs")
        )
    )
    return Emulator(_unfold(task.network).eval().to(device), fields, description, device, checkpoint)


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
    fields = FieldMap(released.inputs, released.outputs)
    sides = {"inputs": fields.inputs, "outputs": fields.outputs}
    description: dict[str, Any] = {"recipe": "ice_flow"}
    for side, scales in sides.items():
        description[side] = {name: {"scale": scale} for name, scale in scales.items()}
    return Emulator(released.network.eval().to(device), fields, description, device, run / KERAS)


def _symmetrised(emulator: Emulator) -> Emulator:
    network = Symmetrised(
        emulator.network,
        list(emulator.fields.inputs),
        list(emulator.fields.outputs),
        vectors=emulator.fields.vectors,
    )
    return Emulator(network, emulator.fields, emulator.description, emulator.device, emulator.path)


def check_resumable(checkpoint: Path, description: dict[str, Any]) -> None:
    """Refuse to go on from a checkpoint of other inputs, scales or cases.

    >>> import tempfile
    >>> options = {"in_channels": 3, "out_channels": 2, "kernel_size": 1}
    >>> told = {"recipe": "ice_flow", "maptype": "f2", "learnt_from": ["train/aletsch"]}
    >>> task = FieldTask(network="torch.nn.Conv2d", network_options=options, signature=told)
    >>> path = Path(tempfile.mkdtemp()) / "last.ckpt"
    >>> torch.save({"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}, path)
    >>> check_resumable(path, told)
    >>> check_resumable(path, told | {"learnt_from": ["train/rhone"]})
    Traceback (most recent call last):
    fieldwise.errors.InputError: /...last.ckpt: was trained on other fields or cases ...
    """
    before = load_checkpoint(checkpoint, FieldTask).signature
    same = all(before.get(key) == description[key] for key in ("recipe", "maptype", "learnt_from"))
    scales = [_scales(each) for each in (before, description)]
    if not same or scales[0] != scales[1]:
        raise InputError(
            f"{checkpoint}: was trained on other fields or cases than the data now hold; choose another "
            "--run, or --resume false"
        )


def _scales(description: dict[str, Any]) -> list[tuple[str, float]]:
    sides = (description.get(side, {}) for side in ("inputs", "outputs"))
    return [(name, entry["scale"]) for side in sides for name, entry in side.items()]


def read_inputs(emulator: Emulator, case: PreparedCase, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Read what an emulator needs of a frame: its inputs (input, y, x), and where ice can flow (y, x).

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", [[[0.0, 50.0, 90.0]]])  # one frame of one row
    >>> case = PreparedCase("made", "test", folder, 1, (1, 3), 100.0, None, ("thk",))
    >>> fields = FieldMap({"thk": 2000.0}, {"ubar": 1000.0})
    >>> emulator = Emulator(torch.nn.Identity(), fields, {}, torch.device("cpu"), folder)
    >>> inputs, ice = read_inputs(emulator, case, 0)
    >>> inputs.tolist(), ice.tolist()
    ([[[0.0, 50.0, 90.0]]], [[False, True, True]])
    """
    return case.read(emulator.fields.inputs, frame), flowing(case, frame)
