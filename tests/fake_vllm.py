"""A stand-in for vLLM's completions over token ids, its tokenizer and its adapters; no model.

How likely a token is depends on the token and on how large the adapter is, and on nothing else.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from safetensors.numpy import load_file
from starlette.middleware.base import RequestResponseEndpoint
from tokenizers import Tokenizer

KEY = "fake-vllm-key"
BASE = "base"

Document = dict[str, Any]


class Tokens(Protocol):
    """What the stand-in needs of a tokenizer; `end` ends a turn."""

    end: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class TinyTokens:
    """The tokenizer of the tiny model in a folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end: int = self.encode("<|im_end|>")[0]

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


class PairTokens:
    """A tokenizer of its own: a token for each two characters, numbered as they come up."""

    def __init__(self) -> None:
        self._texts = ["<|im_end|>"]
        self.end = 0

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate(text.split("<|im_end|>")):
            ids += [self.end] if number else []
            ids += [self._number(part[at : at + 2]) for at in range(0, len(part), 2)]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[token] for token in ids)

    def _number(self, text: str) -> int:
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text)


class FakeVllm:
    """The application, and what a test may look at or change."""

    def __init__(self, tokens: Tokens, *, context: int = 512) -> None:
        self.tokens = tokens
        self.context = context
        self.adapters: dict[str, Path] = {}
        self.requests: list[Document] = []
        self.deaf = False
        # How often it tells how likely a prompt's tokens were.
        self.prompts_told = math.inf
        self.failures = 0
        self.dead = False
        self.finish: str | None = None
        self.app = FastAPI()
        self.app.middleware("http")(_check_key)
        for path, handler in self._routes().items():
            self.app.add_api_route(path, handler, methods=["POST"])
        self.app.add_api_route("/health", lambda: Response(), methods=["GET"])
        self.app.add_api_route("/v1/models", self._models, methods=["GET"])

    def logprob(self, model: str, token: int) -> float:
        """Return how likely a token is to the base or to an adapter."""
        effect = 0.0
        if model in self.adapters and not self.deaf:
            effect = effect_of(self.adapters[model])
        return logprob(token, effect)

    def logprobs(self, model: str, prompt: Sequence[int], said: Sequence[int]) -> list[float]:
        """Return how likely each token of an answer is."""
        return [self.logprob(model, token) for token in said]

    def revive(self) -> None:
        """Start again, with nothing loaded."""
        self.dead = False
        self.adapters.clear()

    def _routes(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "/v1/completions": self._complete,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
            "/tokenize": self._tokenize,
        }

    def _models(self) -> Document:
        base = {"id": BASE, "parent": None, "max_model_len": self.context}
        adapters = [{"id": name, "parent": BASE} for name in self.adapters]
        return {"object": "list", "data": [base, *adapters]}

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        if self.dead:
            return _error(500, "EngineCore died.")
        if body["model"] not in {BASE, *self.adapters}:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if self.failures:
            self.failures -= 1
            return _error(500, "EngineCore encountered an issue.")
        if len(body["prompt"]) + body["max_tokens"] > self.context:
            return _error(400, f"This model's maximum context length is {self.context} tokens.")
        said, finish = self._say(body)
        told = None
        if body.get("prompt_logprobs") is not None and self.prompts_told > 0:
            self.prompts_told -= 1
            told = [None, *(self._told(body["model"], token) for token in body["prompt"][1:])]
        choice = {
            "index": 0,
            "text": self.tokens.decode(said),
            "token_ids": said,
            "logprobs": {"token_logprobs": self.logprobs(body["model"], body["prompt"], said)},
            "finish_reason": self.finish or finish,
            "prompt_logprobs": told,
        }
        return JSONResponse({"model": body["model"], "choices": [choice]})

    def _say(self, body: Document) -> tuple[list[int], str]:
        shape = body.get("structured_outputs")
        if shape:
            return [*self.tokens.encode(shape["choice"][0]), self.tokens.end], "stop"
        draw = random.Random(body.get("seed"))  # noqa: S311 - the same for the same seed
        said: list[int] = []
        while len(said) < body["max_tokens"]:
            said += self.tokens.encode(draw.choice("aeiou sturm"))
            if any(stop in self.tokens.decode(said) for stop in body.get("stop", [])):
                return said, "stop"
        return said, "length"

    def _told(self, model: str, token: int) -> Document:
        told = {"logprob": self.logprob(model, token), "decoded_token": self.tokens.decode([token])}
        return {str(token): told}

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        if self.dead:
            return _error(500, "EngineCore died.")
        if body["lora_name"] in self.adapters:
            return _error(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        self.adapters[body["lora_name"]] = Path(body["lora_path"])
        return Response()

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return Response()

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        if "messages" in body:
            ids = self.tokens.encode(_render(body["messages"], body.get("add_generation_prompt")))
        else:
            ids = self.tokens.encode(body["prompt"])
        return JSONResponse({"count": len(ids), "tokens": ids})


def logprob(token: int, effect: float) -> float:
    """Return how likely the stand-in finds a token with an adapter of this effect."""
    return -1.0 - (token % 7) / 10 - effect


def effect_of(folder: Path) -> float:
    """Return how large the adapter in a folder is."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return sum(float(abs(part).mean()) for name, part in tensors.items() if "lora_B" in name)


def _render(messages: Sequence[Mapping[str, str]], answer_next: bool | None) -> str:
    text = "".join(f"[{one['role']}]{one['content']}<|im_end|>" for one in messages)
    return text if answer_next is False else f"{text}[assistant]"


async def _check_key(request: Request, call_next: RequestResponseEndpoint) -> Response:
    if request.url.path == "/health" or request.headers.get("Authorization") == f"Bearer {KEY}":
        return await call_next(request)
    return JSONResponse({"error": "Unauthorized"}, status_code=401)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "code": status}}, status_code=status)
