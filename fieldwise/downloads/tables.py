"""The list of data sets as a table for readers."""

from __future__ import annotations

import pandas as pd

from fieldwise.downloads.sources import Source

KINDS = {"highres": "Dense survey", "lowres": "Low-res bed", "misc": "Other"}
ACCESS = {
    "current": "open",
    "doubtful": "address doubtful",
    "superseded": "superseded",
    "dead": "no longer online",
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
