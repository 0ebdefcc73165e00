"""The feed's chain: kept by nothing but its rules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from freesolo.domain.feed import START, Link, chain_hash, entry_hash, verify_chain
from freesolo.errors import InvalidFeed


def entry_of(serial: int, *, kind: str = "version.published") -> dict[str, JsonValue]:
    return {"serial": serial, "kind": kind, "ref": "acme/math"}


def chain(length: int) -> list[Link]:
    links: list[Link] = []
    previous = START.hash
    for serial in range(1, length + 1):
        entry = entry_of(serial)
        digest = entry_hash(entry, "nonce")
        previous = chain_hash(previous, digest)
        links.append(Link(serial, digest, previous, entry, "nonce"))
    return links


def hidden(link: Link) -> Link:
    return replace(link, entry=None, nonce=None)


def test_the_hashes_are_those_that_are_documented() -> None:
    (link,) = chain(1)
    assert START.hash == "ed62b7ad25a1d2e9caff58fcc699e3ca429e806a7b04624ce1708e322ea83595"
    assert link.entry_hash == "eb3fdbf5fe483b5d8fd6e8fb42fd62e7542486189b18e5f48d3e6e10473bb22d"
    assert link.hash == "47785b508e63933304a5058861d1829b4750e42365be06270f96f6a2f9e6ab8a"


@given(st.integers(0, 20), st.sets(st.integers(0, 19)))
def test_an_honest_feed_verifies_whatever_is_hidden(length: int, hide: set[int]) -> None:
    links = [hidden(link) if place in hide else link for place, link in enumerate(chain(length))]
    assert verify_chain(links).serial == length


def test_verification_goes_on_from_any_place() -> None:
    links = chain(5)
    middle = verify_chain(links[:3])
    assert verify_chain(links[3:], after=middle) == verify_chain(links)


@given(st.integers(0, 9))
def test_a_change_that_is_left_out_is_missed(place: int) -> None:
    links = chain(11)
    del links[place]
    with pytest.raises(InvalidFeed, match=f"Change {place + 2} of the feed follows"):
        verify_chain(links)


def test_a_change_that_is_replaced_breaks_the_chain() -> None:
    links = chain(3)
    entry = entry_of(2, kind="version.yanked")
    links[1] = replace(links[1], entry=entry, entry_hash=entry_hash(entry, "nonce"))
    with pytest.raises(InvalidFeed, match=r"Change 2 .* hash of what came before"):
        verify_chain(links)


def test_an_entry_that_is_altered_does_not_fit_its_hash() -> None:
    links = chain(3)
    links[2] = replace(links[2], entry={**(links[2].entry or {}), "ref": "acme/other"})
    with pytest.raises(InvalidFeed, match=r"Change 3 .* hash of its entry"):
        verify_chain(links)


def test_a_rewritten_history_does_not_continue_what_was_seen() -> None:
    seen = verify_chain(chain(2))
    other = [replace(link, nonce="other") for link in chain(3)]
    previous = START.hash
    for place, link in enumerate(other):
        digest = entry_hash(link.entry or {}, "other")
        previous = chain_hash(previous, digest)
        other[place] = replace(link, entry_hash=digest, hash=previous)
    assert verify_chain(other).serial == 3
    with pytest.raises(InvalidFeed, match="Change 3"):
        verify_chain(other[2:], after=seen)


def test_an_entry_cannot_stand_at_another_place() -> None:
    entry = entry_of(7)
    digest = entry_hash(entry, "nonce")
    link = Link(1, digest, chain_hash(START.hash, digest), entry, "nonce")
    with pytest.raises(InvalidFeed, match="holds the entry of change 7"):
        verify_chain([link])
