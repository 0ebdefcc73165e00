"""The chain of the feed: each link's hash covers its entry and, through the link before, all others.

A link shows either its entry, with a nonce, or only the entry's hash. The chain can be checked
without the entries; the nonce keeps anybody from guessing an entry from its hash.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from freesolo.domain.canonical import canonical_json
from freesolo.errors import InvalidFeed


@dataclass(frozen=True)
class Head:
    """A place in the feed: the number of its last link, and the hash of everything up to it."""

    serial: int
    hash: str


# What the first link's hash covers in place of one before it.
START = Head(0, hashlib.sha256(b"freesolo-feed 1\n").hexdigest())


@dataclass(frozen=True)
class Link:
    """One change in the feed; `entry` and `nonce` are None for those who may not see it."""

    serial: int
    entry_hash: str
    hash: str
    entry: Mapping[str, JsonValue] | None = None
    nonce: str | None = None


def entry_hash(entry: Mapping[str, JsonValue], nonce: str) -> str:
    """Return the SHA-256, in hex, of an entry and its nonce as canonical JSON."""
    return hashlib.sha256(canonical_json([dict(entry), nonce])).hexdigest()


def chain_hash(previous: str, entry: str) -> str:
    """Return the hash of the feed up to an entry: SHA-256 of the hash before it and the entry's."""
    return hashlib.sha256(f"{previous}\n{entry}\n".encode()).hexdigest()


def verify_chain(links: Iterable[Link], *, after: Head = START) -> Head:
    """Return the end of the links if each follows from `after` and the one before it.

    Raise `InvalidFeed` at the first that does not.
    """
    head = after
    for link in links:
        if problem := _problem(link, head):
            raise InvalidFeed(
                f"Change {link.serial} of the feed {problem}.",
                hint="The hub, or something between it and you, has altered its history.",
            )
        head = Head(link.serial, link.hash)
    return head


def _problem(link: Link, head: Head) -> str | None:
    if link.serial != head.serial + 1:
        return f"follows change {head.serial}"
    if link.hash != chain_hash(head.hash, link.entry_hash):
        return "does not carry the hash of what came before it"
    if link.entry is None:
        return None
    if link.entry_hash != entry_hash(link.entry, link.nonce or ""):
        return "does not have the hash of its entry"
    if link.entry.get("serial") != link.serial:
        return f"holds the entry of change {link.entry.get('serial')}"
    return None
