"""The engine's own account of what it did: one file for each request that is metered.

A gateway that is killed hears no token counts. So the engine writes them down itself, before it
sends them, and a caller who hangs up does not end a request: it is aborted, which finishes it with
its counts. A request is a file in `open/` while it runs, and one in `closed/` from the moment its
counts are known; whatever is killed when, each is in one of the two.

vLLM takes this class with `--middleware`. Nothing of vLLM is imported: only the client of its engine
is used, which it keeps in `app.state.engine_client`.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# The folder, as the engine's process is told.
FOLDER_VARIABLE = "FREESOLO_ENGINE_JOURNAL"
# Who asked, for what and at which price: JSON that is kept as it is, and tells that a request is metered.
METER_HEADER = "x-freesolo-meter"
_ID_HEADER = "x-request-id"
# What vLLM makes of a request's id, under which it can be aborted.
_ENGINE_IDS = {"/v1/chat/completions": "chatcmpl-{}", "/v1/completions": "cmpl-{}-0"}
_REFUSED = 400
# Accounts are files.
_NAME = re.compile(r"[0-9A-Za-z-]{1,100}")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def engine_id(path: str, request_id: str) -> str:
    """Return what the engine calls a request to one of its paths that has an id of ours."""
    return _ENGINE_IDS[path].format(request_id)


class UsageJournal:
    """Middleware of an engine's API server, on a folder of its own."""

    def __init__(self, app: App, folder: Path | None = None) -> None:
        self._app = app
        # The engine's server takes no arguments for it.
        self._folder = folder or Path(os.environ[FOLDER_VARIABLE])  # noqa: TID251
        for part in ("open", "closed"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; if it is metered, write down what it took."""
        headers = dict(scope.get("headers", ()))
        meter = headers.get(METER_HEADER.encode())
        if scope["type"] != "http" or meter is None or scope["path"] not in _ENGINE_IDS:
            return await self._app(scope, receive, send)
        name = headers[_ID_HEADER.encode()].decode()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an account.")
        account = _Account(self._folder, name, json.loads(meter))
        aborted_as = engine_id(scope["path"], name)

        async def abort() -> None:
            await scope["app"].state.engine_client.abort(aborted_as)

        caller = _Caller(receive, abort)
        try:
            await self._app(scope, caller.receive, account.noting(send))
        finally:
            caller.leave()
            account.end()


class _Account:
    """What is known of one request."""

    def __init__(self, folder: Path, name: str, meter: object) -> None:
        self._open = folder / "open" / name
        self._closed = folder / "closed" / name
        self._meter = meter
        self._status = 0
        self._whole = False
        self._body = b""
        self._length = -1
        self._counted = False
        self._open.write_text(json.dumps(meter))

    def noting(self, send: Send) -> Send:
        """Return a `send` that writes counts down before it passes them on."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                headers = dict(message["headers"])
                self._whole = b"application/json" in headers.get(b"content-type", b"")
                self._length = int(headers.get(b"content-length", -1))
            elif self._status < _REFUSED and not self._counted:
                self._look(message.get("body", b""), last=not message.get("more_body", False))
            await send(message)

        return noted

    def end(self) -> None:
        """Close the account of a request that has ended: one without counts has taken nothing."""
        if not self._counted and self._status < _REFUSED:
            # It broke off in the middle, which is the platform's fault.
            self._close(None)
        self._open.unlink(missing_ok=True)

    def _look(self, piece: bytes, *, last: bool) -> None:
        """Look for counts in a piece of the answer."""
        if self._whole:
            self._body += piece
            # With its last byte the answer has ended for the caller, whatever message follows.
            if last or len(self._body) == self._length:
                self._close(json.loads(self._body)["usage"])
            return
        for line in piece.split(b"\n"):
            # What the model says is inside a string, where its quotes are escaped.
            if line.startswith(b"data: {") and b'"usage"' in line:
                usage = json.loads(line.removeprefix(b"data: "))["usage"]
                if usage is not None:
                    self._close(usage)

    def _close(self, usage: object) -> None:
        written = self._open.with_suffix(".closing")
        written.write_text(json.dumps({"meter": self._meter, "usage": usage}))
        written.rename(self._closed)
        self._counted = usage is not None


class _Caller:
    """Who waits for an answer. Once its request is read, that it hangs up is kept from the server."""

    def __init__(self, receive: Receive, abort: Callable[[], Awaitable[None]]) -> None:
        self._receive = receive
        self._abort = abort
        self._watching: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Return the next piece of the request; after the last one, nothing ever comes."""
        if self._watching is None:
            message = await self._receive()
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                self._watching = asyncio.create_task(self._watch())
            return message
        await asyncio.Event().wait()
        raise AssertionError("Nobody sets it.")

    def leave(self) -> None:
        """Stop watching: the answer is complete."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                continue
            await self._abort()
