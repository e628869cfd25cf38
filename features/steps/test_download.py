"""Steps of download.feature: a data centre on this machine, a data list, and the downloads."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.downloads import transfers
from fieldwise.downloads.sources import download_data
from fieldwise.errors import InputError

scenarios("download.feature")


OTHERS = {
    "sends a page to log in": b"<html>Who are you?</html>",
    "sends the bed of a lake": b"the bed of a lake",
}


class DataCentre(ThreadingHTTPServer):
    """Holds files, counts what it is asked for, and breaks the line once where it is told to."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []  # the Range of each request
        self.break_after: int | None = None
        self.troubles: list[str] = []  # of the next answers
        self.morning = threading.Event()  # ends a silence
        super().__init__(("127.0.0.1", 0), Desk)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Desk(BaseHTTPRequestHandler):
    server: DataCentre

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        trouble = self.server.troubles.pop(0) if self.server.troubles else ""
        content = self.server.files.get(self.path.lstrip("/"))
        if status := re.search(r"\((\d+)\)", trouble):
            return self.send_error(int(status[1]))
        if content is None:
            return self.send_error(404)
        if trouble == "sends me on to itself":
            self.send_response(302)
            self.send_header("Location", self.path)
            return self.end_headers()
        if trouble in OTHERS:
            content = OTHERS[trouble]
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop, self.server.break_after = self.server.break_after, None
        if after := re.search(r"after (\d+) bytes", trouble):
            stop = start + int(after[1])
        if trouble.startswith("falls silent"):
            self.wfile.write(content[start : stop or start])
            self.wfile.flush()
            self.server.morning.wait(20)
            return
        self.wfile.write(content[start:stop])


class Desktop:
    """The glaciologist's folder, data list and last error message."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.message = ""

    def list_file(self, file: dict[str, Any], *, folder: str = "lowres", **record: Any) -> None:
        entry = {
            "citekey": "Me2030",
            "title": "A bed",
            "folder": folder,
            "location": "Thwaites",
            "files": [file],
        }
        (self.folder / "data_list.yml").write_text(yaml.safe_dump([entry | record]))

    def download(self, name: str) -> None:
        download_data(names=[name], folder=self.folder, data_list=self.folder / "data_list.yml")


@given("a data centre on this machine", target_fixture="centre")
def data_centre(monkeypatch, tmp_path, request):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    monkeypatch.setattr(transfers, "PAUSE_S", 0.001)
    centre = DataCentre()
    threading.Thread(target=centre.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    request.addfinalizer(centre.server_close)
    request.addfinalizer(centre.shutdown)
    request.addfinalizer(centre.morning.set)
    return centre


@pytest.fixture
def desktop(tmp_path):
    return Desktop(tmp_path)


@given(parsers.re(r'the data centre holds (?P<name>\S+) with the text "(?P<text>.*)"'))
def holds(centre, name, text):
    centre.files[name] = text.encode()


@given(parsers.parse('the data centre holds {archive} in which {member} has the text "{text}"'))
def holds_archive(centre, archive, member, text):
    packed = io.BytesIO()
    if archive.endswith(".zip"):
        with zipfile.ZipFile(packed, "w") as zipped:
            zipped.writestr(member, text)
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as tarred:
            info = tarfile.TarInfo(member)
            info.size = len(text)
            tarred.addfile(info, io.BytesIO(text.encode()))
    centre.files[archive] = packed.getvalue()


@given(parsers.re(r"the data list knows its SHA-256 sum (?P<sha256>\w{64}) and puts it into (?P<folder>\w+)"))
def list_with_sum(centre, desktop, sha256, folder):
    name = next(iter(centre.files))
    desktop.list_file({"filename": name, "url": centre.url(name), "sha256": sha256}, folder=folder)


@given(parsers.parse("the data list knows the right sum of {name}"))
def list_with_right_sum(centre, desktop, name):
    sha256 = hashlib.sha256(centre.files[name]).hexdigest()
    article = {"literature": "https://doi.org/10.5194/tc-5-907-2011"}
    desktop.list_file({"filename": name, "url": centre.url(name), "sha256": sha256}, doi=article)


@given(parsers.parse('the data list knows the sum of the text "{text}" for {name}'))
def list_with_sum_of_text(centre, desktop, text, name):
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    desktop.list_file({"filename": name, "url": centre.url(name), "sha256": sha256})


@given(parsers.parse("the data list knows that {member} is in {archive}"))
def list_with_member(centre, desktop, member, archive):
    desktop.list_file({"filename": "bed.tif", "url": centre.url(archive), "member": member})


@given(parsers.parse("the data list has an address of {name} at which there is nothing"))
@given(parsers.parse("the data list has no sum for {name}"))
def list_without_sum(centre, desktop, name):
    desktop.list_file({"filename": name, "url": centre.url(name)})


@given(parsers.parse("the data list has no address of {name} but the article {article}"))
def list_without_address(desktop, name, article):
    desktop.list_file({"filename": name}, doi={"literature": article})


@given(parsers.parse("the data list says that {name} needs a NASA Earthdata login"))
def list_with_login(centre, desktop, name):
    desktop.list_file({"filename": name, "url": centre.url(name)}, login="NASA Earthdata")


@given(parsers.parse("the line breaks after {count:d} bytes"))
def line_breaks(centre, count):
    centre.break_after = count


@given(parsers.re(r"the next (?P<times>\d+) times the data centre (?P<trouble>.*)"))
def trouble_comes(centre, monkeypatch, times, trouble):
    monkeypatch.setattr(transfers, "TIMEOUT_S", (1.0, 0.1))
    centre.troubles = [trouble] * int(times)


class Terminal(io.StringIO):
    """What stands on the screen."""

    def isatty(self) -> bool:
        return True


@when(parsers.parse("I download {name} at a terminal"), target_fixture="screen")
def download_at_terminal(desktop, monkeypatch, name):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", screen := Terminal())
        desktop.download(name)
    return screen.getvalue()


@then(parsers.parse("I have seen that {share} of {name} is here"))
def seen(screen, share, name):
    assert f"{name}: {share}" in screen


@when(parsers.parse("I switch my computer off when {count:d} bytes of {name} are here"))
def switch_off(desktop, centre, monkeypatch, count, name):
    centre.break_after = count
    with monkeypatch.context() as patch:
        patch.setattr(transfers, "ATTEMPTS", 1)
        try_to_download(desktop, name)


@then(parsers.parse("{folder} holds no {name}"))
def holds_no(desktop, folder, name):
    assert not (desktop.folder / folder / name).exists()


@when(parsers.re(r"I download (?P<name>\S+)$"))
def download(desktop, name):
    desktop.download(name)


@when(parsers.parse("I try to download {name}"))
def try_to_download(desktop, name):
    with pytest.raises(InputError) as caught:
        desktop.download(name)
    desktop.message = str(caught.value)


@when(parsers.parse('the data centre puts another {name} in its place with the text "{text}"'))
def swap(centre, name, text):
    centre.files[name] = text.encode()


@when(parsers.parse("I lose {name} and try to download it again"))
def lose(desktop, name):
    (desktop.folder / "lowres" / name).unlink()
    try_to_download(desktop, name)


@then(parsers.re(r'(?P<path>\w+/\S+) holds the text "(?P<text>.*)"'), target_fixture="path")
def file_holds(desktop, path, text):
    assert (desktop.folder / path).read_bytes() == text.encode()
    return desktop.folder / path


@then(parsers.re(r"its sum as told by sha256sum is (?P<sha256>\w{64})"))
def sum_of_file(path, sha256):
    command = shutil.which("sha256sum")  # an independent witness
    if command is None:
        pytest.skip("there is no command sha256sum here")
    told = subprocess.run([command, path], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == sha256


@then(parsers.parse("there is no file {path}"))
def no_file(desktop, path):
    assert not (desktop.folder / path).exists()
    assert not (desktop.folder / f"{path}.part").exists()


@then(parsers.parse('I am told "{first}" and "{second}" and what to do: "{remedy}"'))
def told(desktop, first, second, remedy):
    for part in (first, second, remedy):
        assert part in desktop.message
    assert "\n" not in desktop.message


@then(parsers.re(r"the data centre was asked (?P<count>\d+) times?"))
def asked(centre, count):
    assert len(centre.asked) == int(count)


@then(parsers.parse("the second time the data centre was asked only from byte {start:d} on"))
def asked_from(centre, start):
    assert centre.asked == ["", f"bytes={start}-"]
