"""What surrounds every request: its id, one line in the log, and a limit to what is kept in memory."""

import logging
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freesolo.errors import PayloadTooLarge
from freesolo.logs import request_id
from hub_server.metrics import Metrics
from hub_server.uploads import is_read_whole

logger = logging.getLogger(__name__)

_HEALTH = frozenset({"/healthz", "/readyz"})
# Many times the largest batch of events that a worker sends.
_MAX_BODY_BYTES = 16 << 20


class RequestLog:
    """Give each request an id; log and count its method, route, status and duration, never its query."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        status, received, sent = 500, 0, 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def send_marked(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identifier
            sent += len(message.get("body", b""))
            await send(message)

        token = request_id.set(identifier)
        began = time.perf_counter()
        try:
            await self._app(scope, receive_counted, send_marked)
        finally:
            seconds = time.perf_counter() - began
            # The template, so that a path that is no route, whatever it holds, is written nowhere.
            route = getattr(scope.get("route"), "path", None)
            if not _is_idle(scope["path"], status):
                _log(scope["method"], route, status, seconds=seconds)
            self._metrics.count(scope["method"], route or "", status, seconds=seconds)
            self._metrics.count_bytes(received=received, sent=sent)
            request_id.reset(token)


class BodyLimit:
    """Refuse bodies that would be kept in memory and are too large for that, whoever sends them.

    The framework reads a body before it asks for the key. Files it leaves alone: `uploads.spooled`
    counts those while it writes them to disk.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # By now the router has noted which route it is.
            if received > _MAX_BODY_BYTES and is_read_whole(scope):
                raise PayloadTooLarge(
                    f"The body is larger than the {_MAX_BODY_BYTES} bytes that are accepted here.",
                    hint="Send less at once.",
                )
            return message

        await self._app(scope, receive_counted, send)


def _is_idle(path: str, status: int) -> bool:
    """Say whether a request only asked how things are, or whether there is something to do."""
    if path.endswith("/claim"):
        return status == 204
    looked_at_lease = path.startswith("/v1/leases/") and path.count("/") == 3
    return path in _HEALTH or (looked_at_lease and status == 200)


def _log(method: str, route: str | None, status: int, *, seconds: float) -> None:
    logger.info(
        "request",
        extra={"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)},
    )
