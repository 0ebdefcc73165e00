"""Sends to webhooks what waits for them, beside the requests."""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from freesolo.domain.webhooks import (
    DELIVERY_HEADER,
    KIND_HEADER,
    SIGNATURE_HEADER,
    sign_delivery,
)
from freesolo.errors import InvalidInput
from hub_server.dependencies import Resources
from hub_server.webhooks import outbox
from hub_server.webhooks.addresses import look_up, parse_url
from hub_server.webhooks.outbox import Outcome, Parcel

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
# After a failure of our own, such as a database that is away.
_REST_SECONDS = 30.0
_GRACE_SECONDS = 2.0
_AT_ONCE = 20
_DEADLINE_SECONDS = 15.0
# What fits into the row.
_MAX_ERROR = 500


@contextmanager
def delivering(resources: Resources) -> Iterator[None]:
    """Send what is due, again and again, while the block runs."""
    stopping = threading.Event()

    def work() -> None:
        pause = _PAUSE_SECONDS
        while not stopping.wait(pause):
            try:
                pause = 0 if send_due(resources) else _PAUSE_SECONDS
            except Exception:
                # Nobody waits for this thread: what it cannot do now, it must try again.
                logger.exception("webhooks not sent")
                pause = _REST_SECONDS

    thread = threading.Thread(target=work, name="webhooks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        # What is being sent then is sent again by whoever comes next.
        thread.join(_GRACE_SECONDS)


def send_due(resources: Resources, *, deadline: float = _DEADLINE_SECONDS) -> int:
    """Send what is due now, some of it at once; return how many deliveries were attempted.

    An attempt may take `deadline` seconds, from the look-up of the name to the head of the answer.
    """
    now = resources.clock()
    with resources.readers() as session:
        if not outbox.anything_due(session, now=now):
            return 0
    with resources.sessions.begin() as session:
        parcels = outbox.take(session, now=now, limit=_AT_ONCE)
    if not parcels:
        return 0
    outcomes = asyncio.run(_send_all(resources, parcels, deadline=deadline))
    with resources.sessions.begin() as session:
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            outbox.settle(session, parcel, outcome, now=resources.clock())
            _log(parcel, outcome)
    return len(parcels)


def _log(parcel: Parcel, outcome: Outcome) -> None:
    # Never the URL: it may hold what only its owner should know.
    logger.info(
        "webhook sent",
        extra={
            "webhook": str(parcel.webhook_id),
            "delivery": parcel.delivery_id,
            "attempt": parcel.attempt,
            "status": outcome.status_code,
        },
    )


async def _send_all(
    resources: Resources, parcels: Sequence[Parcel], *, deadline: float
) -> list[Outcome]:
    # A transport, not a client: no redirects, no cookies, no proxies. And no connection serves
    # twice, for it belongs to an address, while its certificate was checked for a name.
    async with httpx.AsyncHTTPTransport(
        trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    ) as transport:

        async def attempt(parcel: Parcel) -> Outcome:
            try:
                async with asyncio.timeout(deadline):
                    return await _send(transport, resources, parcel)
            except TimeoutError:
                return Outcome(error=f"It did not answer within {deadline:g} seconds.")
            except httpx.TransportError as error:
                return Outcome(error=f"It cannot be reached: {error}."[:_MAX_ERROR])
            except InvalidInput as error:
                return Outcome(error=error.message[:_MAX_ERROR])

        return await asyncio.gather(*(attempt(parcel) for parcel in parcels))


async def _send(
    transport: httpx.AsyncHTTPTransport, resources: Resources, parcel: Parcel
) -> Outcome:
    response = await transport.handle_async_request(await _request(resources, parcel))
    await response.aclose()
    if response.is_success:
        return Outcome(response.status_code)
    return Outcome(response.status_code, f"It answered {response.status_code}.")


async def _request(resources: Resources, parcel: Parcel) -> httpx.Request:
    secret = resources.vault.decrypt(parcel.secret)
    destination = await look_up(
        parse_url(resources.vault.decrypt(parcel.url)),
        private=resources.settings.webhook_private_networks,
        attempt=parcel.attempt,
    )
    return httpx.Request(
        "POST",
        destination.url,
        content=parcel.body,
        headers={
            "Host": destination.host_header,
            "Content-Type": "application/json",
            "User-Agent": "freesolo-hub",
            DELIVERY_HEADER: str(parcel.delivery_id),
            KIND_HEADER: parcel.kind,
            SIGNATURE_HEADER: sign_delivery(secret, parcel.body, at=resources.clock()),
        },
        extensions={"sni_hostname": destination.server_name},
    )
