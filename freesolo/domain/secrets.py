"""Secrets: which names they may have, and what an environment variable can hold."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from freesolo.errors import InvalidSecret, Problem, SecretMissing

# Secrets travel as environment variables, for which a process has 2 MiB in all.
MAX_NAMES = 50
MAX_VALUE_BYTES = 16 << 10

_PATTERN = r"^[A-Z_][A-Z0-9_]*$"
_MAX_NAME = 100
# Keys that the training process itself uses. No environment may declare one, so it gets none.
TEACHER_API_KEY = "TEACHER_API_KEY"
JOB_SECRETS = frozenset({TEACHER_API_KEY})

# Variables of the platform itself, its keys among them.
_PLATFORM_PREFIX = "FREESOLO_"
# By which a variable decides what code a process runs, or where it finds its files.
_LOADER_PREFIXES = ("LD_", "DYLD_", "PYTHON", "LC_", "MALLOC_", "PIP_", "UV_")
_LOADER_NAMES = frozenset(
    {"BASH_ENV", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", "HOME", "HOSTALIASES", "IFS", "LANG"}
    | {"LANGUAGE", "LOCPATH", "LOGNAME", "NLSPATH", "OPENSSL_CONF", "PATH", "PWD", "RES_OPTIONS"}
    | {"SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TMP", "TMPDIR", "TZ", "USER"}
    | {"VIRTUAL_ENV"}
)


def check_secret_name(name: str) -> str:
    """Return `name` if a secret may have it; raise `InvalidSecret` otherwise.

    What does not look like a name is not repeated: it may be the value, typed in the wrong place.
    """
    if len(name) > _MAX_NAME or not re.fullmatch(_PATTERN, name):
        raise InvalidSecret(
            "What was given is not the name of a secret: capital letters, digits and underscores, "
            f"{_MAX_NAME} at most.",
            hint="A name is like JUDGE_API_KEY; a value is never part of a command line.",
        )
    return _refuse_reserved(name)


def check_secret_value(value: str) -> str:
    """Return `value` if a process can be given it; raise `InvalidSecret`, without it, otherwise."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidSecret("The secret is not text in UTF-8.") from None
    if not value:
        raise InvalidSecret("The secret is empty.", hint="Leave it out instead.")
    if size > MAX_VALUE_BYTES:
        raise InvalidSecret(
            f"The secret is larger than the {MAX_VALUE_BYTES} bytes that a secret may have.",
            hint="Hand in a key, and let the environment fetch what is large.",
        )
    if "\0" in value:
        raise InvalidSecret("The secret holds a zero byte, which no environment variable can.")
    return value


def refuse_missing(missing: Iterable[str], *, hint: str) -> None:
    """Raise `SecretMissing` naming each, if any is missing."""
    names = sorted(missing)
    if names:
        raise SecretMissing(
            f"The environment needs {', '.join(names)}, which nobody gave.",
            problems=[
                Problem(f"secrets.{name}", "Declared by the environment, but given nowhere.")
                for name in names
            ],
            hint=hint,
        )


def refuse_job_secrets(declared: Iterable[str]) -> None:
    """Raise `InvalidSecret` if an environment declares a key of the training process."""
    if names := sorted(JOB_SECRETS.intersection(declared)):
        raise InvalidSecret(
            f"The environment declares {names[0]}, which is for the training process alone.",
            hint="Give the environment's own key another name, in environment.toml or in the "
            "config's [environment].",
        )


def _refuse_reserved(name: str) -> str:
    if name.startswith(_PLATFORM_PREFIX):
        raise InvalidSecret(
            f"{name!r} is a variable of the platform, which no environment gets; "
            f"choose a name that does not begin with {_PLATFORM_PREFIX}."
        )
    if name in _LOADER_NAMES or name.startswith(_LOADER_PREFIXES):
        raise InvalidSecret(
            f"{name!r} decides how programs run, so it cannot be a secret; choose another name."
        )
    return name


# The name of a secret, in a file of ours or a request.
SecretName = Annotated[
    str,
    StringConstraints(pattern=_PATTERN, max_length=_MAX_NAME),
    AfterValidator(_refuse_reserved),
]
