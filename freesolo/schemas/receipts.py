"""Receipts: what the hub signs when it has published a version."""

from datetime import datetime

from pydantic import JsonValue

from freesolo.schemas.base import Digest, Wire


class ReceiptPayload(Wire):
    """What a receipt says. `feed_hash` is the feed's hash at the change `serial` that announced it."""

    type: str
    ref: str
    version: str
    tree_digest: Digest
    archive_digest: Digest
    size: int
    published_at: datetime
    serial: int
    feed_hash: str
    key_id: str


class Receipt(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/versions/{version}/receipt`.

    `signature` is the Base64 of an Ed25519 signature over `payload`, a `ReceiptPayload`, as
    canonical JSON; `payload` is kept as it came, for every byte of it is signed.
    """

    payload: dict[str, JsonValue]
    key_id: str
    signature: str


class SigningKey(Wire):
    """A public key in PEM. The first of the list signs now; the others did before it."""

    key_id: str
    algorithm: str = "ed25519"
    public_key: str


class SigningKeyList(Wire):
    """The answer of `GET /v1/signing-keys`."""

    keys: list[SigningKey]
