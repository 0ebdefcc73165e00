"""Folders as archives: build one reproducibly, inspect and unpack one that nobody vouches for.

An archive is a zstandard- or gzip-compressed tar of regular files with nothing but path, content
and the executable bit. Reading never trusts it: members are streamed, counted against limits and
checked one by one, and files are written by us, never by `tarfile`. What two readers of tar could
understand differently is refused, so that everybody sees the files that were inspected.
"""

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Self, cast

import zstandard

from freesolo.domain.packaging import Limits, PathSet, path_problem
from freesolo.domain.tree import TreeFile, tree_digest
from freesolo.errors import InvalidEnvironment, PayloadTooLarge
from freesolo.package.secrets import Secret, find_secrets

_CHUNK = 1 << 20
# Of a file whose bytes are wanted, no more are held in memory.
KEPT_BYTES = _CHUNK
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Room for headers beside the members' bytes: a plain and a pax header, rounded up generously.
_HEADER_BYTES = 4096
# A small archive may unpack to this much, however well it was compressed.
_FREE_BYTES = 64 * 1024**2
# Members that only describe the next one. `tarfile` reads each of them whole.
_HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# What a plain header can say of a member's size: eleven octal digits.
_MAX_PLAIN_SIZE = 8**11
# Of pax headers: files with holes, and names in no known encoding.
_ODD_KEYS = ("GNU.sparse.", "hdrcharset")
_DAMAGE = (
    tarfile.TarError,
    zstandard.ZstdError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    UnicodeDecodeError,
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
    """What an archive holds: its files, secrets, and of those to be kept the first `KEPT_BYTES`."""

    tree_digest: str
    files: tuple[TreeFile, ...]
    kept: dict[str, bytes]
    secrets: tuple[Secret, ...] = ()


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


def inspect_archive(
    path: Path, limits: Limits, keep: Iterable[str] = (), *, scan: bool = False
) -> Contents:
    """Read a whole archive without writing anything and return what it holds.

    `keep` names files whose first `KEPT_BYTES` are wanted; `scan` looks for secrets on the way. Raise
    `PayloadTooLarge` when a limit is passed and `InvalidEnvironment` for anything but a well-formed
    archive of plain files.
    """
    wanted = set(keep)
    kept: dict[str, bytes] = {}
    files = []
    secrets: list[Secret] = []
    with _damage_refused():
        for member, body in _members(path, limits):
            reading = _Reading(member, body)
            if scan:
                secrets += find_secrets(member.name, reading)
            files.append(reading.finish())
            if member.name in wanted:
                kept[member.name] = reading.head
    return Contents(tree_digest(files), tuple(files), kept, tuple(secrets))


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
                files.append(_Reading(member, body, out).finish())
        found = tree_digest(files)
        if expect_tree not in (None, found):
            raise InvalidEnvironment(
                f"The archive holds {found}, but {expect_tree} was expected.",
                hint="The download is damaged or was tampered with; try again.",
            )
    return Contents(found, tuple(files), {})


@contextmanager
def archive_members(
    path: Path, limits: Limits
) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """Open an archive's files: the header of each, and its bytes until the next one is asked for.

    Raise as `inspect_archive` does, as far as the archive is read.
    """
    with _damage_refused():
        yield _members(path, limits)


def check_archive_size(size: int, limits: Limits) -> None:
    """Raise `PayloadTooLarge` for an archive that nobody would take."""
    if size > limits.max_archive_bytes:
        raise PayloadTooLarge(
            f"The archive has {size} bytes; {limits.max_archive_bytes} are allowed.",
            hint="Leave out what is not needed, or fetch large data when the environment is loaded.",
        )


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
    check_archive_size(path.stat().st_size, limits)
    count = total = 0
    paths = PathSet()
    with (
        _decompressed(path, limits) as stream,
        _Tar.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar,
    ):
        for member in tar:
            count += 1
            total += member.size
            _check_member(member)
            _check_sizes(member, count, total, limits)
            if other := paths.add(member.name, is_folder=member.isdir()):
                raise InvalidEnvironment(
                    f"The path {member.name!r} in the archive collides with {other!r}.",
                    hint="Some systems take them for one file.",
                )
            if member.isdir():
                continue
            body = tar.extractfile(member)
            if body is None:
                raise InvalidEnvironment(f"{member.name!r} in the archive cannot be read.")
            yield member, body
        _check_end(tar)


class _Tar(tarfile.TarFile):
    """A tar file that knows how many headers of the member that comes next it has read."""

    headers = 0


class _Member(tarfile.TarInfo):
    """A member whose headers are as plain as its kind: nothing hidden, nothing without bound."""

    plain_size = 0

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the mark of the end
            # `tarfile` would end here too, and never tell.
            raise InvalidEnvironment(f"The archive is damaged: {error}.") from None
        if member.size < 0:
            raise InvalidEnvironment(f"{member.name!r} in the archive has a negative size.")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _not_plain(member.name)
        if member.type == tarfile.XGLTYPE:
            raise InvalidEnvironment(
                f"The archive has a global pax header, {member.name!r}.",
                hint="Only headers of one file are read; `git archive` writes such a header.",
            )
        if member.type in _HEADER_TYPES and member.size > _HEADER_BYTES:
            raise InvalidEnvironment(
                f"A header in the archive has {member.size} bytes; {_HEADER_BYTES} are allowed."
            )
        member.plain_size = member.size
        return member

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        reading = cast("_Tar", tar)
        reading.headers += 1
        if reading.headers > 2:
            raise InvalidEnvironment("A header in the archive describes another such header.")
        try:
            return super().fromtarfile(tar)
        finally:
            reading.headers -= 1

    def _refuse_sparse(self, sparse: tarfile.TarInfo, *_: object) -> NoReturn:
        raise _not_plain(sparse.name)

    # Before a member is ours to check, `tarfile` would read its map of holes, without bound.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@contextmanager
def _damage_refused() -> Iterator[None]:
    """Tell whatever the decompressors and `tarfile` raise on bad bytes as `InvalidEnvironment`."""
    try:
        yield
    except _DAMAGE as error:
        raise InvalidEnvironment(f"The archive is damaged: {error}.") from None


def _check_member(member: tarfile.TarInfo) -> None:
    if reason := path_problem(member.name):
        raise InvalidEnvironment(f"The path {member.name!r} in the archive {reason}.")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        raise _not_plain(member.name)
    if reason := _ambiguity(cast("_Member", member)):
        raise InvalidEnvironment(
            f"{member.name!r} in the archive {reason}.",
            hint="Readers of archives differ in what they make of it.",
        )


def _ambiguity(member: _Member) -> str | None:
    """Say what other readers could take for another path, size or content, or return None."""
    if member.isdir() and member.size:
        return f"is a folder with {member.size} bytes"
    if member.isreg() and member.pax_headers.get("path", "").endswith("/"):
        return "is a file with the name of a folder"
    if member.size != member.plain_size and member.size < _MAX_PLAIN_SIZE:
        return f"has {member.size} bytes by its pax header and {member.plain_size} by its own"
    odd = (key for key in member.pax_headers if key.startswith(_ODD_KEYS))
    return next((f"has the pax header `{key}`" for key in odd), None)


def _check_sizes(member: tarfile.TarInfo, count: int, total: int, limits: Limits) -> None:
    if count > limits.max_files:
        raise PayloadTooLarge(f"The archive has more than {limits.max_files} members.")
    if member.size > limits.max_file_bytes:
        raise PayloadTooLarge(
            f"{member.name!r} in the archive has {member.size} bytes; "
            f"{limits.max_file_bytes} are allowed."
        )
    if total > limits.max_tree_bytes:
        raise PayloadTooLarge(f"The archive unpacks to more than {limits.max_tree_bytes} bytes.")


def _check_end(tar: tarfile.TarFile) -> None:
    """Refuse whatever follows the mark of the end, but for zeros that fill up the last record."""
    while chunk := cast("IO[bytes]", tar.fileobj).read(_CHUNK):
        if chunk.strip(b"\0"):
            raise InvalidEnvironment("The archive has data after its end.")


def _not_plain(name: str) -> InvalidEnvironment:
    return InvalidEnvironment(
        f"{name!r} in the archive is not a plain file.",
        hint="Links, devices and sparse files are refused.",
    )


class _Reading:
    """One member's bytes as they pass: hashed, counted and written to `sink`, if there is one.

    `head` is the first `KEPT_BYTES` of them, once they have passed.
    """

    def __init__(
        self, member: tarfile.TarInfo, body: IO[bytes], sink: IO[bytes] | None = None
    ) -> None:
        self._member = member
        self._body = body
        self._sink = sink
        self.head = b""
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._body.read(_CHUNK):
            self._digest.update(chunk)
            self._size += len(chunk)
            self.head = self.head or chunk
            if self._sink is not None:
                self._sink.write(chunk)
            yield chunk

    def finish(self) -> TreeFile:
        """Read what is left, and return the file."""
        deque(self, maxlen=0)
        executable = bool(self._member.mode & 0o100)
        return TreeFile(self._member.name, self._size, self._digest.hexdigest(), executable)


class _Capped(io.RawIOBase):
    """A readable stream that raises when too much came through: the bomb guard."""

    def __init__(self, read: Callable[[int], bytes], limits: Limits, *, archive_bytes: int) -> None:
        self._read = read
        self._through = 0
        headers = limits.max_files * _HEADER_BYTES + tarfile.RECORDSIZE
        self._limit = limits.max_tree_bytes + headers
        if limits.max_ratio is not None:
            self._limit = min(self._limit, max(_FREE_BYTES, limits.max_ratio * archive_bytes))

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._read(size if size >= 0 else _CHUNK)
        self._through += len(chunk)
        if self._through > self._limit:
            raise PayloadTooLarge(f"The archive unpacks to more than {self._limit} bytes.")
        return chunk


@contextmanager
def _decompressed(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    size = path.stat().st_size
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _ZSTD_MAGIC:
            # The window bounds what one frame can make us allocate.
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw)
            yield _Capped(reader.read, limits, archive_bytes=size)  # type: ignore[misc]
        elif magic[:2] == _GZIP_MAGIC:
            with gzip.GzipFile(fileobj=raw) as unzipped:
                yield _Capped(unzipped.read, limits, archive_bytes=size)  # type: ignore[misc]
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
    """Open a file that must not exist, in a folder that is nobody else's until it is complete.

    It is not synced: whoever trusts an unpacked folder later compares its tree digest.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, 0o600), "wb") as out:
        os.fchmod(out.fileno(), 0o755 if executable else 0o644)
        yield out
