"""The key with which the hub signs its receipts.

The file holds PEM blocks: first the private key that signs, then, if it was ever replaced, those
from before, private or public, so that their receipts can still be verified.
"""

import base64
from collections.abc import Mapping
from functools import cached_property

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import JsonValue

from freesolo.domain.canonical import canonical_json
from freesolo.domain.receipts import SignedPayload, key_id, pem_blocks
from freesolo.errors import InvalidInput
from hub_server.keyfiles import ensure_key_file, read_key_file
from hub_server.settings import HubSettings


class Signer:
    """Signs what the hub must stand by. The keys are read, or made, when they are first needed."""

    def __init__(self, settings: HubSettings) -> None:
        self._given = settings.signing_key
        self._path = settings.signing_key or settings.data_dir / "signing-key.pem"

    def prepare(self) -> None:
        """Read the keys, made if there are none; raise `InvalidInput` if the file holds none."""
        _ = self._keys

    def sign(self, payload: Mapping[str, JsonValue]) -> SignedPayload:
        """Sign a payload that says of what type it is."""
        key, _ = self._keys
        signature = base64.b64encode(key.sign(canonical_json(payload)))
        return SignedPayload(payload, key_id(key.public_key()), signature.decode())

    @property
    def key_id(self) -> str:
        """The name of the key that signs."""
        return key_id(self.public_keys[0])

    @property
    def public_keys(self) -> list[Ed25519PublicKey]:
        """The key that signs, and those that did before it.

        Raise `InvalidInput` if the file that was given holds no such keys.
        """
        key, former = self._keys
        return [key.public_key(), *former]

    @cached_property
    def _keys(self) -> tuple[Ed25519PrivateKey, list[Ed25519PublicKey]]:
        if self._given is None:
            ensure_key_file(self._path, _new_key)
        text = read_key_file(self._path, setting="FREESOLO_SERVER_SIGNING_KEY")
        try:
            first, *others = pem_blocks(text)
            key = load_pem_private_key(first.encode(), password=None)
            former = [_public(block) for block in others]
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key, former = None, []
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInput(
                f"The key file {self._path} does not begin with an Ed25519 private key in PEM.",
                hint="`openssl genpkey -algorithm ed25519` makes one, without a password.",
            )
        return key, former


def public_pem(key: Ed25519PublicKey) -> str:
    """Return a public key in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _public(block: str) -> Ed25519PublicKey:
    if "PRIVATE KEY" in block:
        private = load_pem_private_key(block.encode(), password=None)
        public = private.public_key()
    else:
        public = load_pem_public_key(block.encode())
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("A key of another kind.")
    return public


def _new_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
