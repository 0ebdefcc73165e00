"""Webhooks: where they may be sent, and when they are tried again."""

import asyncio
from datetime import timedelta
from ipaddress import ip_address

import pytest

from freesolo.errors import InvalidInput
from hub_server.webhooks.addresses import is_allowed, look_up, parse_url
from hub_server.webhooks.outbox import retry_delay

# Open to the world, on a private network, and what no setting opens.
PUBLIC = ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
NEVER = [
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "fe80::1",
    "0.0.0.0",  # noqa: S104
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "192.0.0.192",
    "fd20:ce::254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "fec0::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_open_network_are_allowed(address: str) -> None:
    assert is_allowed(ip_address(address), private=False)
    assert is_allowed(ip_address(address), private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_only_by_the_setting(address: str) -> None:
    assert not is_allowed(ip_address(address), private=False)
    assert is_allowed(ip_address(address), private=True)


@pytest.mark.parametrize("address", NEVER)
def test_what_answers_machines_about_themselves_is_never_allowed(address: str) -> None:
    assert not is_allowed(ip_address(address), private=False)
    assert not is_allowed(ip_address(address), private=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="may not be sent"):
        asyncio.run(look_up(parse_url(f"https://{host}/hook"), private=False, attempt=0))


def test_what_is_connected_to_is_the_address_that_was_checked() -> None:
    url = parse_url("https://localhost:8443/hook?of=acme")
    found = asyncio.run(look_up(url, private=True, attempt=0))
    assert ip_address(found.url.host).is_loopback
    assert (found.url.port, found.url.raw_path) == (8443, b"/hook?of=acme")
    assert (found.host_header, found.server_name) == ("localhost:8443", "localhost")


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has no address"):
        asyncio.run(look_up(parse_url("https://nowhere.invalid"), private=True, attempt=0))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:password@example.com/",
        "https://example.com:99999/",
        "https://[::1/",
    ],
)
def test_what_is_no_receivers_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        parse_url(url)


def test_retries_come_ever_more_slowly_and_end_within_a_day() -> None:
    delays: list[timedelta] = []
    while (delay := retry_delay(len(delays) + 1)) is not None:
        delays.append(delay)
    assert delays[:4] == [timedelta(seconds=seconds) for seconds in (5, 20, 80, 320)]
    assert delays == sorted(delays)
    assert max(delays) == timedelta(hours=6)
    assert timedelta(hours=18) < sum(delays, timedelta()) <= timedelta(days=1)
