"""Steps of bad_input.feature: the commands as they are typed, in a folder of one's own."""

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.cli import main
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog

scenarios("bad_input.feature")

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPH = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20
FILES = {"surface": "surface.tif", "survey's table": "dense.csv", "pipeline": "dense.json"}


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@given("a folder with a low-res bed, a surface, a survey and their FILE.yaml", target_fixture="folder")
def _(own_files, monkeypatch):
    folder = own_files.parent
    for path in (ROOT / "data_list.yml", ROOT / "data_prep.ipynb"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(folder)
    return folder


@given(parsers.parse("the FILE.yaml has {slip}"))
def _(folder, slip):
    content = yaml.safe_load((folder / "own.yaml").read_text()) | yaml.safe_load(f"{{{slip}}}")
    (folder / "own.yaml").write_text(yaml.safe_dump(content))


@given(parsers.re(r"the (?P<file>surface|survey's table|pipeline) (?P<fault>.+)"))
def _(folder, file, fault):
    path = folder / FILES[file]
    far = Grid(1e6, 1e6, 1.03e6, 1.03e6, 1000, "EPSG:3031")
    if fault == "has been lost":
        path.unlink()
    elif fault == "is only half there":
        os.truncate(path, path.stat().st_size // 2)
    elif fault == "is a photograph of the camp":
        path.write_bytes(PHOTOGRAPH)
    elif fault == "is of the other side of Antarctica":
        write_cog(make_field(np.zeros(far.shape), far, name="surface"), path)
    elif fault == "has no value in any cell":
        write_cog(open_field(path).load() * np.nan, path)
    elif fault == "lacks its last column":
        path.write_text("\n".join(row.rpartition(",")[0] for row in path.read_text().splitlines()))
    elif fault == "would run a command":
        content = json.loads(path.read_text())
        content["pipeline"][0]["converters"] = {"Z": "__import__('os').mkdir('ran')"}
        path.write_text(json.dumps(content))
    else:
        raise NotImplementedError(fault)


@when(parsers.re(r"I type: fieldwise (?P<command>.+)"), target_fixture="answer")
def _(folder, command, capsys):
    before = contents(folder)
    capsys.readouterr()
    status = main(shlex.split(command))
    return {"status": status, "told": capsys.readouterr().err, "before": before}


@then(parsers.parse('the answer is one line with "{told}" and "{remedy}"'))
def _(answer, told, remedy):
    (line,) = answer["told"].splitlines()
    assert line.startswith("fieldwise: ")
    assert told in line, line
    assert remedy in line, line


@then("the command is reported as failed")
def _(answer):
    assert answer["status"] == 2


@then("the folder holds what it held before")
def _(answer, folder):
    assert contents(folder) == answer["before"]


@then("no folder data is prepared")
def _(answer, folder):
    assert not (folder / "data" / "dataset.yaml").exists()
    assert not (folder / "ran").exists()
    after = contents(folder)
    assert {path: after.get(path) for path in answer["before"]} == answer["before"]
    assert not [path for path in (folder / "data").rglob("*") if path.name.startswith(".")]


@pytest.fixture(autouse=True)
def _no_login(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
