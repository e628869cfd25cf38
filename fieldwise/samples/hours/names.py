"""Names of data sets after AMBS: years, months, size, corner and variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def name_data_set(
    months: Iterable[str], shape: Sequence[int], corner: Sequence[float], variables: Iterable[str]
) -> str:
    """Name a data set: ``Y[yyyy]to[yyyy]M[mm]to[mm]-[nx]_[ny]-[nn.nn]N[ee.ee]E-[var1]_[var2]``.

    Years with the same months stand together; months that do not follow each other stand apart.

    Parameters
    ----------
    months
        Such as 2019-03, in order.
    shape
        Rows and columns.
    corner
        South and west, degrees.
    variables
        Names.

    >>> months = ["2005-02", "2005-03", "2006-02", "2006-03", "2015-03"]
    >>> name_data_set(months, (56, 92), (38.4, 0.0), ["t2m", "tcc"])
    'Y2005to2006M02to03_Y2015M03to03-92_56-38.40N0.00E-t2m_tcc'
    """
    by_year: dict[int, list[int]] = {}
    for month in months:
        by_year.setdefault(int(month[:4]), []).append(int(month[5:]))
    spans: list[tuple[list[int], list[int]]] = []  # years, and months that all of them have
    for year, of_year in by_year.items():
        if spans and spans[-1][0][-1] == year - 1 and spans[-1][1] == of_year:
            spans[-1][0].append(year)
        else:
            spans.append(([year], of_year))
    times = [
        f"{_span('Y', years, 4)}{_span('M', run, 2, single=True)}"
        for years, of_year in spans
        for run in _runs(of_year)
    ]
    (south, west), (rows, columns) = corner, shape
    place = f"{abs(south):.2f}{'N' if south >= 0 else 'S'}{west % 360:.2f}E"
    return f"{'_'.join(times)}-{columns}_{rows}-{place}-{'_'.join(variables)}"


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Part numbers where one does not follow the other."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _span(letter: str, numbers: Sequence[int], width: int, *, single: bool = False) -> str:
    first, last = (f"{number:0{width}d}" for number in (numbers[0], numbers[-1]))
    return f"{letter}{first}to{last}" if single or first != last else f"{letter}{first}"
