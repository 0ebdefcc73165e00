"""An environment's version as a wheel: what `pip` and `uv` install, and single files are read from.

The wheel holds the published tree, byte by byte, under `<module>/files/`, and a generated module
that loads it. It is made from the archive without unpacking that, and without running anything.
"""

import base64
import csv
import hashlib
import io
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.metadata import Metadata, RawMetadata

from freesolo.domain.distributions import Distribution
from freesolo.domain.manifest import Manifest
from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.refs import EnvRef, SelectorKind
from freesolo.package.archive import archive_members, file_digest

README_NAME = "README.md"
# What of a README is kept as a description. Longer ones are cut.
MAX_README_BYTES = 256 * 1024

_CHUNK = 1 << 20
_METADATA_VERSION = "2.4"
_MODULE = '''"""The environment {ref} {version}, as it was published."""

from pathlib import Path

FOLDER = Path(__file__).parent / "files"


def load_environment(**params):
    """Load the environment in this interpreter, with the parameters that it takes."""
    from freesolo.environments.loading import build_environment

    return build_environment(str(FOLDER / "environment.py"), params)
'''
_WHEEL = """Wheel-Version: 1.0
Generator: freesolo
Root-Is-Purelib: true
Tag: py3-none-any
"""


@dataclass(frozen=True)
class Wheel:
    """A wheel on disk. `digest` is `sha256:<hex>`, `size` is in bytes, `metadata` its METADATA."""

    distribution: Distribution
    filename: str
    digest: str
    size: int
    metadata: bytes

    @property
    def metadata_digest(self) -> str:
        """`sha256:<hex>` of the METADATA."""
        return f"sha256:{hashlib.sha256(self.metadata).hexdigest()}"


def build_wheel(
    archive: Path, destination: Path, *, org: str, name: str, manifest: Manifest
) -> Wheel:
    """Write the wheel of the version that `archive` holds to the file `destination`.

    The same archive gives the same bytes with the same zlib. Raise as `inspect_archive` does.
    """
    distribution = Distribution.of(org, name)
    folder = f"{distribution.module}-{manifest.version}.dist-info"
    with ZipFile(destination, "w", ZIP_DEFLATED) as file:
        wheel = _Writer(file)
        module = _MODULE.format(ref=f"{org}/{name}", version=manifest.version)
        wheel.add(f"{distribution.module}/__init__.py", [module.encode()])
        readme = _add_tree(wheel, f"{distribution.module}/files", archive)
        metadata = wheel_metadata(distribution, manifest, readme)
        wheel.add(f"{folder}/METADATA", [metadata])
        wheel.add(f"{folder}/WHEEL", [_WHEEL.encode()])
        wheel.add_record(f"{folder}/RECORD")
    return Wheel(
        distribution=distribution,
        filename=distribution.wheel(manifest.version),
        digest=file_digest(destination),
        size=destination.stat().st_size,
        metadata=metadata,
    )


def wheel_metadata(distribution: Distribution, manifest: Manifest, readme: str) -> bytes:
    """Return the METADATA of a version: what an installer must know, and what a reader sees."""
    metadata: RawMetadata = {
        "metadata_version": _METADATA_VERSION,
        "name": str(distribution),
        "version": manifest.version,
        "requires_python": manifest.requires_python,
        "requires_dist": [*manifest.dependencies, *map(_requirement, manifest.environments)],
        "description_content_type": "text/markdown; charset=UTF-8",
        **_license(_one_line(manifest.license)),
    }
    if summary := _one_line(manifest.summary):
        metadata["summary"] = summary
    if manifest.tags:
        metadata["keywords"] = [_one_line(tag.replace(",", " ")) for tag in manifest.tags]
    headers = Metadata.from_raw(metadata).as_rfc822().items()
    # In the spelling of the specification; the library writes all names in lower case.
    lines = [f"{name.title()}: {value}\n" for name, value in headers]
    return "".join([*lines, "\n", readme]).encode()


@contextmanager
def open_wheel_file(wheel: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    """Open the file `path` of the published tree inside a wheel, reading no other file's bytes.

    Raise `KeyError` if the tree has no such file.
    """
    with ZipFile(wheel) as file, file.open(_tree_root(file) + path) as body:
        yield body


def wheel_files(wheel: IO[bytes], *, under: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the path and the bytes of each file of the published tree whose path begins so."""
    with ZipFile(wheel) as file:
        root = _tree_root(file)
        for name in file.namelist():
            if name.startswith(root + under):
                with file.open(name) as body:
                    yield name.removeprefix(root), body


def read_readme(wheel: IO[bytes]) -> str:
    """Return the beginning of the README inside a wheel; it is empty if there is none."""
    try:
        with open_wheel_file(wheel, README_NAME) as body:
            return _text(body.read(MAX_README_BYTES))
    except KeyError:
        return ""


def _tree_root(wheel: ZipFile) -> str:
    """Return where the published tree begins: in the module, which is what a wheel begins with."""
    return f"{wheel.namelist()[0].partition('/')[0]}/files/"


def _requirement(environment: str) -> str:
    """Write an environment that this one builds on as a requirement of its distribution."""
    ref = EnvRef.parse(environment)
    exact = "==" if ref.selector.kind is SelectorKind.EXACT else ""
    return f"{Distribution.of(ref.org, ref.name)}{exact}{ref.selector.text}"


def _license(text: str) -> RawMetadata:
    if not text:
        return {}
    try:
        return {"license_expression": canonicalize_license_expression(text)}
    except InvalidLicenseExpression:
        return {"license": text}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _add_tree(wheel: "_Writer", root: str, archive: Path) -> str:
    """Copy the archive's files below `root` and return the text of the README, empty without one."""
    readme = b""
    with archive_members(archive, ENVIRONMENT_LIMITS) as members:
        for member, body in members:
            head = body.read(MAX_README_BYTES) if member.name == README_NAME else b""
            executable = bool(member.mode & stat.S_IXUSR)
            wheel.add(f"{root}/{member.name}", chain([head], _chunks(body)), executable=executable)
            readme = readme or head
    return _text(readme)


def _text(readme: bytes) -> str:
    # NUL is a character to Python, but to no database.
    return readme.decode(errors="replace").replace("\0", "\ufffd")


def _chunks(body: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(body.read, _CHUNK), b"")


class _Writer:
    """A wheel that is being written: files with nothing but bytes, and the list of them."""

    def __init__(self, file: ZipFile) -> None:
        self._file = file
        self._record: list[tuple[str, str, int | str]] = []

    def add(self, name: str, content: Iterable[bytes], *, executable: bool = False) -> None:
        """Add a file."""
        digest = hashlib.sha256()
        size = 0
        with self._file.open(_entry(name, executable=executable), "w") as out:
            for chunk in content:
                digest.update(chunk)
                size += len(chunk)
                out.write(chunk)
        hashed = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        self._record.append((name, f"sha256={hashed}", size))

    def add_record(self, name: str) -> None:
        """Add the list of all files, which cannot hold its own digest."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*self._record, (name, "", "")])
        self._file.writestr(_entry(name), text.getvalue())


def _entry(name: str, *, executable: bool = False) -> ZipInfo:
    entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix, whatever this machine is: the mode below is its
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return entry
