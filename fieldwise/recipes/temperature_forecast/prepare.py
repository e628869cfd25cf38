"""Hourly weather to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from fieldwise.errors import require_at_least


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data/temperature_forecast"),
    seed: int = 7,
    world: Literal["weather", "blobs"] = "weather",
    days: float = 90.0,
    cells: int = 48,
    wind: Literal["steady", "two_valued"] = "steady",
    margin_cells: int = 0,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    buffer_hours: int = 24,
    progress: bool = True,
) -> Path:
    """Bring hourly weather into one order, and part it by periods that keep a whole sequence apart.

    Args:
        source: `sandbox` for made weather whose best possible forecast is known, or a FILE.yaml that names
            your own files.
        out: Folder to write.
        seed: Seed of the sandbox.
        world: Of the sandbox: weather that the wind carries along, or warm blobs that move straight on.
        days: Of the sandbox, all splits together; each split is drawn by itself.
        cells: Rows and columns of the sandbox.
        wind: Of the sandbox's weather: one wind, or one of two drawn every twelve hours, so that no one can
            know where air will go.
        margin_cells: Of the sandbox's weather: how much larger than what is seen the world is at each side.
        shares: Of the hours for training, validation and test.
        buffer_hours: Kept apart between splits: a whole sequence, so that none is in two.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    require_at_least(0, seed=seed, buffer_hours=buffer_hours)
    from tqdm import tqdm

    from fieldwise.recipes.temperature_forecast.cases import RECIPE, write_case
    from fieldwise.recipes.temperature_forecast.made import make_sandbox
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.verbs.prepare import prepare_folder

    out = Path(out)
    with prepare_folder(out, recipe=RECIPE, source=str(source), seed=seed) as draft:
        stretches, facts = make_sandbox(
            world, seed=seed, days=days, cells=cells, wind=wind, margin_cells=margin_cells, shares=shares
        )
        draft.facts |= facts
        written = [write_case(stretch, draft, progress=progress) for stretch in stretches]
        for split in SPLITS:  # what was prepared before
            shutil.rmtree(out / split, ignore_errors=True)
    if progress:
        counts = [f"{sum(case.frames for case in written if case.split == part)} {part}" for part in SPLITS]
        tqdm.write(f"hours: {', '.join(counts)}; cells: {written[0].shape}")
    return out
