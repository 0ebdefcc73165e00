"""Bytes by digest: written once, never changed, found again by what they are."""

from hub_server.blobs.disk import FileBlobStore
from hub_server.blobs.opening import open_blobs
from hub_server.blobs.s3 import S3BlobStore
from hub_server.blobs.store import BlobEntry, BlobStore, Part

__all__ = ["BlobEntry", "BlobStore", "FileBlobStore", "Part", "S3BlobStore", "open_blobs"]
