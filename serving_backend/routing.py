"""Which replica answers a request (pure).

Rendezvous hashing (Thaler and Ravishankar, 1998) sends each adapter to the same replica from every
gateway, and moves only those of a replica that joins or leaves. A bound on the load (Mirrokni,
Thorup and Zadimoghaddam, 2018) lets a popular adapter spread to the next in its order.
"""

import hashlib
import math
from collections.abc import Collection, Mapping

# How far above the mean a replica may be before the next in order is taken.
_OVER_MEAN = 1.25
# Requests that an engine computes in one batch for little more than the price of one. Below, to load an
# adapter elsewhere costs more than it brings.
_CHEAP = 8


def order(key: str, replicas: Collection[str]) -> list[str]:
    """Return the replicas from the one where `key` belongs to the one where it belongs least."""
    return sorted(replicas, key=lambda replica: _score(key, replica), reverse=True)


def choose(key: str, in_flight: Mapping[str, int]) -> str:
    """Return the replica for a request about the adapter `key`; `in_flight` are the open requests.

    It is the first in the adapter's order that is not loaded too much above the mean.
    """
    mean = (sum(in_flight.values()) + 1) / len(in_flight)
    bound = max(_CHEAP, math.ceil(_OVER_MEAN * mean))
    return next(replica for replica in order(key, in_flight) if in_flight[replica] < bound)


def choose_any(key: str, in_flight: Mapping[str, int]) -> str:
    """Return the least loaded replica; among equals, the one where `key` belongs.

    With an org as the key, what its prompts have in common is found in one cache while there is no load.
    """
    least = min(in_flight.values())
    return order(key, [replica for replica, load in in_flight.items() if load == least])[0]


def _score(key: str, replica: str) -> bytes:
    return hashlib.sha256(f"{key} {replica}".encode()).digest()
