"""The engine's own key on everything that it serves.

vLLM guards some of its paths with its key and leaves others open, among them ones that compute. vLLM takes
this class with `--middleware`; it stands before every other.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# As vLLM is told its key.
KEY_VARIABLE = "VLLM_API_KEY"
# Whether it lives, and what it has counted: for whoever looks after it.
_OPEN = frozenset({"/health", "/metrics"})
_REFUSAL = b'{"error": {"message": "Unauthorized", "type": "invalid_request_error", "code": 401}}'

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class KeyGuard:
    """Middleware of an engine's API server that lets nobody in without its key."""

    def __init__(self, app: App, key: str | None = None) -> None:
        self._app = app
        # The engine's server takes no arguments for it.
        self._wanted = f"Bearer {key or os.environ[KEY_VARIABLE]}".encode()  # noqa: TID251

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that carries the key; answer 401 to others."""
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if (
            scope["type"] == "lifespan"
            or scope["path"] in _OPEN
            or hmac.compare_digest(given, self._wanted)
        ):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": _REFUSAL})
