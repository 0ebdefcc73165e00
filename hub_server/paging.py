"""Cursors: where the next page of a listing begins, opaque to those who carry them."""

import base64
import binascii
import json
from collections.abc import Sequence

from freesolo.errors import InvalidInput


def encode_cursor(*parts: str) -> str:
    """Return a cursor that holds the sort key of a page's last item."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def decode_cursor(cursor: str, *, parts: int) -> Sequence[str]:
    """Return the sort key in a cursor; raise `InvalidInput` if the hub did not make it."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, RecursionError):
        decoded = None
    if (
        not isinstance(decoded, list)
        or len(decoded) != parts
        or not all(isinstance(part, str) and _is_text(part) for part in decoded)
    ):
        raise not_a_cursor(cursor)
    return decoded


def not_a_cursor(cursor: str) -> InvalidInput:
    """Return what to raise for a cursor that the hub did not make."""
    return InvalidInput(
        f"{cursor!r} is not a cursor of this listing.",
        hint="Pass `next_cursor` of the page before, unchanged.",
    )


def _is_text(part: str) -> bool:
    """Say whether a database could hold `part`: JSON can also write halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in part)
