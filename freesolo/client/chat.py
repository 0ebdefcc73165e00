"""Chat with a model: the few parts of OpenAI's API that the command line needs.

The platform's gateway speaks it, and so do others' servers: `EndpointClient` is for those.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from freesolo.client.transport import Transport, repeating
from freesolo.domain.refs import check_name
from freesolo.errors import (
    ContextLengthExceeded,
    Internal,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unauthorized,
    Unavailable,
)
from freesolo.schemas.accounts import ORG_HEADER

# Seconds before a server is asked again that was asked too often.
_PAUSE = 1.0
# The most bytes of an answer that are read: no model says as much at once.
_MAX_ANSWER = 2 << 20
# What OpenAI calls `max_tokens` where a model's thinking counts into them.
_NEWER_NAME = "max_completion_tokens"


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

    `org` names the org that is meant, for a key of the platform that has several.

    A whole answer that is not to be had is asked for `attempts` times, if the server says so within
    `timeout` seconds: one that hung was asked enough.
    """

    # The engine may have to start first; the gateway waits for it up to its own limit.
    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        org: str | None = None,
        timeout: float = 300.0,
        attempts: int = 1,
    ) -> None:
        headers = {ORG_HEADER: check_name(org, "org")} if org else {}
        self._transport = Transport(base_url, api_key, headers=headers, timeout=timeout)
        self._attempts = repeating(attempts, within=timeout)

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
        """Return the whole answer of `model`: a deployed run's id, a revision, or a base model's id."""
        body = _body(model, messages, max_tokens=max_tokens, temperature=temperature)
        if seed is not None:
            body["seed"] = seed
        answer = self._attempts(self._send, body)
        try:
            return _reply(json.loads(answer))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Unavailable(
                f"{self._transport.base_url} does not answer as OpenAI's API does.",
                hint="Is it the address that OpenAI's clients take? Most end in `/v1`.",
            ) from None

    def _send(self, body: Mapping[str, object]) -> bytes:
        answer = bytearray()
        with self._transport.stream("POST", "/chat/completions", json_body=body) as response:
            for chunk in response.iter_bytes():
                answer += chunk
                if len(answer) > _MAX_ANSWER:
                    raise Unavailable(
                        f"The answer has more than the {_MAX_ANSWER} bytes it may have."
                    )
        return bytes(answer)

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

    # Whether the server has said that it wants it.
    _newer_name = False

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
            # The reason first: it is what a narrow column still shows.
            raise Unavailable(f"{error.message} (said by {url})") from error

    def _send(self, body: Mapping[str, object]) -> bytes:
        sent = _with_newer_name(body) if self._newer_name else body
        try:
            return super()._send(sent)
        except InvalidInput as error:
            if sent is not body or _NEWER_NAME not in error.message:
                raise
            self._newer_name = True
            return self._send(body)
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


def _with_newer_name(body: Mapping[str, object]) -> dict[str, object]:
    return {_NEWER_NAME if key == "max_tokens" else key: value for key, value in body.items()}


def _reply(document: Mapping[str, Any]) -> Reply:
    choice = document["choices"][0]
    message = choice["message"]
    return Reply(
        text=_text(message.get("content") or message.get("refusal") or ""),
        finish_reason=str(choice.get("finish_reason")),
        usage=_usage(document.get("usage") or {}),
        # Servers differ in the name.
        reasoning=_word(message.get("reasoning_content") or message.get("reasoning")),
        fingerprint=_word(document.get("system_fingerprint")),
    )


def _text(content: str | Sequence[Mapping[str, str]]) -> str:
    """Return what a message says: its content, or the parts of it that are text."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _word(value: object) -> str | None:
    """Return what is text, and nothing for what another server put in its place."""
    return value if isinstance(value, str) else None


def _usage(document: Mapping[str, Any]) -> Usage:
    return Usage(document.get("prompt_tokens", 0), document.get("completion_tokens", 0))
