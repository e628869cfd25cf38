"""The tables of a paper on a map of the bed: data sets, hyper-parameters, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docstring_parser
import pandas as pd

from fieldwise.downloads.sources import Source, read_data_list
from fieldwise.errors import InputError
from fieldwise.figures import save_table
from fieldwise.samples.rules import read_yaml
from fieldwise.scores import pick, read_scores, tabulate

KINDS = {"highres": "Dense survey", "lowres": "Low-res bed", "misc": "Other"}
ACCESS = {
    "current": "open",
    "doubtful": "address doubtful",
    "superseded": "superseded",
    "dead": "no longer online",
}
# Of a run, not of what is learnt.
OPERATIONAL = {"data", "run", "resume", "accelerator", "devices", "progress", "tracker"}
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
    tables = {"hyperparameters": tabulate_hyperparameters(run)}
    if Path(data_list).exists():
        tables = {"data_sets": tabulate_data_sets(read_data_list(data_list))} | tables
    if (run / "scores.json").exists():
        tables["errors"] = tabulate_errors(read_scores(run / "scores.json"))
    return {
        name: save_table(table, folder / f"table_{name}", caption=TITLES[name], label=name, digits=2)[0]
        for name, table in tables.items()
    }


def tabulate_data_sets(sources: list[Source]) -> pd.DataFrame:
    """Lay out a list of data sets: what it is, where, how fine, where to get it, whom to cite.

    >>> source = Source("Me2030", "A bed", "lowres", "Thwaites", (), resolution="1000 m", login="Earthdata")
    >>> tabulate_data_sets([source]).iloc[0].tolist()
    ['Low-res bed', 'A bed', 'Thwaites', '1000 m', 'login: Earthdata', '', '']
    """
    rows = [
        {
            "Kind": KINDS[source.folder],
            "Data set": source.title,
            "Region": source.location,
            "Resolution": source.resolution or "points"
            if source.folder == "highres"
            else source.resolution or "",
            "Access": f"login: {source.login}"
            if source.login and source.status == "current"
            else ACCESS[source.status],
            "Data": source.doi_dataset or source.page or "",
            "Article": source.doi_literature or "",
        }
        for folder in KINDS
        for source in sources
        if source.folder == folder
    ]
    return pd.DataFrame(rows)


def tabulate_hyperparameters(run: Path) -> pd.DataFrame:
    """Lay out the settings of a run with what they mean, from its config.yaml and the verb's own help.

    Raises
    ------
    InputError
        Where the folder holds no run.

    >>> import tempfile
    >>> from fieldwise.samples.rules import write_yaml
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = write_yaml({"batch_size": 64, "devices": 2}, run / "config.yaml")  # devices do not count
    >>> tabulate_hyperparameters(run).to_dict("records")
    [{'Hyper-parameter': 'Batch size', 'Value': '64', 'Meaning': 'Samples a step.'}]
    """
    from fieldwise.recipes.bed_topography.train import train

    config = Path(run) / "config.yaml"
    if not config.exists():
        raise InputError(f"{run}: holds no config.yaml, so is no run; train one with `bed_topography train`")
    meanings = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse(train.__doc__ or "").params
    }
    rows = [
        {
            "Hyper-parameter": _spell(name),
            "Value": _say(value),
            "Meaning": meanings.get(name, ""),
        }
        for name, value in {**read_yaml(config), **_outcome(Path(run))}.items()
        if name not in OPERATIONAL
    ]
    return pd.DataFrame(rows)


def _outcome(run: Path) -> dict[str, Any]:
    """Tell how long a run went on, and when it was best."""
    from fieldwise.runs import read_metrics

    try:
        metrics = read_metrics(run)
    except InputError:
        return {}
    outcome = {"epochs_trained": int(metrics["epoch"].max()) + 1}
    if "val_rmse_m" in metrics and metrics["val_rmse_m"].notna().any():
        best = metrics.loc[metrics["val_rmse_m"].idxmin()]
        outcome["best_epoch"] = int(best["epoch"]) + 1
    return outcome


def _spell(name: str) -> str:
    """Put the name of a setting into words.

    >>> _spell("num_residual_blocks"), _spell("max_epochs")
    ('Number of residual blocks', 'Maximum epochs')
    """
    words = name.replace("num_", "number_of_").replace("max_", "maximum_").replace("_", " ")
    return words[:1].upper() + words[1:]


def _say(value: Any) -> str:
    """Write a setting as a reader of a paper expects it.

    >>> _say(True), _say(None), _say(1.6e-4), _say(["bed_lowres", "ice_velocity"])
    ('yes', 'not set', '0.00016', 'bed_lowres, ice_velocity')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not set"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


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
