"""The tables of a paper on a map of the bed: data sets, hyper-parameters, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fieldwise.downloads.sources import read_data_list
from fieldwise.downloads.tables import tabulate_data_sets
from fieldwise.figures import save_table
from fieldwise.recipes.bed_topography.train import train
from fieldwise.scores import pick, read_scores, tabulate
from fieldwise.verbs.options import tabulate_hyperparameters

MEASURES = ["rmse", "bias", "roughness_ratio"]
TITLES = {
    "data_sets": "Data sets, and where they are.",
    "hyperparameters": "Hyper-parameters of the run.",
    "errors": "Errors of the map and of what it is compared with.",
}


def save_tables(run: Path, folder: Path, *, data_list: Path = Path("data_list.yml")) -> dict[str, Path]:
    """Save the tables of a run as Markdown, LaTeX and CSV.

    Parameters
    ----------
    run
        Run folder; the errors are those of its scores.json, where it has one.
    folder
        Where the tables go.
    data_list
        The list of data sets; without it that table is left out.

    Returns
    -------
    dict
        Name of each table -> its Markdown file; LaTeX and CSV lie beside it.

    >>> import tempfile
    >>> from fieldwise.samples.rules import write_yaml
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = write_yaml({"batch_size": 64}, run / "config.yaml")
    >>> paths = save_tables(run, run / "tables", data_list=run / "none.yml")
    >>> print(paths["hyperparameters"].read_text().splitlines()[-1])
    | Batch size | 64 | Samples a step. |
    """
    tables = {"hyperparameters": tabulate_hyperparameters(run, train, monitor="val_rmse_m")}
    if Path(data_list).exists():
        tables = {"data_sets": tabulate_data_sets(read_data_list(data_list))} | tables
    if (run / "scores.json").exists():
        tables["errors"] = tabulate_errors(read_scores(run / "scores.json"))
    return {
        name: save_table(table, folder / f"table_{name}", caption=TITLES[name], label=name, digits=2)[0]
        for name, table in tables.items()
    }


def tabulate_errors(judged: dict[str, Any]) -> pd.DataFrame:
    """Lay out what `evaluate` found: a row for each measure, a column for each map.

    >>> from fieldwise.scores import make_score
    >>> rows = [make_score(against, "rmse", "m", *one) for against in ("held-out picks", "picks of 2010tr")
    ...         for one in (("prediction", 20.04), ("cubic", 40.0))]
    >>> judged = {"scores": rows, "n_picks": 12, "surveys": {"2010tr": 12}}
    >>> print(tabulate_errors(judged).to_string(index=False))
                 Judged on  Measure  Prediction  Cubic
       held-out picks (12) RMSE (m)       20.04   40.0
      picks of 2010tr (12) RMSE (m)       20.04   40.0
    """
    counts = {f"picks of {name}": count for name, count in judged.get("surveys", {}).items()}
    counts["held-out picks"] = judged.get("n_picks")
    table = tabulate(pick(judged["scores"], measure=MEASURES)).round(2)
    table["against"] = [
        f"{against} ({counts[against]})" if counts.get(against) else against for against in table["against"]
    ]
    table.columns = ["Judged on", "Measure", *(name.capitalize() for name in table.columns[2:])]
    return table
