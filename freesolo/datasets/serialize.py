"""Values of a dataset as the text that a model reads."""

import json
from typing import Any


def serialize_value(value: object) -> str:
    """Return text stripped, and any other value as indented JSON with sorted keys, in ASCII."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, indent=2, sort_keys=True, default=_plain)


def json_view(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return what of a value JSON can say: anything else becomes text, and a set a sorted list."""
    return json.loads(json_text(value))


def json_text(value: object) -> str:
    """Return the `json_view` of a value as text."""
    return json.dumps(value, ensure_ascii=False, skipkeys=True, default=_plain)


def _plain(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)
