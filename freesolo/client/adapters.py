"""Adapters of runs, brought to this machine: downloaded, verified, unpacked."""

from collections.abc import Callable
from pathlib import Path

from freesolo.client.hub import HubClient
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.errors import InvalidAdapter
from freesolo.package.archive import file_digest, unpack_archive
from freesolo.schemas.adapters import SavedAdapter


def fetch_adapter(
    hub: HubClient,
    adapter: SavedAdapter,
    folder: Path,
    *,
    scratch: Path,
    received: Callable[[int], None],
) -> None:
    """Write an adapter's files to the new folder `folder`, by way of an archive in `scratch`.

    Raise `InvalidAdapter` if what the hub sends is not this adapter, and `InvalidEnvironment` if the
    archive does not hold what it should.
    """
    archive = scratch / "adapter.tar.zst"
    hub.download_adapter(adapter.revision, archive, received=received)
    if (found := file_digest(archive)) != adapter.archive_digest:
        raise InvalidAdapter(
            f"The hub sent {found} instead of {adapter.archive_digest}.",
            hint="The download is damaged; try again.",
        )
    unpack_archive(archive, folder, ARTIFACT_LIMITS, expect_tree=adapter.tree_digest)
    archive.unlink()
