"""A prepared folder: cases of fields on disk that describe themselves, read by window and frame."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fieldwise.drafts import check_inside, check_plain_name, replace_together, replace_when_done
from fieldwise.errors import InputError, times
from fieldwise.fields.arrays import ArrayModule
from fieldwise.fields.entries import open_entry
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Variable

DESCRIPTION = "dataset.yaml"  # written last: a folder that holds it is whole
FORMAT = 2  # of the description; a folder of another one is refused
SPLITS = ("training", "validation", "test")
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many boxes take seconds without the one in C
SLAB_BYTES = 2**26  # of a box in memory


class Prepared:
    """A prepared folder: what it holds, said by itself.

    Parameters
    ----------
    folder
        What the verb prepare wrote.
    recipe
        Whose folder it must be; None for any.
    arrays
        numpy, or cupy to cut windows on a GPU: they then come as CuPy's arrays.

    Raises
    ------
    InputError
        Where the folder is not a prepared one, is one of another recipe, or its description is damaged.

    >>> import tempfile
    >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe="own") as draft:
    ...     thickness = {"thk": Variable("thk", units="m")}
    ...     _ = draft.add(Case("aletsch", "test", draft.folder, thickness, {"thk": 80.0}, 100.0, (2, 3)))
    >>> (case,) = Prepared(draft.target).cases("test")
    >>> str(case), case.read(["thk"], window=(slice(0, 1), slice(0, 2)))["thk"].tolist()
    ('test/aletsch', [[[80.0, 80.0]]])
    """

    def __init__(
        self, folder: str | Path, *, recipe: str | None = None, arrays: ArrayModule = "numpy"
    ) -> None:
        self.folder = Path(folder)
        self.description = _read_description(self.folder)
        self.recipe: str = self.description["recipe"]
        if recipe not in (None, self.recipe):
            raise InputError(f"{folder}: was prepared for {self.recipe}; prepare it for {recipe}")
        try:
            self.variables = {
                name: Variable(name, **(entry | {"fields": tuple(entry["fields"])}))
                for name, entry in self.description["variables"].items()
            }
            self._cases = [self._case(entry, arrays) for entry in self.description["cases"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.folder / DESCRIPTION}: is damaged ({type(error).__name__}: {error}); prepare again"
            ) from None

    def _case(self, entry: Mapping[str, Any], arrays: ArrayModule) -> Case:
        known = dict(entry)
        check_plain_name(known["name"], f"{self.folder / DESCRIPTION}: case", kind="folder")
        for key in ("files", "trends", "spreads"):
            for file in known.get(key, {}).values():
                if isinstance(file, str):
                    check_inside(self.folder, file, DESCRIPTION)
        if known.get("times"):
            check_inside(self.folder, known["times"], DESCRIPTION)
        known["shape"] = tuple(known["shape"])
        known["bounds"] = None if known["bounds"] is None else tuple(known["bounds"])
        return Case(
            folder=self.folder, variables=self.variables, facts=self.description, arrays=arrays, **known
        )

    def cases(self, *splits: str, name: str | None = None, required: bool = True) -> list[Case]:
        """Give the cases of some splits, or of all, or the one of a name.

        Raises
        ------
        InputError
            Where there is none, unless none is required.
        """
        chosen = [
            case for case in self._cases if (not splits or case.split in splits) and name in (None, case.name)
        ]
        if required and not chosen:
            wanted = f"no case {name}" if name else "no case"
            within = f" in {' or '.join(splits)}" if splits else ""
            there = ", ".join(map(str, self._cases)) or "none"
            raise InputError(f"{self.folder}: holds {wanted}{within}; it holds {there}")
        return chosen


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.exists():
        raise InputError(f"{folder}: is no prepared folder; make one with the verb prepare")
    try:
        description = yaml.load(file.read_text(), Loader=LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file}: is no YAML ({' '.join(str(error).split())}); prepare again") from None
    if not isinstance(description, dict) or not {"recipe", "variables", "cases"} <= description.keys():
        what = (
            "was prepared by another version of fieldwise" if isinstance(description, dict) else "is damaged"
        )
        raise InputError(f"{file}: {what}; prepare again")
    if description.get("format") != FORMAT:
        raise InputError(f"{file}: was prepared by another version of fieldwise; prepare again")
    return description


class Draft:
    """A prepared folder in the making: its description is held here, and written once, at the end.

    Parameters
    ----------
    folder
        Where files are put while it is made.
    target
        Where they will lie.

    Attributes
    ----------
    sources : list
        Files that it is made from: their sums are recorded, and none of them is ever written over.
    home : Path or None
        Folder that the names of these files are told from.
    """

    def __init__(self, folder: Path, target: Path, *, recipe: str, facts: Mapping[str, Any]) -> None:
        self.folder, self.target, self.recipe = folder, target, recipe
        self.cases: list[Case] = []
        self._boxes: dict[str, tuple[str, Variable, int]] = {}  # where a variable was added first
        self.facts: dict[str, Any] = dict(facts)
        self.sources: list[Path] = []
        self.home: Path | None = None

    def add(self, case: Case) -> Case:
        """Add a case; give it back, now with what the description says. It may still grow."""
        self.cases.append(replace(case, facts=self.facts))
        return self.cases[-1]

    def add_arrays(
        self,
        name: str,
        split: str | None,
        arrays: Mapping[str, np.ndarray],
        *,
        spacing: float,
        units: Mapping[str, str] | None = None,
        corner: tuple[float, float] = (0.0, 0.0),
        crs: str | None = None,
    ) -> Case:
        """Write the fields of a case, and add it.

        Parameters
        ----------
        name, split
            Of the case; split is training, validation or test.
        arrays
            Field to its values on the case's cells, (frame, *cells), rows from north to south, or (1, *cells)
            of what never changes.
        spacing, corner, crs
            Of the cells: their edge, the south-west corner of a map, and what both count in.
        units
            Of each field that has some.

        >>> import tempfile
        >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe="own") as draft:
        ...     case = draft.add_arrays("aletsch", "test", {"thk": np.ones((2, 4, 6))}, spacing=50.0)
        >>> case.frames, case.bounds
        (2, (0.0, 0.0, 300.0, 200.0))
        """
        check_plain_name(name, "case", kind="folder")
        home, units = f"{split or 'whole'}/{name}", units or {}
        (self.folder / home).mkdir(parents=True)
        shape, files, variables = next(iter(arrays.values())).shape[1:], {}, {}
        for field, values in arrays.items():
            check_plain_name(field, f"case {name}: field")
            if values.shape[1:] != shape:
                raise InputError(f"case {name}: {field} has {values.shape[1:]} cells, not {shape}")
            files[field] = f"{home}/{field}.npy"
            np.save(self.folder / files[field], np.asarray(values, dtype=np.float32))
            variables[field] = Variable(field, units=units.get(field, "1"))
        (west, south), frames = corner, max(len(values) for values in arrays.values())
        bounds = None
        if len(shape) == 2:
            bounds = (west, south, west + shape[1] * spacing, south + shape[0] * spacing)
        case = Case(name, split, self.folder, variables, dict(files), spacing, tuple(shape))
        return self.add(replace(case, bounds=bounds, crs=crs, frames=frames))

    def add_box(
        self,
        name: str,
        split: str | None,
        fields: Mapping[str, Any],
        *,
        spacing: float,
        spacing_units: str = "m",
        units: Mapping[str, str] | None = None,
        periodic: bool = True,
        numbers: Mapping[str, float] | None = None,
        refined: int = 1,
    ) -> Case:
        """Write the fields of a box, in two or three dimensions, slab by slab, and add it.

        Parameters
        ----------
        name, split
            Of the case.
        fields
            Variable to its values, (channel, *cells), opened or in memory. With as many channels as there are
            dimensions they are the components of a vector along the axes x, y and z, in this order. The
            finest has the cells of the case; the edges of others are whole multiples of theirs.
        spacing, spacing_units
            Edge of a cell of the case.
        units
            Of each variable that has some.
        periodic
            Whether fields go on at the other side.
        numbers
            What holds for the box as a whole.
        refined
            Cells of the case along one of the finest field: more than 1 where a finer one is to be predicted.

        Raises
        ------
        InputError
            Where shapes do not fit each other, or values are missing or not finite, by name.

        >>> import tempfile
        >>> flow = {"displacement": np.zeros((2, 8, 8)), "coarse": np.zeros((1, 4, 4))}
        >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe="own") as draft:
        ...     case = draft.add_box("box_0", "test", flow, spacing=2.0, spacing_units="Mpc h-1")
        >>> case.variables["displacement"].fields, case.variables["coarse"].spacing
        (('displacement_x', 'displacement_y'), 4.0)
        """
        check_plain_name(name, "case", kind="folder")
        home, units = f"{split or 'whole'}/{name}", units or {}
        (self.folder / home).mkdir(parents=True)
        finest = max((values.shape[1:] for values in fields.values()), key=lambda cells: cells[0])
        shape = tuple(refined * size for size in finest)
        files: dict[str, str | float] = {}
        variables = {}
        for key, values in fields.items():
            check_plain_name(key, f"case {name}: field")
            channels, *cells = values.shape
            ratio, vector = shape[0] // max(cells[0], 1), channels == len(shape)
            if len(cells) != len(shape) or [ratio * size for size in cells] != [*shape]:
                raise InputError(
                    f"case {name}: {key} has {times(cells)} cells beside {times(shape)}; edges "
                    "are to be whole multiples of each other"
                )
            names = name_channels(key, channels, dimensions=len(shape))
            if files.keys() & set(names):
                raise InputError(f"case {name}: {key} and another field are both {names[0]}; rename one")
            for number, field in enumerate(names):
                file = files[field] = f"{home}/{field}.npy"
                _write_slabs(values, number, self.folder / file, f"case {name}: {field}")
            options: Any = {"units": units.get(key, "1"), "spacing": ratio * spacing, "vector": vector}
            variables[key] = Variable(key, names, **options)
            self._check_alike(variables[key], name, len(shape))
        case = Case(name, split, self.folder, variables, files, spacing, shape)
        given: Any = {"spacing_units": spacing_units, "periodic": periodic, "numbers": dict(numbers or {})}
        return self.add(replace(case, **given))

    def _check_alike(self, variable: Variable, case: str, dimensions: int) -> None:
        """Refuse a variable that has other channels, cells or dimensions than in the boxes before."""
        first, *known = self._boxes.setdefault(variable.name, (case, variable, dimensions))
        if known != [variable, dimensions]:
            raise InputError(
                f"case {case}: {variable.name} has {variable.channels} channels, in {dimensions}-D, of "
                f"{variable.spacing:g} a cell, and others in case {first}; prepare boxes of one kind"
            )

    def keep_field(
        self, key: str, entry: Mapping[str, Any], *, crs: str, heights: Heights | None = None
    ) -> None:
        """Keep the field of a FILE.yaml's entry as a fact; one that lies in the folder, untouched, stays."""
        home = self.home or Path()
        own = home / entry["path"]
        if own.is_relative_to(self.folder) and set(entry) == {"path"}:  # of a sandbox
            self.facts[key] = os.path.relpath(own, self.folder)
            return
        self.facts[key] = f"{key}.tif"
        field = open_entry(entry, folder=home, crs=crs, heights=heights)[0]
        write_cog(field, self.folder / f"{key}.tif")

    def keep_area(self, key: str, area: Any, *, crs: str) -> None:
        """Keep an area as a fact: a GeoPackage, which knows any CRS.

        >>> import tempfile
        >>> import shapely
        >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe="own") as draft:
        ...     draft.keep_area("grounding_line", shapely.box(0, 0, 1000, 500), crs="EPSG:3031")
        >>> draft.facts["grounding_line"]
        'grounding_line.gpkg'
        """
        import geopandas

        self.facts[key] = f"{key}.gpkg"
        geopandas.GeoDataFrame(geometry=[area], crs=crs).to_file(self.folder / self.facts[key], driver="GPKG")

    def describe(self) -> dict[str, Any]:
        """Write everything down in plain types."""
        variables = {
            name: {
                "fields": list(each.fields),
                "units": each.units,
                "spacing": each.spacing,
                "vector": each.vector,
            }
            for case in self.cases
            for name, each in case.variables.items()
        }
        cases = [case.describe() for case in self.cases]
        head = {"format": FORMAT, "recipe": self.recipe}
        return head | self.facts | {"variables": variables, "cases": cases}


@contextlib.contextmanager
def draft_folder(out: str | Path, *, recipe: str, **facts: Any) -> Iterator[Draft]:
    """Yield a draft of a prepared folder, which takes its place when all went well.

    Until then, and after an error, the folder is as it was. A sandbox is made inside the draft.

    Parameters
    ----------
    out
        Folder.
    recipe
        Whose folder it is.
    facts
        Whatever else the description shall say, in plain types.

    >>> import tempfile
    >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe="own", seed=7) as draft:
    ...     draft.facts["truth"] = "truth.tif"
    >>> Prepared(draft.target).description["seed"]
    7
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out takes a folder")
    with replace_together(out, last=DESCRIPTION) as folder:
        draft = Draft(folder, out, recipe=recipe, facts=facts)
        yield draft
        with replace_when_done(folder / DESCRIPTION) as part:
            part.write_text(yaml.safe_dump(draft.describe(), sort_keys=False))


def name_channels(name: str, channels: int, *, dimensions: int) -> tuple[str, ...]:
    """Name the channels of a variable of boxes: by axes where there are as many, else by numbers.

    >>> name_channels("displacement", 2, dimensions=2), name_channels("flux", 3, dimensions=2)
    (('displacement_x', 'displacement_y'), ('flux_1', 'flux_2', 'flux_3'))
    """
    ends = "xyz" if channels == dimensions else [str(number) for number in range(1, channels + 1)]
    return tuple(f"{name}_{end}" for end in ends[:channels]) if channels > 1 else (name,)


def _write_slabs(values: Any, channel: int, path: Path, label: str) -> None:
    """Copy one channel to an array of one frame, a slab at a time; what is not finite is refused."""
    shape = (1, *values.shape[1:])
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    step = max(1, SLAB_BYTES // max(1, written[0, :1].nbytes))
    for first in range(0, shape[1], step):
        with np.errstate(over="ignore"):  # what comes to infinity is refused
            slab = np.asarray(values[channel, first : first + step]).astype(np.float32)
        if not np.isfinite(slab).all():
            missing = np.count_nonzero(~np.isfinite(slab))
            raise InputError(f"{label}: {missing} values are missing or infinite; mend them, or leave it out")
        written[0, first : first + step] = slab
    written.flush()
