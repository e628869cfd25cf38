"""Remote data: the list of files, download with checksums, and the READMEs of the data folders.

How bytes get here (resume, retries, logins, archives) is in `fieldwise.downloads.transfers`.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import zlib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pooch
import yaml
from tqdm import tqdm

from fieldwise.downloads.transfers import copy_member, fetch, require_login
from fieldwise.errors import InputError

FOLDERS = {
    "highres": "Radar surveys and other dense measurements of the bed: what the network learns from",
    "lowres": "Bed elevation grids of the whole continent: what the network starts from",
    "misc": "What else is known everywhere: surface, velocity, accumulation, grounding line, other maps",
}
STATUSES = ("current", "doubtful", "superseded", "dead")
SUMS_FILE = "SHA256SUMS"  # in the format of the command sha256sum, so that `sha256sum -c` reads it too


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set: where it is, and the SHA-256 sum it must have (None: pinned at first use)."""

    filename: str
    url: str | None = None
    sha256: str | None = None
    member: str | None = None  # of the zip or tar at `url`; the sum is that of the member
    former_url: str | None = None  # an address that is dead, kept for the record


@dataclass(frozen=True)
class Source:
    """One data set of the list: what it is, whom to cite, what it takes to get it, and its files."""

    citekey: str
    title: str
    folder: str
    location: str
    files: tuple[RemoteFile, ...]
    resolution: str | None = None
    doi_dataset: str | None = None
    doi_literature: str | None = None
    page: str | None = None  # where a person finds the data when there is no address of the file itself
    login: str | None = None
    status: str = "current"
    note: str | None = None

    @property
    def landing_page(self) -> str:
        """Where to read on: the data set's page, its DOI, or the article."""
        return self.page or self.doi_dataset or self.doi_literature or "the authors"


# ---------------------------------------------------------------------------------------------- the list
def read_data_list(path: str | Path) -> list[Source]:
    """Read and check data_list.yml; an `InputError` names the record that is wrong.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data_list.yml"
    >>> _ = path.write_text('''
    ... - {citekey: Me2030Bed, title: A bed, folder: lowres, location: Thwaites,
    ...    files: [{filename: bed.tif, url: "https://example.org/bed.tif"}]}
    ... ''')
    >>> read_data_list(path)[0].files[0].url
    'https://example.org/bed.tif'
    """
    path = Path(path)
    try:
        records = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such data list; run in the project's folder or name the list") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: holds no list of records; begin each with '- citekey: ...'")
    sources = [_read_record(record, f"{path}: record {i}") for i, record in enumerate(records, start=1)]
    seen: set[str] = set()
    for source in sources:
        for file in source.files:
            name = f"{source.folder}/{file.filename}"
            if name in seen:
                raise InputError(f"{path}: {source.citekey}: {name} is listed twice; rename or remove one")
            seen.add(name)
    return sources


def _read_record(record: Any, where: str) -> Source:
    if not isinstance(record, dict):
        raise InputError(f"{where}: is {record!r}; expected keys such as citekey, folder, files")
    where = f"{where} ({record.get('citekey', 'without citekey')})"
    flat = dict(record)
    doi = flat.pop("doi", None) or {}
    if not isinstance(doi, dict) or not set(doi) <= {"dataset", "literature"}:
        raise InputError(f"{where}: doi is {doi!r}; expected the keys dataset and literature")
    flat |= {f"doi_{kind}": link for kind, link in doi.items()}
    files = flat.get("files")
    if not isinstance(files, list) or not files:
        raise InputError(f"{where}: has no files; list at least one filename")
    flat["files"] = tuple(_read_file(file, where) for file in files)
    source = _build(Source, flat, where)
    for key, value, allowed in (("folder", source.folder, FOLDERS), ("status", source.status, STATUSES)):
        if value not in allowed:
            raise InputError(f"{where}: {key} is {value!r}; expected one of {', '.join(allowed)}")
    return source


def _read_file(entry: Any, where: str) -> RemoteFile:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: file entry {entry!r} is no mapping; write {{filename: ..., url: ...}}")
    file = _build(RemoteFile, entry, where)
    if not re.fullmatch(r"[^/\\.\s][^/\\]*", file.filename):
        raise InputError(f"{where}: filename {file.filename!r} must be a plain name without folders")
    if file.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
        raise InputError(f"{where}: {file.filename}: sha256 {file.sha256!r} is not 64 hexadecimal digits")
    if file.url is not None and urlsplit(file.url).scheme not in ("http", "https", "ftp"):
        raise InputError(f"{where}: {file.filename}: url {file.url!r} must begin with http, https or ftp")
    return file


def _build(kind: type, entries: dict[str, Any], where: str) -> Any:
    known = {field.name: field.default is MISSING for field in fields(kind)}
    if unknown := set(entries) - set(known):
        first = sorted(map(str, unknown))[0]
        raise InputError(f"{where}: unknown key {first!r}; known: {', '.join(known)}")
    if missing := [key for key, required in known.items() if required and entries.get(key) is None]:
        raise InputError(f"{where}: has no {missing[0]}; add it")
    for key, value in entries.items():
        if key != "files" and value is not None and not isinstance(value, str):
            raise InputError(f"{where}: {key} is {value!r}; put text in quotes")
    return kind(**entries)


def select_files(sources: list[Source], names: list[str] | None) -> list[tuple[Source, RemoteFile]]:
    """Find files by name, `folder/name`, folder or citekey; None takes all that are not dead or superseded.

    >>> bed = Source("Me2030Bed", "A bed", "lowres", "Thwaites", (RemoteFile("bed.tif"),))
    >>> [file.filename for _, file in select_files([bed], ["Me2030Bed"])]
    ['bed.tif']
    >>> select_files([bed], ["bad.tif"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: 'bad.tif' is not in the data list; did you mean bed.tif?
    """
    everything = [(source, file) for source in sources for file in source.files]
    if names is None:
        return [(s, f) for s, f in everything if f.url and s.status in ("current", "doubtful")]
    chosen: list[tuple[Source, RemoteFile]] = []
    for name in names:
        found = [(s, f) for s, f in everything if name in _labels(s, f)]
        if not found:
            known = {label for s, f in everything for label in _labels(s, f)}
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {near[0]}?" if near else "the data folders' READMEs show what there is"
            raise InputError(f"{name!r} is not in the data list; {hint}")
        chosen += [pair for pair in found if pair not in chosen]
    return chosen


def _labels(source: Source, file: RemoteFile) -> tuple[str, ...]:
    return file.filename, f"{source.folder}/{file.filename}", source.folder, source.citekey


# ------------------------------------------------------------------------------------------- downloading
def download_data(
    *,
    names: str | list[str] | None = None,
    folder: Path = Path("."),
    data_list: Path = Path("data_list.yml"),
) -> list[Path]:
    """Download files of the data list, check their sums, and put them into highres/, lowres/ and misc/.

    Parameters
    ----------
    names
        file names, folders or citekeys; by default every file with an address that is not known as dead.
    folder
        where the three data folders are or shall be.
    data_list
        the list of files.

    Returns
    -------
    list of Path
        the files, each whole and with the right sum. Files that are there already are only checked.

    Raises
    ------
    InputError
        a wrong sum, a dead address, a missing login ...; the other files are downloaded all the same.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> _ = (home / "list.yml").write_text("- {citekey: Me2030Bed, title: Picks, folder: highres, "
    ...     "location: Thwaites, files: [{filename: a.csv}]}")
    >>> download_data(names=["a.csv"], folder=home, data_list=home / "list.yml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: highres/a.csv has no public address; see the authors, ...
    """
    paths, problems = [], []
    chosen = select_files(read_data_list(data_list), [names] if isinstance(names, str) else names)
    for source, file in chosen:
        try:
            paths.append(download_file(source, file, folder=folder))
        except InputError as error:
            problems.append(str(error))
    for archive in {_archive_path(source, file, folder) for source, file in chosen if file.member}:
        archive.unlink(missing_ok=True)  # kept until here because several members may come from one archive
    if problems:
        count = f"{len(problems)} of {len(chosen)} files failed: " if len(problems) > 1 else ""
        raise InputError(count + " | ".join(problems))
    return paths


def download_file(source: Source, file: RemoteFile, *, folder: str | Path, progress: bool = True) -> Path:
    """Download one file into its folder under `folder`, going on where a broken download stopped.

    Only a whole file with the right sum gets its final name; until then it is called `<name>.part`.
    An archive stays, hidden, for the sake of its other members; `download_data` removes it in the end.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> (home / "lowres").mkdir()
    >>> _ = (home / "lowres" / "bed.tif").write_bytes(b"a bed")
    >>> file = RemoteFile("bed.tif", sha256="0" * 64)
    >>> bed = Source("Me2030Bed", "A bed", "lowres", "Thwaites", (file,), page="https://example.org")
    >>> download_file(bed, file, folder=home)
    Traceback (most recent call last):
    fieldwise.errors.InputError: lowres/bed.tif has the SHA-256 sum 1c3e...; expected 0000...
    """
    target = Path(folder) / source.folder / file.filename
    name = f"{source.folder}/{file.filename}"
    expected = file.sha256 or pinned_sums(target.parent).get(file.filename)
    if target.exists():
        found = pooch.file_hash(str(target))
        if found == (expected or found):
            return _accept(target, target, found, pinned=expected is not None)
        if file.url is None:
            raise InputError(_wrong_sum(name, found, expected, f"get it anew, see {source.landing_page}"))
        tqdm.write(f"{name}: the file that is here has another sum; downloading it again", file=sys.stderr)
    if file.url is None:
        how = f"see {source.landing_page}, put the file there by hand and run this again to check it"
        raise InputError(f"{name} has no public address; {how}")
    require_login(file.url, source.login, filename=name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    if file.member:
        copy_member(_fetch_archive(source, file, folder, progress), file.member, partial)
    else:
        resumed = partial.exists()
        _fetch(source, file.url, partial, expected is not None, progress)
        if resumed and expected and pooch.file_hash(str(partial)) != expected:
            partial.unlink()  # its beginning may stem from another version of the file
            _fetch(source, file.url, partial, True, progress)
    found = pooch.file_hash(str(partial))
    if expected is None and not partial.stat().st_size:
        partial.unlink()
        raise InputError(f"{name}: {file.url} gave an empty file; see {source.landing_page}")
    if found != (expected or found):
        partial.unlink()
        if file.member:
            _archive_path(source, file, folder).unlink(missing_ok=True)
        remedy = f"run again; if that does not help, {file.url} has changed: see {source.landing_page}"
        raise InputError(_wrong_sum(name, found, expected, remedy))
    return _accept(partial, target, found, pinned=expected is not None)


def _fetch(source: Source, url: str, partial: Path, known_sum: bool, progress: bool) -> None:
    page = source.landing_page
    fetch(url, partial, known_sum=known_sum, login=source.login, page=page, progress=progress)


def _fetch_archive(source: Source, file: RemoteFile, folder: str | Path, progress: bool) -> Path:
    archive = _archive_path(source, file, folder)
    if not archive.exists():
        partial = archive.with_name(archive.name + ".part")
        _fetch(source, str(file.url), partial, False, progress)
        os.replace(partial, archive)
    return archive


def _archive_path(source: Source, file: RemoteFile, folder: str | Path) -> Path:
    name = Path(urlsplit(str(file.url)).path).name or "archive"
    return Path(folder) / source.folder / f".{name}.{zlib.crc32(str(file.url).encode()):08x}"


def _wrong_sum(name: str, found: str, expected: str | None, remedy: str) -> str:
    return f"{name} has the SHA-256 sum {found}; expected {expected}; {remedy}"


# -------------------------------------------------------------------------------- sums pinned at first use
def pinned_sums(folder: str | Path) -> dict[str, str]:
    """Read the sums that were pinned at a first download: file name -> SHA-256 sum.

    >>> pinned_sums("no/such/folder")
    {}
    """
    path = Path(folder) / SUMS_FILE
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if bad := [pair for pair in pairs if len(pair) != 2 or not re.fullmatch("[0-9a-f]{64}", pair[0])]:
        raise InputError(f"{path}: {' '.join(bad[0])!r} is not a sum and a file name; remove that line")
    return {name.removeprefix("*"): sha256 for sha256, name in pairs}


def _accept(path: Path, target: Path, found: str, *, pinned: bool) -> Path:
    """Give a whole file its name; where no sum was known, pin the one that it has, and say so."""
    if path != target:
        os.replace(path, target)
    if not pinned:
        sums = pinned_sums(target.parent) | {target.name: found}
        partial = target.with_name(SUMS_FILE + ".part")
        partial.write_text(
            "".join(f"{value}  {key}\n" for key, value in sorted(sums.items())), encoding="utf-8"
        )
        os.replace(partial, target.with_name(SUMS_FILE))
        where = f"{target.parent.name}/{SUMS_FILE}"
        tqdm.write(
            f"{target.name}: no published sum; trusted at first use: {found} pinned in {where}",
            file=sys.stderr,
        )
    return target


# ------------------------------------------------------------------------------------------------ READMEs
def write_folder_readmes(data_list: str | Path, root: str | Path) -> list[Path]:
    """Write README.md of highres/, lowres/ and misc/ from the data list.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> _ = (home / "list.yml").write_text("- {citekey: Me2030Bed, title: A bed, folder: lowres, "
    ...     "location: Thwaites, files: [{filename: bed.tif}]}")
    >>> [path.parent.name for path in write_folder_readmes(home / "list.yml", home)]
    ['highres', 'lowres', 'misc']
    """
    sources = read_data_list(data_list)
    paths = [Path(root) / folder / "README.md" for folder in FOLDERS]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("README.md.part")
        partial.write_text(folder_readme(sources, path.parent.name), encoding="utf-8")
        os.replace(partial, path)
    return paths


def folder_readme(sources: list[Source], folder: str) -> str:
    """Write the text of a data folder's README: one row for each file, with links to cite and to the data.

    >>> bed = Source("Me2030Bed", "A bed", "lowres", "Thwaites", (RemoteFile("bed.tif"),), resolution="500 m")
    >>> print(folder_readme([bed], "lowres").splitlines()[-1])
    | bed.tif | A bed, Thwaites | 500 m | Me2030Bed |  | current, no public address, sum pinned at first use |
    """
    lines = [
        f"# {folder}/",
        "",
        f"{FOLDERS[folder]}.",
        "",
        "Written from `data_list.yml` by `fieldwise.downloads.sources.write_folder_readmes`: "
        "change the list, not this file.",
        "Every file is checked by its SHA-256 sum. One without a sum in the list is trusted at first use: "
        f"the sum it then has is pinned in `{folder}/{SUMS_FILE}`.",
        "",
        "| File | What | Resolution | Cite | Login | Status |",
        "|---|---|---|---|---|---|",
    ]
    for source in sources:
        lines += [_readme_row(source, file) for file in source.files if source.folder == folder]
    notes = [
        f"- **{s.title}** ({s.citekey}): {' '.join(s.note.split())}"
        for s in sources
        if s.folder == folder and s.note
    ]
    return "\n".join([*lines, *(["", "## Notes", "", *notes] if notes else []), ""])


def _readme_row(source: Source, file: RemoteFile) -> str:
    link = f"[{file.filename}]({quote(file.url, safe=':/?&=%+')})" if file.url else file.filename
    cite = f"[{source.citekey}]({source.doi_literature})" if source.doi_literature else source.citekey
    for label, address in (("data", source.doi_dataset), ("page", source.page)):
        cite += f", [{label}]({address})" if address else ""
    status = source.status
    if not file.url:
        status += ", no public address" if not source.page else ", by hand from the page"
    status += "" if file.sha256 else ", sum pinned at first use"
    what = f"{source.title}, {source.location}"
    return f"| {link} | {what} | {source.resolution or ''} | {cite} | {source.login or ''} | {status} |"
