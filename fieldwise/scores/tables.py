"""Scores as one long table: a row says against what, by which measure, in which unit, who, and how much.

A row is a plain mapping with the keys of :data:`KEYS`, and further ones where a score needs them: ``at`` (a
depth, a variable), ``lead_h``, ``low`` and ``high`` (an interval). It is what scores.json holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
KEYS = ("against", "measure", "unit", "name", "value")
INTERVAL = ("low", "high")
WORDS = {
    "acc": "ACC",
    "mse": "MSE",
    "rmse": "RMSE",
    "mae": "MAE",
    "relative_l1": "relative L1",
    "relative_l2": "relative L2",
    "coverage_90": "coverage of the 90 % interval",
    "crps": "CRPS",
    "iou": "IoU",
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
    "psnr": "PSNR",
    "psnr_published": "PSNR as published",
    "ssim": "SSIM",
    "ssim_published": "SSIM as published",
    "spread_skill": "spread : error",
}
DIGITS = 4


def score_all(
    against: str,
    measures: Mapping[tuple[str, str], Callable[..., float]],
    values: Mapping[str, Any],
    truth: Any,
    **further: Any,
) -> list[dict[str, Any]]:
    """Score what several names give by several measures: a row for each pair.

    Parameters
    ----------
    against
        What the truth is.
    measures
        (measure, unit) -> function of values and truth.
    values
        Name -> its values.
    further
        Keys that every row shall have too.

    Examples
    --------
    >>> from fieldwise.scores import rmse
    >>> rows = score_all("radar", {("rmse", "m"): rmse}, {"prediction": [3.0], "cubic": [4.0]}, [1.0])
    >>> rows[1]
    {'against': 'radar', 'measure': 'rmse', 'unit': 'm', 'name': 'cubic', 'value': 3.0}
    """
    return [
        make_score(against, measure, unit, name, function(given, truth), **further)
        for (measure, unit), function in measures.items()
        for name, given in values.items()
    ]


def make_score(
    against: str, measure: str, unit: str, name: str, value: float, **further: Any
) -> dict[str, Any]:
    """Make one row.

    >>> make_score("test", "mae", "m/a", "prediction", 2, at="ubar")
    {'against': 'test', 'measure': 'mae', 'unit': 'm/a', 'name': 'prediction', 'value': 2.0, 'at': 'ubar'}
    """
    row = dict(zip(KEYS, (against, measure, unit, name, float(value)), strict=True))
    return row | {key: given for key, given in further.items() if given is not None}


def pick(rows: Iterable[Row], **where: Any) -> list[Row]:
    """Give the rows with these keys, in their order; a sequence stands for any of its values.

    >>> rows = [make_score("radar", "rmse", "m", name, 1) for name in ("prediction", "cubic", "spline")]
    >>> [row["name"] for row in pick(rows, measure="rmse", name=["cubic", "spline"])]
    ['cubic', 'spline']
    """
    wanted = {
        key: tuple(value) if isinstance(value, list | tuple | set) else (value,)
        for key, value in where.items()
    }
    return [row for row in rows if all(row.get(key) in values for key, values in wanted.items())]


def value_of(rows: Iterable[Row], **where: Any) -> float:
    """Give the value of the one row with these keys.

    Raises
    ------
    InputError
        Where there is none, or several.

    Examples
    --------
    >>> value_of([make_score("radar", "rmse", "m", "prediction", 38.9)], measure="rmse")
    38.9
    >>> value_of([], measure="rmse")
    Traceback (most recent call last):
    fieldwise.errors.InputError: 0 scores have measure rmse; name one
    """
    found = pick(rows, **where)
    if len(found) != 1:
        asked = ", ".join(f"{key} {value}" for key, value in where.items())
        raise InputError(f"{len(found)} scores have {asked}; name one")
    return float(found[0]["value"])


def label_of(row: Row, *, unit: bool = True) -> str:
    """Write a measure, with its unit, as a reader expects it.

    >>> label_of(make_score("radar", "rmse", "m", "prediction", 38.9))
    'RMSE (m)'
    >>> label_of(make_score("truth", "roughness_ratio", "1", "prediction", 0.9))
    'roughness ratio'
    """
    words = WORDS.get(row["measure"], row["measure"].replace("_", " "))
    return words if row["unit"] in ("", "1") or not unit else f"{words} ({row['unit']})"


def tabulate(rows: Iterable[Row]) -> pd.DataFrame:
    """Lay scores out: a line for each measure and what it is against, a column for each name.

    Columns that tell nothing (a key that no row has) are left out; names stand in their first order.

    >>> rows = [make_score("radar", "rmse", "m", name, 20) for name in ("prediction", "cubic")]
    >>> tabulate(rows).to_dict("records")
    [{'against': 'radar', 'measure': 'RMSE (m)', 'prediction': 20.0, 'cubic': 20.0}]
    """
    import pandas as pd

    rows = list(rows)
    extra = [
        key for key in dict.fromkeys(key for row in rows for key in row) if key not in (*KEYS, *INTERVAL)
    ]
    names = list(dict.fromkeys(row["name"] for row in rows))
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        heads = {
            "against": row["against"],
            "measure": label_of(row),
            **{key: row.get(key, "") for key in extra},
        }
        lines.setdefault(tuple(heads.values()), heads)[row["name"]] = row["value"]
    return pd.DataFrame(list(lines.values()), columns=["against", "measure", *extra, *names])


def format_table(rows: Iterable[Row]) -> str:
    """Lay scores out as text, values of one line with equally many decimals; what a score lacks stays empty.

    >>> rows = [make_score("radar", "rmse", "m", "prediction", 38.91)]
    >>> rows += [make_score("radar", "rmse", "m", "cubic", 54.7)]
    >>> rows += [make_score("truth", "roughness_ratio", "1", "prediction", 0.9)]
    >>> print(format_table(rows))
    against  measure            prediction       cubic
    radar    RMSE (m)                38.91       54.70
    truth    roughness ratio        0.9000
    """
    table = tabulate(rows)
    names = list(dict.fromkeys(row["name"] for row in rows))
    heads = [column for column in table.columns if column not in names]
    texts = [[str(line[head]) for head in heads] for line in table.to_dict("records")]
    widths = [
        max(len(text) for text in column) + 2
        for column in zip(heads, *texts, strict=True)
    ]  # fmt: skip
    lines = ["".join(head.ljust(width) for head, width in zip(heads, widths, strict=True))]
    across = [max(12, len(name) + 2) for name in names]
    lines[0] += "".join(name.rjust(width) for name, width in zip(names, across))
    for parts, values in zip(texts, table[names].to_numpy(dtype=float), strict=True):
        start = "".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))
        told = zip(format_values(values), across, strict=True)
        lines.append((start + "".join(text.rjust(width) for text, width in told)).rstrip())
    previous = ""
    for number, parts in enumerate(texts, start=1):  # what is repeated says nothing new
        if parts[0] == previous:
            lines[number] = " " * len(previous) + lines[number][len(previous) :]
        previous = parts[0]
    return "\n".join(lines)


def format_values(values: Sequence[float]) -> list[str]:
    """Write numbers that stand side by side: so many decimals as the greatest needs for four digits.

    >>> format_values([38.914, 5.5, math.nan])
    ['38.91', '5.50', '']
    >>> format_values([0.0])
    ['0']
    >>> format_values([3.2e-7])
    ['3.2e-07']
    """
    known = [abs(value) for value in values if math.isfinite(value)]
    greatest = max(known, default=0.0)
    if greatest == 0 or not 1e-4 <= greatest < 1e9:
        form = ".4g"
    else:
        form = f".{max(0, DIGITS - 1 - math.floor(math.log10(greatest)))}f"
    return ["" if math.isnan(value) else f"{value:{form}}" for value in values]


def to_csv(rows: Iterable[Row]) -> str:
    """Write scores as CSV, a line for each row, as another program reads them.

    >>> print(to_csv([make_score("radar", "rmse", "m", "prediction", 38.9)]), end="")
    against,measure,unit,name,value
    radar,rmse,m,prediction,38.9
    """
    import pandas as pd

    return pd.DataFrame(list(rows)).to_csv(index=False)


def read_scores(path: str | Path) -> dict[str, Any]:
    """Read a scores.json: the rows under ``scores``, and further facts.

    Raises
    ------
    InputError
        Where the file is missing or is none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "scores.json"
    >>> _ = path.write_text('{"scores": [{"against": "radar"}]}')
    >>> read_scores(path)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...scores.json: a score lacks measure, unit, name, value; evaluate again
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; judge a prediction with the verb evaluate") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); evaluate again") from None
    if not isinstance(content, dict) or not isinstance(content.get("scores"), list):
        raise InputError(f"{path}: holds no scores; evaluate again")
    for row in content["scores"]:
        missing = [key for key in KEYS if not isinstance(row, dict) or key not in row]
        if missing:
            raise InputError(f"{path}: a score lacks {', '.join(missing)}; evaluate again")
        row["value"] = math.nan if row["value"] is None else row["value"]
    return content
