"""How bytes get here: HTTP and FTP with resume, retries and logins; members of zip and tar archives."""

from __future__ import annotations

import contextlib
import errno
import ftplib
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

import requests
from requests.utils import get_netrc_auth
from tqdm import tqdm

from fieldwise.errors import InputError

EARTHDATA = "NASA Earthdata"
EARTHDATA_HELP = (
    "register at https://urs.earthdata.nasa.gov, then put a token into the environment variable "
    "EARTHDATA_TOKEN or the line 'machine urs.earthdata.nasa.gov login NAME password PASSWORD' into ~/.netrc"
)
TIMEOUT_S = (20.0, 60.0)  # to connect; between two pieces
ATTEMPTS = 4  # in a row that bring nothing new
PAUSE_S = 1.0  # before the second attempt; doubled before each further one
PIECE_BYTES = 1 << 14  # small: what came of a piece is lost when the line falls silent in its middle
FULL = (errno.ENOSPC, errno.EDQUOT)
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError,
           RuntimeError, NotImplementedError)  # RuntimeError: a password is wanted  # fmt: skip


class _BrokenOffError(Exception):
    """A transfer that another attempt may finish."""


class _Bearer(requests.auth.AuthBase):
    """The token goes to the host it is meant for; requests drops it when redirected to another one."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


# ------------------------------------------------------------------------------------------------- logins
def require_login(url: str, login: str | None, *, filename: str) -> None:
    """Say how to log in, before anything is asked of the server, where the means for it are missing.

    >>> require_login("https://example.org/bed.tif", None, filename="bed.tif")
    """
    hosts = (url, "https://urs.earthdata.nasa.gov")
    if login == EARTHDATA and not os.environ.get("EARTHDATA_TOKEN") and not any(map(get_netrc_auth, hosts)):
        raise InputError(f"{filename} needs a {EARTHDATA} login (free): {EARTHDATA_HELP}")


def authorisation(url: str, login: str | None) -> requests.auth.AuthBase | None:
    """Return the token for NASA's hosts over https, and for no other; None lets requests look into ~/.netrc.

    >>> authorisation("http://example.org/bed.tif", "NASA Earthdata") is None
    True
    """
    token, address = os.environ.get("EARTHDATA_TOKEN"), urlsplit(url)
    is_nasa = address.scheme == "https" and f".{address.hostname}".endswith(".nasa.gov")
    return _Bearer(token.strip()) if token and login == EARTHDATA and is_nasa else None


# ----------------------------------------------------------------------------------------------- transfer
def fetch(
    url: str,
    partial: str | Path,
    *,
    known_sum: bool,
    login: str | None = None,
    page: str = "",
    progress: bool = True,
) -> None:
    """Download into `partial`, going on where an earlier download of the same file stopped.

    Parameters
    ----------
    url
        http, https or ftp.
    partial
        the file to write; it stays when the transfer breaks off. What the server calls this version
        of the file (ETag or date) is kept next to it until the download is complete.
    known_sum
        whether the caller checks a sum afterwards. If not, a download is continued only where the
        server vouches that the file is still the same one.
    login
        kind of login, for the token and for the message.
    page
        where the user may look when the address fails.

    Raises
    ------
    InputError
        refused, not found, broken off too often, disk full.

    Notes
    -----
    Resume follows RFC 9110, sections 13.1.5 (If-Range) and 14 (Range).
    """
    partial = Path(partial)
    furthest, failures = -1, 0
    see = f"; see {page}" if page else ""
    while True:
        try:
            if urlsplit(url).scheme == "ftp":
                _receive_ftp(url, partial, known_sum=known_sum, see=see, progress=progress)
            else:
                _receive_http(url, partial, known_sum=known_sum, login=login, see=see, progress=progress)
            _version_file(partial).unlink(missing_ok=True)
            return
        except OSError as error:  # requests' errors are OSErrors as well
            if error.errno in FULL:
                raise InputError(f"{partial}: the disk is full; free some space and run again") from None
            if not isinstance(error, requests.RequestException | ConnectionError | TimeoutError):
                raise
            if isinstance(error, requests.TooManyRedirects | ValueError):  # no address, or none of the web
                raise InputError(
                    f"{url}: {str(error).rstrip('.')}; correct the address in the list{see}"
                ) from None
            reason: Exception = getattr((error.args or [None])[0], "reason", error)  # below urllib3's account
        except (_BrokenOffError, ftplib.Error, EOFError) as error:
            reason = error
        size = partial.stat().st_size if partial.exists() else 0
        failures = 1 if size > furthest else failures + 1
        furthest = max(size, furthest)
        if failures >= ATTEMPTS:
            text = " ".join(str(reason).split())[:160]
            message = f"{url}: no progress in {ATTEMPTS} attempts ({text}); run again to go on{see}"
            raise InputError(message) from None
        time.sleep(PAUSE_S * 2 ** (failures - 1))


def _version_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".version")


def _receive_http(
    url: str, partial: Path, *, known_sum: bool, login: str | None, see: str, progress: bool
) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    version = _version_file(partial).read_text() if start and _version_file(partial).exists() else ""
    headers = {"Accept-Encoding": "identity"}  # a length and a range of the file itself
    if start and (version or known_sum):
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": version} if version else {}
    with requests.Session() as session:
        token = authorisation(url, login)
        answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S, auth=token)
        content_range = answer.headers.get("Content-Range", "")
        if answer.status_code == 416:
            if content_range.strip() == f"bytes */{start}":
                return  # everything is here already
            partial.unlink(missing_ok=True)
            raise _BrokenOffError("the server has less than what is here; starting over")
        may_be_page = (known_sum and not login) or url.endswith((".html", ".htm"))
        _refuse(answer, url, login=login, see=see, may_be_page=may_be_page)
        goes_on = answer.status_code == 206 and content_range.startswith(f"bytes {start}-")
        if answer.status_code == 206 and not goes_on:
            partial.unlink(missing_ok=True)
            raise _BrokenOffError("the server answered with another range than asked for; starting over")
        start = start if goes_on else 0
        if not goes_on:
            tag = answer.headers.get("ETag", "")
            strong = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
            partial.unlink(missing_ok=True)  # first: new version and old bytes must never stand together
            _version_file(partial).write_text(strong)
        answer.raw.enforce_content_length = False  # else what came before a break is dropped; checked below
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        with partial.open("ab" if goes_on else "wb") as out, _bar(partial, start, total, progress) as bar:
            for piece in answer.iter_content(PIECE_BYTES):
                out.write(piece)
                bar.update(len(piece))
    if total is not None and partial.stat().st_size < total:
        raise _BrokenOffError(f"{partial.stat().st_size} of {total} bytes came")


def _refuse(answer: requests.Response, url: str, *, login: str | None, see: str, may_be_page: bool) -> None:
    code = answer.status_code
    if code in (401, 403):
        if login:
            how = EARTHDATA_HELP if login == EARTHDATA else "put name and password for it into ~/.netrc"
            raise InputError(f"{url}: refused ({code}), the {login} login is missing or not valid: {how}")
        raise InputError(f"{url}: refused ({code}); if you have a login put it into ~/.netrc{see}")
    if code in (408, 425, 429) or code >= 500:
        raise _BrokenOffError(f"the server answered {code} {answer.reason}")
    if code >= 400:
        raise InputError(f"{url}: not there ({code} {answer.reason}); correct the address in the list{see}")
    if answer.headers.get("Content-Type", "").startswith("text/html") and not may_be_page:
        how = EARTHDATA_HELP if login == EARTHDATA else "the address may be dead or want a login"
        raise InputError(f"{url}: a web page came instead of the file; {how}{see}")


def _receive_ftp(url: str, partial: Path, *, known_sum: bool, see: str, progress: bool) -> None:
    address = urlsplit(url)
    start = partial.stat().st_size if known_sum and partial.exists() else 0
    total: int | None = None
    try:
        with ftplib.FTP(timeout=TIMEOUT_S[1]) as ftp:
            ftp.connect(str(address.hostname), address.port or 21)
            ftp.login(unquote(address.username or ""), unquote(address.password or ""))
            ftp.voidcmd("TYPE I")
            with contextlib.suppress(ftplib.error_perm):  # not every server knows SIZE
                total = ftp.size(unquote(address.path))
            if total is not None and start > total:
                start = 0
            with partial.open("ab" if start else "wb") as out, _bar(partial, start, total, progress) as bar:
                ftp.retrbinary(
                    f"RETR {unquote(address.path)}",
                    lambda piece: (out.write(piece), bar.update(len(piece))),
                    rest=start or None,
                )
    except ftplib.error_perm as error:
        partial.unlink(missing_ok=True)
        if start:
            raise _BrokenOffError(f"the server cannot go on ({error}); starting over") from None
        raise InputError(f"{url}: refused ({error}); correct the address in the data list{see}") from None
    if total is not None and partial.stat().st_size < total:
        raise _BrokenOffError(f"{partial.stat().st_size} of {total} bytes came")


def _bar(partial: Path, start: int, total: int | None, progress: bool) -> tqdm:
    name = partial.name.removesuffix(".part")
    return tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None if progress else True
    )


# ----------------------------------------------------------------------------------------------- archives
def extract_archive(
    archive: str | Path, folder: str | Path, *, members: list[str] | None = None
) -> list[Path]:
    """Unpack a zip or tar (also compressed) into a folder; nothing can land outside it.

    Parameters
    ----------
    archive, folder
        what to unpack, and where.
    members
        names in the archive; a name without folders is found in any folder of it. Default: all.

    Raises
    ------
    InputError
        no such member, damaged archive, or a member that would escape: absolute path, '..', a link.
        Names are checked before the first file is written.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(home / "flights.zip", "w") as zipped:
    ...     zipped.writestr("flights/F01.csv", "LAT,LON")
    >>> [path.read_text() for path in extract_archive(home / "flights.zip", home, members=["F01.csv"])]
    ['LAT,LON']
    """
    archive, folder = Path(archive), Path(folder)
    with _opened(archive) as entries:
        names = list(entries) if members is None else [_find_member(entries, m, archive) for m in members]
        targets = [_safe_target(name, entries[name][0], folder, archive) for name in names]
        for name, target in zip(names, targets):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            _copy(entries[name][1], partial)
            os.replace(partial, target)
    return targets


def copy_member(archive: str | Path, member: str, path: str | Path) -> Path:
    """Copy one member of a zip or tar to a path of our own choice, under the rules of `extract_archive`.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(home / "grids.zip", "w") as zipped:
    ...     zipped.writestr("tiff/bed.tif", "a bed")
    >>> copy_member(home / "grids.zip", "bed.tif", home / "mine.tif").read_text()
    'a bed'
    """
    archive, path = Path(archive), Path(path)
    with _opened(archive) as entries:
        name = _find_member(entries, member, archive)
        _safe_target(name, entries[name][0], path.parent, archive)
        _copy(entries[name][1], path)
    return path


Entries = dict[str, tuple[bool, Callable[[], IO[bytes] | None]]]  # name: (is a plain file, how to open it)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Entries]:
    if not archive.is_file():
        raise InputError(f"{archive}: no such archive; download it first")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                infos = [info for info in zipped.infolist() if not info.is_dir()]
                links = {i.filename for i in infos if stat.S_ISLNK(i.external_attr >> 16)}
                yield {i.filename: (i.filename not in links, lambda i=i: zipped.open(i)) for i in infos}  # type: ignore[misc]
        else:
            with tarfile.open(archive) as tarred:
                items = [item for item in tarred if not item.isdir()]
                yield {m.name: (m.isreg(), lambda m=m: tarred.extractfile(m)) for m in items}  # type: ignore[misc]
    except DAMAGED as error:
        raise InputError(f"{archive}: no zip or tar, or damaged ({error}); delete it, run again") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(f"{archive}: the disk is full; free some space and run again") from None


def _find_member(entries: Entries, member: str, archive: Path) -> str:
    found = [name for name in entries if name == member] or [n for n in entries if n.endswith(f"/{member}")]
    if len(found) != 1:
        what = "no member" if not found else f"{len(found)} members called"
        raise InputError(f"{archive}: has {what} {member!r}; it holds {', '.join(list(entries)[:8])}")
    return found[0]


def _safe_target(name: str, is_file: bool, folder: Path, archive: Path) -> Path:
    if not is_file:
        raise InputError(f"{archive}: member {name!r} is a link or device; do not use this archive")
    parts = PurePosixPath(name).parts
    outside = not parts or name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|.*\\", name)
    target = folder / name
    if outside or not target.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{archive}: member {name!r} would land outside {folder}; do not use this archive")
    return target


def _copy(opener: Callable[[], IO[bytes] | None], path: Path) -> None:
    try:
        with contextlib.closing(opener()) as packed, path.open("wb") as out:  # type: ignore[type-var]
            shutil.copyfileobj(packed, out, PIECE_BYTES)  # type: ignore[arg-type]
    except BaseException:
        path.unlink(missing_ok=True)
        raise
