"""Where webhooks may be sent: not to what only the hub can reach.

A name is looked up once, its addresses are checked, and the connection is made to what was checked:
between two look-ups a name could begin to mean something else.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx

from freesolo.errors import InvalidInput

Address = IPv4Address | IPv6Address

# Where clouds answer their machines: never a receiver, also where private networks are allowed.
_METADATA = {
    ipaddress.ip_address(text)
    for text in (
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
}
# All of IPv6 that is given out to the open network. What lies outside of it leads inward, also
# where Python calls it global: site-local addresses, translators, embedded addresses of IPv4.
_GIVEN_OUT = ip_network("2000::/3")
# Addresses of IPv6 that lead to one of IPv4, which is what must be checked.
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Destination:
    """An address that was checked, in the URL's place: the name is for TLS and the `Host` header."""

    url: httpx.URL
    host_header: str
    server_name: str


def parse_url(text: str) -> httpx.URL:
    """Return the URL of a receiver; raise `InvalidInput` if it is none that could be sent to."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{text!r} is not a URL: {error}.") from None
    if url.scheme not in ("http", "https") or not url.host or not 0 < _port(url) < 65536:
        raise InvalidInput(
            f"{text!r} cannot receive webhooks.", hint="A URL begins with http:// or https://."
        )
    if url.userinfo:
        raise InvalidInput(
            "The URL holds a user name or password.",
            hint="Deliveries are signed; check the signature instead.",
        )
    return url


def is_allowed(address: Address, *, private: bool) -> bool:
    """Say whether a webhook may be sent to an address; `private` allows private networks too."""
    inner = _embedded(address)
    if inner is not None:
        return is_allowed(inner, private=private)
    if (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address == IPv4Address("255.255.255.255")
    ):
        return False
    return _is_public(address) or (private and address.is_private)


async def look_up(url: httpx.URL, *, private: bool, attempt: int) -> Destination:
    """Return where to send now; raise `InvalidInput` unless all addresses of the name are allowed.

    A name with several addresses is tried at another one each time.
    """
    host = url.raw_host.decode("ascii")
    addresses = await _addresses(host, url)
    if not all(is_allowed(address, private=private) for address in addresses):
        # Which one is not told: it could be a name that only the hub's network knows.
        raise InvalidInput(
            f"{host!r} is at an address where webhooks may not be sent.",
            hint="The hub's operator can allow private networks: "
            "FREESOLO_SERVER_WEBHOOK_PRIVATE_NETWORKS.",
        )
    chosen = addresses[attempt % len(addresses)]
    return Destination(url.copy_with(host=str(chosen)), url.netloc.decode("ascii"), host)


def _is_public(address: Address) -> bool:
    return address.is_global and (isinstance(address, IPv4Address) or address in _GIVEN_OUT)


def _port(url: httpx.URL) -> int:
    default = 443 if url.scheme == "https" else 80
    return default if url.port is None else url.port


async def _addresses(host: str, url: httpx.URL) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, _port(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InvalidInput(f"{host!r} has no address.", hint="Is the name right?") from None
    # An address of a link may carry the link's name.
    return [ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
