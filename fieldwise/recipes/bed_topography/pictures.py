"""Pictures of tiles while a network learns: coarse bed, drawing, truth and error beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

# Ten steps of Crameri's (2018) batlow for elevations and of his vik for errors.
BATLOW = ["011959", "103f60", "1c5a62", "3c6d56", "687b3e", "9d892b", "d29343", "f8a17b", "fdb7bc", "faccfa"]
VIK = ["001261", "033e7d", "1e6f9d", "71a8c4", "c9dde7", "eaceb7", "d3977c", "be6533", "8b2706", "590008"]
COLUMNS = ("low-res bed", "prediction", "truth", "error")
MARGIN, TITLE = 4, 14  # pixels


def draw_tiles(task: Any, batch: dict[str, Any], *, count: int = 4, pixels: int = 4) -> np.ndarray:
    """Draw some tiles of a batch, a row each: low-res bed, prediction, truth, and error.

    The first three share their colours, from the lowest to the highest bed of the truth; errors run to half
    of that range.

    Parameters
    ----------
    task
        Draws beds in metres from the batch's inputs and base.
    batch
        As of `fieldwise.recipes.bed_topography.generator.BedTask`.
    count
        How many tiles, evenly from the batch.
    pixels
        Edge of a cell in the picture.

    Returns
    -------
    array
        (y, x, 3), whole numbers of 0 to 255.

    >>> from types import SimpleNamespace
    >>> bed = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> batch = {"inputs": {}, "base": bed, "targets": bed, "bed_lowres": torch.full((1, 1, 3, 3), 7.5)}
    >>> task = SimpleNamespace(draw=lambda batch: batch["base"])  # draws the truth
    >>> picture = draw_tiles(task, batch, pixels=1)
    >>> picture.shape  # 14 pixels for the titles; four panels of 4 + 4 pixels
    (22, 32, 3)
    >>> bool((picture[14:18, 8:12] == picture[14:18, 16:20]).all())
    True
    """
    chosen = np.linspace(0, len(batch["targets"]) - 1, min(count, len(batch["targets"]))).round().astype(int)
    part = {name: batch[name][chosen] for name in ("base", "targets", "bed_lowres")}
    part["inputs"] = {name: values[chosen] for name, values in batch["inputs"].items()}
    with torch.no_grad():
        drawn = task.draw(part)
    beds = [values[:, 0].float().cpu().numpy() for values in (part["bed_lowres"], drawn, part["targets"])]
    lowres, prediction, truth = beds
    repeat = truth.shape[-1] // (lowres.shape[-1] - 2)
    lowres = lowres[:, 1:-1, 1:-1].repeat(repeat, axis=1).repeat(repeat, axis=2)  # without its padding
    edge = truth.shape[-1] * pixels
    rows = []
    for tile in range(len(chosen)):
        low, high = float(truth[tile].min()), float(truth[tile].max())
        half = max(high - low, 1.0) / 2
        panels = [colour(field[tile], low, high, BATLOW) for field in (lowres, prediction, truth)]
        panels.append(colour(prediction[tile] - truth[tile], -half, half, VIK))
        large = [panel.repeat(pixels, axis=0).repeat(pixels, axis=1) for panel in panels]
        rows.append(
            np.concatenate(
                [np.pad(one, ((0, MARGIN), (0, MARGIN), (0, 0)), constant_values=255) for one in large],
                axis=1,
            )
        )
    picture = np.concatenate([np.full((TITLE, rows[0].shape[1], 3), 255, np.uint8), *rows])
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for index, column in enumerate(COLUMNS):
        pen.text((index * (edge + MARGIN) + 2, 1), column, fill="black")
    return np.asarray(image)


def colour(values: np.ndarray, low: float, high: float, colours: list[str]) -> np.ndarray:
    """Give values their colours between two limits: (y, x) to (y, x, 3), whole numbers of 0 to 255.

    >>> colour(np.array([[0.0, 5.0, 99.0]]), 0, 10, ["000000", "ffffff"]).tolist()
    [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]
    """
    steps = np.array([[int(word[at : at + 2], 16) for at in (0, 2, 4)] for word in colours], dtype=float)
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-9), 0, 1) * (len(steps) - 1)
    channels = [np.interp(share, np.arange(len(steps)), steps[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
