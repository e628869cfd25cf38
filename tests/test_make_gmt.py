"""`make gmt` installs GMT, or says what to do, on systems that a few scripts stand in for."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONDA = "use conda: conda env create -f environment.yml"


def test_least_version_of_gmt_is_that_of_pygmt():
    from pygmt.clib import required_gmt_version

    least = re.search(r"^GMT_LEAST := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.M)[1]
    assert required_gmt_version == f"{least}.0"
    assert f"gmt>={least}" in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


TOOLS = ("bash", "chmod", "cp", "make", "sed", "sh", "sort", "test")
GMT = """#!/bin/sh
case "$1" in --version) echo {version};; --show-library) echo {library};; esac
"""
APT_GET = """#!/bin/sh
echo "$1" >> apt.log
if [ "$1" = install ]; then cp -f packaged {programs}/gmt; fi
"""
APT_CACHE = """#!/bin/sh
echo gmt:
echo "  Candidate: {packaged}"
"""


def make_gmt(folder, *, found, packaged, user="root"):
    """Run `make gmt` where one GMT is found, another packaged (None: by a system without apt-get)."""
    programs = folder / "bin"
    programs.mkdir()
    library = folder / "libgmt.so"
    library.touch()
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name))
    scripts = {"gs": "#!/bin/sh\n", "sudo": "#!/bin/sh\nexit 1\n"}
    scripts["id"] = f"#!/bin/sh\necho {0 if user == 'root' else 1000}\n"
    if found:
        scripts["gmt"] = GMT.format(version=found, library=library)
    if packaged is not None:
        scripts |= {"apt-cache": APT_CACHE.format(packaged=packaged)}
        scripts |= {"apt-get": APT_GET.format(programs=programs)}
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (folder / "packaged").write_text(GMT.format(version=packaged, library=library))
    (folder / "packaged").chmod(0o755)
    return subprocess.run(
        ["make", "-s", "-f", ROOT / "Makefile", "gmt"],
        cwd=folder,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("version", ["6.4.0", "6.4.0_3a5b2f6_2023.06.19", "6.5.0", "6.10.1", "7.0.0"])
def test_one_that_pygmt_takes_is_left_alone(tmp_path, version):
    """6.10 is later than 6.4, whoever asks and whatever is packaged."""
    done = make_gmt(tmp_path, found=version, packaged="6.3.0", user="me")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "apt.log").exists()


@pytest.mark.parametrize("found", [None, "6.3.0"])
def test_root_gets_the_packaged_one(tmp_path, found):
    done = make_gmt(tmp_path, found=found, packaged="6.4.0+dfsg-2")
    assert (done.returncode, done.stdout) == (0, "installing GMT: gmt libgmt-dev ghostscript\n")
    assert (tmp_path / "apt.log").read_text().split() == ["update", "install"]


@pytest.mark.parametrize("found", [None, "6.3.0"])
@pytest.mark.parametrize("user", ["root", "me"])
def test_where_the_packaged_one_is_too_old_conda_is_the_way_out(tmp_path, found, user):
    """As on Ubuntu 22.04; it is told before anything is installed."""
    done = make_gmt(tmp_path, found=found, packaged="6.3.0+dfsg-1", user=user)
    why = "GMT 6.3.0+dfsg-1, which this system packages, is too old: PyGMT needs 6.4"
    assert (done.returncode, done.stdout) == (2, f"{why}; {CONDA}\n")
    log = tmp_path / "apt.log"
    assert (log.read_text().split() if log.exists() else []) == ["update"] * (user == "root")


def test_a_user_who_may_not_install_is_told_what_to_run(tmp_path):
    done = make_gmt(tmp_path, found="6.3.0", packaged="6.4.0+dfsg-2", user="me")
    command = "sudo apt-get install gmt libgmt-dev ghostscript"
    assert (done.returncode, done.stdout) == (
        2,
        f"GMT 6.4 or later is missing; run: {command}   (or {CONDA})\n",
    )


def test_a_system_without_apt_uses_conda(tmp_path):
    done = make_gmt(tmp_path, found="6.3.0", packaged=None)
    assert (done.returncode, done.stdout) == (2, f"GMT 6.4 or later is missing; {CONDA}\n")


def test_an_old_one_that_comes_first_is_told_of(tmp_path):
    """An installation of one's own, which packages do not replace: here the packaged one is as old."""
    done = make_gmt(tmp_path, found="6.3.0", packaged="")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].endswith(f"/gmt is older than 6.4, which PyGMT needs; {CONDA}")
