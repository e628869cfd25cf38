"""Predicted boxes judged on boxes that training has not seen: the verb evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.structure_formation.prepare import RECIPE

if TYPE_CHECKING:
    import numpy as np

    from fieldwise.recipes.structure_formation.judgement import Judgement
    from fieldwise.samples.cases import Case
    from fieldwise.samples.signatures import Signature, Variable

POWER_WITHIN = {False: [(0.5, 0.01), (1.0, 0.05)], True: [(0.5, 0.10), (1.0, 0.15)]}  # of members: the latter
CORRELATION_AT_LEAST = [(0.5, 0.997), (1.0, 0.97)]


def evaluate(
    *,
    run: Path = Path("model/structure_formation"),
    data: Path = Path("data/structure_formation"),
    prediction: Path = Path("model/structure_formation/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    figures: bool = True,
    figure_boxes: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge predicted boxes against the true ones, beside theory and interpolation.

    Args:
        run: Run folder of the network; scores.json, scores.csv and figures go there.
        data: Prepared folder, with the true fields.
        prediction: What predict wrote: a folder, or the file of one box.
        split: Which boxes.
        case: Name of one box.
        figures: Whether to draw the figures too.
        figure_boxes: Boxes to draw: input, prediction, truth, difference, and projected density.
        progress: Whether to show how far it is.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    require_at_least(0, figure_boxes=figure_boxes)
    from functools import partial

    from fieldwise.recipes.structure_formation.predictor import load_signature
    from fieldwise.samples.prepared import Prepared
    from fieldwise.scores import verdict
    from fieldwise.verbs.evaluate import judge

    run, prediction = Path(run), Path(prediction)
    signature = load_signature(run)
    cases = Prepared(data, recipe=RECIPE).cases(split, name=case)
    for each in cases:
        each.check_has(signature.fields("outputs"), why="judging")
    judgements = _judge_boxes(cases, signature, prediction, progress)
    rows = [row for judgement in judgements.values() for row in judgement.rows(split)]
    learnt = [each.name for each in cases if each.split == "training"]
    told = ("relative_l2", "crps", "coverage_90", "spread_error_ratio")
    shown = [row for row in rows if row["measure"] in told or row.get("nyquist") in (0.5, 1.0)]
    return judge(
        rows,
        run=run,
        facts={"boxes": len(cases), "seen_in_training": learnt},
        shown=[_shorten(row) for row in shown],
        verdicts=[
            *(
                verdict(_of(rows, name), against=split, measure=measure)
                for measure in ("relative_l2", "crps")
                for name in judgements
            ),
            f"learnt from {', '.join(learnt)}: these scores tell nothing of new boxes" if learnt else "",
        ],
        figures=partial(_draw, run / "figures", cases[:figure_boxes], signature, prediction, judgements)
        if figures
        else None,
    )


def _of(rows: list[dict[str, Any]], variable: str) -> list[dict[str, Any]]:
    """Pick the scores of one field; those of the displacement name none."""
    return [row for row in rows if row.get("of", "displacement") == variable]


def _shorten(row: dict[str, Any]) -> dict[str, Any]:
    """Put a wavenumber into words for the table that is printed."""
    if "nyquist" not in row:
        return row
    return row | {"at": f"{row['nyquist']:g} Nyquist"}


def _judge_boxes(
    cases: list[Case], signature: Signature, prediction: Path, progress: bool
) -> dict[str, Judgement]:
    """Take in all boxes, one at a time: output variable to its judgement."""
    from tqdm import tqdm

    from fieldwise.recipes.structure_formation.judgement import Judgement, open_boxes

    judged = [*signature.outputs, *_find_velocity(cases[0], signature, prediction)]
    judgements = {each.name: Judgement(cases[0].spacing, each.name, _plain(each.units)) for each in judged}
    for case in tqdm(cases, desc="judging", unit="box", disable=not progress):
        first = 0
        for variable in judged:
            truth = case.read([variable])[variable.name]
            found, members = open_boxes(prediction, case, variable.fields, first=first)
            told = {"prediction": found, **list_rivals(case, variable.name, signature)}
            moving = _list_velocities(case, signature, prediction, variable.name)
            judgements[variable.name].add(told, truth, members=members, moving=moving, **_space_of(case))
            first += variable.channels
        case.close()
    return judgements


def _find_velocity(case: Case, signature: Signature, prediction: Path) -> list[Variable]:
    """Give the velocity as one more field to judge, where it was predicted beside what the network gives."""
    velocity = case.variables.get("velocity")
    if velocity is None or "velocity" in {each.name for each in signature.outputs}:
        return []
    return [velocity] if _read_velocity(case, signature, prediction) is not None else []


def _read_velocity(case: Case, signature: Signature, prediction: Path) -> np.ndarray | None:
    """Read a predicted velocity, which in an array without names comes behind what the network gives."""
    from fieldwise.recipes.structure_formation.judgement import open_boxes

    given, fields = signature.fields("outputs"), case.variables["velocity"].fields
    first = given.index(fields[0]) if fields[0] in given else len(given)
    try:
        return open_boxes(prediction, case, fields, first=first)[0]
    except InputError:
        return None


def list_rivals(case: Case, variable: str, signature: Signature) -> dict[str, np.ndarray]:
    """Give what a user would take instead: theory of first and second order, or interpolation.

    >>> import numpy as np
    >>> from fieldwise.samples.examples import make_box
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> coarse = {"displacement": np.zeros((2, 8, 8)), "displacement_lowres": np.ones((2, 4, 4))}
    >>> (case,) = make_box(coarse, split="test").cases()
    >>> signature = Signature("own", (case.variables["displacement_lowres"],), ())
    >>> list_rivals(case, "displacement", signature)["trilinear"].mean().item()
    1.0
    """
    from fieldwise.recipes.structure_formation.judgement import THEORIES

    rivals = {}
    kind = variable.partition("_")[0]
    if variable == "displacement":
        rivals = {
            name: case.read([field])[field]
            for name, field in THEORIES.items()
            if field in case.variables and case.variables[field].spacing in (None, case.spacing)
        }
    if variable == "velocity":
        rivals = _move_linearly(case)
    for each in signature.inputs:
        ratio = round((each.spacing or case.spacing) / case.spacing)
        if ratio > 1 and each.name.partition("_")[0] == kind:
            rivals["trilinear"] = _interpolate(case.read([each])[each.name], ratio, periodic=case.periodic)
    return rivals


def _interpolate(fields: np.ndarray, factor: int, *, periodic: bool) -> np.ndarray:
    import numpy as np
    from scipy.ndimage import zoom

    mode = "grid-wrap" if periodic else "nearest"
    return np.stack([zoom(each, factor, order=1, mode=mode, grid_mode=True) for each in fields])


def _list_velocities(
    case: Case, signature: Signature, prediction: Path, variable: str
) -> dict[str, np.ndarray]:
    """Give who tells of velocities, and the truth, where it is known: for redshift space."""
    if variable != "displacement" or "velocity" not in case.variables:
        return {}
    truth = case.variables["velocity"]
    if truth.spacing not in (None, case.spacing):
        return {}
    moving = {"truth": case.read([truth])["velocity"], **_move_linearly(case)}
    predicted = _read_velocity(case, signature, prediction)
    return moving if predicted is None else moving | {"prediction": predicted}


def _move_linearly(case: Case) -> dict[str, np.ndarray]:
    """Give the velocity of first-order theory, where displacement and cosmology are known."""
    import numpy as np

    from fieldwise.recipes.structure_formation.predictor import GROWTH, rate_of

    linear = case.variables.get("displacement_linear")
    if linear is None or not {GROWTH, "omega_m", "scale_factor"} <= case.numbers.keys():
        return {}
    rate = np.float32(rate_of(case.numbers) / case.numbers[GROWTH])
    return {"first_order": rate * case.read([linear])[linear.name]}


def _space_of(case: Case) -> dict[str, float]:
    """Give redshift and expansion rate of a box, in which its velocities are seen."""
    from fieldwise.physics.structure_formation.cosmology import expansion_rate

    if not {"omega_m", "scale_factor"} <= case.numbers.keys():
        return {}
    time = case.numbers["scale_factor"]
    rate = 100.0 * float(expansion_rate(time, case.numbers["omega_m"]))
    return {"redshift": 1 / time - 1, "expansion_rate": rate}


def _draw(
    folder: Path, cases: list[Case], signature: Signature, prediction: Path, judgements: dict[str, Judgement]
) -> Iterator[Path]:
    """Draw boxes, and the spectra of all."""
    from fieldwise.figures import save_figure

    judgement = judgements[signature.outputs[0].name]
    for case in cases:
        for name, figure in _draw_box(case, signature, prediction, judgement).items():
            yield save_figure(figure, folder / f"{case.name}_{name}")[1]
    for kind, figure in _draw_spectra(judgement, signature.dimensions).items():
        yield save_figure(figure, folder / f"spectra_{kind}")[1]


def _draw_box(case: Case, signature: Signature, prediction: Path, judgement: Judgement) -> dict[str, Any]:
    """Draw slices of a box, projected densities, and members. Figures count axes from the last, x there."""
    from fieldwise.figures.volumes.slices import draw_densities, draw_slices
    from fieldwise.recipes.structure_formation.judgement import open_boxes
    from fieldwise.scores import density_of

    shown, source = signature.outputs[0], signature.inputs[0]
    found, members = open_boxes(prediction, case, shown.fields)
    truth = case.read([shown])[shown.name]
    label = f"{shown.name.replace('_', ' ')}{' along x' if shown.vector else ''}"
    options: dict[str, Any] = {"spacing": case.spacing, "label": label, "units": _plain(shown.units)}
    read = case.read([source])[source.name]
    figures: dict[str, Any] = {"slices": draw_slices(read[0].T, found[0].T, truth[0].T, **options)}
    if judgement.is_displacement(truth):
        told = {"truth": truth, "prediction": found}
        told |= {} if members is None else {"one member": members[0]}
        told |= list_rivals(case, shown.name, signature)
        densities = {
            name.replace("_", " "): density_of(each, spacing=case.spacing).T
            for name, each in list(told.items())[:4]
        }
        figures["density"] = draw_densities(densities, spacing=case.spacing)
    if members is not None:
        figures["members"] = _draw_ensemble(members, truth, judgement, options)
    return figures


def _draw_spectra(judgement: Judgement, dimensions: int) -> dict[str, Any]:
    """Draw the spectra of the field, and of the density where there is one, in so many dimensions."""
    from fieldwise.figures.volumes.spectra import draw_spectra

    ensemble = judgement.of_members is not None
    limits: dict[str, Any] = {"power_within": POWER_WITHIN[ensemble]}
    limits |= {} if ensemble else {"correlation_at_least": CORRELATION_AT_LEAST}
    limits["transfer_limits"] = (0.0, 1.2) if ensemble else (0.9, 1.1)
    figures = {}
    for kind, spectra in ((judgement.variable, judgement.spectra), ("density", judgement.densities)):
        told: dict[str, Any] = {name.replace("_", " "): sums for name, sums in spectra.items()}
        if ensemble and kind == judgement.variable:
            told["members"] = judgement.of_members
        if told:
            units = "Mpc⁵ h⁻⁵" if kind == "displacement" else "Mpc³ h⁻³"
            if dimensions == 2:
                units = "Mpc⁴ h⁻⁴" if kind == "displacement" else "Mpc² h⁻²"
            figures[kind] = draw_spectra(told, power_units=units, **limits)
    return figures


def _draw_ensemble(
    members: np.ndarray, truth: np.ndarray, judgement: Judgement, options: dict[str, Any]
) -> Any:
    import numpy as np

    from fieldwise.figures.volumes.members import draw_members
    from fieldwise.scores import member_power_ratios, spread_and_error

    spread, error = spread_and_error(members[:, 0], truth[0])
    wavenumber, ratios = member_power_ratios(members, truth, spacing=options["spacing"])
    return draw_members(
        np.stack([member[0].T for member in members]),
        truth[0].T,
        ranks=judgement.ensemble.rank_counts,
        spread=spread,
        error=error,
        wavenumber=wavenumber,
        power_ratios=ratios,
        power_within=POWER_WITHIN[True],
        **options,
    )


def _plain(units: str) -> str:
    return units.replace("Mpc h-1", "Mpc/h").replace("km s-1", "km/s")
