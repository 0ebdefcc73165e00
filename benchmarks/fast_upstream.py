"""An upstream that answers as vLLM does, as fast as a server in Python can; and a gateway before it.

It keeps accounts as a real engine does, through the same middleware. It writes an answer of
`ANSWER_TOKENS` at once, or if it is told `take 0.2` spread over so many seconds::

    python -m benchmarks.fast_upstream PORT
    python -m benchmarks.fast_upstream gateway
"""

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from freesolo import engines, processes
from freesolo.engines import Endpoint
from freesolo.logs import configure_logging
from serving_backend import engine_journal
from serving_backend.app import create_app
from serving_backend.engine_journal import Message, Receive, Scope, Send, UsageJournal
from serving_backend.server import serve
from serving_backend.settings import ServingSettings
from serving_backend.usage import journal_of
from serving_backend.vllm_process import VllmProcess
from tests import fake_engine

ANSWER_TOKENS = 32
PROMPT_TOKENS = 24
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "prompt_tokens_details": {"cached_tokens": 0},
}
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Upstream:
    """The application."""

    def __init__(self) -> None:
        self.state = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer anything: with an answer to a chat, or with nothing."""
        if scope["type"] != "http":
            return
        scope["app"] = self
        if scope["path"] != "/v1/chat/completions":
            await _start(send, _JSON)
            await send({"type": "http.response.body", "body": b"{}"})
            return
        body = json.loads(await _read(receive))
        asked = body["messages"][-1]["content"].split()
        pause = float(asked[1]) / ANSWER_TOKENS if asked[0] == "take" else 0.0
        name = "chatcmpl-" + dict(scope["headers"]).get(b"x-request-id", b"none").decode()
        if body.get("stream"):
            await _start(send, _EVENTS)
            await _stream(send, name, body, pause)
        else:
            await asyncio.sleep(pause * ANSWER_TOKENS)
            await _start(send, _JSON)
            await send({"type": "http.response.body", "body": _whole(name, body)})


async def _stream(send: Send, name: str, body: dict[str, Any], pause: float) -> None:
    head = {"id": name, "object": "chat.completion.chunk", "created": 1_700_000_000}
    head["model"] = body["model"]

    async def event(choices: list[object], **more: object) -> None:
        data = json.dumps({**head, "choices": choices, **more})
        await _piece(send, f"data: {data}\n\n".encode())

    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
    await event([{**first, "finish_reason": None}], prompt_token_ids=None)
    for number in range(ANSWER_TOKENS):
        if pause:
            await asyncio.sleep(pause)
        last = number == ANSWER_TOKENS - 1
        choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None}
        await event([{**choice, "finish_reason": "stop" if last else None, "token_ids": None}])
    if (body.get("stream_options") or {}).get("include_usage"):
        await event([], usage=_USAGE)
    await _piece(send, b"data: [DONE]\n\n")
    await send({"type": "http.response.body", "body": b""})


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message: Message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _start(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _piece(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _whole(name: str, body: dict[str, Any]) -> bytes:
    model = body["model"]
    message = {"role": "assistant", "content": " word" * ANSWER_TOKENS, "reasoning": None}
    # What the self-test asks for, in which each model differs from the others.
    token = {"token": "token_id:1", "logprob": -1.0 - zlib.crc32(model.encode()) % 1000}
    logprobs = {"content": [token | {"top_logprobs": [token]}]} if body.get("logprobs") else None
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    return json.dumps(
        {
            "id": name,
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": model,
            "choices": [{**choice, "stop_reason": None, "token_ids": None}],
            "usage": _USAGE,
            "kv_transfer_params": None,
        }
    ).encode()


class FastProcess(VllmProcess):
    """Starts this upstream where vLLM would be started; all else is the gateway's own."""

    async def start(self) -> Endpoint:
        """Start it on a free port."""
        await self.stop()
        endpoint = engines.new_endpoint()
        self._child = self._spawn(Path(), endpoint)
        return endpoint

    async def write_adapters(self, folder: Path) -> Sequence[Path]:
        """Write adapters, which it does not look at."""
        return fake_engine.write_adapters(folder, self.room.in_batch)

    def _spawn(self, model: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
        self._journal = journal_of(self.settings.data_dir / "usage", endpoint.life)
        return processes.start(
            [sys.executable, "-m", "benchmarks.fast_upstream", endpoint.url.rpartition(":")[2]],
            env=engines.environment(endpoint, kv_cache_gib=1)
            | {engine_journal.FOLDER_VARIABLE: str(self._journal)},
            log=self.settings.data_dir / "logs" / "engine.log",
            record=self._record,
        )


def main() -> None:
    """Serve as one or the other until killed."""
    if sys.argv[1] == "gateway":
        settings = ServingSettings()
        configure_logging(settings.log_level)
        serve(create_app(settings, process=FastProcess), settings)
    else:
        upstream: Any = UsageJournal(Upstream())
        uvicorn.run(
            upstream, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False
        )


if __name__ == "__main__":
    main()
