"""Which network maps the fields, how physics takes part in it, and its use as a plain function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds
from fieldwise.networks.cells import Everywhere, Packed, choose_cells, keep_matrices
from fieldwise.networks.convnet import ConvNet, pass_layers
from fieldwise.networks.equivariant import EquivariantConvNet, Symmetrised, Vectors
from fieldwise.physics.ice_flow.blatter_pattyn import RATE_FACTOR, SLIDING_COEFFICIENT, WEIGHT
from fieldwise.physics.ice_flow.slopes import FLOWING_M
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import (
    ICE_SLOPES,
    RECIPE,
    SLOPES,
    SPACING,
    STANDARD_NAMES,
    make_signature,
    scales_of,
)
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature
from fieldwise.tasks.imports import import_by_path
from fieldwise.verbs.predictors import Predictor, load_predictor

NETWORKS = {
    "cnn": "fieldwise.networks.convnet.ConvNet",
    "unet": "fieldwise.networks.unet.UNet",
    "equivariant": "fieldwise.networks.equivariant.EquivariantConvNet",
}
ICE = "ice"  # where it can flow, among what an emulator reads
STRIP_ROWS = 512  # of a case in memory
SCALED = "fieldwise.recipes.ice_flow.networks.StressScaled"
# Share of the velocity of a slab, 2 A / (n + 1) tau^n H for n = 3, that deformation has at each depth.
DEFORMATION = {"velbase": 0.0, "bar": 0.4, "velsurf": 0.5}

DEFAULTS = {"arrhenius": RATE_FACTOR, "slidingco": SLIDING_COEFFICIENT, SPACING: 100.0}  # if no input says it
SPREAD = 0.1  # stress in units of rho g d that an answer of 1 adds: a bar at 100 m


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
        `physics` for :class:`StressScaled` around it, `plain` for the network itself.

    >>> from fieldwise.recipes.ice_flow.signatures import read_signature
    >>> describe_network("cnn", read_signature("f2"), {"layers": 8}, scaling="plain")
    ('fieldwise.networks.convnet.ConvNet', {'in_channels': 3, 'out_channels': 2, 'layers': 8})
    """
    inputs, outputs = scales_of(signature, "inputs"), scales_of(signature, "outputs")
    vectors = signature.vectors()
    if scaling == "physics":
        check_scaling(signature)
        given: dict[str, Any] = {"network": network, "network_options": options}
        return SCALED, given | {"inputs": inputs, "outputs": outputs, "vectors": vectors}
    return _with_channels(network, len(inputs), len(outputs), vectors, options)


def _with_channels(
    network: str, inputs: int, outputs: int, vectors: Vectors, options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    if network not in NETWORKS and "." not in network:
        raise InputError(f"--network: is {network!r}; give one of {', '.join(NETWORKS)}, or an import path")
    channels: dict[str, Any] = {"in_channels": inputs, "out_channels": outputs}
    if network == "equivariant":
        channels["vectors"] = vectors
    return NETWORKS.get(network, network), channels | options


def check_scaling(signature: Signature) -> None:
    """Refuse the scaling by physics for a mapping that is not from the shape of ice to its velocity.

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature, read_signature
    >>> check_scaling(read_signature("f15"))
    >>> check_scaling(make_signature({"thk": 1.0}, {"ubar": 1.0}))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --scaling: the mapping reads no slopsurfx, slopsurfy; ...
    """
    inputs = signature.fields("inputs")
    lacking = [name for name in ("thk", *_slopes_of(inputs)) if name not in inputs]
    strange = [name for name in signature.fields("outputs") if _depth(name) is None]
    if lacking or strange:
        reason = f"reads no {', '.join(lacking)}" if lacking else f"gives {', '.join(strange)}"
        raise InputError(f"--scaling: the mapping {reason}; physics scales velocities only, give plain")


def _slopes_of(names: Iterable[str]) -> tuple[str, str]:
    """Name the slopes among the inputs: those that drive the ice where there are both."""
    return ICE_SLOPES if ICE_SLOPES[0] in names else SLOPES


def _depth(name: str) -> str | None:
    """Tell where in the ice a horizontal velocity is.

    >>> _depth("vvelsurf"), _depth("smb")
    ('velsurf', None)
    """
    return name[1:] if name[:1] in ("u", "v", "w") and name[1:] in DEFORMATION else None


class StressScaled(nn.Module):
    """A network that sees ice without units and answers with the stress that moves it.

    For Glen's and Weertman's laws with exponents of 3, Blatter-Pattyn flow has two exact symmetries: stiffer
    ice on a stickier bed in the same proportion moves slower by the cube of it, and glaciers
    of one shape and of any size differ by powers of their size. What is left of thickness H, slope s, rate
    factor A, sliding coefficient C and cell size d are H / d, s, and A C^3 d, which tells sliding from
    deformation. The network reads these and H s / d, the driving stress, and gives a stress q in units of
    rho g d for each velocity, which is then

        u = (1 / C^3 + k A H) (rho g d)^3 |q|^2 q

    with k = 0 at the bed, 2/5 in the mean and 1/2 at the surface. The shallow-ice solution is thus
    q = - H s / d, and what the network adds to it is how stress spreads sideways. Off the ice, and where it
    is too thin to move, all its inputs are 0: rock does not speak to the ice.

    Parameters
    ----------
    network, network_options
        As of :func:`describe_network`.
    inputs, outputs
        Names of the channels, and what they were divided by. An emulator without `arrhenius`, `slidingco`
        or `dX` takes 78 MPa-3 a-1, 0.0464 MPa (m/a)^(-1/3) and 100 m. Any other input is passed on as it is.
    vectors
        Channels that are components: see :meth:`fieldwise.samples.signatures.Signature.vectors`.
    """

    input_scales: Tensor
    feature_scales: Tensor
    partners: Tensor
    paired: Tensor
    slide_scales: Tensor
    deform_scales: Tensor

    def __init__(
        self,
        *,
        network: str,
        network_options: dict[str, Any],
        inputs: dict[str, float],
        outputs: dict[str, float],
        vectors: Vectors,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        used = ("thk", *_slopes_of(inputs), "arrhenius", "slidingco", SPACING)
        self.passed_on = [name for name in inputs if name not in used]
        features = ["depth", "slopex", "slopey", "stressx", "stressy", "stickiness", *self.passed_on]
        names = [[list(inputs)[channel] for channel in pair] for pair in vectors["inputs"]]
        shown = [[features.index(name) for name in pair] for pair in names if pair[0] in self.passed_on]
        turning = {"inputs": [[1, 2], [3, 4], *shown], "targets": vectors["targets"]}
        path, arguments = _with_channels(network, len(features), len(outputs), turning, network_options)
        self.network = import_by_path(path, kind=nn.Module)(**arguments)
        self._describe_channels()

    def _describe_channels(self) -> None:
        """Keep the factors of inputs and features, and of outputs how far each slides and deforms.

        An output has a partner, with which it makes up its stress, where the mapping gives both components.
        """
        names, scales = list(self.outputs), list(self.outputs.values())
        partners = [{"u": "v", "v": "u"}.get(name[0], "") + name[1:] for name in names]
        factors = {
            "input_scales": list(self.inputs.values()),
            "feature_scales": [1, 3, 3, 3, 3, 1, *[1] * len(self.passed_on)],
            "slide_scales": [1 / scale for scale in scales],
            "deform_scales": [DEFORMATION[_depth(name) or ""] / scale for name, scale in zip(names, scales)],
            "paired": [partner in names for partner in partners],
        }
        for name, values in factors.items():
            factor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, factor, persistent=False)
        places = [names.index(partner) if partner in names else 0 for partner in partners]
        self.register_buffer("partners", torch.tensor(places), persistent=False)

    def forward(self, scaled: Tensor) -> Tensor:
        """Map (batch, inputs, y, x), scaled, to (batch, outputs, y, x), scaled."""
        place = list(self.inputs).index("thk")
        ice = scaled[:, place : place + 1] > FLOWING_M / self.inputs["thk"]
        stacked = isinstance(self.network, ConvNet | EquivariantConvNet)
        cells = choose_cells(scaled, ice, self.network.convolutions) if stacked else Everywhere(ice)
        channels = cells.pick(scaled)
        units = (channels * self.input_scales).unbind(1)
        fields = dict(zip(self.inputs, units, strict=True))
        for name, value in DEFAULTS.items():
            if name not in fields:
                fields[name] = torch.full_like(fields["thk"], value)
        thickness, rate, spacing = (fields[name] for name in ("thk", "arrhenius", SPACING))
        slope_x, slope_y = (fields[name] for name in _slopes_of(self.inputs))
        sliding3, unit = fields["slidingco"] ** 3, (WEIGHT * spacing) ** 3
        stickiness = (rate * sliding3 * spacing).clamp(min=1e-6).log10()
        depth = thickness / spacing
        fall = -depth
        stress_x, stress_y = fall * slope_x, fall * slope_y
        features = [depth, slope_x, slope_y, stress_x, stress_y, stickiness]
        features += [fields[name] / self.inputs[name] for name in self.passed_on]
        shown = torch.stack(features, 1)
        answer = self._answer(cells, shown * self.feature_scales)
        along = {"u": stress_x, "v": stress_y}
        drive = torch.stack([along[name[0]] if name[0] in along else 0 * depth for name in self.outputs], 1)
        slide, deform = unit / sliding3, rate * thickness * unit
        return cells.spread(self._to_velocity(answer, drive, slide=slide[:, None], deform=deform[:, None]))

    def _answer(self, cells: Everywhere | Packed, features: Tensor) -> Tensor:
        if isinstance(self.network, ConvNet | EquivariantConvNet):
            return pass_layers(self.network, cells, features)
        return self.network(cells.begin(features))

    def _to_velocity(self, answer: Tensor, drive: Tensor, *, slide: Tensor, deform: Tensor) -> Tensor:
        """Turn stresses into velocities: by the cube of their length, in the direction that they have.

        Stresses are the local driving stress and what the network adds to it.
        """
        stress = torch.add(drive, answer, alpha=SPREAD)
        square = stress.square()
        length2 = torch.addcmul(square, self.paired, square.index_select(1, self.partners))
        mobility = torch.addcmul(slide * self.slide_scales, deform, self.deform_scales)
        return mobility * length2 * stress


class Emulator(Predictor):
    """A network with what it reads and gives, as a plain function from fields to velocities."""

    standard_names = STANDARD_NAMES

    def __init__(self, network: nn.Module, signature: Signature, **options: Any) -> None:
        super().__init__(_unfold(network), signature, **options)

    def read(self, case: Case, window: Bounds, frame: int) -> dict[str, np.ndarray]:
        """Read the inputs in a window, which may reach beyond the case, and where ice can flow."""
        grid, step = case.grid, case.spacing
        west, south, east, north = window
        left, right = (round((edge - grid.west) / step) for edge in (west, east))
        top, bottom = (round((grid.north - edge) / step) for edge in (north, south))
        cells = (slice(top, bottom), slice(left, right))
        arrays = case.read(self.signature.inputs, window=cells, frame=frame)
        arrays[ICE] = find_ice(case, frame, cells=cells)[None]
        beyond = ((0, 0), (0, max(0, bottom - case.shape[0])), (0, max(0, right - case.shape[1])))
        return {name: np.pad(values, beyond, mode="edge") for name, values in arrays.items()}

    def __call__(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Map what was read of a window to velocities, and to where inputs leave what training has seen."""
        ice = arrays[ICE][0]
        values = self.apply(self.signature.stack(arrays), ice)
        if len(self.outputs) == len(values):
            return values
        beyond = np.any(list(self.signature.beyond(arrays).values()), axis=0) & ice
        return np.concatenate([values, beyond[None].astype(np.float32)])

    @torch.inference_mode()
    def apply(self, inputs: np.ndarray, ice: np.ndarray) -> np.ndarray:  # type: ignore[override]
        """Map fields (input, y, x) to velocities (output, y, x), rows from north to south, 0 off the ice."""
        scaled = np.ascontiguousarray(self.signature.apply(inputs))
        answer = self.network(torch.from_numpy(scaled)[None].to(self.device))[0].float().cpu().numpy()
        return self.signature.undo(answer) * ice + np.float32(0)  # no minus nothing

    def read_frame(self, case: Case, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Read what :meth:`apply` takes of a frame.

        >>> from fieldwise.recipes.ice_flow.signatures import make_signature
        >>> from fieldwise.samples.examples import make_prepared
        >>> (case,) = make_prepared({"thk": np.array([[[0.0, 50.0, 90.0]]])}).cases()
        >>> emulator = Emulator(nn.Identity(), make_signature({"thk": 2000.0}, {"ubar": 1000.0}))
        >>> inputs, ice = emulator.read_frame(case, 0)
        >>> inputs.tolist(), ice.tolist()
        ([[[0.0, 50.0, 90.0]]], [[False, True, True]])
        """
        return case.stack(self.signature.fields("inputs"), frame=frame), find_ice(case, frame)

    def measure_beyond(
        self, case: Case, frames: Sequence[int]
    ) -> tuple[float, dict[str, tuple[float, float, float, float]]]:
        """Tell in which share of the ice inputs leave what training has seen, and which: some rows at a time.

        Returns
        -------
        tuple
            The share; and for each field that does so its least and largest value, and those of training.
        """
        known = {name: each.range for each in self.signature.inputs if each.range for name in each.fields}
        ends = dict.fromkeys(known, (np.inf, -np.inf))
        beyond = cells = 0
        for frame in frames:
            for top in range(0, case.shape[0], STRIP_ROWS):
                rows = (slice(top, top + STRIP_ROWS),)
                arrays = case.read(self.signature.inputs, window=(*rows, slice(None)), frame=frame)
                ice = find_ice(case, frame, cells=rows)
                cells += int(ice.sum())
                beyond += int((np.any(list(self.signature.beyond(arrays).values()), axis=0) & ice).sum())
                for name, values in zip(self.signature.fields("inputs"), self.signature.stack(arrays)):
                    if name in known and ice.any():
                        least, largest = ends[name]
                        ends[name] = min(least, values[ice].min()), max(largest, values[ice].max())
        far = {
            name: (*ends[name], *limits)
            for name, limits in known.items()
            if ends[name][0] < limits[0] or ends[name][1] > limits[1]
        }
        return beyond / max(cells, 1), far


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
