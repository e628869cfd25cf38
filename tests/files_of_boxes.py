"""A user's own boxes, of linear and true displacement, and the FILE.yaml that names them."""

import numpy as np
import yaml
import zarr

from fieldwise.cli import main
from fieldwise.recipes import structure_formation
from fieldwise.samples.prepared import Prepared

SHAPE = (2, 8, 10)
FIELD = (10 * np.random.default_rng(0).normal(size=SHAPE)).astype(np.float32)
WHOLE = np.rint(FIELD)  # what integers hold


def write(folder, **files):
    """Write arrays under names such as `a_in`, as .npy."""
    folder.mkdir(exist_ok=True)
    for name, values in files.items():
        np.save(folder / f"{name}.npy", values)
    return folder


LISTED = {
    "inputs": {"displacement_linear": "box_*/linear.npy"},
    "targets": {"displacement": "box_*/moved.npy"},
}


def write_list(home, *, split="training", spacing=4.0, **changes):
    """Write a FILE.yaml: LISTED, with keys of the split or of the whole changed, or taken away by None."""
    of_split = {
        key: changes.pop(key) for key in ("inputs", "targets", "numbers", "besides") if key in changes
    }
    entry = {key: value for key, value in (LISTED | of_split).items() if value is not None}
    file = home / "own.yaml"
    file.write_text(yaml.safe_dump({"spacing": spacing, split: entry} | changes, sort_keys=False))
    return file


def prepare(home, **changes):
    file = write_list(home, **changes)
    out = structure_formation.prepare(source=str(file), out=home / "data", progress=False)
    return Prepared(out, recipe="structure_formation")


def list_contents(folder):
    """Give every file of a folder with what is in it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_zarr_group(path, values):
    group = zarr.open_group(path, mode="w")
    for name, each in (("disp", values), ("steps", np.arange(3))):
        group.create_array(name, shape=each.shape, dtype=each.dtype)[...] = each


def write_boxes(folder):
    """Write three boxes, of linear and true displacement, and densities."""
    for number in range(3):
        fields = {"linear": FIELD + number, "moved": 2 * FIELD + number, "density": FIELD[:1] * 0 + number}
        write(folder / f"box_{number}", **fields)
    return folder


def refuse_list(home, capsys, **changes):
    """Prepare what must be refused in one line, and give that; nothing changes."""
    file = write_list(home, **changes)
    before = list_contents(home)
    capsys.readouterr()
    command = ["structure_formation", "prepare", "--source", str(file), "--out", str(home / "data")]
    assert main([*command, "--progress", "false"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert list_contents(home) == before
    return line.removeprefix("fieldwise: ")
