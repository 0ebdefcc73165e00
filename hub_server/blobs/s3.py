"""Blobs as objects in a bucket of any S3-compatible store.

The store is not trusted: what was uploaded is read back and hashed before it counts as stored,
because stores were seen that accept a wrong checksum, and because a proxy may cut a body short.
"""

import hashlib
import io
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from typing_extensions import Buffer

from freesolo.errors import StorageUnavailable
from hub_server.blobs.disk import clear_abandoned
from hub_server.blobs.store import BlobEntry, Part, StorageKey, not_stored
from hub_server.settings import HubSettings

# Seconds: to connect, and between two pieces of an answer. A request that waits longer is waited
# for by nobody, but still holds a thread.
_CONNECT_SECONDS = 3
_READ_SECONDS = 10
_ATTEMPTS = 3
# As many as there are threads that answer requests.
_CONNECTIONS = 40
_RETRY_SECONDS = 5.0
# Long enough to begin a download; whoever is handed the address may pass it on.
_LINK_SECONDS = 120
# From this size on, an object is sent in several requests.
_MULTIPART_BYTES = 32 << 20
_MULTIPART = TransferConfig(
    multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=16 << 20, max_concurrency=4
)
# How far a reader looks ahead, and in how large pieces whole blobs are read.
_AHEAD = 1 << 20
_BLOCK = 8 << 20

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
# Somebody else has stored the object, or is doing it now.
_TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})

logger = logging.getLogger(__name__)


def connect(settings: HubSettings, *, read_seconds: float = _READ_SECONDS) -> BaseClient:
    """Return a client of the settings' store. Without a key it looks where AWS's tools do."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key and settings.s3_secret_key.get_secret_value(),
        config=Config(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            # Stores other than AWS's rarely answer to `bucket.host`.
            s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
        ),
    )


class S3BlobStore:
    """A bucket with an object for each blob.

    With `redirect`, clients download from the store itself, by an address that expires.
    """

    def __init__(
        self, client: BaseClient, bucket: str, *, staging: Path, redirect: bool = True
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._staging = staging
        self._redirect = redirect

    @property
    def staging(self) -> Path:
        """A folder of this machine, through which everything passes on its way in."""
        return self._staging

    def prepare(self) -> None:
        """Make the local folder. The store itself may be away; `check` tells."""
        clear_abandoned(self._staging)

    def check(self) -> None:
        """Write an object and remove it again."""
        with _answering():
            self._probe()

    def put(self, digest: str, file: Path) -> None:
        """Upload `file` unless its bytes are there already; either way, read them back."""
        with _answering():
            self._store(StorageKey.blob(digest), digest, file)
        file.unlink()

    def size(self, digest: str) -> int:
        """Ask for the object's size."""
        with _answering(digest):
            head = self._client.head_object(Bucket=self._bucket, Key=StorageKey.blob(digest).path)
        return int(head["ContentLength"])

    def open(self, digest: str) -> BinaryIO:
        """Read the object piece by piece, from wherever the reader is."""
        return self._reader(StorageKey.blob(digest), self.size(digest))

    def local_path(self, digest: str) -> Path | None:
        """Return None: objects are no files."""
        return None

    def link(self, digest: str, *, filename: str | None) -> str | None:
        """Sign an address of the object; None where the hub is to hand the bytes out itself."""
        if not self._redirect:
            return None
        key = StorageKey.blob(digest)
        described = {
            "ResponseContentType": key.content_type,
            "ResponseCacheControl": key.cache_control,
        }
        if filename is not None:
            described["ResponseContentDisposition"] = f'attachment; filename="{filename}"'
        return str(
            self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": key.path, **described},
                ExpiresIn=_LINK_SECONDS,
            )
        )

    def delete(self, digest: str) -> None:
        """Remove the object."""
        with _answering():
            self._delete(StorageKey.blob(digest).path)

    def blobs(self) -> Iterator[BlobEntry]:
        """List the objects of all blobs."""
        with _answering():
            for path, size, modified in self._objects("sha256/"):
                yield BlobEntry(f"sha256:{path.rpartition('/')[2]}", size, modified)

    def put_part(self, upload_id: str, offset: int, file: Path, *, digest: str) -> None:
        """Upload `file` to the upload's other pieces."""
        part = Part(offset, file.stat().st_size)
        with _answering():
            self._store(StorageKey.part(upload_id, part), digest, file)
        file.unlink()

    def parts(self, upload_id: str) -> list[Part]:
        """List the upload's pieces, but for those that the store cut short."""
        with _answering():
            found = [
                (Part.parse(path.rpartition("/")[2]), size)
                for path, size, _ in self._objects(f"parts/{upload_id}/")
            ]
        return sorted(part for part, size in found if part.size == size)

    def open_part(self, upload_id: str, part: Part) -> BinaryIO:
        """Read the piece's object."""
        return self._reader(StorageKey.part(upload_id, part), part.size)

    def delete_parts(self, upload_id: str) -> None:
        """Remove the objects of all pieces."""
        with _answering():
            for path, _, _ in self._objects(f"parts/{upload_id}/"):
                self._delete(path)

    def uploads(self) -> set[str]:
        """Return the first component of every piece's place."""
        with _answering():
            return {path.split("/")[1] for path, _, _ in self._objects("parts/")}

    def _store(self, key: StorageKey, digest: str, file: Path) -> None:
        size = file.stat().st_size
        found = self._find_size(key)
        if found == size and self._digest(key, size) == digest:
            return
        # What is there but wrong was never acknowledged; it may be replaced, but never removed:
        # perhaps only the answer was wrong.
        self._send(key, file, size=size, replace=found is not None)
        if self._find_size(key) != size or self._digest(key, size) != digest:
            raise StorageUnavailable(
                f"The hub's object store did not keep {digest} as it was sent.",
                hint="Nothing was recorded; try again.",
                retry_after=_RETRY_SECONDS,
            )

    def _find_size(self, key: StorageKey) -> int | None:
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key.path)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
        return int(head["ContentLength"])

    def _digest(self, key: StorageKey, size: int) -> str:
        """Read the whole object back."""
        found = hashlib.sha256()
        for start in range(0, size, _BLOCK):
            found.update(self._read(key, start, min(start + _BLOCK, size)))
        return f"sha256:{found.hexdigest()}"

    def _send(self, key: StorageKey, file: Path, *, size: int, replace: bool) -> None:
        described = {"ContentType": key.content_type, "CacheControl": key.cache_control}
        with file.open("rb") as body:
            if size >= _MULTIPART_BYTES:
                # No condition: stores were seen that ignore it on the last call of several.
                self._client.upload_fileobj(
                    body, self._bucket, key.path, ExtraArgs=described, Config=_MULTIPART
                )
                return
            if not replace and self._honours_conditions:
                described["IfNoneMatch"] = "*"
            try:
                self._client.put_object(Bucket=self._bucket, Key=key.path, Body=body, **described)
            except ClientError as error:
                if _code(error) not in _TAKEN:
                    raise

    @cached_property
    def _honours_conditions(self) -> bool:
        """Whether the store refuses to write over an object when it is asked to. Some ignore it."""
        return self._probe()

    def _probe(self) -> bool:
        """Write an object twice, the second time only if it is not there; say if that was refused."""
        place = {"Bucket": self._bucket, "Key": f"probe/{uuid.uuid4().hex}"}
        self._client.put_object(**place, Body=b"")
        try:
            self._client.put_object(**place, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            return _code(error) in _TAKEN
        finally:
            self._client.delete_object(**place)
        return False

    def _reader(self, key: StorageKey, size: int) -> BinaryIO:
        def read(start: int, end: int) -> bytes:
            with _answering(key.path):
                return self._read(key, start, end)

        return io.BufferedReader(_Remote(read, size), _AHEAD)

    def _read(self, key: StorageKey, start: int, end: int) -> bytes:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=key.path, Range=f"bytes={start}-{end - 1}"
        )
        with answer["Body"] as body:
            piece: bytes = body.read()
        if len(piece) != end - start:
            raise StorageUnavailable(
                f"The hub's object store returned {len(piece)} bytes instead of {end - start}.",
                retry_after=_RETRY_SECONDS,
            )
        return piece

    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in pages:
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["Size"], entry["LastModified"]

    def _delete(self, path: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=path)


class _Remote(io.RawIOBase):
    """A file of `size` bytes, each piece of which is fetched when it is read."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readall(self) -> bytes:
        # In one piece: the inherited way asks for a few kilobytes at a time.
        rest = self._fetch(self._position, self._size) if self._position < self._size else b""
        self._position += len(rest)
        return rest

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        end = min(self._position + len(target), self._size)
        count = end - self._position
        if count <= 0:
            return 0
        target[:count] = self._fetch(self._position, end)
        self._position = end
        return count


@contextmanager
def _answering(name: str | None = None) -> Iterator[None]:
    """Tell what boto raises as ours: `BlobNotFound` for what is named, else `StorageUnavailable`."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPClientError) as error:
        if name is not None and isinstance(error, ClientError) and _code(error) in _ABSENT:
            raise not_stored(name) from None
        logger.warning("object store failed", extra={"reason": str(error)})
        raise StorageUnavailable(
            "The hub's object store does not answer as it should.",
            hint="Nothing was lost; try again.",
            retry_after=_RETRY_SECONDS,
        ) from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
