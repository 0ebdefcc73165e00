"""Receipts: what a hub signs when it has published a version, and how to check it.

The signature is Ed25519 over the payload as canonical JSON. The payload names its own type, so that
no signature can be passed off as one of something else, and the feed's hash after the publish, so
that a hub cannot later deny any of what came before.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import JsonValue

from freesolo.domain.canonical import canonical_json
from freesolo.errors import InvalidInput, InvalidReceipt

RECEIPT_TYPE = "freesolo-receipt 1"
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True)
class SignedPayload:
    """A receipt as it was given out. `signature` is Base64."""

    payload: Mapping[str, JsonValue]
    key_id: str
    signature: str


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def pem_blocks(text: str) -> list[str]:
    """Return the PEM blocks in a text, one for each key."""
    return [match[0] for match in _PEM_BLOCK.finditer(text)]


def read_public_keys(text: str, *, source: str) -> list[Ed25519PublicKey]:
    """Return the public keys in a PEM file. Raise `InvalidInput`, naming `source`, if it has none."""
    try:
        keys = [load_pem_public_key(block.encode()) for block in pem_blocks(text)]
    except (ValueError, UnsupportedAlgorithm):
        keys = []
    if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise InvalidInput(
            f"{source} holds no Ed25519 public key in PEM.",
            hint="`GET /v1/signing-keys` of the hub shows its keys in this form.",
        )
    return [key for key in keys if isinstance(key, Ed25519PublicKey)]


def verify_receipt(receipt: SignedPayload, keys: Iterable[Ed25519PublicKey]) -> None:
    """Raise `InvalidReceipt` unless one of `keys` signed this receipt."""
    key = {key_id(each): each for each in keys}.get(receipt.key_id)
    if key is None:
        raise InvalidReceipt(
            f"The receipt is signed by the key {receipt.key_id}, which is not among those trusted.",
            hint="If the hub's key was replaced, its operator can tell you the new one.",
        )
    try:
        signature = base64.b64decode(receipt.signature, validate=True)
        key.verify(signature, canonical_json(receipt.payload))
    except (binascii.Error, ValueError, InvalidSignature):
        raise InvalidReceipt(f"The key {receipt.key_id} did not sign this receipt.") from None
    if receipt.payload.get("type") != RECEIPT_TYPE:
        raise InvalidReceipt(
            f"The key {receipt.key_id} signed {receipt.payload.get('type')!r}, not a receipt."
        )


def check_says(receipt: SignedPayload, expected: Mapping[str, JsonValue]) -> None:
    """Raise `InvalidReceipt` unless the receipt says what is `expected` of it."""
    for name, value in expected.items():
        if receipt.payload.get(name) != value:
            raise InvalidReceipt(
                f"The receipt's {name} is {receipt.payload.get(name)!r}; the hub says {value!r}.",
                hint="The hub, or something between it and you, has altered what was published.",
            )
