"""Entries of base models that orgs add."""

from tests.component.hub.harness import Document

ADDED = "acme/small"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def added_entry(model_id: object = ADDED, **changes: object) -> Document:
    """Return an entry as `freesolo models add` sends it."""
    return {
        "id": model_id,
        "revision": COMMIT,
        "source": {"kind": "hub", "repo": "acme/small"},
        "parameters": 1000,
        "context": 4096,
        "max_rank": 64,
        "thinking": True,
        "template": {"opens_thinking": True, "warnings": ["It rewrites history."]},
        "price_input": 5,
    } | changes
