"""Flow of ice from its shape: physics around a network, which is left with what physics does not tell."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.networks.cells import Everywhere, Packed, choose_cells
from fieldwise.networks.convnet import ConvNet, pass_layers
from fieldwise.networks.equivariant import EquivariantConvNet, Vectors
from fieldwise.networks.imports import import_by_path
from fieldwise.physics.ice_flow.blatter_pattyn import RATE_FACTOR, SLIDING_COEFFICIENT, WEIGHT
from fieldwise.physics.ice_flow.slopes import FLOWING_M

# Share of the velocity of a slab, 2 A / (n + 1) tau^n H for n = 3, that deformation has at each depth.
DEFORMATION = {"bed": 0.0, "mean": 0.4, "surface": 0.5}
# What stands for an input that is not among them.
DEFAULTS = {"rate_factor": RATE_FACTOR, "sliding_coefficient": SLIDING_COEFFICIENT, "spacing": 100.0}
SHAPE = ("thickness", "slope_x", "slope_y")
FEATURES = ("depth", "slope_x", "slope_y", "stress_x", "stress_y", "stickiness")
SPREAD = 0.1  # stress in units of rho g d that an answer of 1 adds: a bar at 100 m


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
        Import path of one that takes `in_channels`, `out_channels` and maybe `vectors`; its further options.
    inputs, outputs
        Names of the channels, and what they were divided by.
    roles
        Which inputs are `thickness`, `slope_x` and `slope_y` (to the east and to the north), and maybe
        `rate_factor`, `sliding_coefficient` and `spacing` of cells; without these, 78 MPa-3 a-1,
        0.0464 MPa (m/a)^(-1/3) and 100 m. Any other input is passed on as it is.
    flows
        Output to its axis, x, y or z, and its depth: bed, mean or surface.
    vectors
        Channels that are components: see :meth:`fieldwise.samples.signatures.Signature.vectors`.

    >>> network = StressScaled(
    ...     network="fieldwise.networks.convnet.ConvNet",
    ...     network_options={"layers": 1},
    ...     inputs={"thk": 2000.0, "east": 1.0, "north": 1.0},
    ...     outputs={"u": 1000.0, "v": 1000.0},
    ...     roles={"thickness": "thk", "slope_x": "east", "slope_y": "north"},
    ...     flows={"u": ("x", "mean"), "v": ("y", "mean")},
    ...     vectors={"inputs": [(1, 2)], "targets": [(0, 1)]},
    ... )
    >>> rock = torch.zeros(1, 3, 8, 8)
    >>> network(rock).shape, network(rock).any().item()
    (torch.Size([1, 2, 8, 8]), False)
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
        roles: Mapping[str, str],
        flows: Mapping[str, tuple[str, str]],
        vectors: Vectors,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.roles = inputs, outputs, dict(roles)
        self.axes = [flows[name][0] for name in outputs]
        self.passed_on = [name for name in inputs if name not in roles.values()]
        features = [*FEATURES, *self.passed_on]
        names = [[list(inputs)[channel] for channel in pair] for pair in vectors["inputs"]]
        shown = [[features.index(name) for name in pair] for pair in names if pair[0] in self.passed_on]
        turning = {"inputs": [[1, 2], [3, 4], *shown], "targets": vectors["targets"]}
        kind = import_by_path(network, kind=nn.Module)
        channels: dict[str, Any] = {"in_channels": len(features), "out_channels": len(outputs)}
        if "vectors" in inspect.signature(kind).parameters:
            channels["vectors"] = turning
        self.network = kind(**(channels | network_options))
        self._describe_channels([(axis, depth) for axis, depth in map(flows.__getitem__, outputs)])

    def _describe_channels(self, flows: list[tuple[str, str]]) -> None:
        """Keep the factors of inputs and features, and of outputs how far each slides and deforms.

        An output has a partner, with which it makes up its stress, where the mapping gives both components.
        """
        scales = list(self.outputs.values())
        partners = [({"x": "y", "y": "x"}.get(axis, ""), depth) for axis, depth in flows]
        factors = {
            "input_scales": list(self.inputs.values()),
            "feature_scales": [1, 3, 3, 3, 3, 1, *[1] * len(self.passed_on)],
            "slide_scales": [1 / scale for scale in scales],
            "deform_scales": [DEFORMATION[depth] / scale for (_, depth), scale in zip(flows, scales)],
            "paired": [partner in flows for partner in partners],
        }
        for name, values in factors.items():
            factor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, factor, persistent=False)
        places = [flows.index(partner) if partner in flows else 0 for partner in partners]
        self.register_buffer("partners", torch.tensor(places), persistent=False)

    def forward(self, scaled: Tensor) -> Tensor:
        """Map (batch, inputs, y, x), scaled, to (batch, outputs, y, x), scaled."""
        thickness_name = self.roles["thickness"]
        place = list(self.inputs).index(thickness_name)
        ice = scaled[:, place : place + 1] > FLOWING_M / self.inputs[thickness_name]
        stacked = isinstance(self.network, ConvNet | EquivariantConvNet)
        cells = choose_cells(scaled, ice, self.network.convolutions) if stacked else Everywhere(ice)
        channels = cells.pick(scaled)
        units = (channels * self.input_scales).unbind(1)
        fields = dict(zip(self.inputs, units, strict=True))
        thickness, slope_x, slope_y = (fields[self.roles[role]] for role in SHAPE)
        rate, sliding, spacing = (
            fields[self.roles[role]] if role in self.roles else torch.full_like(thickness, value)
            for role, value in DEFAULTS.items()
        )
        sliding3, unit = sliding**3, (WEIGHT * spacing) ** 3
        stickiness = (rate * sliding3 * spacing).clamp(min=1e-6).log10()
        depth = thickness / spacing
        fall = -depth
        stress_x, stress_y = fall * slope_x, fall * slope_y
        features = [depth, slope_x, slope_y, stress_x, stress_y, stickiness]
        features += [fields[name] / self.inputs[name] for name in self.passed_on]
        shown = torch.stack(features, 1)
        answer = self._answer(cells, shown * self.feature_scales)
        along = {"x": stress_x, "y": stress_y}
        drive = torch.stack([along[axis] if axis in along else 0 * depth for axis in self.axes], 1)
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
