"""Models that answer as a test says: a server that speaks OpenAI's API, on loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from tests.hubs import serving

# What a model says to the last message: text, a message's fields, or a status and an error's code.
Said = str | dict[str, object] | tuple[int, str]
Answer = Callable[[str], Said]


@dataclass
class Models:
    """A server's address, and what it was asked. `fingerprint` is what it calls the state that answers now."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    fingerprint: object = None

    @property
    def endpoint(self) -> str:
        """The address that OpenAI's clients are given."""
        return f"{self.url}/v1"


@contextmanager
def answering(answer: Answer | dict[str, Answer]) -> Iterator[Models]:
    """Serve one answer for every model, or one for each by its name."""
    models = Models()
    app = FastAPI()

    @app.get("/v1/whoami")
    def whoami(request: Request) -> dict[str, object]:
        # As a hub would answer, for tests that need no other call of one.
        gateway = str(request.base_url).rstrip("/")
        who = {"org": "local", "role": "owner", "key_name": "tests", "scopes": []}
        return {**who, "gateway_url": gateway}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        models.requests.append(body)
        models.keys.add(request.headers.get("Authorization"))
        of_model = answer[body["model"]] if isinstance(answer, dict) else answer
        said = of_model(body["messages"][-1]["content"])
        if isinstance(said, tuple):
            status, code = said
            return JSONResponse({"error": {"code": code, "message": f"{code}!"}}, status)
        message = {"content": said} if isinstance(said, str) else said
        choice = {"message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        document = {"choices": [choice], "usage": usage, "system_fingerprint": models.fingerprint}
        # In ASCII, which also holds what no encoding of Unicode does: half a character.
        return Response(json.dumps(document), media_type="application/json")

    with serving(app) as url:
        models.url = url
        yield models
