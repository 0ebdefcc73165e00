"""A stand-in for vLLM that speaks its HTTP and needs no model.

Its answer is a few words made of the model's name and the prompt, one word a token; the prompt of a
conversation is its last message. Words in that message make it misbehave: `break` ends a stream in the
middle, `hold` waits behind the first word until `FakeEngine.release` is set or the request is aborted,
`mute` does so before it says anything. Its faults are those of engines that were seen: `mixes` answers
base requests beside others with an adapter's numbers, `ignores adapters` answers all as the base model,
`streams base` does so in streams alone, `no form` knows no `structured_outputs`, `deaf` answers no abort,
`renders` is as long about a prompt as it has this fault, `loads nothing` fails to load adapters,
`babbles` answers something that is no JSON.

As a process of its own, `python -m tests.fake_engine PORT`, it takes its key and the folder for its
accounts from the environment, as vLLM does, and waits a little before each word.
"""

import asyncio
import json
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from safetensors.numpy import load_file

from freesolo.engines import Endpoint
from freesolo.errors import EngineUnavailable
from serving_backend.engine import BASE_MODEL, Room
from serving_backend.engine_guard import KeyGuard
from serving_backend.engine_journal import UsageJournal
from serving_backend.engine_residency import PATH as ADAPTERS
from serving_backend.usage import end_journal, journal_of
from tests import tiny_adapter
from tests.hubs import serving

CONTEXT = 1024
# The token that it says, whatever it says.
TOKEN = 120
_KEY = "the-key-of-a-fake-engine"
_ROOM = Room(in_batch=2, in_memory=16)

Body = dict[str, Any]


class FakeEngine:
    """The application and what a test may look at or change."""

    def __init__(self, *, pause: float = 0.0) -> None:
        self.pause = pause
        self.context = CONTEXT
        self.adapters: dict[str, Path] = {}
        self.faults: set[str] = set()
        self.running = 0
        self.requests: list[Body] = []
        self.answers: list[_Answer] = []
        self.aborts = 0
        self.aborted: set[str] = set()
        self.release = threading.Event()
        self.app = FastAPI()
        self.app.state.engine_client = self
        self.app.add_api_route("/health", lambda: Response(), methods=["GET"])
        self.app.add_api_route("/metrics", self._metrics, methods=["GET"])
        self.app.add_api_route("/v1/load_lora_adapter", self._load, methods=["POST"])
        self.app.add_api_route("/v1/models", self._models, methods=["GET"])
        self.app.add_api_route(ADAPTERS, self._resident, methods=["GET"])
        self.app.add_api_route(ADAPTERS + "/{name}", self._remove, methods=["DELETE"])
        self.app.add_api_route("/v1/chat/completions", self._chat, methods=["POST"])
        self.app.add_api_route("/v1/completions", self._complete, methods=["POST"])
        self.app.add_api_route("/inference/v1/abort_requests", self._abort, methods=["POST"])

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, folder = body["lora_name"], Path(body["lora_path"])
        if "loads nothing" in self.faults:
            return _error(500, "EngineCore encountered an issue.")
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not await asyncio.to_thread(folder.is_dir):
            return _error(404, f"No adapter found for {folder}")
        if not await asyncio.to_thread(_is_finite, folder):
            return _error(400, "The adapter's weights are not finite numbers.")
        self.adapters[name] = folder
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _models(self) -> Body:
        return {"data": [{"id": BASE_MODEL, "max_model_len": self.context}]}

    async def _resident(self) -> Body:
        return {"adapters": sorted(self.adapters), "unnamed": 0}

    async def _remove(self, name: str) -> Response:
        if self.adapters.pop(name, None) is None:
            return _error(404, f"No adapter {name!r} is loaded.")
        return Response(status_code=204)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        await self._while_it_has("renders")
        if "babbles" in self.faults:
            return PlainTextResponse("This is no answer.")
        if body["model"] not in {BASE_MODEL, *self.adapters}:
            return _error(404, f"The model `{body['model']}` does not exist.")
        prompt = str(body["messages"][-1]["content"])
        if len(prompt) > self.context:
            return _error(400, f"This model's maximum context length is {self.context} tokens.")
        if "no form" in self.faults:
            body.pop("structured_outputs", None)
        answer = _Answer(f"chatcmpl-{request.headers['X-Request-Id']}", body, prompt)
        self.running += 1
        try:
            # Those that were sent together are together in its batch.
            await asyncio.sleep(0.02 if self.faults else 0)
            answer.logprob = await asyncio.to_thread(self.logprob, self._speaker(body))
            return await self._answer(answer)
        finally:
            self.running -= 1

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        prompt = str(body["prompt"])
        if len(prompt) > self.context:
            return _error(400, f"This model's maximum context length is {self.context} tokens.")
        name = f"cmpl-{request.headers['X-Request-Id']}"
        answer = _TextAnswer(name, body, prompt)
        answer.logprob = await asyncio.to_thread(self.logprob, body["model"])
        return await self._answer(answer)

    async def _metrics(self) -> Response:
        # As vLLM counts: a prompt once for each of its answers, with the first token.
        begun = [answer for answer in self.answers if answer.sent]
        counts = {
            "prompt_tokens_total": sum(
                len(answer.prompt.split()) * answer.answers for answer in begun
            ),
            "generation_tokens_total": sum(answer.sent * answer.answers for answer in begun),
            "num_requests_running": sum(not answer.ended for answer in self.answers),
            "num_requests_waiting": 0,
        }
        return PlainTextResponse("".join(f"vllm:{name} {it}\n" for name, it in counts.items()))

    async def _answer(self, answer: "_Answer") -> Response:
        self.answers.append(answer)
        if answer.body.get("stream"):
            return StreamingResponse(self._stream(answer), media_type="text/event-stream")
        with answer:
            await asyncio.sleep(self.pause * len(answer.words))
            await self._held(answer)
            if answer.aborted_as in self.aborted:
                answer.words = answer.words[:1]
            return JSONResponse(answer.whole())

    async def _held(self, answer: "_Answer") -> None:
        while {"hold", "mute"} & set(answer.prompt.split()) and not self.release.is_set():
            if answer.aborted_as in self.aborted:
                return
            await asyncio.sleep(0.01)

    async def _while_it_has(self, fault: str) -> None:
        while fault in self.faults:
            if self.release.is_set():
                return
            await asyncio.sleep(0.01)

    async def _abort(self, request: Request) -> Response:
        self.aborts += 1
        await self._while_it_has("deaf")
        for request_id in (await request.json())["request_ids"]:
            await self.abort(request_id)
        return Response()

    async def abort(self, request_id: str) -> None:
        """End a request early, as vLLM's client of its engine does; one it does not know is no error."""
        if request_id in {answer.aborted_as for answer in self.answers}:
            self.aborted.add(request_id)

    async def _stream(self, answer: "_Answer") -> AsyncIterator[str]:
        with answer:
            if "mute" in answer.prompt:
                await self._held(answer)
            yield answer.opening()
            for position, word in enumerate(answer.words):
                await asyncio.sleep(self.pause)
                if position:
                    await self._held(answer)
                if answer.aborted_as in self.aborted:
                    break
                if "break" in answer.prompt and position == 2:
                    yield f"data: {json.dumps({'error': {'message': 'EngineCore died'}})}\n\n"
                    yield "data: [DONE]\n\n"
                    return
                answer.sent += 1
                yield answer.piece(word)
            yield answer.closing()
            yield answer.usage_event()
            yield "data: [DONE]\n\n"

    def _speaker(self, body: Body) -> str:
        """Return the name of who answers, which a fault makes another than was asked."""
        if "ignores adapters" in self.faults:
            return BASE_MODEL
        if "streams base" in self.faults and body.get("stream"):
            return BASE_MODEL
        if "mixes" in self.faults and self.running > 1 and body["model"] == BASE_MODEL:
            return [BASE_MODEL, *self.adapters][-1]
        return str(body["model"])

    def logprob(self, model: str) -> float:
        """Return a log-probability that tells models apart, but not a zero adapter from the base."""
        if model == BASE_MODEL:
            return -1.0
        tensors = load_file(self.adapters[model] / "adapter_model.safetensors")
        effect = [tensor for name, tensor in tensors.items() if "lora_B" in name]
        return -1.0 - sum(float(abs(tensor).sum()) for tensor in effect)


class FakeProcess:
    """Runs a `FakeEngine` in place of vLLM; a test may hold its start, or end it as a crash would.

    With `usage`, the folder of a gateway's token counts, the engine keeps its accounts there.
    """

    def __init__(
        self,
        engine: FakeEngine,
        *,
        usage: Path | None = None,
        room: Room = _ROOM,
    ) -> None:
        self.engine = engine
        self.room = room
        self.usage = usage
        self.journal: Path | None = None
        self.starts = 0
        self.broken = False
        self.may_start = threading.Event()
        self.may_start.set()
        self._running = ExitStack()
        self._ended = threading.Event()

    async def start(self) -> Endpoint:
        self.starts += 1
        if self.broken:
            raise EngineUnavailable("The stand-in was told not to start.")
        await asyncio.to_thread(self.may_start.wait)
        self.engine.adapters.clear()
        self.engine.answers.clear()
        self._ended.clear()
        life = uuid.uuid4().hex[:16]
        app: Any = self.engine.app
        if self.usage is not None:
            self.journal = journal_of(self.usage, life)
            app = UsageJournal(app, self.journal)
        guarded: Any = KeyGuard(app, _KEY)
        return Endpoint(self._running.enter_context(serving(guarded)), _KEY, life)

    async def write_adapters(self, folder: Path) -> Sequence[Path]:
        return write_adapters(folder, self.room.in_batch)

    def is_alive(self) -> bool:
        return not self._ended.is_set()

    async def ended(self) -> None:
        await asyncio.to_thread(self._ended.wait)

    async def stop(self) -> None:
        await asyncio.to_thread(self.crash)

    def crash(self) -> None:
        self._running.close()
        self._ended.set()
        if self.journal is not None:
            end_journal(self.journal)


def write_adapters(folder: Path, count: int) -> Sequence[Path]:
    """Write adapters that the stand-in tells apart."""
    return [tiny_adapter.build(folder / f"synthetic-{seed}", seed=seed) for seed in range(count)]


def main() -> None:
    """Serve until killed."""
    engine = FakeEngine(pause=0.01)
    port = int(sys.argv[1])
    uvicorn.run(
        KeyGuard(UsageJournal(engine.app)), host="127.0.0.1", port=port, log_level="warning"
    )


class _Answer:
    """An answer to a conversation."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def __init__(self, answer_id: str, body: Body, prompt: str) -> None:
        self.id = self.aborted_as = answer_id
        self.body = body
        self.model = body["model"]
        self.prompt = prompt
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 100
        self.words = [f"{word} " for word in f"{self.model} heard {prompt}".split(" ")][:limit]
        self.answers = body.get("n") or 1
        if form := body.get("structured_outputs"):
            self.words = [*form.get("choice", ["{}"])[:1]]
        self.sent = 0
        self.logprob = 0.0
        self.ended = False

    def __enter__(self) -> None:
        """Begin it."""

    def __exit__(self, *_: object) -> None:
        self.ended = True

    def whole(self) -> Body:
        self.sent = len(self.words)
        choices = [
            {
                "index": index,
                **self._said("".join(self.words).strip()),
                "finish_reason": "stop",
                "stop_reason": None,
                "token_ids": [1, 2, 3],
            }
            for index in range(self.answers)
        ]
        return {
            **self._head(self.kind),
            "choices": choices,
            "usage": self._usage(),
            "prompt_logprobs": None,
            "kv_transfer_params": {"engine": "secret"},
        }

    def opening(self) -> str:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, word: str) -> str:
        return self._chunk({"content": word})

    def closing(self) -> str:
        return self._chunk({}, finish_reason="stop")

    def usage_event(self) -> str:
        return _event({**self._head(self.chunk_kind), "choices": [], "usage": self._usage()})

    def _said(self, text: str) -> Body:
        return {
            "message": {"role": "assistant", "content": text, "reasoning": None},
            "logprobs": self._logprobs(len(self.words)),
        }

    def _added(self, delta: Body) -> Body:
        return {"delta": delta, "logprobs": self._logprobs(1) if delta.get("content") else None}

    def _chunk(self, delta: Body, *, finish_reason: str | None = None) -> str:
        choices = [
            {
                "index": index,
                **self._added(delta),
                "finish_reason": finish_reason,
                "token_ids": None,
            }
            for index in range(self.answers)
        ]
        return _event({**self._head(self.chunk_kind), "choices": choices})

    def _logprobs(self, tokens: int) -> Body | None:
        if not self.body.get("logprobs"):
            return None
        name = f"token_id:{TOKEN}" if self.body.get("return_tokens_as_token_ids") else chr(TOKEN)
        token = {"token": name, "logprob": self.logprob, "bytes": [TOKEN]}
        return {"content": tokens * [token | {"top_logprobs": [token]}]}

    def _head(self, kind: str) -> Body:
        return {"id": self.id, "object": kind, "created": 1_700_000_000, "model": self.model}

    def _usage(self) -> Body:
        prompt = len(self.prompt.split())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.sent * self.answers,
            "total_tokens": prompt + self.sent * self.answers,
            "prompt_tokens_details": {"cached_tokens": 0},
        }


class _TextAnswer(_Answer):
    """What follows a text."""

    kind = chunk_kind = "text_completion"

    def __init__(self, answer_id: str, body: Body, prompt: str) -> None:
        super().__init__(answer_id, body, prompt)
        self.aborted_as = f"{answer_id}-0"

    def _said(self, text: str) -> Body:
        tokens = {"tokens": ["x"], "token_logprobs": [self.logprob], "text_offset": [0]}
        return {"text": text, "logprobs": tokens | {"top_logprobs": [{"x": self.logprob}]}}

    def _added(self, delta: Body) -> Body:
        return {"text": delta.get("content", "")}


def _is_finite(folder: Path) -> bool:
    tensors = load_file(folder / "adapter_model.safetensors").values()
    return all(bool(np.isfinite(tensor).all()) for tensor in tensors)


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status)


def _event(document: Body) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


if __name__ == "__main__":
    main()
