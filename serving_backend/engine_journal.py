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
# How many answers it wants to its prompt, if several.
ANSWERS_HEADER = "x-freesolo-answers"
# Where the engine tells which of its tokens nobody is billed for.
UNBILLED_PATH = "/v1/freesolo/unbilled"
_ID_HEADER = "x-request-id"
# What vLLM makes of a request's id, under which it can be aborted.
_ENGINE_IDS = {"/v1/chat/completions": "chatcmpl-{}", "/v1/completions": "cmpl-{}-0"}
_REFUSED = 400
_ABORT_SECONDS = 0.5
# Accounts are files.
_NAME = re.compile(r"[0-9A-Za-z-]{1,100}")

Usage = dict[str, Any]
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def engine_id(path: str, request_id: str) -> str:
    """Return what the engine calls a request to one of its paths that has an id of ours."""
    return _ENGINE_IDS[path].format(request_id)


class UsageJournal:
    """Middleware of an engine's API server, on a folder of its own.

    It tells at `UNBILLED_PATH` which tokens the engine has counted in this life that nobody is billed
    for: those of trials of the engine, and of a prompt with several answers all countings but one.
    """

    def __init__(self, app: App, folder: Path | None = None) -> None:
        self._app = app
        # The engine's server takes no arguments for it.
        self._folder = folder or Path(os.environ[FOLDER_VARIABLE])  # noqa: TID251
        for part in ("open", "closed"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._unbilled = {"prompt_tokens": 0, "completion_tokens": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; if it is metered, write down what it took."""
        path = scope.get("path")
        if scope["type"] == "http" and path == UNBILLED_PATH:
            await _send_json(self._unbilled, send)
        elif scope["type"] == "http" and path in _ENGINE_IDS:
            await self._generate(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        meter = headers.get(METER_HEADER.encode())
        answers = int(headers.get(ANSWERS_HEADER.encode(), b"1"))
        if meter is None:
            trial = _Answer(
                lambda usage: self._note_unbilled(usage, prompts=answers, completions=1)
            )
            await self._app(scope, receive, trial.heard_by(send))
            return
        name = headers[_ID_HEADER.encode()].decode()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an account.")
        account = _Account(self._folder, name, json.loads(meter))

        def count(usage: Usage) -> None:
            account.close(usage)
            # The engine counts a prompt for each of its answers.
            self._note_unbilled(usage, prompts=answers - 1, completions=0)

        async def abort() -> None:
            await scope["app"].state.engine_client.abort(engine_id(scope["path"], name))

        caller, answer = _Caller(receive, abort), _Answer(count)
        try:
            await self._app(scope, caller.receive, answer.heard_by(send))
        finally:
            caller.leave()
            if answer.is_broken:
                # In the middle, which is the platform's fault.
                account.close(None)
            account.end()

    def _note_unbilled(self, usage: Usage, *, prompts: int, completions: int) -> None:
        # Without a first token the engine has counted nothing.
        if usage["completion_tokens"]:
            self._unbilled["prompt_tokens"] += prompts * usage["prompt_tokens"]
            self._unbilled["completion_tokens"] += completions * usage["completion_tokens"]


class _Answer:
    """An answer on its way out, in which its token counts are looked for; `count` is told them once."""

    def __init__(self, count: Callable[[Usage], None]) -> None:
        self._count = count
        self._counted = False
        self._status = 0
        self._whole = False
        self._body = b""
        self._length = -1

    @property
    def is_broken(self) -> bool:
        """Whether it has ended without counts; one that was refused has taken nothing."""
        return not self._counted and self._status < _REFUSED

    def heard_by(self, send: Send) -> Send:
        """Return a `send` by which counts are told before it passes them on."""

        async def heard(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                headers = dict(message["headers"])
                self._whole = b"application/json" in headers.get(b"content-type", b"")
                self._length = int(headers.get(b"content-length", -1))
            elif self._status < _REFUSED and not self._counted:
                self._look(message.get("body", b""), last=not message.get("more_body", False))
            await send(message)

        return heard

    def _look(self, piece: bytes, *, last: bool) -> None:
        """Look for counts in a piece of the answer."""
        if self._whole:
            self._body += piece
            # With its last byte the answer has ended for the caller, whatever message follows.
            if last or len(self._body) == self._length:
                self._tell(json.loads(self._body)["usage"])
            return
        for line in piece.split(b"\n"):
            # A chunk that holds the word may only be saying it.
            if line.startswith(b"data: {") and b'"usage"' in line:
                chunk = json.loads(line.removeprefix(b"data: "))
                if chunk.get("usage") is not None:
                    self._tell(chunk["usage"])

    def _tell(self, usage: Usage) -> None:
        self._count(usage)
        self._counted = True


class _Account:
    """What one request took, in one file."""

    def __init__(self, folder: Path, name: str, meter: object) -> None:
        self._open = folder / "open" / name
        self._closed = folder / "closed" / name
        self._meter = meter
        # Whole or not at all: a full disk must not leave an account that nobody can read.
        opening = self._open.with_suffix(".opening")
        opening.write_text(json.dumps(meter))
        opening.rename(self._open)

    def close(self, usage: Usage | None) -> None:
        """Write down what the request took, None if nobody knows."""
        written = self._open.with_suffix(".closing")
        written.write_text(json.dumps({"meter": self._meter, "usage": usage}))
        written.rename(self._closed)

    def end(self) -> None:
        """Note that the request has ended: one that was not closed has taken nothing."""
        self._open.unlink(missing_ok=True)


async def _send_json(document: object, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


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
            # Again and again: an engine ignores what it does not know yet, while it reads the prompt.
            while True:
                await self._abort()
                await asyncio.sleep(_ABORT_SECONDS)
