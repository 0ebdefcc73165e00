"""Random names: ids that people read and type, and secrets."""

import secrets
import string

_ID_ALPHABET = string.ascii_lowercase + string.digits
_SECRET_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """Return `<prefix>-` and ten random lower-case letters and digits: about 52 bits."""
    return f"{prefix}-{''.join(secrets.choice(_ID_ALPHABET) for _ in range(10))}"


def new_secret() -> str:
    """Return 40 random letters and digits: about 238 bits."""
    return "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40))
