"""Archives that somebody made to deceive their reader, byte by byte: each refused with its reason.

The rows are the table of attacks that the registry's design lists.
"""

import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freesolo.domain.packaging import ENVIRONMENT_LIMITS, Limits, path_problem
from freesolo.errors import FreesoloError, InvalidEnvironment, PayloadTooLarge
from freesolo.package.archive import (
    KEPT_BYTES,
    build_archive,
    inspect_archive,
    unpack_archive,
)

END = bytes(1024)


def block(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    """Return a header as it is on disk, whatever it claims."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def file(name: str, content: bytes = b"x", *, kind: bytes = tarfile.REGTYPE) -> bytes:
    return block(name, kind=kind, size=len(content)) + padded(content)


def pax(*records: tuple[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a pax header with these records."""
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest) + len(str(len(rest) + 2))
        body += str(length).encode() + rest
    return file("PaxHeaders/x", body, kind=kind)


def with_raw_size(size: bytes) -> bytes:
    """Return a header whose size field holds these bytes, with the right checksum."""
    header = bytearray(block("a"))
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


ROWS: dict[str, tuple[bytes, str]] = {
    # Paths that lead, or seem to lead, elsewhere.
    "parent": (file("../escape"), r"'\.\./escape' in the archive contains .*`\.\.`"),
    "parent inside": (file("a/../../b"), "'a/../../b' .* contains an empty part"),
    "absolute": (file("/etc/passwd"), "'/etc/passwd' .* is not relative"),
    "drive": (file("c:/x"), "'c:/x' .* contains"),
    "backslash": (file("a\\b"), "contains `"),
    "control character": (file("new\nline"), "contains a control character"),
    "NUL in pax": (pax(("path", "a\0b")) + file("a"), "contains a control character"),
    "bytes that are no text": (file("caf\udce9"), "contains a control character"),
    "right to left": (pax(("path", "a\u202eb")) + file("a"), "contains a control character"),
    "folder outside": (block("../up", kind=tarfile.DIRTYPE), r"'\.\./up' in the archive"),
    "current folder": (block("./", kind=tarfile.DIRTYPE), "contains an empty part"),
    "reserved by Windows": (file("dataset/con.tar.gz"), "has a part that Windows reserves"),
    "dot at the end": (file("a."), "ends with a dot or a space"),
    "too deep": (file("/".join("a" * 40)), "has more than 32 parts"),
    # Members that are no plain files.
    "symbolic link": (block("l", kind=tarfile.SYMTYPE, link="/etc/passwd"), "'l' .* not a plain file"),
    "hard link": (block("l", kind=tarfile.LNKTYPE, link="a"), "'l' .* not a plain file"),
    "character device": (block("d", kind=tarfile.CHRTYPE), "'d' .* not a plain file"),
    "block device": (block("d", kind=tarfile.BLKTYPE), "'d' .* not a plain file"),
    "pipe": (block("p", kind=tarfile.FIFOTYPE), "'p' .* not a plain file"),
    "contiguous file": (file("c", kind=tarfile.CONTTYPE), "'c' .* not a plain file"),
    "unknown kind": (file("v", kind=b"V"), "'v' .* not a plain file"),
    "GNU sparse": (file("s", kind=tarfile.GNUTYPE_SPARSE), "'s' .* not a plain file"),
    "sparse 0.0": (pax(("GNU.sparse.size", "9")) + file("s"), "'s' .* not a plain file"),
    "sparse 0.1": (pax(("GNU.sparse.map", "x")) + file("s"), "'s' .* not a plain file"),
    "sparse 1.0": (
        pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")) + file("s"),
        "'s' .* not a plain file",
    ),
    "sparse by name only": (
        pax(("GNU.sparse.name", "other")) + file("s"),
        "has the pax header `GNU.sparse.name`",
    ),
    # Names that some system takes for one.
    "same name twice": (file("a") + file("a"), "'a' in the archive collides with 'a'"),
    "file and folder": (file("a") + block("a", kind=tarfile.DIRTYPE), "'a' .* collides"),
    "file in a file": (file("a") + file("a/b"), "'a/b' .* collides with 'a'"),
    "folder twice": (2 * block("a", kind=tarfile.DIRTYPE), "'a' .* collides"),
    "case": (file("README") + file("readme"), "'readme' .* collides with 'README'"),
    "case of a folder": (file("A/x") + file("a/y"), "'a/y' .* collides with 'A'"),
    "sharp s": (file("strasse") + file("stra\u00dfe"), "collides with 'strasse'"),
    "not in normal form": (file("e\u0301"), "is not in Unicode normal form C"),
    # What two readers understand differently.
    "pax size": (pax(("size", "0")) + file("a"), "'a' .* has 0 bytes by its pax header and 1"),
    "global pax header": (pax(("path", "b"), kind=tarfile.XGLTYPE) + file("a"), "global pax header"),
    "unknown encoding": (pax(("hdrcharset", "BINARY")) + file("a"), "pax header `hdrcharset`"),
    "header of a header": (2 * pax(("comment", "x")) + file("a"), "describes another such header"),
    "long name of a long name": (
        2 * file("x", b"name\0", kind=tarfile.GNUTYPE_LONGNAME) + file("a"),
        "describes another such header",
    ),
    "folder with bytes": (
        block("d", kind=tarfile.DIRTYPE, size=512) + file("a", b"y" * 512),
        "'d' in the archive is a folder with 512 bytes",
    ),
    "file named as a folder": (pax(("path", "a/")) + file("a"), "the name of a folder"),
    "data after the end": (file("a") + END + file("b"), "data after its end"),
    "damaged header": (file("a") + b"\1" * 512 + file("b"), "damaged"),
    "no end": (file("a"), "damaged"),
    "cut header": (file("a") + block("b")[:100], "damaged"),
    "cut content": (block("a", size=5000) + bytes(100), "damaged"),
    "nothing": (b"", "damaged"),
    # Sizes that make no sense.
    "negative size": (with_raw_size(b"\xff" * 12) + END, "'a' .* has a negative size"),
    "size that is no number": (with_raw_size(b"nonsense") + END, "damaged"),
    "huge long name": (
        file("x", b"a" * 10**6, kind=tarfile.GNUTYPE_LONGNAME) + file("a"),
        "1000000 bytes; 4096 are allowed",
    ),
    "huge pax header": (pax(("comment", "x" * 10**6)) + file("a"), "4096 are allowed"),
    # What the client should have left out.
    "secrets of a shell": (file(".env"), r"'\.env' .* is never packed, by the rule `\.env`"),
    "secrets of a stage": (file("a/.env.production"), "is never packed"),
    "key": (file("certs/server.KEY"), r"is never packed, by the rule `\*\.key`"),
    "ssh key": (file("id_ed25519"), "is never packed"),
    "version folder": (file(".git/config"), r"'\.git/config' .* by the rule `\.git`"),
    "version folder in capitals": (file("a/.GIT/hooks/pre-commit"), "is never packed"),
    "compiled code": (file("__pycache__/environment.cpython-311.pyc"), "is never packed"),
}  # fmt: skip
SEALED = ("data after the end", "damaged header", "no end", "cut header", "cut content", "nothing")

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {"gzip": gzip.compress, "zstd": zstandard.compress}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "crafted"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
@pytest.mark.parametrize("row", ROWS)
def test_an_attack_is_refused_with_the_member_and_the_rule(
    tmp_path: Path, row: str, pack: Pack
) -> None:
    raw, words = ROWS[row]
    path = write(tmp_path, pack(raw if row in SEALED else raw + END))

    with pytest.raises(InvalidEnvironment, match=words):
        inspect_archive(path, ENVIRONMENT_LIMITS)
    with pytest.raises(InvalidEnvironment, match=words):
        unpack_archive(path, tmp_path / "out" / "here", ENVIRONMENT_LIMITS)

    # Neither in the target, nor beside or above it, is anything left.
    assert {found.name for found in tmp_path.rglob("*")} == {"crafted", "out"}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
@pytest.mark.parametrize("rest", [b"junk", b"PK\x03\x04" + bytes(100)])
def test_garbage_behind_the_compressed_stream_is_refused(
    tmp_path: Path, pack: Pack, rest: bytes
) -> None:
    path = write(tmp_path, pack(file("a") + END) + rest)

    with pytest.raises(InvalidEnvironment, match="damaged"):
        inspect_archive(path, ENVIRONMENT_LIMITS)


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_a_second_stream_is_part_of_the_archive_and_read_with_it(
    tmp_path: Path, pack: Pack
) -> None:
    path = write(tmp_path, pack(file("a") + END) + pack(file("hidden") + END))

    with pytest.raises(InvalidEnvironment, match="data after its end"):
        inspect_archive(path, ENVIRONMENT_LIMITS)


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_an_archive_cut_in_the_middle_of_a_file_is_damaged(tmp_path: Path, pack: Pack) -> None:
    whole = pack(file("a", os.urandom(200_000)) + END)
    path = write(tmp_path, whole[: len(whole) // 2])

    with pytest.raises(InvalidEnvironment, match="damaged"):
        inspect_archive(path, ENVIRONMENT_LIMITS)
    with pytest.raises(InvalidEnvironment, match="damaged"):
        unpack_archive(path, tmp_path / "out", ENVIRONMENT_LIMITS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\x00"])
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidEnvironment, match="neither zstandard nor gzip"):
        inspect_archive(write(tmp_path, content), ENVIRONMENT_LIMITS)


def test_a_bomb_stops_at_a_ratio_that_no_dataset_has(tmp_path: Path) -> None:
    size = 100 * 1024**2
    path = write(tmp_path, zstandard.compress(file("zeros", bytes(size)) + END))
    assert path.stat().st_size < 20_000

    with pytest.raises(PayloadTooLarge, match=f"more than {64 * 1024**2} bytes"):
        inspect_archive(path, ENVIRONMENT_LIMITS)


def test_what_unpacks_to_little_may_be_compressed_well(tmp_path: Path) -> None:
    path = write(tmp_path, zstandard.compress(file("zeros", bytes(10**7)) + END))

    assert inspect_archive(path, ENVIRONMENT_LIMITS).files[0].size == 10**7


ROOMY = Limits(max_files=20, max_file_bytes=1000, max_tree_bytes=9000, max_archive_bytes=10**5)
SMALL = Limits(max_files=2, max_file_bytes=1000, max_tree_bytes=1500, max_archive_bytes=10**5)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (file("a", bytes(1001)), "'a' in the archive has 1001 bytes; 1000 are allowed"),
        (block("a", size=10**9), "'a' in the archive has 1000000000 bytes"),
        (file("a", bytes(800)) + file("b", bytes(800)), "unpacks to more than 1500 bytes"),
        (file("a") + file("b") + file("c"), "more than 2 members"),
        (b"".join(block(f"d{n}", kind=tarfile.DIRTYPE) for n in range(3)), "more than 2 members"),
        (file("a") + bytes(10**6), "unpacks to more than"),
    ],
    ids=["file", "claimed", "all", "files", "folders", "zeros behind the end"],
)
def test_a_limit_is_told_as_soon_as_it_is_passed(tmp_path: Path, raw: bytes, words: str) -> None:
    path = write(tmp_path, gzip.compress(raw + END))

    with pytest.raises(PayloadTooLarge, match=words):
        inspect_archive(path, SMALL)
    with pytest.raises(PayloadTooLarge, match=words):
        unpack_archive(path, tmp_path / "out", SMALL)


def test_an_archive_that_is_too_large_is_not_even_opened(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="100001 bytes; 100000 are allowed"):
        inspect_archive(write(tmp_path, bytes(100_001)), SMALL)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_other_tools_write_is_read(tmp_path: Path, kind: int) -> None:
    folder = tmp_path / "environment"
    long_name = f"{'long' * 20}/{'name' * 20}.txt"
    for name in ("environment.py", "dataset/train.jsonl", long_name):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz", format=kind) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)

    names = {file.path for file in inspect_archive(tmp_path / "other.tar.gz", ROOMY).files}

    assert names == {"environment.py", "dataset/train.jsonl", long_name}


def test_of_a_large_file_only_the_beginning_is_kept(tmp_path: Path) -> None:
    content = b"# \n" * KEPT_BYTES
    path = write(tmp_path, zstandard.compress(file("environment.py", content) + file("b") + END))

    found = inspect_archive(path, ENVIRONMENT_LIMITS, keep=["environment.py", "b"])

    assert found.kept == {"environment.py": content[:KEPT_BYTES], "b": b"x"}
    assert [one.size for one in found.files] == [len(content), 1]


def test_secrets_are_found_on_the_way(tmp_path: Path) -> None:
    key = b"fslo_" + b"a1B2" * 8
    path = write(tmp_path, gzip.compress(file("a") + file("notes.txt", b"\n" + key) + END))

    assert inspect_archive(path, ENVIRONMENT_LIMITS).secrets == ()
    (secret,) = inspect_archive(path, ENVIRONMENT_LIMITS, scan=True).secrets
    assert (secret.path, secret.line) == ("notes.txt", 2)


def test_unpacked_files_have_plain_modes_whatever_the_archive_and_the_mask_say(
    tmp_path: Path,
) -> None:
    info = tarfile.TarInfo("run.sh")
    info.mode, info.size = 0o6777, 1
    raw = info.tobuf() + padded(b"x") + file("a") + END
    mask = os.umask(0o077)
    try:
        unpack_archive(write(tmp_path, gzip.compress(raw)), tmp_path / "out", ENVIRONMENT_LIMITS)
    finally:
        os.umask(mask)

    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"run.sh": 0o755, "a": 0o644}


NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.[a-z]{1,3}", fullmatch=True).filter(
    lambda name: path_problem(name) is None
)
TREES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=2000), st.booleans()), max_size=6)
ANY_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ANY_FOLDER
@given(tree=TREES)
def test_what_is_built_is_inspected_and_unpacked_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, tuple[bytes, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for name, (content, executable) in tree.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if executable else 0o644)

    archive = build_archive(folder / "in", tree, folder / "archive")
    inspected = inspect_archive(archive.path, ENVIRONMENT_LIMITS, keep=tree)
    unpack_archive(
        archive.path, folder / "out", ENVIRONMENT_LIMITS, expect_tree=archive.tree_digest
    )

    assert inspected.files == archive.files
    assert inspected.tree_digest == archive.tree_digest
    assert inspected.kept == {name: content for name, (content, _) in tree.items()}
    for name, (content, executable) in tree.items():
        out = folder / "out" / name
        assert out.read_bytes() == content
        assert bool(out.stat().st_mode & 0o100) == executable


PIECES = st.one_of(
    st.sampled_from([raw for raw, _ in ROWS.values() if len(raw) < 10_000]),
    st.sampled_from([END, file("b"), pax(("path", "c"))]),
    st.binary(max_size=600),
)


@settings(ANY_FOLDER, max_examples=300)
@given(pieces=st.lists(PIECES, max_size=5), flips=st.lists(st.integers(0, 10**6), max_size=3))
def test_arbitrary_bytes_raise_only_our_errors(
    tmp_path: Path, pieces: list[bytes], flips: list[int]
) -> None:
    raw = bytearray(b"".join(pieces))
    for at in flips if raw else ():
        raw[at % len(raw)] ^= 1 << (at % 8)
    packed = bytearray(gzip.compress(bytes(raw), mtime=0))
    for content in (packed, zstandard.compress(bytes(raw)), bytes(raw)):
        try:
            inspect_archive(write(tmp_path, bytes(content)), ENVIRONMENT_LIMITS, scan=True)
        except FreesoloError as error:
            assert isinstance(error, InvalidEnvironment | PayloadTooLarge)  # noqa: PT017
