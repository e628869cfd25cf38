"""Power spectra, transfer function and cross-correlation of several predictions, with what is aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fieldwise.figures.curves import looks_of
from fieldwise.figures.panels import COLUMN_CM, SUPERSCRIPTS, check_named, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

AIM: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "none", "zorder": 0}
LEAST_DECORRELATION = 1e-5  # single precision tells no finer
Steps = Sequence[tuple[float, float]]  # up to a share of the Nyquist wavenumber -> a value


class Spectra(Protocol):
    """Spectra of a prediction and the truth; :class:`fieldwise.scores.spectra.SpectrumSums` has them."""

    @property
    def wavenumber(self) -> np.ndarray:
        """Of each shell, (shell,)."""

    @property
    def nyquist(self) -> float:
        """Wavenumber of a wave of two cells."""

    @property
    def power(self) -> np.ndarray:
        """Of the prediction, (shell,)."""

    @property
    def true_power(self) -> np.ndarray:
        """Of the truth, (shell,)."""

    @property
    def transfer(self) -> np.ndarray:
        """Square root of the ratio of both, (shell,)."""

    @property
    def cross_correlation(self) -> np.ndarray:
        """Of prediction and truth, (shell,)."""


def draw_spectra(
    spectra: Mapping[str, Spectra],
    *,
    power_units: str = "Mpc³ h⁻³",
    wavenumber_units: str = "h/Mpc",
    power_within: Steps = (),
    correlation_at_least: Steps = (),
    transfer_limits: tuple[float, float] | None = None,
    width_cm: float = COLUMN_CM,
) -> Sheet:
    """Draw the power spectra of truth and predictions, and below them how predictions compare with the truth.

    What is aimed at is grey. Cross-correlation r is drawn as 1 − r: lower is better. A dotted line stands at
    half the Nyquist wavenumber.

    Parameters
    ----------
    spectra : name -> spectra of a prediction and the truth, which is that of the first one
    power_units, wavenumber_units : for the axes
    power_within : (share of the Nyquist wavenumber, part by which power may differ up to there), ascending
    correlation_at_least : (share of the Nyquist wavenumber, least coefficient up to there), ascending
    transfer_limits : of that axis; those of the values, from 0 to 2 at most, where not given
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> k = np.linspace(0.1, 0.8, 16)
    >>> made = SimpleNamespace(wavenumber=k, nyquist=0.8, power=0.98 / k, true_power=1 / k,
    ...                        transfer=0.99 + 0 * k, cross_correlation=1 - 0.01 * k)
    >>> figure = draw_spectra({"prediction": made}, power_within=[(0.5, 0.01), (1.0, 0.05)])
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(spectra, "spectra")
    first = next(iter(spectra.values()))
    looks = looks_of(["truth", *spectra])
    with styled_sheet(width_cm, 11.5) as sheet:
        upper, middle, lower = panels = sheet.subplots(3, 1, sharex=True, height_ratios=[1.3, 1, 1])
        # Thicker, as a good prediction covers it.
        upper.plot(first.wavenumber, first.true_power, label="Truth", linewidth=2.0, **looks["truth"])
        middle.axhline(1, color="black", linewidth=0.5, zorder=1)
        for name, each in spectra.items():
            upper.plot(each.wavenumber, each.power, label=title(name), **looks[name])
            middle.plot(each.wavenumber, each.transfer, **looks[name])
            lost = np.maximum(1 - each.cross_correlation, LEAST_DECORRELATION)
            lower.plot(each.wavenumber, lost, **looks[name])
        bands = [(share, np.sqrt(1 - part), np.sqrt(1 + part)) for share, part in power_within]
        draw_aims(middle, first.nyquist, bands)
        draw_aims(lower, first.nyquist, [(share, 0.0, 1 - least) for share, least in correlation_at_least])
        _name_panels(sheet, panels, power_units, wavenumber_units, first)
        middle.set_ylim(transfer_limits or _transfer_limits(spectra))
        draw_legend(upper, width_cm=width_cm - 1.8)
    return sheet


def draw_aims(axes: Axes, nyquist: float, steps: Sequence[tuple[float, float, float]]) -> None:
    """Shade the values aimed at, from low to high, from one share of the Nyquist wavenumber to the next.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> draw_aims(axes, 0.8, [(0.5, 0.99, 1.01), (1.0, 0.95, 1.05)])
    >>> [float(shade.get_paths()[0].vertices[:, 0].max()) for shade in axes.collections]
    [0.4, 0.8]
    """
    start = 0.0
    for share, low, high in steps:
        axes.fill_between([start, share * nyquist], low, high, **AIM)
        start = share * nyquist


def _name_panels(
    sheet: Sheet, panels: Sequence[Axes], power_units: str, wavenumber_units: str, spectra: Spectra
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    upper, middle, lower = panels
    upper.set(ylabel=f"Power spectrum ({power_units})", xscale="log", yscale="log")
    middle.set(ylabel="Transfer function")
    lower.set(ylabel="1 − cross-correlation", xlabel=f"Wavenumber ({wavenumber_units})", yscale="log")
    lower.set_xlim(spectra.wavenumber[0], spectra.nyquist)
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
        axes.yaxis.set_minor_formatter(NullFormatter())
    lower.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    lower.xaxis.set_major_formatter("{x:g}")
    lower.xaxis.set_minor_formatter(NullFormatter())
    for axes in panels:
        axes.axvline(spectra.nyquist / 2, color="0.6", linewidth=0.5, linestyle="dotted", zorder=0)
    sheet.align_ylabels()


def _power_of_ten(value: float, _: Any = None) -> str:
    """Write a tick without markup, which the style of the figures takes as it stands.

    >>> _power_of_ten(1e-3), _power_of_ten(1.0)
    ('10⁻³', '10⁰')
    """
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)


def _transfer_limits(spectra: Mapping[str, Spectra]) -> tuple[float, float]:
    """Give limits that hold all transfer functions and 1 ± 0.05, but nothing beyond 0 and 2."""
    values = np.concatenate([each.transfer for each in spectra.values()])
    values = values[np.isfinite(values)]
    low, high = min([0.95, *values]), max([1.05, *values])
    room = 0.05 * (high - low)
    return max(low - room, 0.0), min(high + room, 2.0)
