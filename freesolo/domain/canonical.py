"""One way to write a JSON value as bytes, so that what is hashed or signed here can be checked there."""

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue


def canonical_json(value: Mapping[str, JsonValue] | Sequence[JsonValue]) -> bytes:
    """Return a value as UTF-8 JSON with sorted keys and no white space.

    Floats are left out of what is hashed or signed: languages write them differently.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()
