"""Files of the Hugging Face Hub -> the models folder: listed, fetched, checked, and only then given their names.

Until a file is whole and its checksum right, it lies in a hidden folder of the folder it goes to, named by its
checksum: a later attempt goes on from there. `huggingface_hub.hf_hub_download` begins anew each time, so the stream is
read by its `http_get`, which goes on; that works without `hf_xet` too.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .files import in_bytes, parse_json, read_small
from .hub_errors import in_words
from .parts import INDEX, Part
from .text.vocabulary import text_sha256

STAGING = ".uniavgen-download"
MARGIN = 256 * 2**20  # bytes a disk keeps free
CHUNK = 16 * 2**20
MOST_INDEX = 16 * 2**20  # bytes of an index of shards
TIMEOUT = 30.0  # seconds the Hub has to list a repository

_CHECKSUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_UNSAFE = re.compile(r"[\\:\x00-\x1f\x7f]")  # in a name of a file

Watch = Callable[[int, int], None]  # bytes done, bytes in all; what it raises ends the download


@dataclass(frozen=True)
class HubFile:
    """One file of the Hub and its place.

    path: in the repository, at a commit
    name: under ``folder``, with slashes
    checksum: SHA-256, or git's SHA-1 of small files
    text_sha256: as in ``Part``
    """

    repository: str
    commit: str
    path: str
    folder: Path
    name: str
    size: int
    checksum: str
    text_sha256: str = ""

    @property
    def target(self) -> Path:
        return self.folder / self.name

    @property
    def staged(self) -> Path:
        return self.folder / STAGING / f"{self.checksum}.part"

    @property
    def staged_size(self) -> int:
        """Bytes that are here already; more than the file has are none of it."""
        found = self.staged.stat().st_size if self.staged.exists() else 0
        return found if found <= self.size else 0

    def is_there(self, verify: bool = False) -> bool:
        """Whether the target is right: by its size, or if asked by its checksum."""
        if not self.target.is_file():
            return False
        if self.text_sha256:
            return text_sha256(self.target.read_bytes()) == self.text_sha256
        same = self.target.stat().st_size == self.size
        return same and (not verify or checksum_of(self.target, len(self.checksum)) == self.checksum)


@dataclass(frozen=True)
class Listing:
    """A part as the Hub has it now; its sign is the last of its files."""

    part: Part
    files: list[HubFile]
    licence: str

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def is_here(part: Part, folder: Path) -> bool:
    """Whether a part lies in a folder, as far as names tell: its sign, and the shards if that is an index."""
    sign = folder / part.sign
    if not sign.is_file():
        return False
    if part.sign != INDEX:
        return True
    try:
        shards = set(parse_json(read_small(sign, MOST_INDEX))["weight_map"].values())
        return all(isinstance(shard, str) and os.path.isfile(folder / shard) for shard in shards)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def list_parts(
    parts: Iterable[Part], folder_of: Callable[[str], Path], revisions: Mapping[str, str | None]
) -> list[Listing]:
    """What the Hub has of the parts.

    folder_of: a folder's name under ``models`` -> its path
    revisions: repository -> branch, tag or commit; None for the main branch, as for all that are not named
    Raises ``ValueError`` with a sentence.
    """
    from huggingface_hub import HfApi

    api, infos, parts = HfApi(), {}, list(parts)
    for repository in dict.fromkeys(part.repository for part in parts):
        revision = revisions.get(repository)
        with in_words(repository, revision):
            infos[repository] = api.model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT)
    return [_listing(part, infos[part.repository], folder_of(part.folder)) for part in parts]


def _listing(part: Part, info: object, folder: Path) -> Listing:
    """The files of a part in the Hub's description of its repository."""
    found = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = []
    for pattern in part.patterns:
        paths = [path for path in found if fnmatchcase(path, pattern)]
        if not paths:
            raise ValueError(
                f"{part.repository} holds no {pattern}: look there what took its place, and update this package"
            )
        for path in paths:
            name = path.removeprefix(part.strip)
            sibling = found[path]
            checksum = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
            if any(step in ("", ".", "..") or _UNSAFE.search(step) for step in name.split("/")):
                raise ValueError(f"{part.repository} holds {path!r}, which would leave its folder, so it is refused")
            if not _CHECKSUM.fullmatch(checksum or "") or sibling.size is None:
                raise ValueError(f"the hub tells no checksum of {path} in {part.repository}, so it is not fetched")
            files.append(
                HubFile(part.repository, info.sha, path, folder, name, sibling.size, checksum, part.text_sha256)
            )
    files.sort(key=lambda file: (file.name == part.sign, file.name))
    licences = (tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:"))
    return Listing(part, files, next(licences, part.licence))


def check_space(files: list[HubFile]) -> None:
    """Raises ``ValueError`` unless each disk has room for what is still missing."""
    needed: dict[int, tuple[Path, int]] = {}
    for file in files:
        home = next(folder for folder in (file.folder, *file.folder.absolute().parents) if folder.exists())
        device = home.stat().st_dev
        needed[device] = home, needed.get(device, (home, 0))[1] + file.size - file.staged_size
    for home, size in needed.values():
        free = shutil.disk_usage(home).free
        if size + MARGIN > free:
            raise ValueError(
                f"the disk of {home} is too small: {in_bytes(size + MARGIN)} are needed and {in_bytes(free)} are free"
            )


def fetch(files: list[HubFile], watch: Watch = lambda done, total: None) -> None:
    """Fetches, checks and names the files, one after the other.

    Raises ``ValueError`` or ``OSError`` with a sentence, and whatever ``watch`` raises; what has arrived of a file is
    kept for the next attempt, unless its checksum is wrong.
    """
    check_space(files)
    total, done = sum(file.size for file in files), 0
    for file in files:
        _fetch(file, lambda position, before=done: watch(before + position, total))
        done += file.size
        watch(done, total)


def _fetch(file: HubFile, watch: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(file.repository, file.path, revision=file.commit)
    with _alone(file):
        if file.is_there(verify=True):  # another download was faster
            return
        with in_words(file.repository, file.commit, file.target), _Watched(file.staged, watch) as part:
            if part.tell() > file.size:
                part.seek(0)
                part.truncate()
            if part.tell() < file.size:
                http_get(
                    url,
                    part,
                    resume_size=part.tell(),
                    headers=build_hf_headers(library_name="uniavgen"),
                    displayed_filename=file.path,
                )
        _check(file, lambda: watch(file.size))
        file.target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file.staged, file.target)


def _check(file: HubFile, alive: Callable[[], None]) -> None:
    """Removes what was fetched and raises ``ValueError`` if it is not what it should be."""
    fault = ""
    if file.staged.stat().st_size != file.size:
        fault = f"came with another length than the {file.size} bytes announced: ask again to fetch it anew"
    elif checksum_of(file.staged, len(file.checksum), alive) != file.checksum:
        fault = "arrived damaged (its checksum is wrong): ask again to fetch it anew"
    elif file.text_sha256 and text_sha256(file.staged.read_bytes()) != file.text_sha256:
        fault = "is another text than the one the published weights need: update this package, or fetch it by hand"
    if fault:
        file.staged.unlink()
        raise ValueError(f"{file.path} of {file.repository} {fault}; it was removed")


def checksum_of(path: Path, digits: int, alive: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file (64 digits), or its name in git (40: SHA-1 of a header and the file).

    alive: called now and then; what it raises ends the reading
    """
    header = b"blob %d\0" % path.stat().st_size
    state = hashlib.sha256() if digits == 64 else hashlib.sha1(header, usedforsecurity=False)  # git has no other
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            state.update(data)
            alive()
    return state.hexdigest()


@contextmanager
def _alone(file: HubFile) -> Iterator[None]:
    """Keeps a second download off the file; the hidden folder goes when nothing is left in it."""
    from filelock import FileLock, Timeout

    try:
        file.staged.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"nothing can be written to {file.folder} ({error.strerror}): check its rights, or choose another folder"
        ) from error
    lock = file.staged.with_suffix(".lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):
                    if not file.staged_size:
                        file.staged.unlink(missing_ok=True)
                    lock.unlink()
    except Timeout:
        raise ValueError(f"{file.target} is being fetched by another program: wait until it is done") from None
    finally:
        with suppress(OSError):
            lock.parent.rmdir()


class _Watched(io.BufferedWriter):
    """A file that grows at its end and tells how long it is."""

    def __init__(self, path: Path, watch: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._watch = watch

    def write(self, data: bytes) -> int:
        written = super().write(data)
        self._watch(self.tell())
        return written
