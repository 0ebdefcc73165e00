"""What surrounds every request: its id, and one line in the log."""

import logging
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freesolo.logs import request_id

logger = logging.getLogger(__name__)

_HEALTH = frozenset({"/healthz", "/readyz"})


class RequestLog:
    """Give each request an id, and log its method, route, status and duration, never its query."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identifier
            await send(message)

        token = request_id.set(identifier)
        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_marked)
        finally:
            if not _is_idle(scope["path"], status):
                _log(scope, status, milliseconds=(time.perf_counter() - began) * 1000)
            request_id.reset(token)


def _is_idle(path: str, status: int) -> bool:
    """Say whether a request only asked how things are, or whether there is something to do."""
    return path in _HEALTH or (path.endswith("/claim") and status == 204)


def _log(scope: Scope, status: int, *, milliseconds: float) -> None:
    route = scope.get("route")
    logger.info(
        "request",
        extra={
            "method": scope["method"],
            # The template, so that a path that is no route, whatever it holds, is not logged.
            "route": route.path if route is not None else None,
            "status": status,
            "ms": round(milliseconds, 1),
        },
    )
