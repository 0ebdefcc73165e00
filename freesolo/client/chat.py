"""Chat with a model: the few parts of OpenAI's API that the command line needs.

The platform's gateway speaks it, and so do others' servers: `EndpointClient` is for those.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from freesolo.client.transport import Transport, repeating
from freesolo.errors import (
    ContextLengthExceeded,
    Internal,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unauthorized,
    Unavailable,
)

# Seconds before a server is asked again that was asked too often.
_PAUSE = 1.0


@dataclass(frozen=True)
class Usage:
    """The tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Reply:
    """What a model said; `finish_reason` is `stop`, or `length` when it ran out of room.

    `reasoning` is what it thought, if the server tells that apart; `fingerprint`, which state of the
    model and its server answered, if that is told at all.
    """

    text: str
    finish_reason: str
    usage: Usage
    reasoning: str | None = None
    fingerprint: str | None = None


class ChatClient:
    """A connection to one server with one key; `base_url` is what OpenAI's clients are given.

    A whole answer that is not to be had is asked for `attempts` times.
    """

    # The engine may have to start first; the gateway waits for it up to its own limit.
    def __init__(
        self, base_url: str, api_key: str | None, *, timeout: float = 300.0, attempts: int = 1
    ) -> None:
        self._transport = Transport(base_url, api_key, timeout=timeout)
        self._attempts = repeating(attempts)

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
        seed: int | None = None,
    ) -> Reply:
        """Return the whole answer of `model`, a base model's id or a deployed run's."""
        body = _body(model, messages, max_tokens=max_tokens, temperature=temperature)
        if seed is not None:
            body["seed"] = seed
        response = self._attempts(self._send, body)
        try:
            return _reply(response.json())
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Unavailable(
                f"{self._transport.base_url} does not answer as OpenAI's API does.",
                hint="Is it the address that OpenAI's clients take? Most end in `/v1`.",
            ) from None

    def _send(self, body: Mapping[str, object]) -> httpx.Response:
        return self._transport.request("POST", "/chat/completions", json_body=body)

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
            "POST", "/chat/completions", json_body={**body, "stream": True}
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


class EndpointClient(ChatClient):
    """A connection to a server that is not the platform's.

    What it refuses to answer is `Unavailable`: whose fault that is, others' words do not say.
    """

    def complete(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int,
        temperature: float,
        seed: int | None = None,
    ) -> Reply:
        """Return the whole answer of `model`, by whatever name the server knows it."""
        url = self._transport.base_url
        try:
            return super().complete(
                model, messages, max_tokens=max_tokens, temperature=temperature, seed=seed
            )
        except Unauthorized as error:
            raise Unauthorized(
                f"{url} does not take the key, or wants one.",
                hint="`--endpoint-key-env` names the environment variable that holds it.",
            ) from error
        except NotFound as error:
            raise NotFound(
                f"{url} has no chat completions, or no model {model!r}: {error.message}",
                hint="The address is the one that OpenAI's clients take; most end in `/v1`.",
            ) from error
        except ContextLengthExceeded:
            raise
        except (InvalidInput, Internal) as error:
            raise Unavailable(f"{url} does not answer: {error.message}") from error

    def _send(self, body: Mapping[str, object]) -> httpx.Response:
        try:
            return super()._send(body)
        except LimitExceeded as error:
            # Not every server that is asked too often says when to come back.
            error.retry_after = error.retry_after or _PAUSE
            raise


def _body(
    model: str, messages: Sequence[Mapping[str, Any]], *, max_tokens: int, temperature: float
) -> dict[str, object]:
    return {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
    }


def _reply(document: Mapping[str, Any]) -> Reply:
    choice = document["choices"][0]
    message = choice["message"]
    return Reply(
        text=str(message.get("content") or message.get("refusal") or ""),
        finish_reason=str(choice.get("finish_reason")),
        usage=_usage(document.get("usage") or {}),
        # Servers differ in the name.
        reasoning=message.get("reasoning_content") or message.get("reasoning"),
        fingerprint=document.get("system_fingerprint"),
    )


def _usage(document: Mapping[str, Any]) -> Usage:
    return Usage(document.get("prompt_tokens", 0), document.get("completion_tokens", 0))
