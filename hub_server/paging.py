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
    except (binascii.Error, ValueError):
        decoded = None
    if (
        not isinstance(decoded, list)
        or len(decoded) != parts
        or not all(isinstance(part, str) for part in decoded)
    ):
        raise InvalidInput(
            f"{cursor!r} is not a cursor of this listing.",
            hint="Pass `next_cursor` of the page before, unchanged.",
        )
    return decoded
