"""Imports run downward only; light modules stay light."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_import_linter_keeps_its_contracts():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " kept, 0 broken." in done.stdout


def test_import_of_the_package_loads_nothing_heavy():
    code = "import fieldwise, fieldwise.cli, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "torch", "lightning", "xarray", "pandas", "rasterio", "pygmt", "jsonargparse"}
    assert not heavy & set(done.stdout.split())
