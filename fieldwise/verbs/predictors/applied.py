"""A trained network as a plain function from the fields of a window to maps in physical units."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of
from fieldwise.fields.grids import Bounds
from fieldwise.networks.layers import Layer, list_layers
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks.precision import computes_in_bf16
from fieldwise.tasks.replays import Replayed
from fieldwise.verbs.domains.clocks import measure
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.domains.reaches import reach
from fieldwise.verbs.ensembles import WORLD, find_place, make_noise

Arrays = dict[str, np.ndarray]
STYLE, WHOLE = "_style", "_whole"  # read beside the fields: numbers, and that the window is a whole box
BEYOND = "beyond_training"  # marks the cells in which an input leaves what training has seen


class Predictor:
    """A network on its device, what it reads and gives, and how; the default of every recipe.

    A recipe that adds something (a base, a weight) overrides `read`, which may give further arrays, and
    `__call__`, or `infer` alone. `predict_to` takes any object with the methods and attributes of this one.

    A network of valid convolutions states how many of its cells it loses on every side (`margin`), and where
    it refines, by how much (`scale_factor`) and what is to be cut off what it gives (`surplus`). One with a
    `boundary` computes "valid", or "periodic" for a whole periodic box. One whose `forward` takes `noise` is
    given that of world cells, and one whose signature names a style the numbers of the case.

    Parameters
    ----------
    network
        Maps what the signature describes, (1, channel, *cells) or name to that, to (1, channel, *cells).
    signature
        Names, units and scales.
    device
        Where the network lies; it is moved there.
    path
        File of the weights.
    run
        Folder of the run, where the measured halo is remembered; None for nowhere.
    fingerprint
        Hash of the weights and of whatever else decides: unfinished maps of another one are dropped.
    state
        What the checkpoint holds beside the network's weights, by its name in the task.

    Attributes
    ----------
    standard_names, long_names : mapping
        Of outputs that have one.

    Examples
    --------
    >>> from fieldwise.samples.scales import Scale
    >>> mean = torch.nn.AvgPool2d(3, stride=1, padding=1)
    >>> depth = Variable("depth", units="m", scale=Scale(0.0, 10.0))
    >>> predictor = Predictor(mean, Signature("own", (depth,), (depth,), stacked=True))
    >>> predictor({"depth": np.full((1, 3, 3), 9.0, dtype=np.float32)})[0, 1].tolist()  # zeros around
    [6.0, 9.0, 6.0]
    >>> [output.units for output in predictor.outputs]
    ['m']
    """

    standard_names: Mapping[str, str] = {}
    long_names: Mapping[str, str] = {}
    halved = False
    # Whether scaling, marking and what a recipe adds take tensors too: on a GPU all is then worked out there.
    stays_on_device = False

    def __init__(
        self,
        network: torch.nn.Module,
        signature: Signature,
        *,
        device: torch.device | str = "cpu",
        path: str | Path = "",
        run: str | Path | None = None,
        fingerprint: str = "",
        state: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network: Any = network.eval().to(self.device)
        self.on_device = self.stays_on_device and self.device.type != "cpu"
        self._replayed = Replayed(lambda inputs: self.network(inputs))
        self.signature = signature
        self.path, self.run = Path(path), None if run is None else Path(run)
        self.fingerprint = fingerprint
        self.state = dict(state or {})

    @property
    def padding_cells(self) -> int:
        """Cells of the map that are read around a window because the network eats them."""
        return getattr(self.network, "margin", 0) * self._refinement

    @property
    def stochastic(self) -> bool:
        """Whether the network takes noise, so that there are members."""
        return "noise" in inspect.signature(self.network.forward).parameters

    @property
    def _refinement(self) -> int:
        """Cells of the map along one that the network reads."""
        return getattr(self.network, "scale_factor", 1)

    @property
    def outputs(self) -> list[Output]:
        """The channels in their order; where training has noted ranges, flags of what lies beyond them."""
        outputs = [
            Output(name, variable.units, self.long_names.get(name), self.standard_names.get(name))
            for variable in self.signature.outputs
            for name in variable.fields
        ]
        if any(variable.range is not None for variable in self.signature.inputs):
            outputs.append(Output(BEYOND, dtype="int8", flags=("within", "beyond")))
        return outputs

    @property
    def tolerance(self) -> list[float]:
        """Largest difference of tiled and untiled: of each output the part 1e-5 of its scale."""
        channels = sum(variable.channels for variable in self.signature.outputs)
        shape = channels, *(1,) * self.signature.dimensions
        ends = [self._unscale(np.full(shape, end, dtype=np.float32)) for end in (0, 1)]
        units = np.abs(ends[1] - ends[0]).ravel()
        return [*(1e-5 * units).tolist(), *[0.5] * (len(self.outputs) - channels)]

    def reach_cells(self, case: Case) -> int | None:
        """Tell how many cells of the map the network sees to one side at most; None where not known."""
        if hasattr(self.network, "margin"):
            return 0  # beyond the padding
        cells = reach(self.network).cells
        return None if cells is None else math.ceil(cells * max([1.0, *self._ratios(case)]))

    def alignment_cells(self, case: Case) -> int:
        """Tell of how many cells of the map the edges of windows are to be multiples.

        These are the cells of the map in one of the coarsest input and in one where the network's map is
        smallest.
        """
        ratios = [max(1, round(ratio)) for ratio in self._ratios(case)]
        return math.lcm(reach(self.network).multiple, *ratios)

    def _ratios(self, case: Case) -> list[float]:
        """Give the cells of the map in one of each input."""
        return [(variable.spacing or case.spacing) / case.spacing for variable in self.signature.inputs]

    def read(self, case: Case, window: Any, frame: int) -> Arrays:
        """Read what a window, of a box in slices, needs: name to (channel, *cells). Threads call it."""
        inputs, box = self.signature.inputs, tuple(slice(0, size) for size in case.shape)
        whole = case.periodic and window == box and hasattr(self.network, "boundary")
        padding = 0 if whole else self.padding_cells
        if isinstance(window[0], slice):
            wide = tuple(slice(each.start - padding, each.stop + padding) for each in window)
            arrays = case.read(inputs, window=wide, frame=frame)
        else:
            arrays = case.read(inputs, window=window, frame=frame, padding=padding * case.spacing)
        if self.signature.facts.get("style"):
            arrays[STYLE] = self.read_style(case)
        if self.stochastic:
            arrays[WORLD] = find_place(case, window, padding, self._refinement)
        return {**arrays, WHOLE: np.array(True)} if whole else arrays

    def read_style(self, case: Case) -> np.ndarray:
        """Give the numbers of a case that the network reads beside its fields, (number,) float32."""
        names = self.signature.facts.get("style") or []
        case.check_numbers(names)
        return np.array([case.numbers[name] for name in names], dtype=np.float32)

    def stage(self, arrays: Arrays) -> Arrays:
        """Bring what was read to a GPU on which all is worked out, from the thread that reads."""
        if not self.on_device:
            return arrays
        moved: Any = {
            name: torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
            for name, values in arrays.items()
            if not name.startswith("_") and not isinstance(values, torch.Tensor)
        }
        return arrays | moved

    @torch.inference_mode()
    def __call__(self, arrays: Arrays) -> np.ndarray:
        """Map the inputs of a window to all outputs, (channel, *cells), missing where an input is."""
        arrays = self.stage(arrays)
        values = self.apply(arrays)
        with measure("marking", self.wait):
            values[..., ~self.covers(arrays, values.shape[1:])] = np.nan
            flagged: Any = self.flag_beyond(values, arrays)
        return flagged.cpu().numpy() if self.on_device else flagged

    def covers(self, arrays: Arrays, shape: tuple[int, ...]) -> np.ndarray:
        """Mark the cells of the map, (*cells), for which the outputs are meant: where no input is missing."""
        return ~self.mark(arrays, lambda variable, cells: (cells != cells).any(axis=0), shape)

    def flag_beyond(self, values: np.ndarray, arrays: Arrays) -> np.ndarray:
        """Put the flags of what lies beyond training, where it is known, behind the values."""
        if len(self.outputs) == len(values):
            return values
        marked = self.beyond(arrays, values.shape[1:])[None]
        return module_of(values).concatenate([values, to_float32(marked)])

    def beyond(self, arrays: Arrays, shape: tuple[int, ...]) -> np.ndarray:
        """Mark the covered cells of the map, (*cells), in which an input leaves what training has seen."""
        beyond = self.mark(arrays, lambda variable, cells: variable.beyond(cells), shape)
        return beyond & self.covers(arrays, shape)

    @torch.inference_mode()
    def apply(self, arrays: Arrays) -> np.ndarray:
        """Scale the inputs, missing ones 0, pass them through the network, and unscale: (channel, *cells)."""
        with measure("scaling", self.wait):
            scaled = self.signature.apply({each.name: arrays[each.name] for each in self.signature.inputs})
            tensors = {name: self._to_tensor(values) for name, values in scaled.items()}
        stacked = torch.cat(list(tensors.values()), dim=1) if self.signature.stacked else None
        options: dict[str, Any] = {}
        if STYLE in arrays:
            options["style"] = self._to_tensor(arrays[STYLE])
        if WORLD in arrays:
            options["noise"] = make_noise(arrays, self.network)
        if hasattr(self.network, "boundary"):
            self.network.boundary = "periodic" if WHOLE in arrays else "valid"
        with measure("network", self.wait):
            answer: Any = self.infer(tensors if stacked is None else stacked, **options)[0].float()
        surplus = getattr(self.network, "surplus", 0)
        inner = answer[:, *(slice(surplus, size - surplus) for size in answer.shape[1:])]
        with measure("unscaling", self.wait):
            return self._unscale(inner if self.on_device else inner.cpu().numpy())

    def wait(self) -> None:
        """Wait until a GPU has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def infer(self, inputs: Any, **options: Any) -> torch.Tensor:
        """Pass scaled inputs, (1, channel, *cells) or name to that, through the network."""
        with self.autocast():
            plainly = options or not self.on_device
            return self.network(inputs, **options) if plainly else self._replayed(inputs)

    def choose_precision(self, precision: str) -> None:
        """Compute in 32-true or bf16-mixed from now on; auto takes the latter on a GPU that has it.

        Of members, whose spread is far larger than its rounding, auto takes it on a processor with AMX too.

        Raises
        ------
        InputError
            Where the GPU does not compute in bfloat16.
        """
        on_gpu, has_bf16 = self.device.type == "cuda", computes_in_bf16(self.device)
        if precision == "bf16-mixed" and on_gpu and not has_bf16:
            raise InputError("--precision: this GPU does not compute in bfloat16; give 32-true, or auto")
        if precision == "bf16-mixed" or (precision == "auto" and has_bf16 and (on_gpu or self.stochastic)):
            self.halve()

    def halve(self) -> None:
        """Compute in bfloat16 from now on, where that changes little."""
        self.halved = True
        self.fingerprint += " bf16"

    @contextmanager
    def in_full(self) -> Iterator[None]:
        """Compute in float32 for a while: to tell what changes a map from what rounds it."""
        halved, self.halved = self.halved, False
        try:
            yield
        finally:
            self.halved = halved

    def autocast(self) -> torch.autocast:
        """Give the context in which the network computes."""
        options: Any = {"enabled": self.halved, "cache_enabled": self.device.type == "cpu"}
        return torch.autocast(self.device.type, torch.bfloat16, **options)

    def _unscale(self, channels: np.ndarray) -> np.ndarray:
        values = self.signature.undo(self.signature.split(channels))
        return to_float32(self.signature.stack(values, "outputs"))

    def _to_tensor(self, values: Any) -> torch.Tensor:
        if isinstance(values, torch.Tensor):
            return values.nan_to_num(posinf=math.inf, neginf=-math.inf)[None]
        filled = np.nan_to_num(np.asarray(values, dtype=np.float32), posinf=np.inf, neginf=-np.inf)
        return torch.from_numpy(filled)[None].to(self.device)

    def mark(
        self, arrays: Arrays, test: Callable[[Variable, np.ndarray], np.ndarray], shape: tuple[int, ...]
    ) -> np.ndarray:
        """Mark the cells of the map, (*cells), in which any input passes a test of its own cells.

        Parameters
        ----------
        arrays
            Name to (channel, *cells), each at its own spacing.
        test
            Maps a variable and its cells, (channel, *cells), to bool (*cells).
        shape
            Of the map.
        """
        marked, padding = np.zeros(shape, dtype=bool), 0 if WHOLE in arrays else self.padding_cells
        if self.on_device:
            marked = torch.zeros(shape, dtype=torch.bool, device=self.device)  # type: ignore[assignment]
        for variable in self.signature.inputs:
            found = test(variable, arrays[variable.name])
            if found.any():
                marked |= _at_map(found, shape, padding)
        return marked


def to_float32(values: Any) -> Any:
    """Give an array or a tensor in float32; one that is comes back as it is.

    >>> to_float32(np.zeros(1)).dtype, to_float32(torch.zeros(1, dtype=torch.bool)).dtype
    (dtype('float32'), torch.float32)
    """
    return values.float() if isinstance(values, torch.Tensor) else values.astype(np.float32, copy=False)


def _at_map(cells: np.ndarray, shape: tuple[int, ...], padding: int) -> np.ndarray:
    """Give each cell of the map what is nearest in an input, which spans the map and its padding."""
    if cells.shape == shape and not padding:
        return cells
    places = (
        ((np.arange(size) + padding + 0.5) * own / (size + 2 * padding)).astype(int)
        for size, own in zip(shape, cells.shape)
    )
    return cells[np.ix_(*places)]


def draw_window(
    predictor: Predictor, case: Case, window: Bounds | Cells
) -> tuple[list[Layer], Arrays, np.ndarray]:
    """Have a predictor draw one window, and look on.

    Returns
    -------
    tuple
        The layers of the network; name to (*cells) input as the network reads it, of vectors the length;
        and the map, (channel, *cells).

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"depth": [np.full((4, 4), 3.0), np.full((4, 4), 4.0)]}, shape=(4, 4)).cases()[0]
    >>> depth = case.variables["depth"]
    >>> predictor = Predictor(torch.nn.Conv2d(2, 2, 1), Signature("own", (depth,), (depth,), stacked=True))
    >>> layers, pictures, drawn = draw_window(predictor, case, case.bounds)
    >>> float(pictures["depth"].max()), drawn.shape
    (5.0, (2, 4, 4))
    """
    arrays = predictor.read(case, window, 0)
    inputs = {each.name: arrays[each.name] for each in predictor.signature.inputs}
    tensors = {name: torch.from_numpy(np.nan_to_num(values))[None] for name, values in inputs.items()}
    example: Any = torch.cat(list(tensors.values()), dim=1) if predictor.signature.stacked else tensors
    pictures = {
        name: values[0] if len(values) == 1 else np.linalg.norm(values, axis=0)
        for name, values in inputs.items()
    }
    return list_layers(predictor.network, example), pictures, predictor(arrays)
