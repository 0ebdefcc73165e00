"""Secrets, taken out of what an author's code printed or raised before anybody stores or shows it."""

import json
from collections.abc import Collection, Iterable
from urllib.parse import quote, quote_plus

MASK = "****"
# Shorter ones are no secrets, and would take half of a text with them.
_SHORTEST = 4
_SHORTEST_PIECE = 8


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with `MASK` in place of each secret, also where it is escaped.

    That is as it stands in JSON, in a URL and in Python's `repr`, and each line of one with several.
    `text` may be the middle of a longer one: a piece of a secret at its beginning or its end is
    masked, too.
    """
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    for form in forms:
        text = text.replace(form, MASK)
    for form in forms:
        text = _without_pieces(text, form)
    return text


def mask_all(value: object, secrets: Collection[str]) -> object:
    """Return a value of JSON with each text in it masked, keys too."""
    match value if secrets else None:
        case str() as text:
            return mask(text, secrets)
        case list() as items:
            return [mask_all(item, secrets) for item in items]
        case dict() as fields:
            return {mask(key, secrets): mask_all(item, secrets) for key, item in fields.items()}
    return value


def _forms(secret: str) -> Iterable[str]:
    for part in (secret, *secret.splitlines()):
        yield from (
            form
            for form in (
                part,
                json.dumps(part)[1:-1],
                json.dumps(part, ensure_ascii=False)[1:-1],
                repr(part)[1:-1],
                quote(part, safe="", errors="surrogatepass"),
                quote(part, errors="surrogatepass"),
                quote_plus(part, errors="surrogatepass"),
            )
            if len(form) >= _SHORTEST
        )


def _without_pieces(text: str, form: str) -> str:
    """Mask an end of `form` that `text` begins with, and a beginning that it ends with."""
    for length in range(min(len(form) - 1, len(text)), _SHORTEST_PIECE - 1, -1):
        if text.startswith(form[-length:]):
            text = MASK + text[length:]
            break
    for length in range(min(len(form) - 1, len(text)), _SHORTEST_PIECE - 1, -1):
        if text.endswith(form[:length]):
            return text[:-length] + MASK
    return text
