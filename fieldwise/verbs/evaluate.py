"""What every verb evaluate does with its scores: record, show, say what they mean, draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.runs import write_json
from fieldwise.scores import format_table, relative_l1, speed_of, to_csv
from fieldwise.scores.tables import Row

if TYPE_CHECKING:
    import xarray as xr

    from fieldwise.samples.cases import Case
    from fieldwise.samples.signatures import Signature


def judge(
    rows: Iterable[Row],
    *,
    run: str | Path,
    facts: Mapping[str, Any] | None = None,
    shown: Iterable[Row] | None = None,
    verdicts: Iterable[str] = (),
    figures: Callable[[], Iterable[Path]] | None = None,
) -> dict[str, Any]:
    """Write scores into a run folder, print them as a table, and say in words what they mean.

    Parameters
    ----------
    rows
        Scores, as :func:`~fieldwise.scores.make_score` makes them.
    run
        Folder that gets scores.json, and scores.csv for other programs.
    facts
        What else scores.json shall tell, such as how many points were judged; numbers are printed too.
    shown
        The rows to print; all of them by default.
    verdicts
        Lines to end with, as of :func:`~fieldwise.scores.verdict`; empty ones are left out.
    figures
        Draws figures and gives their paths; called last, when nothing can be lost any more.

    Returns
    -------
    dict
        What stands in scores.json: the rows under ``scores``, and the facts.

    Raises
    ------
    InputError
        Where there is no score, or a fact would hide them.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.scores import make_score, read_scores, verdict
    >>> run = Path(tempfile.mkdtemp())
    >>> rows = [make_score("radar", "rmse", "m", *one) for one in (("prediction", 40), ("cubic", 50))]
    >>> words = verdict(rows, against="radar", measure="rmse")
    >>> judged = judge(rows, run=run, facts={"n_picks": 12}, verdicts=[words])
    against  measure      prediction       cubic
    radar    RMSE (m)          40.00       50.00
    n picks 12
    radar: RMSE of the prediction 40.00 m, 20 % better than cubic (50.00 m)
    >>> read_scores(run / "scores.json") == judged
    True
    """
    rows, facts = [dict(row) for row in rows], dict(facts or {})
    if not rows:
        raise InputError(f"{run}: there is no score to record; give at least one")
    if "scores" in facts:
        raise InputError("facts: 'scores' is the table itself; choose another name")
    run = Path(run)
    content = {"scores": [_plain(row) for row in rows], **_plain(facts)}
    write_json(content, run / "scores.json")
    with replace_when_done(run / "scores.csv") as partial:
        partial.write_text(to_csv(rows), encoding="utf-8")
    print(format_table(rows if shown is None else list(shown)))
    for line in (_format_facts(facts), *verdicts):
        if line:
            print(line)
    for path in figures() if figures else ():
        print(path)
    return {"scores": rows, **facts}


def _plain(values: Row) -> dict[str, Any]:
    """Give values as JSON can hold it: a number that is not finite is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _format_facts(facts: Mapping[str, Any]) -> str:
    """Write the facts that are numbers in one line.

    >>> _format_facts({"n_picks": 634, "share_of_map": 1 / 3, "surveys": {"2010tr": 634}})
    'n picks 634, share of map 0.3333'
    """
    numbers = {key: value for key, value in facts.items() if type(value) in (int, float)}
    return ", ".join(f"{key.replace('_', ' ')} {_format(value)}" for key, value in numbers.items())


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def open_predicted(
    prediction: str | Path,
    cases: Iterable[Case],
    names: Iterable[str],
    *,
    truth: Iterable[str] | None = None,
) -> list[xr.Dataset]:
    """Open what was predicted for each case: of a folder CASE.nc, or the one file or Zarr of one case.

    Parameters
    ----------
    prediction
        What the verb predict wrote.
    names
        Fields that are to be judged.
    truth
        Fields of the cases that they are judged by; by default those of their own names.

    Raises
    ------
    InputError
        Where a file is missing, is damaged, or does not hold these fields on the cells of its case; or where
        the case lacks their truth.

    Examples
    --------
    >>> import tempfile; import xarray as xr
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.zeros((1, 3, 4))}, name="aletsch").cases()
    >>> folder = Path(tempfile.mkdtemp())
    >>> predicted = xr.Dataset({"thk": (("y", "x"), np.ones((3, 4)))})
    >>> predicted.to_netcdf(folder / "aletsch.nc", engine="h5netcdf")
    >>> open_predicted(folder, [case], ["thk"])[0]["thk"].shape
    (3, 4)
    """
    prediction, cases, names = Path(prediction), list(cases), list(names)
    if not prediction.exists():
        recipe = f" {cases[0].facts['recipe']}" if cases and "recipe" in cases[0].facts else ""
        raise InputError(f"{prediction}: no such file; write it with `fieldwise{recipe} predict`")
    found = []
    for case in cases:
        one = prediction.suffix == ".zarr" or not prediction.is_dir()
        path = prediction if one else prediction / f"{case.name}.nc"
        if not path.exists() or (path == prediction and len(cases) > 1):
            raise InputError(f"{prediction}: holds no {case.name}.nc; predict all cases of {case.split}")
        case.check_has(names if truth is None else truth, why="judging")
        found.append(_open_predicted(path, case, names))
    return found


def _open_predicted(path: Path, case: Case, names: list[str]) -> xr.Dataset:
    import xarray as xr

    try:
        opened = xr.open_dataset(path, engine="zarr" if path.is_dir() else "h5netcdf", decode_times=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as NetCDF or Zarr ({first_line(error)})") from None
    missing = [name for name in names if name not in opened]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; predict again with this run")
    shape, found = (case.frames, *case.shape), opened[names[0]].shape
    if (case.frames,) * (len(found) - 2) + found[-2:] not in (shape, shape[1:]):
        raise InputError(f"{path}: holds {found} values, case {case} {shape}; predict again")
    return opened


def read_predicted(predicted: xr.Dataset, names: Iterable[str], frame: int) -> np.ndarray:
    """Read one frame of what was predicted: (variable, y, x).

    >>> import xarray as xr
    >>> drawn = xr.Dataset({"speed": (("time", "y", "x"), np.arange(8.0).reshape(2, 2, 2))})
    >>> read_predicted(drawn, ["speed"], 1).tolist()
    [[[4.0, 5.0], [6.0, 7.0]]]
    """
    fields = [predicted[name] for name in names]
    return np.stack([(each[frame] if each.ndim > 2 else each).values for each in fields])


def compare_frames(
    case: Case, predicted: xr.Dataset, names: list[str], *, where: Callable[[Case, int], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give for one frame after the other what is predicted and true, (variable, y, x), and where it counts.

    >>> import xarray as xr
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"speed": np.ones((1, 2, 2))}).cases()
    >>> drawn = xr.Dataset({"speed": (("time", "y", "x"), np.full((1, 2, 2), 3.0))})
    >>> anywhere = lambda case, frame: np.ones(case.shape, dtype=bool)
    >>> ((found, true, counts),) = compare_frames(case, drawn, ["speed"], where=anywhere)
    >>> float((found - true)[:, counts].mean())
    2.0
    """
    for frame in range(case.frames):
        true = case.stack(names, frame=frame)
        yield read_predicted(predicted, names, frame), true, where(case, frame)


def draw_frames(
    folder: Path,
    cases: Iterable[tuple[Case, xr.Dataset]],
    signature: Signature,
    *,
    frames: int,
    where: Callable[[Case, int], np.ndarray],
    labels: Mapping[str, str],
) -> Iterator[Path]:
    """Draw true and predicted values of the last output, of vectors the length, for some frames of each case.

    Parameters
    ----------
    folder
        Gets CASE_FRAME.png and .pdf.
    frames
        How many of each case at most, from its first to its last.
    where
        Tells of a case and frame which cells are shown.
    labels
        What the length of a vector is called.

    >>> import tempfile
    >>> import xarray as xr
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> (case,) = make_prepared({"smb": np.ones((1, 4, 4))}).cases()
    >>> drawn = xr.Dataset({"smb": (("time", "y", "x"), np.full((1, 4, 4), 3.0))})
    >>> options = {"frames": 1, "where": lambda case, frame: np.ones(case.shape, dtype=bool), "labels": {}}
    >>> signature = Signature("ice_flow", (), (Variable("smb", units="m year-1"),))
    >>> [path.name for path in draw_frames(Path(tempfile.mkdtemp()), [(case, drawn)], signature, **options)]
    ['region_000.png']
    """
    from fieldwise.fields.grids import make_field
    from fieldwise.figures import draw_comparison, save_figure

    vectors = [each for each in signature.outputs if each.vector]
    shown = (vectors or signature.outputs)[-1 if vectors else 0]
    label = labels.get(shown.name, "speed") if vectors else shown.name
    for case, predicted in cases:
        chosen = np.linspace(0, case.frames - 1, min(frames, case.frames)).round().astype(int)
        compared = compare_frames(case, predicted, list(shown.fields), where=where)
        for frame, (found, true, counts) in enumerate(compared):
            if frame not in chosen:
                continue
            fields = []
            for values in (true, found):
                size = np.sqrt(np.square(values).sum(axis=0)) if vectors else values[0]
                size = np.where(counts, size, np.nan).astype(np.float32)
                fields.append(
                    make_field(size, case.grid, name=shown.name, units=shown.units, long_name=label)
                )
            yield save_figure(draw_comparison(*fields), folder / f"{case.name}_{frame:03d}")[1]


def measure_symmetry(
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    arrays: Mapping[str, np.ndarray],
    *,
    vectors: Mapping[str, list[tuple[int, ...]]],
) -> float:
    """Give by how much turning the input changes the answer: relative L1, the worst of seven symmetries.

    Each turned or mirrored input is predicted and turned back; vectors turn along. What is compared is the
    length of the last vector of the answer; without a vector there is nothing to tell (NaN).

    Parameters
    ----------
    predict
        Maps arrays to (channel, y, x).
    arrays
        Name to (channel, y, x).
    vectors
        Of a signature: see :meth:`fieldwise.samples.signatures.Signature.vectors`.

    Examples
    --------
    Whatever hands slopes on as velocity turns with the map; what lets nothing flow north does not:

    >>> slopes, vectors = np.stack([np.ones((3, 3)), np.zeros((3, 3))]), [(0, 1)]
    >>> for north in (1.0, 0.0):
    ...     def predict(arrays):
    ...         return arrays["inputs"] * np.array([1.0, north])[:, None, None]
    ...     measure_symmetry(predict, {"inputs": slopes}, vectors={"inputs": vectors, "targets": vectors})
    0.0
    1.0
    """
    import torch

    from fieldwise.samples.loaders import turn, turn_back
    from fieldwise.symmetries import ORDER

    if not vectors["targets"]:
        return math.nan
    last = list(vectors["targets"][-1])
    tensors = {name: torch.from_numpy(values)[None] for name, values in arrays.items()}
    length, errors = speed_of(predict(dict(arrays))[last]), []
    for symmetry in range(1, ORDER):
        turned = turn(tensors, symmetry, vectors=vectors)
        answer = predict({name: values[0].numpy() for name, values in turned.items()})
        back = turn_back({"targets": torch.from_numpy(answer)[None]}, symmetry, vectors=vectors)
        errors.append(relative_l1(speed_of(back["targets"][0].numpy()[last]), length))
    return max(errors)
