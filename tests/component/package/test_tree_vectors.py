"""The published test vectors of the tree digest, against Freesolo and against standard tools."""

import base64
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import TypedDict

import pytest

from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.tree import TreeFile, tree_digest
from freesolo.package.archive import build_archive, inspect_archive

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


class VectorFile(TypedDict):
    path: str
    base64: str
    executable: bool


class Vector(TypedDict):
    name: str
    files: list[VectorFile]
    listing: str
    digest: str


VECTORS: list[Vector] = json.loads((REFERENCE / "tree-digest.json").read_text())["vectors"]
PAGE = (REFERENCE / "tree-digest.md").read_text()

every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def content(file: VectorFile) -> bytes:
    return base64.b64decode(file["base64"])


def written(vector: Vector, folder: Path) -> Path:
    folder.mkdir()
    for file in vector["files"]:
        path = folder / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(file))
        path.chmod(0o755 if file["executable"] else 0o644)
    return folder


@every_vector
def test_the_digest_is_that_of_the_listing(vector: Vector) -> None:
    assert f"sha256:{hashlib.sha256(vector['listing'].encode()).hexdigest()}" == vector["digest"]


@every_vector
def test_freesolo_gives_the_digest(vector: Vector) -> None:
    files = [
        TreeFile(
            path=file["path"],
            size=len(content(file)),
            sha256=hashlib.sha256(content(file)).hexdigest(),
            executable=file["executable"],
        )
        for file in vector["files"]
    ]
    assert tree_digest(files) == vector["digest"]


@every_vector
def test_an_archive_of_the_files_has_the_digest(tmp_path: Path, vector: Vector) -> None:
    folder = written(vector, tmp_path / "tree")
    paths = [file["path"] for file in vector["files"]]
    archive = build_archive(folder, paths, tmp_path / "archive")
    inspected = inspect_archive(archive.path, ENVIRONMENT_LIMITS)
    assert archive.tree_digest == inspected.tree_digest == vector["digest"]


@every_vector
def test_the_commands_of_the_page_give_the_digest(tmp_path: Path, vector: Vector) -> None:
    commands = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    printed = subprocess.run(
        ["sh", "-c", *commands],
        cwd=written(vector, tmp_path / "tree"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"sha256:{printed.strip()}" == vector["digest"]


@every_vector
def test_the_page_shows_the_digest(vector: Vector) -> None:
    assert f"| {vector['name']} | `{vector['digest']}` |" in PAGE
