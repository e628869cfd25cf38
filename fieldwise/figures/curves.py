"""Lines and steps: a flight, errors, the course of training."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd
import pygmt
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    COLUMN_CM,
    LEFT_CM,
    MARGIN_CM,
    MIDDLE_CM,
    PAGE_CM,
    RIGHT_CM,
    check_named,
    panel_width,
    styled_figure,
    title,
    unit_text,
)

# Okabe & Ito (2008): told apart by colour-blind readers
LINE_COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
LINE_DASHES = [
    "",
    "",
    ",5_2",
    ",1_2",
    ",6_2_1_2",
    ",2_1",
    ",8_2_1_2_1_2",
]  # and by readers in black and white
KNOWN_QUANTITIES = {"rmse": "RMSE", "mae": "MAE", "psnr": "PSNR (dB)", "ssim": "SSIM"}


def draw_flight(
    distance_km: ArrayLike,
    profiles: Mapping[str, ArrayLike],
    *,
    roughness: Mapping[str, ArrayLike],
    label: str = "Elevation (m)",
    roughness_label: str = "Roughness (m)",
    ends: tuple[str, str] | None = None,
    width_cm: float = MIDDLE_CM,
) -> pygmt.Figure:
    """Draw elevations along a flight, and below them their roughness; a name has one colour in both.

    Parameters
    ----------
    distance_km : (n,) distance along the flight
    profiles : name -> (n,) values; gaps (NaN) stay open
    roughness : name -> (n,) roughness, for all or some of the names of the profiles
    label, roughness_label : of the vertical axes, with units
    ends : letters of the first and the last point, as on a map
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw, lengths differ, or a roughness has no profile of its name.

    Examples
    --------
    >>> distance_km = np.arange(0, 50, 0.25)
    >>> truth = 100 * np.sin(distance_km)
    >>> figure = draw_flight(distance_km, {"truth": truth}, roughness={"truth": abs(truth) / 10})
    """
    check_named(profiles, "profiles")
    check_named(roughness, "roughness")
    distance = np.asarray(distance_km, dtype=np.float64)
    unknown = sorted(set(roughness) - set(profiles))
    if unknown:
        raise InputError(f"roughness {unknown[0]!r} has no profile of its name; give one of {list(profiles)}")
    pens = _pens_of(profiles)
    above, below = _lines(distance, profiles), _lines(distance, roughness)
    width = panel_width(width_cm, columns=1, gap=0)
    with styled_figure() as figure:
        x_range = _range([distance], room=0.0)
        with figure.shift_origin(xshift=f"{MARGIN_CM}c", yshift=f"{MARGIN_CM}c"):
            figure.basemap(
                region=[*x_range, 0, _range(below.values(), room=0.05)[1]],
                projection=f"X{width}c/2.6c",
                frame=["WSne", "xaf+lDistance along the flight (km)", f"yaf+l{roughness_label}"],
            )
            for name, values in below.items():
                _draw_line(figure, distance, values, pen=f"0.8p,{pens[name]}")
            with figure.shift_origin(yshift="2.9c"):
                figure.basemap(
                    region=[*x_range, *_range(above.values(), room=0.05)],
                    projection=f"X{width}c/4.2c",
                    frame=["Wsne", "xf", f"yaf+l{label}"],
                )
                for name, values in above.items():
                    _draw_line(figure, distance, values, pen=f"1p,{pens[name]}")
                for name, place in zip(ends or (), ("TL", "TR")):
                    figure.text(text=name, position=place, offset="j0.1c", font="7p,Helvetica-Bold")
                named = {title(name): pen for name, pen in pens.items()}
                _draw_legend(figure, named, width=width, columns=min(len(named), 4))
    return figure


def _pens_of(names: Iterable[str]) -> dict[str, str]:
    """Give each name the colour and dashes of its lines."""
    return {
        name: LINE_COLOURS[index % len(LINE_COLOURS)] + LINE_DASHES[index % len(LINE_DASHES)]
        for index, name in enumerate(names)
    }


def _lines(distance: np.ndarray, lines: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Return the lines as arrays; each must be as long as the axis that it is drawn along."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in lines.items()}
    for name, values in arrays.items():
        if values.shape != distance.shape or values.ndim != 1:
            raise InputError(
                f"{name} {values.shape} and distance {distance.shape} differ; give equal lengths"
            )
    return arrays


def _range(lines: Collection[np.ndarray], *, room: float) -> tuple[float, float]:
    """Return the lowest and highest value, with room on both sides as a share of their distance."""
    values = np.concatenate([line[np.isfinite(line)] for line in lines])
    if values.size == 0:
        raise InputError("lines hold no value to draw; check that the points lie inside the fields")
    low, high = float(values.min()), float(values.max())
    spread = high - low or abs(high) or 1.0
    return low - room * spread, high + room * spread if high > low else high + spread


def _draw_line(figure: pygmt.Figure, x: np.ndarray, y: np.ndarray, *, pen: str) -> None:
    """Draw a line that is interrupted where values are missing."""
    known = np.isfinite(x) & np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        figure.plot(x=x[start:stop], y=y[start:stop], pen=pen)


def _draw_legend(figure: pygmt.Figure, pens: Mapping[str, str], *, width: float, columns: int) -> None:
    """Draw a legend above the frame, where it covers no line."""
    lines = [f"N {columns}"]
    lines += [f"S 0.4c - 0.75c - 1p,{pen} 0.95c {name}" for name, pen in pens.items()]
    position = f"JTC+jBC+o0c/0.1c+w{width}c"
    figure.legend(spec=io.StringIO("\n".join(lines)), position=position, box=False)


def draw_error_histogram(
    errors: Mapping[str, ArrayLike],
    *,
    units: str = "m",
    label: str = "Error",
    bins: int = 41,
    width_cm: float = COLUMN_CM,
) -> pygmt.Figure:
    """Draw how errors are spread, one stepped line a method in common bins, with each RMSE.

    The axis ends at the 99.5th percentile of all absolute errors: rarer ones count in the shares
    and in the RMSE but are not shown.

    Parameters
    ----------
    errors : name -> (n,) errors, prediction minus truth; missing ones are left out
    units : of the errors
    label : what the errors are of
    bins : number of bins; an odd one puts a bin's centre at zero
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> figure = draw_error_histogram({"prediction": random.normal(0, 20, 500), "cubic": [5.0, 40.0, -80.0]})
    """
    check_named(errors, "errors")
    known = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in errors.items()}
    known = {name: values[np.isfinite(values)] for name, values in known.items()}
    for name, values in known.items():
        if values.size == 0:
            raise InputError(f"{name} has no errors to draw; check that the points lie inside the field")
    limit = float(np.percentile(np.abs(np.concatenate(list(known.values()))), 99.5)) or 1.0
    edges = np.linspace(-limit, limit, bins + 1)
    shares = {name: 100 * np.histogram(values, edges)[0] / values.size for name, values in known.items()}
    top = 1.08 * max(float(share.max()) for share in shares.values())
    pens = _pens_of(["", *errors])  # black is kept for the truth, as along a flight
    width = panel_width(width_cm, columns=1, gap=0)
    with styled_figure() as figure:
        figure.basemap(
            region=[-limit, limit, 0, top],
            projection=f"X{width}c/{0.68 * width}c",
            frame=["WSne", f"xaf+l{label} ({unit_text(units)})", "yaf+lShare of points in a bin (%)"],
        )
        figure.plot(x=[0, 0], y=[0, top], pen="0.5p,gray60,dashed")
        for name, share in shares.items():
            x, y = np.repeat(edges, 2), np.concatenate([[0], np.repeat(share, 2), [0]])
            figure.plot(x=x, y=y, pen=f"1p,{pens[name]}")
        scores = {name: float(np.sqrt(np.mean(values**2))) for name, values in known.items()}
        unit = unit_text(units)
        named = {f"{title(name)}: RMSE {score:.3g} {unit}": pens[name] for name, score in scores.items()}
        _draw_legend(figure, named, width=width, columns=1)
    return figure


def draw_loss_curves(metrics: pd.DataFrame, *, width_cm: float = PAGE_CM) -> pygmt.Figure:
    """Draw the course of training from Lightning's metrics.csv, one panel for each kind of quantity.

    The first word of a column, after val_ if it starts so, names its panel: loss_generator and val_loss
    share one, rmse_m and val_rmse_m another. Rows of one epoch are averaged, empty columns left out.

    Parameters
    ----------
    metrics : table with the column epoch and at least one other besides step; may have gaps
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no epoch or nothing to draw.

    Examples
    --------
    >>> metrics = pd.DataFrame({"epoch": [0, 0, 1, 1], "rmse_m": [90.0, None, 40.0, None],
    ...                         "val_rmse_m": [None, 80.0, None, 50.0]})
    >>> figure = draw_loss_curves(metrics)
    """
    panels = _panels_of(metrics)
    with styled_figure() as figure:
        columns = min(len(panels), 2)
        rows = -(-len(panels) // columns)
        gap = LEFT_CM + RIGHT_CM
        width = panel_width(width_cm, columns=2, gap=gap)
        for index, (quantity, curves) in enumerate(panels.items()):
            row, column = divmod(index, columns)
            left, bottom = MARGIN_CM + column * (width + gap), MARGIN_CM + (rows - 1 - row) * 5.8
            with figure.shift_origin(xshift=f"{left}c", yshift=f"{bottom}c"):
                _draw_curves(figure, curves, quantity, width=width)
    return figure


def _panels_of(metrics: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Group the columns by quantity: label of the axis -> one column a curve, named for the legend."""
    if "epoch" not in metrics:
        raise InputError(f"metrics have no column 'epoch' but {list(metrics)}; give Lightning's metrics.csv")
    by_epoch = metrics.groupby("epoch").mean(numeric_only=True).dropna(axis="columns", how="all")
    panels: dict[str, dict[str, pd.Series]] = {}
    for name in by_epoch.columns.drop("step", errors="ignore"):
        if not name.endswith("_step"):  # of a value that is logged both ways, the mean of the epoch is drawn
            axis, curve = _axis_and_curve(name.removesuffix("_epoch"))
            panels.setdefault(axis, {})[curve] = by_epoch[name]
    if not panels:
        raise InputError(f"metrics hold nothing to draw in {list(metrics)}; train for an epoch first")
    return {axis: pd.DataFrame(curves) for axis, curves in panels.items()}


def _axis_and_curve(name: str) -> tuple[str, str]:
    """Split a column's name into the quantity, for an axis, and what is left, for a legend.

    >>> _axis_and_curve("val_rmse_m"), _axis_and_curve("loss_generator")
    (('RMSE (m)', 'validation'), ('Loss', 'generator'))
    """
    validation = name.startswith("val_")
    quantity, _, rest = name.removeprefix("val_").partition("_")
    axis = KNOWN_QUANTITIES.get(quantity, title(quantity))
    if quantity in ("rmse", "mae", "bias") and rest:
        axis, rest = f"{axis} ({unit_text(rest)})", ""
    words = [rest.replace("_", " "), "validation" if validation else ""]
    return axis, ", ".join(word for word in words if word) or "training"


def _draw_curves(figure: pygmt.Figure, curves: pd.DataFrame, axis: str, *, width: float) -> None:
    """Draw one panel of the loss figure, with a dot an epoch as long as dots stay apart."""
    first, last = float(curves.index.min()), float(curves.index.max())
    room = 0.02 * (last - first) or 0.5
    figure.basemap(
        region=[first - room, last + room, *_range([curves.to_numpy(dtype=np.float64).ravel()], room=0.06)],
        projection=f"X{width}c/3.8c",
        frame=["WSne", f"x{'a1' if last - first <= 10 else 'af'}+lEpoch", f"yaf+l{axis}"],
    )
    pens = _pens_of(list(curves))
    for name, curve in curves.items():
        known = curve.dropna()
        figure.plot(x=known.index, y=known, pen=f"1p,{pens[name]}")
        if len(curves) <= 40:
            figure.plot(x=known.index, y=known, style="c0.08c", fill=pens[name].split(",")[0])
    named = {title(name): pen for name, pen in pens.items()}
    _draw_legend(figure, named, width=width, columns=min(len(pens), 3))
