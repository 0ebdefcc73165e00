"""Files with the hub's own keys: readable by the hub alone, made at its first start."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from freesolo.errors import InvalidInput


def read_key_file(path: Path, *, setting: str) -> str:
    """Return the text of a key file; raise `InvalidInput`, naming the setting, if there is none."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"The key file {path} cannot be read: {error}.", hint=f"{setting} names it."
        ) from None


def ensure_key_file(path: Path, make: Callable[[], str]) -> None:
    """Write a new key to `path` unless it holds one; of several processes, one writes."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # Never over a key: whatever that has signed or encrypted would be lost.
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
