"""Folders as archives: build one reproducibly, inspect and unpack one that nobody vouches for.

An archive is a zstandard- or gzip-compressed tar of regular files with nothing but path, content
and the executable bit. Reading never trusts it: members are streamed, counted against limits and
checked one by one, and files are written by us, never by `tarfile`.
"""

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Self

import zstandard

from freesolo.domain.packaging import Limits, path_problem, tree_problems
from freesolo.domain.tree import TreeFile, tree_digest
from freesolo.errors import InvalidEnvironment, PayloadTooLarge, Problem

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_TAR_BLOCK = 512
# Room for headers beside the members' bytes: a plain and a pax header, rounded up generously.
_HEADER_BYTES = 4096
# Members that only describe the next one. `tarfile` reads each of them whole.
_HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DAMAGE = (
    tarfile.TarError,
    zstandard.ZstdError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    RecursionError,  # headers that describe headers, a thousand deep
)


@dataclass(frozen=True)
class Archive:
    """An archive on disk. Digests are `sha256:<hex>`, `size` is in bytes."""

    path: Path
    archive_digest: str
    size: int
    tree_digest: str
    files: tuple[TreeFile, ...]


@dataclass(frozen=True)
class Contents:
    """What an archive holds: its files, and the bytes of those the reader asked to keep."""

    tree_digest: str
    files: tuple[TreeFile, ...]
    kept: dict[str, bytes]


def build_archive(root: Path, paths: Iterable[str], destination: Path) -> Archive:
    """Pack `paths`, relative to `root`, into the `.tar.zst` file `destination`.

    The same files give the same tree digest everywhere, and the same bytes with the same zstandard.
    """
    with (
        destination.open("wb") as raw,
        zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        files = [_add_file(tar, root / path, path) for path in sorted(paths, key=str.encode)]
    size = destination.stat().st_size
    return Archive(
        path=destination,
        archive_digest=file_digest(destination),
        size=size,
        tree_digest=tree_digest(files),
        files=tuple(files),
    )


def inspect_archive(path: Path, limits: Limits, keep: Iterable[str] = ()) -> Contents:
    """Read a whole archive without writing anything and return what it holds.

    `keep` names small files whose bytes are wanted. Raise `PayloadTooLarge` when a limit is passed
    and `InvalidEnvironment` for anything but a well-formed archive of plain files.
    """
    wanted = set(keep)
    kept: dict[str, bytes] = {}
    files = []
    with _damage_refused():
        for member, body in _members(path, limits):
            sink = io.BytesIO() if member.name in wanted else None
            files.append(_copy(member, body, sink))
            if sink is not None:
                kept[member.name] = sink.getvalue()
    _refuse(tree_problems(((file.path, file.size) for file in files), limits))
    return Contents(tree_digest=tree_digest(files), files=tuple(files), kept=kept)


def unpack_archive(
    path: Path, destination: Path, limits: Limits, *, expect_tree: str | None = None
) -> Contents:
    """Write an archive's files to `destination`, which appears complete or not at all.

    If another process completes the same folder first, theirs is kept. Raise as `inspect_archive`
    does, and `InvalidEnvironment` if the content is not `expect_tree`.
    """
    with _appearing(destination) as folder, _damage_refused():
        files = []
        for member, body in _members(path, limits):
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with _create(target, executable=bool(member.mode & 0o100)) as out:
                files.append(_copy(member, body, out))
        _refuse(tree_problems(((file.path, file.size) for file in files), limits))
        found = tree_digest(files)
        if expect_tree not in (None, found):
            raise InvalidEnvironment(
                f"The archive holds {found}, but {expect_tree} was expected.",
                hint="The download is damaged or was tampered with; try again.",
            )
    return Contents(tree_digest=found, files=tuple(files), kept={})


@contextmanager
def archive_members(
    path: Path, limits: Limits
) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """Open an archive's files: the header of each, and its bytes until the next one is asked for.

    Raise as `inspect_archive` does, as far as the archive is read.
    """
    with _damage_refused():
        yield _members(path, limits)


def file_digest(path: Path) -> str:
    """Return `sha256:<hex>` of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _add_file(tar: tarfile.TarFile, source: Path, name: str) -> TreeFile:
    with source.open("rb") as file:
        status = os.fstat(file.fileno())
        executable = bool(status.st_mode & 0o100)
        member = tarfile.TarInfo(name)
        member.size = status.st_size
        member.mode = 0o755 if executable else 0o644
        # Hashed while it is packed: the digest is of the bytes in the archive, whatever the file
        # becomes meanwhile.
        reader = _Hashing(file)
        tar.addfile(member, reader)
    return TreeFile(name, member.size, reader.digest.hexdigest(), executable)


class _Hashing(io.RawIOBase):
    """A readable file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def _members(path: Path, limits: Limits) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    if path.stat().st_size > limits.max_archive_bytes:
        raise PayloadTooLarge(
            f"The archive has {path.stat().st_size} bytes; {limits.max_archive_bytes} are allowed."
        )
    seen = 0
    files: set[str] = set()
    folders: set[str] = set()
    with (
        _decompressed(path, limits) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar,
    ):
        for member in tar:
            seen += 1
            if seen > limits.max_files:
                raise PayloadTooLarge(f"The archive has more than {limits.max_files} members.")
            if member.isdir():
                continue
            _check_member(member)
            _check_collision(member.name, files, folders)
            body = tar.extractfile(member)
            if body is None:
                raise InvalidEnvironment(f"{member.name!r} in the archive cannot be read.")
            yield member, body


class _Member(tarfile.TarInfo):
    """A member whose headers cannot make `tarfile` read without bound before we see it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _not_plain(member.name)
        if member.type in _HEADER_TYPES and member.size > _HEADER_BYTES:
            raise InvalidEnvironment(
                f"A header in the archive has {member.size} bytes; {_HEADER_BYTES} are allowed."
            )
        return member

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        raise _not_plain(self.name)


@contextmanager
def _damage_refused() -> Iterator[None]:
    """Tell whatever the decompressors and `tarfile` raise on bad bytes as `InvalidEnvironment`."""
    try:
        yield
    except _DAMAGE as error:
        raise InvalidEnvironment(f"The archive is damaged: {error}.") from None


def _check_member(member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.sparse is not None:
        raise _not_plain(member.name)
    if reason := path_problem(member.name):
        raise InvalidEnvironment(f"The path {member.name!r} in the archive {reason}.")


def _not_plain(name: str) -> InvalidEnvironment:
    return InvalidEnvironment(
        f"{name!r} in the archive is not a plain file.",
        hint="Links, devices and sparse files are refused.",
    )


def _check_collision(path: str, files: set[str], folders: set[str]) -> None:
    """Refuse a path that is there already, or is a folder of another; remember it and its folders."""
    folded = path.casefold()
    parts = folded.split("/")
    parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    if folded in files or folded in folders or parents & files:
        raise InvalidEnvironment(f"The path {path!r} in the archive collides with another one.")
    files.add(folded)
    folders |= parents


def _copy(member: tarfile.TarInfo, body: IO[bytes], sink: IO[bytes] | None) -> TreeFile:
    digest = hashlib.sha256()
    size = 0
    while chunk := body.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if sink is not None:
            sink.write(chunk)
    return TreeFile(member.name, size, digest.hexdigest(), bool(member.mode & 0o100))


def _refuse(problems: list[Problem]) -> None:
    if problems:
        first = problems[0]
        raise InvalidEnvironment(
            f"The package cannot be accepted: {first.path or 'as a whole'}: {first.message}",
            problems=problems,
        )


class _Capped(io.RawIOBase):
    """A readable stream that raises once more than `limit` bytes came through: the bomb guard."""

    def __init__(self, read: Callable[[int], bytes], limit: int) -> None:
        self._read = read
        self._left = limit
        self._limit = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._read(size if size >= 0 else _CHUNK)
        self._left -= len(chunk)
        if self._left < 0:
            raise PayloadTooLarge(f"The archive unpacks to more than {self._limit} bytes.")
        return chunk


@contextmanager
def _decompressed(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    limit = limits.max_tree_bytes + limits.max_files * _HEADER_BYTES + 20 * _TAR_BLOCK
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _ZSTD_MAGIC:
            # The window bounds what one frame can make us allocate.
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw)
            yield _Capped(reader.read, limit)  # type: ignore[misc]
        elif magic[:2] == _GZIP_MAGIC:
            with gzip.GzipFile(fileobj=raw) as unzipped:
                yield _Capped(unzipped.read, limit)  # type: ignore[misc]
        else:
            raise InvalidEnvironment(
                "The archive is neither zstandard nor gzip.", hint="Send a `.tar.zst` or `.tar.gz`."
            )


@contextmanager
def _appearing(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination` that takes its name when the block succeeds."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        yield folder
        folder.chmod(0o755)
        try:
            folder.rename(destination)
        except OSError:
            if not any(destination.iterdir()):
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _create(target: Path, *, executable: bool) -> Iterator[IO[bytes]]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(target, flags, 0o755 if executable else 0o644)
    with os.fdopen(descriptor, "wb") as out:
        yield out
