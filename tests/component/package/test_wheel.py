"""Wheels: installed by stock tools, the same every time, and true to the published tree."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.metadata import Metadata, parse_email
from uv import find_uv_bin

from freesolo.domain.distributions import Distribution
from freesolo.domain.manifest import Manifest
from freesolo.package.archive import Archive
from freesolo.package.wheel import (
    MAX_README_BYTES,
    Wheel,
    build_wheel,
    open_wheel_file,
    read_readme,
    wheel_files,
    wheel_metadata,
)
from tests.environment_folders import SOUND
from tests.factories import make_environment, pack_folder

DISTRIBUTION = Distribution.of("acme", "math")
# Strange but allowed: quotes and commas are what a RECORD must escape.
STRANGE = 'dataset/a, "b" ü.jsonl'


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    folder = make_environment(tmp_path / "math", name="math", version="1.2.0", source=SOUND)
    (folder / "README.md").write_text("# Maths\n\nFür alle.\n")
    (folder / "dataset").mkdir()
    (folder / STRANGE).write_text('{"input": "1"}\n')
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return pack_folder(folder)


def manifest(**fields: object) -> Manifest:
    return Manifest.model_validate({"name": "math", "version": "1.2.0", **fields})


def build(archive: Archive, name: str = DISTRIBUTION.wheel("1.2.0")) -> tuple[Path, Wheel]:
    path = archive.path.with_name(name)
    return path, build_wheel(archive.path, path, org="acme", name="math", manifest=manifest())


def headers(**fields: object) -> dict[str, object]:
    metadata, unparsed = parse_email(wheel_metadata(DISTRIBUTION, manifest(**fields), "text"))
    assert not unparsed
    return dict(metadata)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_stock_installer_installs_it_and_its_module_loads(
    archive: Archive, tmp_path: Path, installer: str
) -> None:
    path, _ = build(archive)
    target = tmp_path / "installed"
    if installer == "uv":
        run(find_uv_bin(), "pip", "install", "--no-deps", "--offline", "--target", target, path)
    else:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--no-deps", "--no-index", "--target", target, path)
    # The contract itself is what the reader's interpreter has; ours stands in for it.
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import fsenv_acme_math as math\n"
        "print(type(math.load_environment()).__name__, (math.FOLDER / 'README.md').is_file())"
    )
    assert run(sys.executable, "-c", code) == "Sums True\n"
    assert (target / "fsenv_acme_math" / "files" / "run.sh").stat().st_mode & 0o100


def test_the_same_archive_gives_the_same_bytes(archive: Archive) -> None:
    first, described = build(archive, "first")
    second, again = build(archive, "second")
    assert first.read_bytes() == second.read_bytes()
    assert described == again
    assert described.digest == f"sha256:{hashlib.sha256(first.read_bytes()).hexdigest()}"
    assert described.size == first.stat().st_size
    assert (described.distribution, described.filename) == (
        DISTRIBUTION,
        DISTRIBUTION.wheel("1.2.0"),
    )


def test_its_record_lists_every_file_with_its_digest(archive: Archive) -> None:
    path, _ = build(archive)
    record = "fsenv_acme_math-1.2.0.dist-info/RECORD"
    with ZipFile(path) as wheel:
        rows = list(csv.reader(io.StringIO(wheel.read(record).decode())))
        assert [row[0] for row in rows] == wheel.namelist()
        assert rows.pop() == [record, "", ""]
        for name, digest, size in rows:
            content = wheel.read(name)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            assert (digest, int(size)) == (f"sha256={hashed.decode()}", len(content))


def test_it_holds_the_published_tree_byte_by_byte(archive: Archive) -> None:
    path, _ = build(archive)
    for file in archive.files:
        with path.open("rb") as wheel, open_wheel_file(wheel, file.path) as body:
            assert hashlib.sha256(body.read()).hexdigest() == file.sha256
    with path.open("rb") as wheel, pytest.raises(KeyError), open_wheel_file(wheel, "../METADATA"):
        pass


def test_a_part_of_the_tree_is_read_without_the_rest(archive: Archive) -> None:
    path, _ = build(archive)
    with path.open("rb") as wheel:
        found = {name: body.read() for name, body in wheel_files(wheel, under="dataset/")}
    assert found == {STRANGE: b'{"input": "1"}\n'}


def test_its_readme_is_text_that_a_database_can_keep(tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "odd", name="math", version="1.2.0")
    path, wheel = build(pack_folder(folder))
    with path.open("rb") as file:
        assert read_readme(file) == ""
    (folder / "README.md").write_bytes(b"a\0\xffb")
    path, wheel = build(pack_folder(folder))
    with path.open("rb") as file:
        assert read_readme(file) == "a\ufffd\ufffdb"
    assert b"\0" not in wheel.metadata


def test_its_metadata_says_what_installers_and_readers_want_to_know(archive: Archive) -> None:
    path, wheel = build(archive)
    with ZipFile(path) as file:
        assert file.read("fsenv_acme_math-1.2.0.dist-info/METADATA") == wheel.metadata
    Metadata.from_email(wheel.metadata)  # raises for what no index would take
    metadata, unparsed = parse_email(wheel.metadata)
    assert not unparsed
    assert (metadata["name"], metadata["version"]) == ("fsenv-acme-math", "1.2.0")
    assert metadata["requires_python"] == ">=3.11"
    assert metadata["description"] == "# Maths\n\nFür alle.\n"


def test_dependencies_and_the_environments_below_become_requirements() -> None:
    assert headers(
        dependencies=["rapidfuzz>=3"],
        environments=["acme/tools>=1,<2", "My-Lab/Judge==1.0", "acme/Base_1", "acme/x@2.0"],
    )["requires_dist"] == [
        "rapidfuzz>=3",
        "fsenv-acme-tools<2,>=1",
        "fsenv2-my-lab-judge==1.0",
        "fsenv-acme-base-1",
        "fsenv-acme-x==2.0",
    ]


def test_summary_licence_and_tags_are_told() -> None:
    described = headers(summary="Add.", license="mit", tags=["arithmetic", "short answers"])
    assert described["summary"] == "Add."
    assert described["license_expression"] == "MIT"
    assert described["keywords"] == ["arithmetic", "short answers"]


def test_a_licence_that_is_no_expression_is_told_in_its_own_words() -> None:
    assert headers(license="ask me")["license"] == "ask me"


@pytest.mark.parametrize("field", ["summary", "license"])
def test_no_field_can_add_a_header(field: str) -> None:
    # Of what ends a line somewhere, the manifest refuses all but these two.
    described = headers(**{field: "fine\u2028Requires-Dist: evil\u2029\u2029body"})
    assert described[field] == "fine Requires-Dist: evil body"
    assert "requires_dist" not in described
    assert described["description"] == "text"


def test_a_tag_cannot_add_a_header_or_another_tag() -> None:
    described = headers(tags=["a,b", "c\u2028Requires-Dist: evil"])
    assert described["keywords"] == ["a b", "c Requires-Dist: evil"]
    assert "requires_dist" not in described


def test_only_the_beginning_of_a_long_readme_is_its_description(tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "long", name="math", version="1.2.0")
    (folder / "README.md").write_bytes(b"x" * (MAX_README_BYTES + 1) + b"\xff")
    path, wheel = build(pack_folder(folder))
    assert len(parse_email(wheel.metadata)[0]["description"]) == MAX_README_BYTES
    with path.open("rb") as file, open_wheel_file(file, "README.md") as body:
        assert len(body.read()) == MAX_README_BYTES + 2
