"""An archive as it arrives: read once, checked, and described, before anything is recorded."""

from dataclasses import dataclass
from pathlib import Path

from freesolo.domain.manifest import MANIFEST_NAME, Manifest, parse_manifest
from freesolo.domain.packaging import ENVIRONMENT_LIMITS
from freesolo.domain.refs import EnvRef, normalized_name
from freesolo.domain.tree import TreeFile
from freesolo.domain.turns import turn_type
from freesolo.errors import InvalidEnvironment, InvalidManifest
from freesolo.package.archive import inspect_archive
from freesolo.package.secrets import refuse_secrets

_ENTRY_POINT = "environment.py"
# A longer manifest would cost more to read than the archive around it.
_MAX_MANIFEST = 256 << 10


@dataclass(frozen=True)
class Package:
    """An archive that was found good for publishing. Sizes are in bytes."""

    manifest: Manifest
    turn_type: str
    files: tuple[TreeFile, ...]
    tree_digest: str
    archive_digest: str
    size: int

    @property
    def unpacked_size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def inspect_package(archive: Path, archive_digest: str, ref: EnvRef, version: str) -> Package:
    """Read an archive and check it against the name and the version it is to be published under.

    Raise `InvalidEnvironment`, `InvalidManifest` or `PayloadTooLarge` for what cannot be published.
    """
    contents = inspect_archive(
        archive, ENVIRONMENT_LIMITS, keep=[MANIFEST_NAME, _ENTRY_POINT], scan=True
    )
    refuse_secrets(contents.secrets)
    if all(file.path != _ENTRY_POINT for file in contents.files):
        raise InvalidEnvironment(f"The archive has no {_ENTRY_POINT} at its root.")
    manifest = Manifest(name=ref.name, version=version)
    if raw := contents.kept.get(MANIFEST_NAME):
        manifest = _read_manifest(raw)
        _check_agreement(manifest, ref.name, version)
    return Package(
        manifest=manifest,
        turn_type=turn_type(contents.kept[_ENTRY_POINT].decode(errors="replace")),
        files=contents.files,
        tree_digest=contents.tree_digest,
        archive_digest=archive_digest,
        size=archive.stat().st_size,
    )


def _read_manifest(raw: bytes) -> Manifest:
    if len(raw) > _MAX_MANIFEST:
        raise InvalidManifest(f"{MANIFEST_NAME} has more than {_MAX_MANIFEST} bytes.")
    try:
        return parse_manifest(raw.decode())
    except UnicodeDecodeError:
        raise InvalidManifest(f"{MANIFEST_NAME} is not UTF-8 text.") from None


def _check_agreement(manifest: Manifest, name: str, version: str) -> None:
    for what, written, asked in (
        ("name", normalized_name(manifest.name), normalized_name(name)),
        ("version", manifest.version, version),
    ):
        if written != asked:
            raise InvalidManifest(
                f"{MANIFEST_NAME} says {what} {written!r}, but it is published as {asked!r}.",
                hint=f"Change `{what}` in {MANIFEST_NAME}, or publish under what it says.",
            )
