"""What every verb evaluate does with its scores: record, show, say what they mean, draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.runs import write_json
from fieldwise.scores import format_table, to_csv
from fieldwise.scores.tables import Row


def judge(
    rows: Iterable[Row],
    *,
    run: str | Path,
    facts: Mapping[str, Any] | None = None,
    shown: Iterable[Row] | None = None,
    verdicts: Iterable[str] = (),
    figures: Callable[[], Iterable[Path]] | None = None,
) -> dict[str, Any]:
    """Write scores into a run folder, print them as a table, and say in words what they mean.

    Parameters
    ----------
    rows
        Scores, as :func:`~fieldwise.scores.make_score` makes them.
    run
        Folder that gets scores.json, and scores.csv for other programs.
    facts
        What else scores.json shall tell, such as how many points were judged; numbers are printed too.
    shown
        The rows to print; all of them by default.
    verdicts
        Lines to end with, as of :func:`~fieldwise.scores.verdict`; empty ones are left out.
    figures
        Draws figures and gives their paths; called last, when nothing can be lost any more.

    Returns
    -------
    dict
        What stands in scores.json: the rows under ``scores``, and the facts.

    Raises
    ------
    InputError
        Where there is no score, or a fact would hide them.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.scores import make_score, read_scores, verdict
    >>> run = Path(tempfile.mkdtemp())
    >>> rows = [make_score("radar", "rmse", "m", *one) for one in (("prediction", 40), ("cubic", 50))]
    >>> words = verdict(rows, against="radar", measure="rmse")
    >>> judged = judge(rows, run=run, facts={"n_picks": 12}, verdicts=[words])
    against  measure      prediction       cubic
    radar    RMSE (m)          40.00       50.00
    n picks 12
    radar: RMSE of the prediction 40.00 m, 20 % better than cubic (50.00 m)
    >>> read_scores(run / "scores.json") == judged
    True
    """
    rows, facts = [dict(row) for row in rows], dict(facts or {})
    if not rows:
        raise InputError(f"{run}: there is no score to record; give at least one")
    if "scores" in facts:
        raise InputError("facts: 'scores' is the table itself; choose another name")
    run = Path(run)
    content = {"scores": [_plain(row) for row in rows], **_plain(facts)}
    write_json(content, run / "scores.json")
    with replace_when_done(run / "scores.csv") as partial:
        partial.write_text(to_csv(rows), encoding="utf-8")
    print(format_table(rows if shown is None else list(shown)))
    for line in (_format_facts(facts), *verdicts):
        if line:
            print(line)
    for path in figures() if figures else ():
        print(path)
    return {"scores": rows, **facts}


def _plain(values: Row) -> dict[str, Any]:
    """Give values as JSON can hold it: a number that is not finite is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _format_facts(facts: Mapping[str, Any]) -> str:
    """Write the facts that are numbers in one line.

    >>> _format_facts({"n_picks": 634, "share_of_map": 1 / 3, "surveys": {"2010tr": 634}})
    'n picks 634, share of map 0.3333'
    """
    numbers = {key: value for key, value in facts.items() if type(value) in (int, float)}
    return ", ".join(f"{key.replace('_', ' ')} {_format(value)}" for key, value in numbers.items())


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"
