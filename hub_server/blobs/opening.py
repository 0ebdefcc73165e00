"""Which store a hub keeps its bytes in."""

from hub_server.blobs.disk import FileBlobStore
from hub_server.blobs.s3 import S3BlobStore, connect
from hub_server.blobs.store import BlobStore
from hub_server.settings import HubSettings


def open_blobs(settings: HubSettings) -> BlobStore:
    """Return the store that the settings name; nothing is opened or written before it is used."""
    folder = settings.data_dir / "blobs"
    if settings.s3_bucket is None:
        return FileBlobStore(folder)
    return S3BlobStore(
        connect(settings),
        settings.s3_bucket,
        staging=folder / "staging",
        redirect=settings.s3_redirect,
    )
