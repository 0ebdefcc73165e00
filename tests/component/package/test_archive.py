"""Archives: reproducible when we build them, harmless when somebody else did."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from freesolo.domain.packaging import ENVIRONMENT_LIMITS, Limits
from freesolo.errors import InvalidEnvironment, PayloadTooLarge
from freesolo.package.archive import Archive, build_archive, inspect_archive, unpack_archive

PATHS = ("environment.py", "dataset/train.jsonl", "run.sh")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "environment"
    (root / "dataset").mkdir(parents=True)
    (root / "environment.py").write_text("print(1)\n")
    (root / "dataset" / "train.jsonl").write_text('{"input": "a"}\n')
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    return root


def build(folder: Path, name: str = "a.tar.zst") -> Archive:
    return build_archive(folder, PATHS, folder.parent / name)


def crafted(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write a gzip archive with exactly these members, as an attacker would."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, body in members:
            member.size = len(body) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(body))
    path = tmp_path / "crafted.tar.gz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def test_the_same_files_give_the_same_bytes_and_digest(folder: Path) -> None:
    first = build(folder, "first")
    (folder / "environment.py").touch()
    second = build(folder, "second")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.tree_digest == second.tree_digest


def test_what_was_packed_comes_out_again(folder: Path, tmp_path: Path) -> None:
    archive = build(folder)
    out = tmp_path / "out"
    unpack_archive(archive.path, out, ENVIRONMENT_LIMITS, expect_tree=archive.tree_digest)
    assert (out / "environment.py").read_text() == "print(1)\n"
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert build_archive(out, PATHS, tmp_path / "again").tree_digest == archive.tree_digest


def test_inspecting_keeps_only_what_was_asked_for(folder: Path) -> None:
    contents = inspect_archive(build(folder).path, ENVIRONMENT_LIMITS, ["environment.py", "none"])
    assert contents.kept == {"environment.py": b"print(1)\n"}
    assert {file.path for file in contents.files} == set(PATHS)


def test_another_tree_than_expected_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match="was expected"):
        unpack_archive(
            build(folder).path,
            tmp_path / "out",
            ENVIRONMENT_LIMITS,
            expect_tree="sha256:" + "0" * 64,
        )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_that_another_process_completed_is_kept(folder: Path, tmp_path: Path) -> None:
    archive = build(folder)
    unpack_archive(archive.path, tmp_path / "out", ENVIRONMENT_LIMITS)
    (tmp_path / "out" / "mark").touch()
    unpack_archive(archive.path, tmp_path / "out", ENVIRONMENT_LIMITS)
    assert (tmp_path / "out" / "mark").exists()


@pytest.mark.parametrize(
    "bad",
    [
        member("../escape"),
        member("/absolute"),
        member("a/../../b"),
        member("back\\slash"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "environment.py"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member(".git/config"),
        member("new\nline"),
    ],
    ids=lambda info: repr(info.name),
)
@pytest.mark.parametrize("read", ["inspect", "unpack"])
def test_a_member_that_is_no_plain_file_in_the_folder_is_refused(
    tmp_path: Path, bad: tarfile.TarInfo, read: str
) -> None:
    path = crafted(tmp_path, (member("environment.py"), b"x"), (bad, b"x"))
    readers: dict[str, Callable[[], object]] = {
        "inspect": lambda: inspect_archive(path, ENVIRONMENT_LIMITS),
        "unpack": lambda: unpack_archive(path, tmp_path / "out", ENVIRONMENT_LIMITS),
    }
    with pytest.raises(InvalidEnvironment):
        readers[read]()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "a/b"), ("a/b", "a")])
def test_paths_that_collide_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    path = crafted(tmp_path, *((member(name), b"1") for name in names))
    with pytest.raises(InvalidEnvironment):
        inspect_archive(path, ENVIRONMENT_LIMITS)
    with pytest.raises(InvalidEnvironment):
        unpack_archive(path, tmp_path / "out", ENVIRONMENT_LIMITS)


def test_a_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    limits = Limits(max_files=2, max_file_bytes=1000, max_tree_bytes=1000, max_archive_bytes=10**6)
    path = crafted(tmp_path, (member("zeros"), bytes(10**7)))
    assert path.stat().st_size < 20_000
    with pytest.raises(PayloadTooLarge):
        inspect_archive(path, limits)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    limits = Limits(max_files=2, max_file_bytes=1000, max_tree_bytes=1000, max_archive_bytes=10**6)
    path = crafted(tmp_path, *((member(f"f{number}"), b"") for number in range(3)))
    with pytest.raises(PayloadTooLarge):
        inspect_archive(path, limits)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x1f\x8bbroken", b"\x28\xb5\x2f\xfdbroken"]
)
def test_bytes_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk"
    path.write_bytes(content)
    with pytest.raises(InvalidEnvironment):
        inspect_archive(path, ENVIRONMENT_LIMITS)


def test_a_truncated_archive_is_refused(folder: Path) -> None:
    archive = build(folder)
    archive.path.write_bytes(archive.path.read_bytes()[:-20])
    with pytest.raises(InvalidEnvironment):
        inspect_archive(archive.path, ENVIRONMENT_LIMITS)


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """Return the raw block of a member that claims `size` bytes."""
    info = member(name, kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


PAX_SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.realsize=5\n21 GNU.sparse.name=x\n"
NESTED = (header(tarfile.XHDTYPE, 8) + padded(b"8 a=bcd\n")) * 3000


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (header(tarfile.GNUTYPE_LONGNAME, 10**6) + padded(b"a" * 10**6), "1000000 bytes"),
        (header(tarfile.XHDTYPE, 10**6) + padded(b"a" * 10**6), "1000000 bytes"),
        (header(tarfile.GNUTYPE_SPARSE, 512) + bytes(512), "not a plain file"),
        (
            header(tarfile.XHDTYPE, len(PAX_SPARSE))
            + padded(PAX_SPARSE)
            + header(tarfile.REGTYPE, 1024)
            + padded(b"9\n" * 500),
            "not a plain file",
        ),
        (NESTED, "describes another"),
        (header(tarfile.REGTYPE, 5000) + bytes(100), "damaged"),
    ],
    ids=["long name", "pax header", "sparse", "sparse in pax", "nested headers", "short"],
)
def test_headers_that_would_cost_the_reader_dearly_are_refused(
    tmp_path: Path, raw: bytes, words: str
) -> None:
    path = tmp_path / "crafted.tar.gz"
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(InvalidEnvironment, match=words):
        inspect_archive(path, ENVIRONMENT_LIMITS)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_an_archive_cut_in_the_middle_of_a_file_is_damaged(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    whole = pack(header(tarfile.REGTYPE, 200_000) + padded(os.urandom(200_000)) + bytes(1024))
    path = tmp_path / "cut"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidEnvironment, match="damaged"):
        inspect_archive(path, ENVIRONMENT_LIMITS)
    with pytest.raises(InvalidEnvironment, match="damaged"):
        unpack_archive(path, tmp_path / "out", ENVIRONMENT_LIMITS)
