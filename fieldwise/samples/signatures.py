"""What a network reads and gives: names, units, spacings, scales, ranges and vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of
from fieldwise.samples.scales import AnyScale, Scale, read_scale

VERSION = 3  # of the plain form; a checkpoint of another one is refused
SLACK = 1e-5  # of the larger end of a range: rounding alone leaves no range
Arrays = Mapping[str, np.ndarray]
Side = Literal["inputs", "outputs"]
AS_IT_IS = Scale(0.0, 1.0)


@dataclass(frozen=True)
class Variable:
    """One named field, scalar or vector, that a network reads or gives.

    Parameters
    ----------
    name
        As a prepared folder and a network call it.
    fields
        Fields of the prepared folder, one a channel; by default the one of this name.
    units
        As UDUNITS reads them.
    spacing
        Of its cells, in the unit of the grid; None for that of the case.
    scale
        Brings values near zero and one.
    range
        Least and greatest value that training has seen.
    vector
        Whether the channels are components along the axes: to the east, to the north, and upward.
    flat
        Whether it is read without its regional trend, and divided by its spread where it has one.

    >>> Variable("ice_velocity", ("vx", "vy"), "m year-1", vector=True).channels
    2
    """

    name: str
    fields: tuple[str, ...] = ()
    units: str = "1"
    spacing: float | None = None
    scale: AnyScale = AS_IT_IS
    range: tuple[float, float] | None = None
    vector: bool = False
    flat: bool = False

    def __post_init__(self) -> None:
        """Take the one field of its own name where none is named."""
        if not self.fields:
            object.__setattr__(self, "fields", (self.name,))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.fields)

    def beyond(self, values: Any) -> Any:
        """Mark where any channel leaves what training has seen: (channel, *cells) to bool (*cells).

        >>> Variable("thk", range=(0.0, 300.0)).beyond(np.array([[10.0, 400.0, np.nan]])).tolist()
        [False, True, False]
        """
        if self.range is None:
            return np.zeros(values.shape[1:], dtype=bool)
        low, high = self.range
        slack = SLACK * max(abs(low), abs(high))
        return ((values < low - slack) | (values > high + slack)).any(axis=0)

    def to_dict(self) -> dict[str, Any]:
        """Write the variable in plain types."""
        return {
            "name": self.name,
            "fields": list(self.fields),
            "units": self.units,
            "spacing": self.spacing,
            "scale": self.scale.to_dict(),
            "range": None if self.range is None else list(self.range),
            "vector": self.vector,
            "flat": self.flat,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Variable:
        """Read back what :meth:`to_dict` wrote.

        >>> speed = Variable("speed", units="m year-1", scale=Scale(0.0, 1000.0), range=(0.0, 310.0))
        >>> Variable.from_dict(speed.to_dict()) == speed
        True
        """
        limits = None if entry["range"] is None else tuple(entry["range"])
        known = {"fields": tuple(entry["fields"]), "scale": read_scale(entry["scale"]), "range": limits}
        return cls(**{**entry, **known})


@dataclass(frozen=True)
class Signature:
    """What a network reads and gives; it scales and unscales, and travels in every checkpoint.

    Parameters
    ----------
    recipe
        Whose network it is.
    inputs, outputs
        In the order of the channels.
    stacked
        Whether the inputs come to the network as one tensor (batch, channel, y, x) rather than by name.
    spacings
        Of the cells that training has seen.
    facts
        Plain values that only the recipe knows.
    dimensions
        Of its fields: 2, or 3 in boxes.

    >>> thickness = Variable("thk", units="m", scale=Scale(0.0, 2000.0), range=(0.0, 900.0))
    >>> speed = Variable("speed", units="m year-1", scale=Scale(0.0, 1000.0))
    >>> signature = Signature("ice_flow", (thickness,), (speed,), stacked=True)
    >>> signature.apply({"thk": np.array([[[500.0]]])})["thk"].tolist()
    [[[0.25]]]
    >>> signature.undo(np.array([[[0.5]]])).tolist()  # channels stacked, as a network gives them
    [[[500.0]]]
    """

    recipe: str
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    stacked: bool = False
    spacings: tuple[float, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    dimensions: int = 2

    def apply(self, arrays: Any, side: Side = "inputs") -> Any:
        """Scale physical values for the network, or the truth beside what it gives.

        Parameters
        ----------
        arrays
            Name to (..., channel, *cells), or all channels of the side stacked in one array.
        side
            Which variables they are.

        Returns
        -------
        The same form, scaled.
        """
        if isinstance(arrays, Mapping):
            return {each.name: each.scale.apply(arrays[each.name]) for each in getattr(self, side)}
        mean, spread = self._factors[side]
        return (arrays - mean) / spread if mean.any() else arrays / spread

    def undo(self, arrays: Any, side: Side = "outputs") -> Any:
        """Give scaled values their units back; the inverse of :meth:`apply`."""
        if isinstance(arrays, Mapping):
            return {each.name: each.scale.undo(arrays[each.name]) for each in getattr(self, side)}
        mean, spread = self._factors[side]
        return arrays * spread + mean if mean.any() else arrays * spread

    @cached_property
    def _factors(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and spread of each channel, (channel, 1, ...), of the sides that plain scales make up."""
        factors = {}
        for side in ("inputs", "outputs"):
            scales = [each.scale for each in getattr(self, side) for _ in each.fields]
            if all(isinstance(scale, Scale) for scale in scales):
                pairs = np.array([(scale.mean, scale.spread) for scale in scales], dtype=np.float32)
                mean, spread = pairs.reshape(-1, 2, *(1,) * self.dimensions).swapaxes(0, 1)
                factors[side] = mean, spread
        return factors

    def stack(self, arrays: Arrays, side: Side = "inputs") -> np.ndarray:
        """Join variables along the channels, the axis before those of space, in their order.

        >>> signature = Signature("own", (Variable("a"), Variable("b")), ())
        >>> signature.stack({"b": np.ones((1, 2, 2)), "a": np.zeros((1, 2, 2))})[:, 0, 0].tolist()
        [0.0, 1.0]
        """
        chosen = [arrays[each.name] for each in getattr(self, side)]
        return module_of(chosen[0]).concatenate(chosen, axis=-1 - self.dimensions)

    def split(self, channels: np.ndarray, side: Side = "outputs") -> dict[str, np.ndarray]:
        """Take stacked channels, (..., channel, *cells), apart: the inverse of :meth:`stack`."""
        parts, first, cells = {}, 0, (slice(None),) * self.dimensions
        for each in getattr(self, side):
            place: Any = (..., slice(first, first + each.channels), *cells)
            parts[each.name], first = channels[place], first + each.channels
        return parts

    def beyond(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Mark for each input the cells in which it leaves what training has seen: name to bool (y, x)."""
        return {each.name: each.beyond(arrays[each.name]) for each in self.inputs}

    def fields(self, side: Side) -> list[str]:
        """List the fields of a side, one a channel."""
        return [name for each in getattr(self, side) for name in each.fields]

    def vectors(self) -> dict[str, list[tuple[int, ...]]]:
        """Tell which channels are components of vectors, as :func:`fieldwise.samples.loaders.turn` takes it.

        Of stacked inputs and of outputs (`targets`) all channels are counted through; of inputs by name
        those of each.

        >>> slope = Variable("slope", ("slope_x", "slope_y"), vector=True)
        >>> flow = Variable("flow", ("u", "v"), vector=True)
        >>> Signature("own", (Variable("thk"), slope), (flow,), stacked=True).vectors()
        {'inputs': [(1, 2)], 'targets': [(0, 1)]}
        >>> Signature("own", (Variable("thk"), slope), (flow,)).vectors()
        {'slope': [(0, 1)], 'targets': [(0, 1)]}
        """
        targets = {"targets": _components(self.outputs)}
        if self.stacked:
            return {"inputs": _components(self.inputs)} | targets
        return {each.name: _components([each]) for each in self.inputs if each.vector} | targets

    def with_facts(self, **facts: Any) -> Signature:
        """Give the same signature with further facts."""
        return replace(self, facts={**self.facts, **facts})

    def check_prepared(self, case: Any, source: str | Path) -> None:
        """Refuse a prepared folder that does not hold the inputs as training has seen them.

        Parameters
        ----------
        case
            A :class:`fieldwise.samples.cases.Case` of the folder.
        source
            File of the weights, to name.

        Raises
        ------
        InputError
            Naming all inputs that are missing, or the first that differs.

        >>> from fieldwise.samples.examples import make_box
        >>> options = {"split": "test", "spacing": 2.0, "spacing_units": "Mpc h-1"}
        >>> box = make_box({"density": np.ones((1, 4, 4))}, **options).cases()[0]
        >>> Signature("own", (Variable("density", spacing=4.0),), ()).check_prepared(box, "best.ckpt")
        Traceback (most recent call last):
        fieldwise.errors.InputError: best.ckpt: was trained on density with 1 channel at 4 Mpc h-1; ...
        """
        units = case.spacing_units
        trained_units = self.facts.get("spacing_units", units)
        missing = [each.name for each in self.inputs if each.name not in case.readable]
        for wanted in self.inputs:
            found = case.variables.get(wanted.name, wanted)
            if (found.channels, found.spacing) != (wanted.channels, wanted.spacing):
                raise InputError(
                    f"{source}: was trained on {wanted.name} with {_describe(wanted, trained_units)}; "
                    f"{case.folder} holds {_describe(found, units)}"
                )
        if missing:
            inputs = f"input{'s' * (len(missing) > 1)} {', '.join(missing)}"
            raise InputError(
                f"{source}: needs the {inputs}, which {case.folder} does not hold; name what they take in "
                "the FILE.yaml, and prepare again"
            )

    def check_same(self, other: Signature, source: str | Path) -> None:
        """Refuse to go on from a checkpoint of another signature; `other` is that of the data now.

        Numbers are compared to six digits: another machine may round the last ones differently.

        >>> before = Signature("own", (Variable("thk"),), ())
        >>> before.check_same(Signature("own", (Variable("thk", scale=Scale(0.0, 2.0)),), ()), "last.ckpt")
        Traceback (most recent call last):
        fieldwise.errors.InputError: last.ckpt: was trained on other data (thk); choose another --run, ...
        """
        ours, theirs = _rounded(self.to_dict()), _rounded(other.to_dict())
        if ours == theirs:
            return
        plain = ("recipe", "stacked", "spacings", "dimensions")
        differing = [key for key in plain if ours[key] != theirs[key]]
        facts = ours["facts"].keys() | theirs["facts"].keys()
        differing += [key for key in sorted(facts) if ours["facts"].get(key) != theirs["facts"].get(key)]
        for side in ("inputs", "outputs"):
            tables = [{entry["name"]: entry for entry in each[side]} for each in (ours, theirs)]
            names = dict.fromkeys([*tables[0], *tables[1]])
            differing += [name for name in names if tables[0].get(name) != tables[1].get(name)]
        raise InputError(
            f"{source}: was trained on other data ({', '.join(differing) or 'another order'}); "
            "choose another --run, or --resume false"
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the signature in plain types, as a checkpoint keeps it."""
        return {
            "version": VERSION,
            "recipe": self.recipe,
            "inputs": [each.to_dict() for each in self.inputs],
            "outputs": [each.to_dict() for each in self.outputs],
            "stacked": self.stacked,
            "spacings": list(self.spacings),
            "facts": dict(self.facts),
            "dimensions": self.dimensions,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any], source: str | Path = "a checkpoint") -> Signature:
        """Read back what :meth:`to_dict` wrote; another form is an error that names its source.

        >>> signature = Signature("own", (Variable("thk"),), (Variable("speed"),), facts={"share": 0.5})
        >>> Signature.from_dict(signature.to_dict()) == signature
        True
        >>> Signature.from_dict({"recipe": "own"}, "best.ckpt")
        Traceback (most recent call last):
        fieldwise.errors.InputError: best.ckpt: is a checkpoint written by another version of fieldwise; ...
        """
        if entry.get("version") != VERSION:
            raise InputError(
                f"{source}: is a checkpoint written by another version of fieldwise; train it again"
            )
        try:
            inputs, outputs = (tuple(map(Variable.from_dict, entry[side])) for side in ("inputs", "outputs"))
            return cls(
                entry["recipe"],
                inputs,
                outputs,
                stacked=entry["stacked"],
                spacings=tuple(entry["spacings"]),
                facts=dict(entry["facts"]),
                dimensions=entry["dimensions"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{source}: holds a damaged signature ({error}); train it again") from None


def group_fields(
    names: Iterable[str], *, units: Mapping[str, str], pairs: Iterable[tuple[str, str]] | None = None
) -> list[Variable]:
    """Make variables of fields: vectors of `u...` and `v...`, or of `...x` and `...y`, scalars of the rest.

    Parameters
    ----------
    units
        Of fields; those unknown are 1.
    pairs
        Which fields make up vectors; by default all that are components by their names.

    >>> [(each.name, each.fields) for each in group_fields(["vbar", "thk", "ubar"], units={})]
    [('thk', ('thk',)), ('bar', ('ubar', 'vbar'))]
    """
    names = list(names)
    if pairs is None:
        pairs = [(east, north) for east in names for north in names if are_components(east, north)]
    partners = dict(pairs)
    variables: dict[str, Variable] = {}
    for name in names:
        north = partners.get(name)
        if name in partners.values():
            continue
        if north is None:
            variables[name] = Variable(name, units=units.get(name, "1"))
            continue
        stem = name[1:] if north[1:] == name[1:] else name[:-1]
        whole = name if stem in ("", *names, *variables) else stem
        variables[whole] = Variable(whole, (name, north), units=units.get(name, "1"), vector=True)
    return list(variables.values())


def are_components(east: str, north: str) -> bool:
    """Tell whether two fields are named as the components of a vector to the east and to the north.

    >>> are_components("ubar", "vbar"), are_components("slopicex", "slopicey"), are_components("u", "w")
    (True, True, False)
    """
    return (east[:1], north) == ("u", "v" + east[1:]) or (east[-1:], north) == ("x", east[:-1] + "y")


def _components(variables: Iterable[Variable]) -> list[tuple[int, ...]]:
    found, first = [], 0
    for each in variables:
        if each.vector:
            found.append(tuple(range(first, first + each.channels)))
        first += each.channels
    return found


def _describe(variable: Variable, units: str) -> str:
    at = "" if variable.spacing is None else f" at {variable.spacing:g} {units}"
    return f"{variable.channels} channel{'s' * (variable.channels > 1)}{at}"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
