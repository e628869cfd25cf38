"""Figures on paper and on screen."""

from __future__ import annotations

from pathlib import Path

import pygmt

from fieldwise.drafts import replace_when_done

SCREEN_DPI = 300
MARGIN = "+m1.5p"  # GMT cuts so close that it takes the edges off letters


def save_figure(figure: pygmt.Figure, stem: str | Path) -> tuple[Path, Path]:
    """Save a figure as PDF, with lines and letters as such and fonts embedded, and as PNG to look at.

    Parameters
    ----------
    figure : at its final size
    stem : path of the files without their endings

    Returns
    -------
    Paths of the PDF and of the PNG.

    Examples
    --------
    >>> import tempfile
    >>> figure = pygmt.Figure()
    >>> figure.basemap(region=[0, 1, 0, 1], projection="X4c", frame=True)
    >>> [path.name for path in save_figure(figure, Path(tempfile.mkdtemp()) / "frame")]
    ['frame.pdf', 'frame.png']
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf, png = (stem.with_name(stem.name + ending) for ending in (".pdf", ".png"))
    with replace_when_done(pdf) as partial:
        figure.savefig(partial, resize=MARGIN)
    with replace_when_done(png) as partial:
        figure.savefig(partial, resize=MARGIN, dpi=SCREEN_DPI)
    return pdf, png
