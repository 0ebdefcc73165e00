"""Chat with a model through the gateway: the few parts of OpenAI's API that the command line needs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from freesolo.client.transport import Transport
from freesolo.errors import Unavailable


@dataclass(frozen=True)
class Usage:
    """The tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Answer:
    """What a model said; `finish_reason` is `stop`, or `length` when it ran out of room."""

    text: str
    finish_reason: str
    usage: Usage


class ChatClient:
    """A connection to one gateway with one key."""

    # The engine may have to start first; the gateway waits for it up to its own limit.
    def __init__(self, gateway_url: str, api_key: str | None, *, timeout: float = 300.0) -> None:
        self._transport = Transport(gateway_url, api_key, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.close()

    def complete(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int,
        temperature: float,
    ) -> Answer:
        """Return the whole answer of `model`, a base model's id or a deployed run's."""
        body = _body(model, messages, max_tokens=max_tokens, temperature=temperature)
        document = self._transport.request("POST", "/v1/chat/completions", json_body=body).json()
        choice = document["choices"][0]
        return Answer(
            text=choice["message"]["content"] or "",
            finish_reason=choice["finish_reason"],
            usage=_usage(document["usage"]),
        )

    def stream(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int,
        temperature: float,
    ) -> Iterator[str]:
        """Yield the answer as it comes. Raise `Unavailable` if the engine stops in the middle."""
        body = _body(model, messages, max_tokens=max_tokens, temperature=temperature)
        with self._transport.stream(
            "POST", "/v1/chat/completions", json_body={**body, "stream": True}
        ) as response:
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if not line.startswith("data: ") or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise Unavailable(f"The answer broke off: {event['error']['message']}")
                for choice in event["choices"]:
                    yield choice["delta"].get("content") or ""


def _body(
    model: str, messages: Sequence[Mapping[str, Any]], *, max_tokens: int, temperature: float
) -> dict[str, object]:
    return {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
    }


def _usage(document: Mapping[str, Any]) -> Usage:
    return Usage(document["prompt_tokens"], document["completion_tokens"])
