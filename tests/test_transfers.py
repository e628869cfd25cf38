import base64
import contextlib
import errno
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import loopback
import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldwise.downloads import transfers
from fieldwise.downloads.transfers import (
    EARTHDATA,
    authorisation,
    copy_member,
    extract_archive,
    fetch,
    require_login,
)
from fieldwise.errors import InputError

CONTENT = bytes(range(256)) * 40  # 10240 bytes in which every position can be told from its neighbours


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No proxy, no login of the person who runs the tests, no waiting."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    monkeypatch.setattr(transfers, "PAUSE_S", 0.001)


def get(server, partial: Path, *, name="/bed.tif", known_sum=True, **options) -> bytes:
    fetch(server.url + name, partial, known_sum=known_sum, progress=False, **options)
    return partial.read_bytes()


# ---------------------------------------------------------------------------------------------- resume
@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_whole_file(kind, tmp_path):
    with kind(files={"/bed.tif": CONTENT}) as server:
        assert get(server, tmp_path / "p") == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["p"]  # nothing else is left


@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_broken_downloads_go_on_where_they_stopped(kind, tmp_path):
    with kind(files={"/bed.tif": CONTENT}, break_after=[3000, 2000]) as server:
        assert get(server, tmp_path / "p") == CONTENT
    if server.requests:
        assert [headers.get("Range") for _, headers in server.requests] == [
            None,
            "bytes=3000-",
            "bytes=5000-",
        ]
    else:
        assert [line for line in server.commands if line.startswith("REST")] == ["REST 3000", "REST 5000"]


@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_server_that_cannot_go_on_is_asked_for_the_whole(kind, tmp_path):
    (tmp_path / "p").write_bytes(CONTENT[:100])
    with kind(files={"/bed.tif": CONTENT}, ranges=False) as server:
        assert get(server, tmp_path / "p") == CONTENT


def test_partial_that_is_complete_is_not_fetched_again(tmp_path):
    (tmp_path / "p").write_bytes(CONTENT)
    with loopback.http(files={"/bed.tif": CONTENT}) as server:
        assert get(server, tmp_path / "p") == CONTENT
    assert len(server.requests) == 1


def test_partial_that_is_too_long_is_thrown_away(tmp_path):
    (tmp_path / "p").write_bytes(CONTENT + b"tail of something else")
    with loopback.http(files={"/bed.tif": CONTENT}) as server:
        assert get(server, tmp_path / "p") == CONTENT


def test_without_a_known_sum_only_the_same_version_is_continued(tmp_path):
    """The file changes on the server between two runs: a mixture of both must never result."""
    with (
        loopback.http(files={"/bed.tif": CONTENT}, break_after=[1000, 0, 0, 0]) as server,
        pytest.raises(InputError, match="no progress"),
    ):
        get(server, tmp_path / "p", known_sum=False)
    assert (tmp_path / "p").read_bytes() == CONTENT[:1000]
    newer = CONTENT[::-1]
    with loopback.http(files={"/bed.tif": newer}, etag='"v2"') as server:
        assert get(server, tmp_path / "p", known_sum=False) == newer
    assert server.requests[0][1]["If-Range"] == '"v1"'


def test_without_sum_and_version_it_starts_over(tmp_path):
    (tmp_path / "p").write_bytes(b"of unknown origin")
    with loopback.http(files={"/bed.tif": CONTENT}, etag=None) as server:
        assert get(server, tmp_path / "p", known_sum=False) == CONTENT
    assert "Range" not in server.requests[0][1]


def test_attempts_are_bounded_where_nothing_new_comes(tmp_path):
    """The server ignores ranges and always breaks off at the same byte: only the first attempt gains."""
    with (
        loopback.http(files={"/bed.tif": CONTENT}, ranges=False, break_after=[500] * 99) as server,
        pytest.raises(InputError, match=r"bed\.tif: no progress in 4 attempts .* run again"),
    ):
        get(server, tmp_path / "p")
    assert len(server.requests) == 4


def test_busy_server_is_asked_again(tmp_path):
    with loopback.http(files={"/bed.tif": CONTENT}, statuses=[503, 429]) as server:
        assert get(server, tmp_path / "p") == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_a_line_that_falls_silent_is_hung_up_and_the_download_goes_on(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "TIMEOUT_S", (1.0, 0.3))
    content = CONTENT * 10
    with kind(files={"/bed.tif": content}, stall_after=[40_000]) as server:
        assert get(server, tmp_path / "p") == content
    # Over HTTP from the last whole piece of 16 KiB on.
    asked = [headers.get("Range") for _, headers in server.requests]
    assert asked == [None, "bytes=32768-"] or "REST 40000" in server.commands


@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_silence_is_not_waited_out_for_ever(kind, tmp_path, monkeypatch):
    """Nothing comes, not even a first byte: four attempts, and what to do is said."""
    monkeypatch.setattr(transfers, "TIMEOUT_S", (1.0, 0.1))
    with (
        kind(files={"/bed.tif": CONTENT}, stall_after=[0] * 99) as server,
        pytest.raises(InputError, match=r"bed\.tif: no progress in 4 attempts .* run again to go on"),
    ):
        get(server, tmp_path / "p")
    assert len(server.requests) == 4 or sum(line.startswith("RETR") for line in server.commands) == 4


def test_server_that_stays_busy_is_asked_four_times(tmp_path):
    with (
        loopback.http(files={"/bed.tif": CONTENT}, statuses=[503] * 99) as server,
        pytest.raises(
            InputError, match=r"no progress in 4 attempts .*503.* run again to go on; see https://doi"
        ),
    ):
        get(server, tmp_path / "p", page="https://doi.org/me")
    assert len(server.requests) == 4
    assert not (tmp_path / "p").exists()


def test_redirects_that_never_end(tmp_path):
    """requests follows thirty; more attempts would not help."""
    with (
        loopback.http(files={"/bed.tif": CONTENT}, redirect_to="/bed.tif") as server,
        pytest.raises(
            InputError, match=r"bed\.tif: .*redirects; correct the .* list; see https://doi\.org/me"
        ),
    ):
        get(server, tmp_path / "p", page="https://doi.org/me")
    assert len(server.requests) == 31
    assert not (tmp_path / "p").exists()


def test_redirect_to_a_file_of_this_machine_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with (
        loopback.http(files={}, redirect_to=f"file://{tmp_path}/secret") as server,
        pytest.raises(InputError, match=r"bed\.tif: .*file://.*; correct the address in the list"),
    ):
        get(server, tmp_path / "p")
    assert len(server.requests) == 1
    assert not (tmp_path / "p").exists()


class Terminal(io.StringIO):
    """A terminal on which a progress bar is drawn."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_progress_is_shown_from_where_it_goes_on(kind, tmp_path, monkeypatch):
    (tmp_path / "bed.tif.part").write_bytes(CONTENT[:5120])
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with kind(files={"/bed.tif": CONTENT}) as server:
        fetch(f"{server.url}/bed.tif", tmp_path / "bed.tif.part", known_sum=True)
    drawn = terminal.getvalue().split("\r")
    assert any(state.startswith("bed.tif:  50%") for state in drawn), drawn
    assert any(state.startswith("bed.tif: 100%") for state in drawn), drawn


# ---------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("kind", [loopback.http, loopback.ftp])
def test_missing_file_names_the_page(kind, tmp_path):
    with (
        kind(files={}) as server,
        pytest.raises(InputError, match=r"gone\.tif.*(404|550).*https://doi\.org/me"),
    ):
        get(server, tmp_path / "p", name="/gone.tif", page="https://doi.org/me")
    assert not (tmp_path / "p").exists()
    assert len(server.requests) <= 1  # asking again would not help


def test_nobody_listens(tmp_path):
    with loopback.http(files={}) as server:
        url = server.url
    with pytest.raises(InputError, match="no progress in 4 attempts"):
        fetch(f"{url}/bed.tif", tmp_path / "p", known_sum=True, progress=False)


def test_login_page_is_not_taken_for_data(tmp_path):
    with (
        loopback.http(files={"/bed.nc": b"<html>log in"}, content_type="text/html; charset=utf-8") as server,
        pytest.raises(InputError, match=r"a web page came instead of the file; register at https://urs"),
    ):
        get(server, tmp_path / "p", name="/bed.nc", known_sum=False, login=EARTHDATA)
    assert not (tmp_path / "p").exists()


def test_refused_login_says_how(tmp_path):
    with (
        loopback.http(files={"/bed.nc": CONTENT}, wanted_authorisation="Basic nobody") as server,
        pytest.raises(InputError, match=r"401.*EARTHDATA_TOKEN"),
    ):
        get(server, tmp_path / "p", name="/bed.nc", login=EARTHDATA)


def test_disk_full(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfers, "_receive_http", full)
    with pytest.raises(InputError, match="disk is full"):
        fetch("http://127.0.0.1:9/bed.tif", tmp_path / "p", known_sum=True, progress=False)


# ------------------------------------------------------------------------------------------------ logins
def test_netrc_is_honoured(tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    basic = "Basic " + base64.b64encode(b"ada:secret").decode()
    with loopback.http(files={"/bed.nc": CONTENT}, wanted_authorisation=basic) as server:
        require_login(f"{server.url}/bed.nc", EARTHDATA, filename="bed.nc")
        assert get(server, tmp_path / "p", name="/bed.nc", login=EARTHDATA) == CONTENT


def test_missing_login_says_how_before_asking_the_server():
    with pytest.raises(InputError, match=r"misc/v\.nc needs a NASA Earthdata login .*urs\..*\.netrc"):
        require_login("https://data.nsidc.earthdatacloud.nasa.gov/v.nc", EARTHDATA, filename="misc/v.nc")


def test_token_goes_to_nasa_only(monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", "abc\n")
    nasa = "https://data.nsidc.earthdatacloud.nasa.gov/v.nc"
    require_login(nasa, EARTHDATA, filename="v.nc")
    request = requests.Request("GET", nasa).prepare()
    assert authorisation(nasa, EARTHDATA)(request).headers["Authorization"] == "Bearer abc"
    for url in (nasa.replace("https", "http"), "https://example.org/v.nc", "https://evilnasa.gov/v.nc",
                "https://nasa.gov.example.org/v.nc"):  # fmt: skip
        assert authorisation(url, EARTHDATA) is None
    assert authorisation(nasa, None) is None


# ---------------------------------------------------------------------------------------------- archives
def make_archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in members.items():
                zipped.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tarred:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tarred.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(params=["a.zip", "a.tar.gz"])
def archive_path(request, tmp_path):
    return tmp_path / request.param


def test_members_come_out_whole(archive_path, tmp_path):
    make_archive(archive_path, {"grids/bed.tif": CONTENT, "readme.txt": b"hello"})
    paths = extract_archive(archive_path, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in paths} == {
        "grids/bed.tif": CONTENT,
        "readme.txt": b"hello",
    }
    assert copy_member(archive_path, "bed.tif", tmp_path / "mine.tif").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"])
def test_member_that_would_escape_is_refused_before_anything_is_written(name, archive_path, tmp_path):
    make_archive(archive_path, {"good.txt": b"good", name: b"evil"})
    with pytest.raises(InputError, match=f"{archive_path.name}: member .* outside"):
        extract_archive(archive_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="outside"):
        copy_member(archive_path, name, tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive_path.name]


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "\\", "~"]), min_size=1, max_size=6))
@example(["."])  # would take the place of the folder itself
@settings(max_examples=60, deadline=None)
def test_nothing_ever_lands_outside(tmp_path_factory, parts):
    home = tmp_path_factory.mktemp("home")
    make_archive(home / "a.tar.gz", {"/".join(parts): b"x"})
    inside = home / "in" / "side"
    with contextlib.suppress(InputError, OSError):  # refused, or not a possible file name
        extract_archive(home / "a.tar.gz", inside)
    outside = [path for path in home.rglob("*") if path.is_file() and inside not in path.parents]
    assert outside == [home / "a.tar.gz"]


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tarred:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tarred.addfile(info)
    link = zipfile.ZipInfo("soft")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    for archive, member in (("a.tar", "soft"), ("a.tar", "hard"), ("a.zip", "soft")):
        with pytest.raises(InputError, match=f"member '{member}' is a link"):
            copy_member(tmp_path / archive, member, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_folder_with_a_link_out_of_it(archive_path, tmp_path):
    make_archive(archive_path, {"sub/evil": b"evil"})
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="outside"):
        extract_archive(archive_path, tmp_path / "out")


def test_unknown_member_and_damaged_archive(archive_path, tmp_path):
    make_archive(archive_path, {"bed.tif": CONTENT * 10, "b/bed.tif": b""})
    with pytest.raises(InputError, match=r"has no member 'surface\.tif'; it holds bed\.tif"):
        copy_member(archive_path, "surface.tif", tmp_path / "mine")
    whole = archive_path.read_bytes()
    archive_path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"{archive_path.name}: no zip or tar, or damaged"):
        copy_member(archive_path, "bed.tif", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    with pytest.raises(InputError, match="no such archive"):
        copy_member(tmp_path / "none.zip", "bed.tif", tmp_path / "mine")
