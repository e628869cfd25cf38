"""Tables for a paper: one table as Markdown to read, as LaTeX to print, as CSV to work with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
}
PAGE_LETTERS, LONGEST_COLUMN = 60, 45  # letters that fit a column of a journal; that one of a table is given
ADDRESS = re.compile(r"https?://\S+[^\s.,;)]")


def save_table(
    table: pd.DataFrame, stem: str | Path, *, caption: str, label: str, digits: int | None = None
) -> list[Path]:
    """Write a table as Markdown, LaTeX and CSV beside each other.

    Parameters
    ----------
    table : columns with readable names; the index is not written, missing values are empty cells
    stem : path of the files without their endings
    caption : a sentence on what the table shows
    label : of the table in LaTeX, ``tab:`` before it
    digits : after the point, in Markdown and LaTeX; as many as are needed by default

    Returns
    -------
    Paths of the ``.md``, ``.tex`` and ``.csv`` file.

    Raises
    ------
    InputError
        When the table has no rows.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({"Region": ["Pine Island"], "RMSE (m)": [51.0]})
    >>> paths = save_table(table, Path(tempfile.mkdtemp()) / "scores", caption="Errors.", label="scores")
    >>> [path.name for path in paths]
    ['scores.md', 'scores.tex', 'scores.csv']
    """
    if table.empty:
        raise InputError(f"{caption} The table has no rows; give it at least one")
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        ".md": to_markdown(table, caption=caption, digits=digits),
        ".tex": to_latex(table, caption=caption, label=label, digits=digits),
        ".csv": table.to_csv(index=False),
    }
    paths = []
    for ending, text in texts.items():
        paths.append(stem.with_name(stem.name + ending))
        with replace_when_done(paths[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def to_markdown(table: pd.DataFrame, *, caption: str = "", digits: int | None = None) -> str:
    """Lay a table out in Markdown; addresses become links.

    >>> print(to_markdown(pd.DataFrame({"Name": ["a|b"], "Value": [0.5]})))
    | Name | Value |
    |---|--:|
    | a\\|b | 0.5 |
    <BLANKLINE>
    """
    rows = [list(map(str, table.columns)), *_cells(table, digits)]
    lines = ["| " + " | ".join(_for_markdown(cell) for cell in row) + " |" for row in rows]
    rule = "|" + "|".join("--:" if numeric else "---" for numeric in _numeric(table)) + "|"
    heading = [caption, ""] if caption else []
    return "\n".join([*heading, lines[0], rule, *lines[1:]]) + "\n"


def _for_markdown(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return ADDRESS.sub(lambda found: f"[{_short(found[0])}]({found[0]})", text)


def _short(address: str) -> str:
    """Write a DOI as such, and of another address its host."""
    doi = re.sub(r"^https?://(dx\.)?doi\.org/", "", address)
    return doi if doi != address else re.sub(r"^https?://([^/]+).*", r"\1", address)


def to_latex(table: pd.DataFrame, *, caption: str, label: str, digits: int | None = None) -> str:
    r"""Lay a table out in LaTeX, for the packages booktabs, hyperref and array.

    A table with long texts spans the page, and its lines are broken.

    >>> print(to_latex(pd.DataFrame({"Share": ["5 %"]}), caption="A_b.", label="share"))
    \begin{table}
    \caption{A\_b.}
    \label{tab:share}
    \begin{tabular}{l}
    \toprule
    Share \\
    \midrule
    5 \% \\
    \bottomrule
    \end{tabular}
    \end{table}
    <BLANKLINE>
    """
    texts = [list(map(str, table.columns)), *_cells(table, digits)]
    rows = [" & ".join(map(escape_latex, row)) + r" \\" for row in texts]
    lengths = [max(len(_shown(row[column])) for row in texts) for column in range(len(table.columns))]
    wide = sum(lengths) > PAGE_LETTERS
    columns = "".join(_columns(lengths, _numeric(table)) if wide else ["lr"[n] for n in _numeric(table)])
    environment = "table*" if wide else "table"
    return "\n".join(
        [
            rf"\begin{{{environment}}}",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{tab:{label}}}",
            *([r"\footnotesize"] if wide else []),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _columns(lengths: list[int], numeric: list[bool]) -> list[str]:
    """Share the width of the page among columns by the lengths of their texts; the rest is between them."""
    needs = [min(length, LONGEST_COLUMN) for length in lengths]
    shares = [(0.97 - 0.026 * len(needs)) * need / sum(needs) for need in needs]
    return [
        "r" if number else rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\textwidth}}"
        for share, number in zip(shares, numeric)
    ]


def _shown(text: str) -> str:
    """Give a text as it is seen, with links by their names."""
    return ADDRESS.sub(lambda found: _short(found[0]), text)


def escape_latex(text: str) -> str:
    r"""Make plain text safe in LaTeX; addresses become links.

    >>> escape_latex("50 % of R&D")
    '50 \\% of R\\&D'
    >>> escape_latex("see https://doi.org/10.5194/tc-14-3687-2020.")
    'see \\href{https://doi.org/10.5194/tc-14-3687-2020}{\\nolinkurl{10.5194/tc-14-3687-2020}}.'
    """
    parts, last = [], 0
    for found in ADDRESS.finditer(text):
        target = found[0].replace("%", r"\%").replace("#", r"\#")
        parts += [
            _escape(text[last : found.start()]),
            rf"\href{{{target}}}{{\nolinkurl{{{_short(found[0])}}}}}",
        ]
        last = found.end()
    return "".join([*parts, _escape(text[last:])])


def _escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _cells(table: pd.DataFrame, digits: int | None) -> list[list[str]]:
    """Give the rows as text."""
    form = "g" if digits is None else f".{digits}f"
    return [
        [
            "" if pd.isna(value) else f"{value:{form}}" if isinstance(value, float) else str(value)
            for value in row
        ]
        for row in table.itertuples(index=False)
    ]


def _numeric(table: pd.DataFrame) -> list[bool]:
    return [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
