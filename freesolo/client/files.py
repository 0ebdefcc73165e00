"""One file of a published version, verified without fetching the rest."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from freesolo.client.hub import HubClient
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.tree import TreeFile, tree_digest
from freesolo.errors import InvalidEnvironment, NotFound
from freesolo.package.archive import file_digest
from freesolo.schemas.environments import ResolvedVersion

_SHOWN_FILES = 8


def download_file(hub: HubClient, version: ResolvedVersion, path: str, target: Path) -> None:
    """Write the file `path` of a version to `target`, which appears whole or not at all.

    The hub's list of files is believed only if it has the version's tree digest, and the file only
    if it is as the list says. Raise `NotFound` with the nearest name if there is no such file, and
    `InvalidEnvironment` if what the hub sends is not this version.
    """
    file = _listed(hub, version, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as aside:
        received = Path(aside) / "file"
        hub.download_file(version, path, received)
        if (found := file_digest(received)) != f"sha256:{file.sha256}":
            raise InvalidEnvironment(
                f"The hub sent {found} as {path!r} instead of sha256:{file.sha256}.",
                hint="The download is damaged; try again.",
            )
        received.chmod(0o755 if file.executable else 0o644)
        received.replace(target)


def no_such_file(version: ResolvedVersion, path: str, known: Iterable[str]) -> NotFound:
    """Return the error for a path that is none of a version's files, with the nearest that is."""
    files = sorted(known)
    listed = ", ".join([*files[:_SHOWN_FILES], *(["..."] if len(files) > _SHOWN_FILES else [])])
    return NotFound(
        f"{version.ref} {version.version} has no file {path!r}.",
        hint=did_you_mean(path, files) or f"It has: {listed}.",
    )


def _listed(hub: HubClient, version: ResolvedVersion, path: str) -> TreeFile:
    files = {
        file.path: TreeFile(file.path, file.size, file.sha256, file.executable)
        for file in hub.files(version)
    }
    if (found := tree_digest(files.values())) != version.tree_digest:
        raise InvalidEnvironment(
            f"The hub lists the files of {found} instead of {version.tree_digest}.",
            hint="Is it the hub that the version was locked from?",
        )
    if path not in files:
        raise no_such_file(version, path, files)
    return files[path]
