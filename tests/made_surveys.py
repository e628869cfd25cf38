"""Small surveys and the pipelines that read them, for the tests of surveys and of their gridding."""

import json
import os
from pathlib import Path

from fieldwise.surveys import read_survey

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FIELDWISE_DATA", ROOT.parent / "shared" / "data"))
SAME = {"type": "filters.reprojection", "in_srs": "EPSG:3031", "out_srs": "EPSG:3031"}
TO_POLAR = {"type": "filters.reprojection", "in_srs": "EPSG:4326", "out_srs": "EPSG:3031"}
CRESIS = "LAT,LON,UTCTIMESOD,THICK,ELEVATION,FRAME,SURFACE,BOTTOM,QUALITY"


def write_pipeline(folder, *steps, **reader):
    path = folder / "survey.json"
    first = {"type": "readers.text", "filename": "*.csv", "skip": 1, "header": "x,y,z", **reader}
    path.write_text(json.dumps({"pipeline": [first, *(steps or [SAME])]}))
    return path


def read_rows(folder, text, *steps, **reader):
    (folder / "picks.csv").write_text(text)
    return read_survey(write_pipeline(folder, *steps, **reader))
