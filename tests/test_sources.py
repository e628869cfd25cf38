import hashlib
import io
import tarfile
from pathlib import Path

import loopback
import pytest
import yaml

from fieldwise.downloads import transfers
from fieldwise.downloads.sources import (
    FOLDERS,
    download_data,
    folder_readme,
    pinned_sums,
    read_data_list,
    select_files,
    write_folder_readmes,
)
from fieldwise.errors import InputError

ROOT = Path(__file__).parents[1]
BED = b"bed elevation " * 700
BED_SUM = hashlib.sha256(BED).hexdigest()


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    monkeypatch.setattr(transfers, "PAUSE_S", 0.001)


def write_list(path: Path, *files: dict, **record) -> Path:
    defaults = {"citekey": "Me2030Bed", "title": "A bed", "folder": "lowres", "location": "Thwaites"}
    path.write_text(yaml.safe_dump([defaults | {"files": list(files)} | record]))
    return path


@pytest.fixture
def get(tmp_path):
    """Write a list of these files and download them all into tmp_path."""

    def download(*files: dict, **record) -> list[Path]:
        data_list = write_list(tmp_path / "list.yml", *files, **record)
        return download_data(names=["Me2030Bed"], folder=tmp_path, data_list=data_list)

    return download


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---------------------------------------------------------------------------------------- the real list
def test_list_of_the_project_holds_the_original_files():
    sources = read_data_list(ROOT / "data_list.yml")
    files = {f"{s.folder}/{f.filename}": (s, f) for s in sources for f in s.files}
    cresis = [name for name, (source, _) in files.items() if source.citekey == "Shi2010CRESIS"]
    assert len(cresis) == 13
    source, file = files["lowres/bedmap2_bed.tif"]
    assert file.sha256 == "28e2ca7656d61b0bc7f8f8c1db41914023e0cab1634e0ee645f38a87d894b416"
    assert source.doi_literature == "https://doi.org/10.5194/tc-7-375-2013"
    source, file = files["misc/antarctic_ice_vel_phase_map_v01.nc"]
    assert (source.login, file.former_url.split("/")[2]) == ("NASA Earthdata", "ftp.nsidc.org")
    dead = [name for name, (source, file) in files.items() if source.status == "dead"]
    assert len(dead) == 10  # nine of Pine Island Glacier, one of Carlson Inlet
    assert all(files[name][1].url is None and files[name][1].sha256 for name in dead)


def test_default_leaves_out_what_is_dead_or_superseded():
    chosen = {file.filename for _, file in select_files(read_data_list(ROOT / "data_list.yml"), None)}
    assert {"bedmap3.nc", "rema_mosaic_100m_v2.0_filled_cop30_dem.tif"} <= chosen
    assert not chosen & {"REMA_100m_dem.tif", "GroundingLine_Antarctica_v2.shp", "istar08.txt"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_committed_readmes_are_what_the_list_gives(folder, tmp_path):
    write_folder_readmes(ROOT / "data_list.yml", tmp_path)
    made, committed = tmp_path / folder / "README.md", ROOT / folder / "README.md"
    assert made.read_text() == committed.read_text(), "run fieldwise.downloads.sources.write_folder_readmes"


def test_readme_has_a_row_for_every_file():
    sources = read_data_list(ROOT / "data_list.yml")
    for folder in FOLDERS:
        rows = [line for line in folder_readme(sources, folder).splitlines() if line.startswith("| ")]
        assert len(rows) == 1 + sum(len(source.files) for source in sources if source.folder == folder)
        assert all(row.count(" | ") == 5 for row in rows)


# ------------------------------------------------------------------------------------------ bad lists
@pytest.mark.parametrize(
    ("record", "file", "message"),
    [
        ({"folder": "hires"}, {}, r"record 1 \(Me2030Bed\): folder is 'hires'; expected one of highres"),
        ({"status": "old"}, {}, "status is 'old'; expected one of current"),
        ({"colour": "red"}, {}, "unknown key 'colour'; known: citekey"),
        ({"title": None}, {}, "has no title; add it"),
        ({"doi": "10.1/2"}, {}, "doi is '10.1/2'"),
        ({"resolution": 500}, {}, "resolution is 500; put text in quotes"),
        ({"files": []}, {}, "has no files"),
        ({}, {"filename": "../bed.tif"}, "must be a plain name"),
        ({}, {"filename": None}, "has no filename"),
        ({}, {"sha256": "abc"}, "'abc' is not 64 hexadecimal digits"),
        ({}, {"url": "file:///etc/passwd"}, "must begin with http, https or ftp"),
    ],
)
def test_faulty_record_is_named(record, file, message, tmp_path):
    path = write_list(tmp_path / "list.yml", {"filename": "bed.tif"} | file, **record)
    with pytest.raises(InputError, match=rf"list\.yml: .*{message}"):
        read_data_list(path)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not YAML"), ("", "no list of records"), ("- 3", "record 1: is 3")]
)
def test_what_is_no_list(text, message, tmp_path):
    (tmp_path / "list.yml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_data_list(tmp_path / "list.yml")
    assert "\n" not in str(caught.value)


def test_missing_list_and_double_file(tmp_path):
    with pytest.raises(InputError, match="no such data list"):
        read_data_list(tmp_path / "none.yml")
    path = write_list(tmp_path / "list.yml", {"filename": "bed.tif"}, {"filename": "bed.tif"})
    with pytest.raises(InputError, match=r"lowres/bed\.tif is listed twice"):
        read_data_list(path)


# ----------------------------------------------------------------------------------------- downloading
def test_file_with_the_right_sum_is_not_downloaded_again(get, tmp_path):
    with loopback.http(files={"/bed.tif": BED}) as server:
        for _ in range(2):
            assert get({"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM}) == [
                tmp_path / "lowres" / "bed.tif"
            ]
    assert (tmp_path / "lowres" / "bed.tif").read_bytes() == BED
    assert len(server.requests) == 1
    assert names_in(tmp_path / "lowres") == ["bed.tif"]


def test_wrong_content_never_gets_the_name(get, tmp_path):
    other = hashlib.sha256(b"other").hexdigest()
    with (
        loopback.http(files={"/bed.tif": b"other"}) as server,
        pytest.raises(
            InputError, match=f"lowres/bed.tif has the SHA-256 sum {other}; expected {BED_SUM}; run again"
        ),
    ):
        get({"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM})
    assert names_in(tmp_path / "lowres") == []


def test_damaged_file_is_replaced_only_by_a_good_one(get, tmp_path):
    (tmp_path / "lowres").mkdir()
    (tmp_path / "lowres" / "bed.tif").write_bytes(b"damaged")
    with loopback.http(files={}) as server:
        entry = {"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM}
        with pytest.raises(InputError, match="404"):
            get(entry)
        assert (tmp_path / "lowres" / "bed.tif").read_bytes() == b"damaged"
        server.files["/bed.tif"] = BED
        assert get(entry)[0].read_bytes() == BED


def test_leftover_of_another_version_is_not_fatal(get, tmp_path):
    (tmp_path / "lowres").mkdir()
    (tmp_path / "lowres" / "bed.tif.part").write_bytes(b"x" * 50)
    with loopback.http(files={"/bed.tif": BED}) as server:
        assert (
            get({"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM})[0].read_bytes()
            == BED
        )
    assert [headers.get("Range") for _, headers in server.requests] == ["bytes=50-", None]


def test_unknown_sum_is_pinned_at_first_use(get, tmp_path, capsys):
    with loopback.http(files={"/bed.tif": BED}) as server:
        entry = {"filename": "bed.tif", "url": f"{server.url}/bed.tif"}
        path = get(entry)[0]
        assert "trusted at first use" in capsys.readouterr().err
        assert pinned_sums(tmp_path / "lowres") == {"bed.tif": BED_SUM}
        get(entry)
        assert "trusted" not in capsys.readouterr().err
        path.unlink()
        server.files["/bed.tif"] = b"swapped"
        with pytest.raises(InputError, match=f"expected {BED_SUM}"):
            get(entry)
    assert (tmp_path / "lowres" / "SHA256SUMS").read_text() == f"{BED_SUM}  bed.tif\n"


def test_file_without_address_is_explained_then_checked(get, tmp_path):
    entry = {"filename": "bed.tif", "sha256": BED_SUM}
    with pytest.raises(
        InputError, match=r"lowres/bed\.tif has no public address; see https://doi\.org/10\.1/2"
    ):
        get(entry, doi={"literature": "https://doi.org/10.1/2"})
    (tmp_path / "lowres").mkdir()
    (tmp_path / "lowres" / "bed.tif").write_bytes(BED)
    assert len(get(entry)) == 1


def test_members_of_one_archive_are_fetched_once(get, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tarred:
        for name in ("dem/bed.tif", "dem/surface.tif"):
            info = tarfile.TarInfo(name)
            info.size = len(BED)
            tarred.addfile(info, io.BytesIO(BED))
    with loopback.http(files={"/dem.tar.gz": packed.getvalue()}) as server:
        url = f"{server.url}/dem.tar.gz"
        get(
            {"filename": "bed.tif", "url": url, "member": "bed.tif", "sha256": BED_SUM},
            {"filename": "top.tif", "url": url, "member": "dem/surface.tif"},
        )
    assert len(server.requests) == 1
    assert names_in(tmp_path / "lowres") == ["SHA256SUMS", "bed.tif", "top.tif"]
    assert (tmp_path / "lowres" / "top.tif").read_bytes() == BED


MISBEHAVIOUR = {
    "it always breaks off": {"break_after": [500] + [0] * 99},
    "it falls silent": {"stall_after": [0] * 99},
    "it redirects for ever": {"redirect_to": "/bed.tif"},
    "it holds nothing there": {"files": {}},
    "it stays busy": {"statuses": [503] * 99},
    "it holds another file": {"files": {"/bed.tif": b"x" * len(BED)}},
    "it holds the beginning alone": {"files": {"/bed.tif": BED[:100]}},
    "it holds an empty file": {"files": {"/bed.tif": b""}},
    "it holds a page to log in": {"files": {"/bed.tif": b"<html>"}, "content_type": "text/html"},
}


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
@pytest.mark.parametrize("there", [False, True])
def test_a_bad_file_never_gets_the_name(get, tmp_path, monkeypatch, kind, there):
    """What was there before, a damaged file in this case, stays until a good one comes; then that comes."""
    monkeypatch.setattr(transfers, "TIMEOUT_S", (1.0, 0.1))
    if there:
        (tmp_path / "lowres").mkdir()
        (tmp_path / "lowres" / "bed.tif").write_bytes(b"damaged")
    with loopback.http(**({"files": {"/bed.tif": BED}} | MISBEHAVIOUR[kind])) as server:
        entry = {"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM}
        with pytest.raises(InputError) as caught:
            get(entry)
        assert "\n" not in str(caught.value)
        path = tmp_path / "lowres" / "bed.tif"
        assert (path.read_bytes() if path.exists() else None) == (b"damaged" if there else None)
        assert len(server.requests) <= 31
    with loopback.http(files={"/bed.tif": BED}) as server:
        assert get(entry | {"url": f"{server.url}/bed.tif"})[0].read_bytes() == BED


NEVER_WHOLE = [kind for kind in MISBEHAVIOUR if "another" not in kind and "beginning" not in kind]


@pytest.mark.parametrize("kind", NEVER_WHOLE)
def test_what_is_not_whole_is_not_pinned_either(get, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(transfers, "TIMEOUT_S", (1.0, 0.1))
    with (
        loopback.http(**({"files": {"/bed.tif": BED}} | MISBEHAVIOUR[kind])) as server,
        pytest.raises(InputError),
    ):
        get({"filename": "bed.tif", "url": f"{server.url}/bed.tif"})
    assert pinned_sums(tmp_path / "lowres") == {}
    assert "bed.tif" not in names_in(tmp_path / "lowres")


def test_sums_that_are_no_text(tmp_path):
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(InputError, match=r"SHA256SUMS: .* is not a sum and a file name; remove that line"):
        pinned_sums(tmp_path)


def test_one_file_can_be_named_without_a_list(tmp_path, monkeypatch, capsys):
    from fieldwise.cli import main

    monkeypatch.chdir(tmp_path)
    with loopback.http(files={"/bed.tif": BED}) as server:
        entry = {"filename": "bed.tif", "url": f"{server.url}/bed.tif", "sha256": BED_SUM}
        write_list(tmp_path / "data_list.yml", entry)
        assert main(["download", "--names", "bed.tif"]) == 0
    assert (tmp_path / "lowres" / "bed.tif").read_bytes() == BED


def test_one_dead_file_does_not_stop_the_others(get, tmp_path):
    with (
        loopback.http(files={"/c.tif": BED}) as server,
        pytest.raises(InputError, match=r"2 of 3 files failed: .*/a\.tif: not there .* lowres/b\.tif has no"),
    ):
        get({"filename": "a.tif", "url": f"{server.url}/a.tif"}, {"filename": "b.tif"},
            {"filename": "c.tif", "url": f"{server.url}/c.tif"})  # fmt: skip
    assert "c.tif" in names_in(tmp_path / "lowres")


def test_login_is_asked_for_before_the_download(get, tmp_path):
    with loopback.http(files={"/v.nc": BED}) as server:
        entry = {"filename": "v.nc", "url": f"{server.url}/v.nc", "sha256": BED_SUM}
        with pytest.raises(InputError, match=r"lowres/v\.nc needs a NASA Earthdata login"):
            get(entry, login="NASA Earthdata")
        assert server.requests == []
        (tmp_path / "netrc").write_text("machine urs.earthdata.nasa.gov login ada password secret\n")
        assert len(get(entry, login="NASA Earthdata")) == 1
