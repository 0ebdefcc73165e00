"""Secrets that are on this machine: in the shell, or in `.env.local` or `.env` of a folder.

Only the names that are asked for are read out, and nothing is written anywhere.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from freesolo.domain.secrets import check_secret_name, check_secret_value, refuse_missing
from freesolo.errors import InvalidSecret, SecretMissing

# The nearest to its user first.
_FILES = (".env.local", ".env")
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalSecret:
    """A secret and where it was found: `the shell`, or the name of a file."""

    value: str = field(repr=False)
    source: str


def find_secrets(names: Iterable[str], folder: Path) -> dict[str, LocalSecret]:
    """Return those of `names` that are set here: in the shell, else in a file of `folder`.

    What is set to nothing counts as not set. Raise `InvalidSecret` for a value that no process can
    be given, or a file that cannot be read.
    """
    wanted = set(names)
    found: dict[str, LocalSecret] = {}
    for source, values in _sources(folder):
        for name in sorted(wanted - found.keys()):
            if value := values.get(name):
                found[name] = LocalSecret(_checked(name, value, source), source)
        if wanted == found.keys():
            break
    return found


def gather_secrets(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the values of all `names`, found as `find_secrets` does.

    Raise `SecretMissing` naming each that is set nowhere: a hub gives nothing back that it stores.
    """
    wanted = set(names)
    found = find_secrets(wanted, folder)
    refuse_missing(
        wanted - found.keys(),
        hint="Set it in the shell, or in `.env.local` or `.env` of the current folder. What "
        "`freesolo secrets set` stored is for training alone.",
    )
    return {name: secret.value for name, secret in found.items()}


def gather_secret(name: str, folder: Path) -> str:
    """Return the value of the secret that a user named, found as `find_secrets` does.

    Raise `InvalidSecret` for what is no name, and `SecretMissing` if it is set nowhere.
    """
    found = find_secrets([check_secret_name(name)], folder).get(name)
    if found is None:
        raise SecretMissing(
            f"{name} is not set: not in the shell, nor in `.env.local` or `.env` of {folder}.",
            hint=f"`export {name}=...` sets it in most shells.",
        )
    return found.value


def _sources(folder: Path) -> Iterator[tuple[str, Mapping[str, str | None]]]:
    yield "the shell", os.environ  # noqa: TID251 - names that only the environment's author knows
    for name in _FILES:
        path = folder / name
        if path.is_file():
            yield name, _read(path)


def _read(path: Path) -> Mapping[str, str | None]:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise InvalidSecret(f"{path} is larger than the {_MAX_FILE_BYTES} bytes that are read.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidSecret(f"{path} is not text in UTF-8.") from None
    # As it is written: `$NAME` in a value would bring in what nobody declared.
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def _checked(name: str, value: str, source: str) -> str:
    try:
        return check_secret_value(value)
    except InvalidSecret as error:
        raise InvalidSecret(f"{name} from {source}: {error.message}", hint=error.hint) from None
