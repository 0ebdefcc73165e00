"""Secrets at rest: encrypted by a key that lies beside the database, not in it.

The file holds one Fernet key a line (AES-128-CBC with HMAC-SHA256): the first encrypts; those
below it, from before it was replaced, still decrypt.
"""

from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from freesolo.errors import InvalidInput
from hub_server.keyfiles import ensure_key_file, read_key_file
from hub_server.settings import HubSettings


class Vault:
    """Encrypts what the database must not hold in the clear.

    The keys are read, or made, when they are first needed.
    """

    def __init__(self, settings: HubSettings) -> None:
        self._given = settings.encryption_key
        self._path = settings.encryption_key or settings.data_dir / "encryption-key"

    def prepare(self) -> None:
        """Read the keys, made if there are none; raise `InvalidInput` if the file holds none."""
        _ = self._keys

    def encrypt(self, secret: str) -> bytes:
        """Return what may be stored in place of `secret`."""
        return self._keys.encrypt(secret.encode())

    def decrypt(self, stored: bytes) -> str:
        """Return the secret again; raise `InvalidInput` if none of the hub's keys encrypted it."""
        try:
            return self._keys.decrypt(stored).decode()
        except InvalidToken:
            raise InvalidInput(
                "A stored secret was encrypted with a key that the hub does not have.",
                hint="Add the key that it had before to the key file, as a line of its own.",
            ) from None

    @cached_property
    def _keys(self) -> MultiFernet:
        if self._given is None:
            ensure_key_file(self._path, _new_key)
        text = read_key_file(self._path, setting="FREESOLO_SERVER_ENCRYPTION_KEY")
        try:
            return MultiFernet([Fernet(line) for line in text.split()])
        except ValueError:
            raise InvalidInput(
                f"The key file {self._path} does not hold 32 bytes in URL-safe Base64 on each line.",
                hint="`head -c32 /dev/urandom | basenc --base64url` makes a key.",
            ) from None


def _new_key() -> str:
    return Fernet.generate_key().decode() + "\n"
