"""Pictures of tiles while a network learns: coarse bed, drawing, truth and error beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fieldwise import figures

PADDING = 1  # low-res cells around a tile that the network reads and does not draw


def draw_tiles(task: Any, batch: dict[str, Any], *, count: int = 4) -> np.ndarray:
    """Draw some tiles of a batch, a row each: low-res bed, prediction, truth, and error.

    Parameters
    ----------
    task
        Draws beds in metres from the batch's inputs and base.
    batch
        As of `fieldwise.tasks.AdversarialTask`.
    count
        How many tiles, evenly from the batch.

    Returns
    -------
    array
        (y, x, 3), whole numbers of 0 to 255.

    >>> bed = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> batch = {"inputs": {}, "base": bed, "bed": bed, "bed_lowres": torch.full((1, 1, 3, 3), 7.5)}
    >>> picture = draw_tiles(lambda inputs, base: base, batch)  # a task that draws the truth
    >>> picture.shape  # 8.3 cm wide; a row of four tiles
    (143, 490, 3)
    >>> bool((picture[80, 430] > 240).all())  # the error: white, as there is none
    True
    """
    chosen = np.linspace(0, len(batch["bed"]) - 1, min(count, len(batch["bed"]))).round().astype(int)
    inputs = {name: values[chosen] for name, values in batch["inputs"].items()}
    with torch.no_grad():
        drawn = task(inputs, batch["base"][chosen])
    inner = slice(PADDING, -PADDING)
    lowres, prediction, truth = (
        values[:, 0].float().cpu().numpy()
        for values in (batch["bed_lowres"][chosen][..., inner, inner], drawn, batch["bed"][chosen])
    )
    beds = {"low-res bed": lowres, "prediction": prediction, "truth": truth}
    sheet = figures.draw_tiles({**beds, "error": prediction - truth}, error="error", colour_map="cividis")
    return sheet.to_pixels()
