"""The JSON pipeline of a survey: read, checked, and its arithmetic on columns."""

from __future__ import annotations

import ast
import glob
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError
from fieldwise.fields.grids import crs_name

STEPS = ("readers.text", "filters.reprojection")
READER_KEYS = (
    "filename", "separator", "skip", "comment", "header", "usecols", "na_values", "converters", "dropcols",
)  # fmt: skip
AXIS_NAMES = {
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "z": ("z",),
    "thickness": ("thickness", "thick"),
}
OPERATORS: dict[type, Any] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.USub: np.negative, ast.UAdd: np.positive,
}  # fmt: skip
LONGEST_EXPRESSION = 300
WHITE_SPACE = r"\s+"


@dataclass(frozen=True)
class Pipeline:
    """A survey pipeline that was found valid: what to read and how x, y and z come out of it."""

    path: Path
    filename: str
    separator: str
    skip: int
    comment: str
    header: list[str]
    na_values: list[str | float]
    axes: dict[str, ast.expr]  # x, y, and z or thickness or both: arithmetic on columns of the file
    in_srs: str
    out_srs: str

    def axis(self, name: str) -> ast.expr:
        """Give what an axis is made of, or say how to add it."""
        if name not in self.axes:
            raise InputError(f"{self.path}: step 1 (readers.text): header {_lacking(name, self.header)}")
        return self.axes[name]

    def files(self) -> list[Path]:
        """List the text files that the pipeline reads, in order; none is an error."""
        found = glob.glob(os.path.join(glob.escape(str(self.path.parent)), self.filename))
        files = [Path(path) for path in sorted(found) if os.path.isfile(path)]
        if not files:
            raise InputError(
                f"{self.path}: no file matches {self.filename!r} in {self.path.parent}; "
                "download the survey or correct filename"
            )
        return files


def load_pipeline(path: Path) -> Pipeline:
    """Read and check a pipeline; every error names the file, the step and the key.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "survey.json"
    >>> reader = {"type": "readers.text", "filename": "*.txt", "separator": " ", "header": "x y depth",
    ...           "converters": {"Z": "-depth"}}
    >>> projection = {"type": "filters.reprojection", "in_srs": "EPSG:3031", "out_srs": "EPSG:3031"}
    >>> _ = path.write_text(json.dumps({"pipeline": [reader, projection]}))
    >>> pipeline = load_pipeline(path)
    >>> pipeline.header, {axis: ast.unparse(tree) for axis, tree in pipeline.axes.items()}
    (['x', 'y', 'depth'], {'x': 'x', 'y': 'y', 'z': '-depth'})
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a pipeline") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); a survey pipeline is a JSON file") from error
    steps = document.get("pipeline") if isinstance(document, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps) or not steps:
        wanted = '{"pipeline": [{"type": "readers.text", ...}, {"type": "filters.reprojection", ...}]}'
        raise InputError(f"{path}: not a pipeline; {wanted} is needed")
    for number, (step, kind) in enumerate(itertools.zip_longest(steps, STEPS), start=1):
        if step is None:
            raise InputError(
                f"{path}: no CRS; add the step filters.reprojection with in_srs and out_srs "
                "(the same twice where x and y need no projection)"
            )
        if step.get("type") != kind:
            expected = f"{kind} is needed there" if kind else f"the only steps are {' and '.join(STEPS)}"
            raise InputError(f"{path}: step {number} is {step.get('type')!r}; {expected}")
    srs = _Step(path, 2, steps[1], ("in_srs", "out_srs"))
    in_srs, out_srs = (_known_crs(srs, key) for key in ("in_srs", "out_srs"))
    return Pipeline(
        path=path, in_srs=in_srs, out_srs=out_srs, **_check_reader(_Step(path, 1, steps[0], READER_KEYS))
    )


def check_surveys(
    entries: Iterable[Mapping[str, Any]], file: Path, *, taken: Mapping[str, str] | None = None
) -> None:
    """See that surveys of a FILE.yaml have names of their own, and that their pipelines can be followed.

    Parameters
    ----------
    entries
        Each with ``path``, from the folder of the file, and where the ice thickness is wanted
        ``bed_from: thickness``.
    taken
        Names that are taken already, and by what; None where surveys are not to be named.

    >>> check_surveys([{"path": "2007tx.json"}], Path("own.yaml"), taken={"2007tx": "a bed"})
    Traceback (most recent call last):
    fieldwise.errors.InputError: own.yaml: 2007tx.json has the name of a bed; rename one of them
    """
    names = None if taken is None else dict(taken)
    for entry in entries:
        if names is not None:
            stem = check_plain_name(Path(entry["path"]).stem, f"{file}: survey")
            if stem in names:
                raise InputError(f"{file}: {entry['path']} has the name of {names[stem]}; rename one of them")
            names[stem] = entry["path"]
        pipeline = load_pipeline(file.parent / entry["path"])
        pipeline.axis("thickness" if entry.get("bed_from") == "thickness" else "z")
        pipeline.files()


@dataclass(frozen=True)
class _Step:
    """One step of a pipeline file; hands out its values and complains about them by name."""

    path: Path
    number: int
    values: dict[str, Any]
    known: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.values) - {"type", *self.known})
        if unknown:
            raise self.error(unknown[0], f"is not known; known are {', '.join(self.known)}")

    def error(self, key: str, wrong: str) -> InputError:
        return InputError(f"{self.path}: step {self.number} ({self.values.get('type')}): {key} {wrong}")

    def get(self, key: str, kinds: type | tuple[type, ...], meaning: str, default: Any = None) -> Any:
        """Return a value of the right kind; without a default the key is needed."""
        if key not in self.values and default is not None:
            return default
        value = self.values.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            given = f"is {value!r}, but must be" if key in self.values else "is missing; give"
            raise self.error(key, f"{given} {meaning}")
        return value

    def names(self, key: str, separator: str, default: Any = None) -> list[str]:
        """Column names: a list, or one text with the separator of the file between them."""
        value = self.get(key, (str, list), "column names", default)
        if isinstance(value, str):
            between = r"(?:,|\\s\+|\s)+" if separator == WHITE_SPACE else re.escape(separator)
            value = [name.strip() for name in re.split(between, value.strip())]
        if not all(isinstance(name, str) and name for name in value):
            raise self.error(key, f"holds {value!r}, but must be column names")
        return value


def _known_crs(step: _Step, key: str) -> str:
    given = step.get(key, str, "a CRS such as EPSG:3031")
    try:
        return crs_name(given)
    except InputError as error:
        raise step.error(key, f"is an {error}") from error


def _check_reader(step: _Step) -> dict[str, Any]:
    """Turn the reader's keys into the fields of a `Pipeline`."""
    separator = step.get("separator", str, "one character or \\s+", ",")
    separator = WHITE_SPACE if separator in (" ", WHITE_SPACE) else separator
    if len(separator) != 1 and separator != WHITE_SPACE:
        raise step.error("separator", f"is {separator!r}, but must be one character or \\s+")
    skip = step.get("skip", int, "a number of rows", 0)
    if skip < 0:
        raise step.error("skip", f"is {skip}, but must be a number of rows, 0 or more")
    header = step.names("header", separator)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise step.error("header", f"names {twice[0]!r} twice; every column needs a name of its own")
    missing = step.get("na_values", (str, int, float, list), "a value or a list of values", [])
    missing = missing if isinstance(missing, list) else [missing]
    if not all(isinstance(value, str | int | float) for value in missing):
        raise step.error("na_values", f"is {missing!r}, but must be a value or a list of values")
    return {
        "filename": step.get("filename", str, "a file name or glob"),
        "separator": separator,
        "skip": skip,
        "comment": step.get("comment", str, "the text that comments begin with", ""),
        "header": header,
        "na_values": missing,
        "axes": _check_axes(step, header, separator),
    }


def _check_axes(step: _Step, header: list[str], separator: str) -> dict[str, ast.expr]:
    """Find what x, y and z are made of: a column of the file or a converter."""
    converters = {
        target: _parse_arithmetic(step, expression)
        for target, expression in step.get("converters", dict, "a table of column and expression", {}).items()
    }
    used = {node.id for tree in converters.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
    usecols, dropcols = (step.names(key, separator, []) for key in ("usecols", "dropcols"))
    present = {"converters": used, "usecols": set(usecols), "dropcols": set(dropcols) - set(converters)}
    for key, names in present.items():
        unknown = sorted(names - set(header))
        if unknown:
            raise step.error(key, f"names the column {unknown[0]!r}; present are {', '.join(header)}")
    # a converter was written on purpose, so it goes before a column that happens to have the name
    made = {name: tree for name, tree in converters.items() if name not in dropcols}
    kept: dict[str, ast.expr] = {name: ast.Name(name) for name in usecols or header if name not in dropcols}
    found = {axis: _find_axis(step, axis, made, kept) for axis in AXIS_NAMES}
    for axis in ("x", "y", "z"):
        if found[axis] is None and not (axis == "z" and found["thickness"]):
            raise step.error("header", _lacking(axis, list(dict.fromkeys([*made, *kept]))))
    return {axis: tree for axis, tree in found.items() if tree is not None}


def _lacking(axis: str, columns: list[str]) -> str:
    return (
        f"has no column for {axis}; present are {', '.join(columns)}; call one {axis.upper()} "
        f'or add a converter such as {{"{axis.upper()}": "{columns[-1] if columns else "HEIGHT"}"}}'
    )


def _find_axis(step: _Step, axis: str, *candidates: Mapping[str, ast.expr]) -> ast.expr | None:
    """Return what the first candidate column with a name for this axis is made of, if there is one."""
    for alias, columns in itertools.product(AXIS_NAMES[axis], candidates):
        found = [name for name in columns if name.lower() == alias]
        if len(found) > 1:
            raise step.error("header", f"has {' and '.join(found)}; name the one for {axis} in usecols")
        if found:
            return columns[found[0]]
    return None


def _parse_arithmetic(step: _Step, expression: Any) -> ast.expr:
    """Parse + - * / and parentheses over columns and numbers; nothing else gets through."""
    refused = step.error(
        "converters",
        f"holds {str(expression)[:80]!r}; only + - * / ( ) on column names and numbers is allowed",
    )
    if not isinstance(expression, str) or len(expression) > LONGEST_EXPRESSION:
        raise refused
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused from error
    for node in ast.walk(tree):
        number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        if not number and not isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, *OPERATORS)):
            raise refused
    return tree


def evaluate(node: ast.expr, columns: dict[str, np.ndarray]) -> Any:
    """Work out an expression of a pipeline on columns.

    >>> tree = ast.parse("(ELEVATION - BOTTOM) / 2", mode="eval").body
    >>> evaluate(tree, {"ELEVATION": np.array([900.0]), "BOTTOM": np.array([1500.0])}).tolist()
    [-300.0]
    """
    match node:
        case ast.BinOp():
            return OPERATORS[type(node.op)](evaluate(node.left, columns), evaluate(node.right, columns))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](evaluate(node.operand, columns))
        case ast.Name():
            return columns[node.id]
        case ast.Constant():
            return np.float64(node.value)  # type: ignore[arg-type]
    raise TypeError(f"{type(node).__name__} passed the check of expressions")
