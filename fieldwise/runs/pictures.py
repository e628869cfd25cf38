"""Pictures of samples while a network learns: input, prediction, truth and error beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

# Ten steps of Crameri's (2018) batlow for values and of his vik for errors.
BATLOW = ["011959", "103f60", "1c5a62", "3c6d56", "687b3e", "9d892b", "d29343", "f8a17b", "fdb7bc", "faccfa"]
VIK = ["001261", "033e7d", "1e6f9d", "71a8c4", "c9dde7", "eaceb7", "d3977c", "be6533", "8b2706", "590008"]
MARGIN, TITLE = 4, 14  # pixels
EDGE = 144  # pixels that a panel is at least made large to
LARGEST = 512  # cells of an edge; of larger fields every second is shown, or every third, ...


def draw_samples(
    task: Any,
    batch: Mapping[str, Any],
    *,
    coarse: Callable[[Mapping[str, Any]], Tensor] | None = None,
    count: int = 4,
    pixels: int | None = None,
) -> np.ndarray:
    """Draw some samples of a batch, a row each: input, prediction, truth, and error.

    Of several channels the first is shown, of a volume its middle layer. Prediction and truth share their
    colours, from the lowest to the highest value of the truth; errors run to half of that range.

    Parameters
    ----------
    task
        Whose `draw` gives the prediction for a batch.
    batch
        As of :class:`fieldwise.tasks.FieldTask`.
    coarse
        Gives what is shown in the place of the first input, (sample, channel, y, x): a coarse version of the
        truth, in the colours of the truth.
    count
        How many samples, evenly from the batch.
    pixels
        Edge of a cell in the picture; by default as many as make small fields large enough to see.

    Returns
    -------
    array
        (y, x, 3), whole numbers of 0 to 255.

    >>> from types import SimpleNamespace
    >>> field = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> task = SimpleNamespace(draw=lambda batch: batch["inputs"])  # whose truth is what it reads
    >>> picture = draw_samples(task, {"inputs": field, "targets": field}, pixels=1)
    >>> picture.shape  # 14 pixels for the titles; four panels of 4 + 4 pixels
    (22, 32, 3)
    >>> bool((picture[14:18, 8:12] == picture[14:18, 16:20]).all())
    True
    """
    size = len(batch["targets"])
    part = _take(batch, np.linspace(0, size - 1, min(count, size)).round().astype(int))
    with torch.no_grad():
        prediction, truth = _middle(_flatten(task.draw(part)), _flatten(part["targets"]))
    first = _flatten(coarse(part) if coarse else _first_input(part["inputs"]))
    pixels = pixels or max(1, EDGE // truth.shape[-1])
    rows = []
    for number, true in enumerate(truth):
        low, high = float(np.nanmin(true)), float(np.nanmax(true))
        half = max(high - low, 1e-9) / 2
        limits = (low, high) if coarse else (float(first[number].min()), float(first[number].max()))
        panels = [
            colour(_match(first[number], true.shape), *limits, BATLOW),
            colour(prediction[number], low, high, BATLOW),
            colour(true, low, high, BATLOW),
            colour(prediction[number] - true, -half, half, VIK),
        ]
        rows.append(_join(panels, pixels))
    titles = ("low-res" if coarse else "input", "prediction", "truth", "error")
    return _entitle(np.concatenate(rows), titles)


def _take(values: Any, chosen: np.ndarray) -> Any:
    if isinstance(values, Mapping):
        return {name: _take(each, chosen) for name, each in values.items()}
    return values[chosen] if isinstance(values, Tensor) and values.ndim else values


def _first_input(inputs: Any) -> Tensor:
    return next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs


def _flatten(fields: Tensor) -> np.ndarray:
    """Give one image a sample: the first channel, the middle layer, not more cells than can be seen."""
    images = fields.float().cpu().numpy()[:, 0]
    while images.ndim > 3:
        images = images[:, images.shape[1] // 2]
    step = -(-max(images.shape[1:]) // LARGEST)
    return images[:, ::step, ::step]


def _middle(*images: np.ndarray) -> list[np.ndarray]:
    """Cut images, (sample, y, x), to the middle that all of them have."""
    rows, columns = (min(sizes) for sizes in zip(*(each.shape[1:] for each in images)))
    tops, lefts = zip(*(((each.shape[1] - rows) // 2, (each.shape[2] - columns) // 2) for each in images))
    return [each[:, top : top + rows, left : left + columns] for each, top, left in zip(images, tops, lefts)]


def _match(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Repeat or skip cells so that an image has a shape."""
    rows, columns = (np.arange(want) * have // want for want, have in zip(shape, image.shape))
    return image[rows][:, columns]


def _join(panels: list[np.ndarray], pixels: int) -> np.ndarray:
    large = [panel.repeat(pixels, axis=0).repeat(pixels, axis=1) for panel in panels]
    margin = ((0, MARGIN), (0, MARGIN), (0, 0))
    return np.concatenate([np.pad(each, margin, constant_values=255) for each in large], axis=1)


def _entitle(rows: np.ndarray, titles: tuple[str, ...]) -> np.ndarray:
    image = Image.fromarray(np.concatenate([np.full((TITLE, rows.shape[1], 3), 255, np.uint8), rows]))
    pen = ImageDraw.Draw(image)
    for number, title in enumerate(titles):
        pen.text((number * rows.shape[1] // len(titles) + 2, 1), title, fill="black")
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
