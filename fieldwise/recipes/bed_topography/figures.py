"""The figures of a map of the bed, after those of Leong & Horgan (2020, doi 10.5194/tc-14-3687-2020)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np

from fieldwise import figures
from fieldwise.fields.grids import grid_of, load_values, make_field
from fieldwise.fields.tiles import bounds_path, read_bounds, read_tiles
from fieldwise.figures import Plate, Printed
from fieldwise.figures.panels import MIDDLE_CM, PAGE_CM
from fieldwise.recipes.bed_topography.members.figures import (
    draw_along,
    draw_beds,
    draw_worth,
    has_members,
    keeps,
)
from fieldwise.recipes.bed_topography.regions.material import CUBIC, PREDICTION, Material, follow, gather
from fieldwise.recipes.bed_topography.regions.region import DERIVED, OF_DRAWING
from fieldwise.samples.cases import Case
from fieldwise.scores import roughness, roughness_along_track

if TYPE_CHECKING:
    import pygmt
    from matplotlib.figure import Figure

    from fieldwise.networks.layers import Layer

TITLES = {"bed_lowres": "low-res bed"}
BED_COLOURS, SPEED_COLOURS = "cividis", "magma"
COLOUR_MAPS = {
    "bed_lowres": BED_COLOURS,
    "low-res bed": BED_COLOURS,
    "ice_velocity": SPEED_COLOURS,
    "ice_speed": SPEED_COLOURS,
}


def save_figures(case: Case, path: Path, folder: Path, **options: Any) -> list[Path]:
    """Draw every figure that the data allow, as PDF to print and PNG to look at.

    Parameters
    ----------
    case
        Prepared folder.
    path
        Map of the bed.
    folder
        Where the figures go.
    options
        Of :func:`~fieldwise.recipes.bed_topography.regions.material.gather`: the run, another map to compare
        with.

    Returns
    -------
    list
        Paths of the PNG files, in the order of :data:`PLATES`; a PDF lies beside each.
    """
    material = gather(case, path, **options)
    printed = [print_figure(name, material, folder) for name in PLATES]
    return [figure.png for figure in printed if figure.png]


def print_figure(name: str, material: Material, folder: str | Path) -> Printed:
    """Draw one figure of :data:`PLATES` and save it as PDF and PNG; say so where the data do not allow it.

    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), map=np.zeros((16, 16)))
    >>> material = gather(prepared.cases()[0], prepared.folder / "map.tif")
    >>> print_figure("flight", material, prepared.folder)  # without radar
    Printed(name='flight', caption='flight: not drawn; it needs held-out radar', png=None, pdf=None)
    """
    return figures.print_plate(PLATES, name, material, folder)


def run_on_a_tile(run: Path, case: Case) -> tuple[list[Layer], dict[str, np.ndarray], np.ndarray]:
    """Run the best network of a run on the tile of the strongest relief: layers, inputs, bed in metres."""
    from fieldwise.recipes.bed_topography.predictor import load_bed_predictor
    from fieldwise.verbs.predictors import draw_window

    tiles = read_tiles(case.folder / "tiles.zarr")
    bounds = tiles["bounds"].values[np.argmax(tiles["bed"].values.std(axis=(1, 2, 3)))]
    layers, inputs, bed = draw_window(load_bed_predictor(run, case, accelerator="cpu"), case, tuple(bounds))
    return layers, inputs, bed[0]


def _draw_network(material: Material) -> Figure:
    """Draw the network of a run from its own layers, with the inputs of the tile of the strongest relief."""
    assert material.run is not None
    layers, inputs, bed = run_on_a_tile(material.run, material.case)
    return figures.draw_architecture(
        layers,
        thumbnails=inputs,
        result=bed,
        result_label="bed elevation",
        labels=TITLES,
        colour_maps={**COLOUR_MAPS, "result": BED_COLOURS},
    )


def draw_inputs(case: Case) -> Figure:
    """Draw what a prepared folder gives to the network; of vectors, the length.

    >>> from fieldwise.samples.examples import make_prepared
    >>> bed = np.arange(16.0).reshape(4, 4)
    >>> figure = draw_inputs(make_prepared({"bed_lowres": bed}, shape=(16, 16)).cases()[0])
    """
    fields = {}
    for name, entry in case.variables.items():
        if name not in (*DERIVED, *OF_DRAWING) and entry.channels == 1:
            title = TITLES.get(name, name)
            words = title.replace("_", " ")
            fields[title] = case.field(name).rename(name).assign_attrs(units=entry.units, long_name=words)
    if "ice_velocity" in case.variables:
        entry = case.variables["ice_velocity"]
        eastward, northward = (case.field(name) for name in entry.fields)
        speed = np.hypot(load_values(eastward), load_values(northward))
        told = {"name": "ice_speed", "units": entry.units, "long_name": "ice speed"}
        fields["ice_speed"] = make_field(np.maximum(speed, 0.1), grid_of(eastward), **told)
    logarithmic = ["ice_speed"] if "ice_speed" in fields else []
    width_cm = MIDDLE_CM if len(fields) <= 4 else PAGE_CM
    return figures.draw_inputs(fields, colour_maps=COLOUR_MAPS, logarithmic=logarithmic, width_cm=width_cm)


def _draw_bed(material: Material) -> pygmt.Figure:
    """Draw the map of the bed with tiles, grounding line, coast, and the places of the other figures."""
    case, places = material.case, material.places
    path = case.folder / "tiles.geojson"
    tiles = read_bounds(path, crs=case.grid.crs) if bounds_path(path, case.grid.crs).exists() else None
    boxes = {name.split()[0]: box for name, box in places.closeups.items()}  # by their letters
    boxes["Fig. 3"] = places.view
    if places.region != grid_of(material.prediction).bounds:
        boxes["Fig. 5"] = places.region
    line, coast = (
        geopandas.read_file(case.path_of(key)) if case.facts.get(key) else None
        for key in ("grounding_line", "coastline")
    )
    return figures.draw_map(
        material.prediction,
        tiles=tiles,
        tiles_label="training and validation tiles",
        boxes=boxes,
        outline=line,
        outline_label="grounding line",
        coastline=coast,
        limits=places.limits,
    )


def _draw_closeups(material: Material) -> pygmt.Figure:
    """Draw up to nine close-ups of the map."""
    return figures.draw_closeups(material.prediction, material.places.closeups, limits=material.places.limits)


def _draw_perspectives(material: Material) -> pygmt.Figure:
    """Draw one place in perspective: the map, the low-res bed, their difference, and what to compare with."""
    bed = material.predicted(material.places.view)
    cubic = material.cubic(bed)
    name, reference = material.to_compare(bed)
    west, _, east, _ = material.places.view
    relief = float(reference.max() - reference.min())
    difference = "difference (a) - (b)"
    return figures.draw_perspectives(
        {
            PREDICTION: bed,
            CUBIC: cubic,
            difference: (bed - cubic.values).assign_attrs(units="m"),
            name: reference,
        },
        difference=difference,
        exaggeration=min(10.0, (east - west) / 2 / max(relief, 1.0)),  # no taller than half as wide
    )


def _draw_roughness(material: Material) -> pygmt.Figure:
    """Draw the map with the flight on it, and the roughness of map, truth, and what it is compared with."""
    bed = material.predicted(material.places.region)
    truth, other = material.truth(bed), material.compared(bed)
    fields = {PREDICTION: bed}
    if truth is not None:
        fields[str(material.truth_name)] = truth
    fields |= {CUBIC: material.cubic(bed)} if other is None else {material.reference_name: other}
    transect = None
    if material.picks is not None:
        flight = material.longest_flight()
        transect = flight["x"], flight["y"]
    rough = {name: roughness(field) for name, field in fields.items()}
    return figures.draw_roughness(rough, elevation=bed, transect=transect)


def _draw_flight(material: Material) -> Figure:
    """Draw bed and roughness along the longest held-out flight."""
    spacing = material.case.spacing
    along, steps, distance = follow(material.longest_flight(), spacing)
    profiles = {"radar": steps["z"], **material.sample(steps["x"], steps["y"])}
    rough = {name: roughness_along_track(values) for name, values in profiles.items()}
    if np.median(np.diff(along)) > 2 * spacing:
        del rough["radar"]  # picks thinned to wide steps tell nothing of roughness
    return figures.draw_flight(distance / 1000, profiles, roughness=rough, ends=("A", "B"))


def _draw_errors(material: Material) -> Figure:
    """Draw how the errors at held-out picks are spread."""
    errors: dict[str, list[np.ndarray]] = {}
    for flight, sampled in material.flights():
        for name, values in sampled.items():
            errors.setdefault(name, []).append(values - flight["z"].to_numpy())
    return figures.draw_error_histogram({name: np.concatenate(parts) for name, parts in errors.items()})


def _has_radar(material: Material) -> bool:
    return material.picks is not None


def _has_truth(material: Material) -> bool:
    return material.truth_name is not None


# In the order of the paper; the names are those of the files.
PLATES = {
    "architecture": Plate(
        "The network, drawn from its own layers, on one tile. Below a box: channels and cells of its result. "
        "Blue lines lead past boxes, and are stacked with what else comes to a box, or added at a plus.",
        _draw_network,
        "a run folder with a checkpoint",
        lambda material: material.run is not None,
    ),
    "inputs": Plate(
        "What the network is given: the low-res bed, the surface, the snowfall, the flow of the ice.",
        lambda material: draw_inputs(material.case),
    ),
    "bed_map": Plate(
        "The bed as drawn, with the tiles learnt from and the places that the other figures look at.",
        _draw_bed,
    ),
    "perspectives": Plate(
        "One place in perspective: as drawn, as interpolated, their difference, and what to compare with.",
        _draw_perspectives,
        "a known truth, held-out radar, or another map of the bed",
        lambda material: _has_truth(material) or material.reference is not None,
    ),
    "closeups": Plate("Close-ups, lit from the north-west.", _draw_closeups),
    "roughness": Plate(
        "The bed with the flight of the next figure, and roughness, the standard deviation in 5 × 5 cells.",
        _draw_roughness,
        "a known truth or held-out radar",
        _has_truth,
    ),
    "flight": Plate(
        "Bed and its roughness along the longest held-out flight.", _draw_flight, "held-out radar", _has_radar
    ),
    "members": Plate(
        "Beds of one place, lit from the north-west, two of them members; and the spread of the members: "
        "where it is wide, nobody knows.",
        draw_beds,
        "members kept in the map",
        keeps,
    ),
    "members_flight": Plate(
        "Members along the longest held-out flight: nine of ten picks should lie in the band.",
        draw_along,
        "members kept in the map, and held-out radar",
        lambda material: keeps(material) and _has_radar(material),
    ),
    "members_worth": Plate(
        "How sure the members are, and whether they should be, and how rough.",
        draw_worth,
        "members kept in the map, and a known truth",
        has_members,
    ),
    "error_histogram": Plate("Errors at held-out radar picks.", _draw_errors, "held-out radar", _has_radar),
}
CAPTIONS = {name: plate.caption for name, plate in PLATES.items()}
