"""What is asked of a vLLM server: completions over token ids, tokens of a text, and adapters.

Calls block, each with a deadline, and threads may share a client. Nothing is asked twice here.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from freesolo.client.transport import is_loopback
from freesolo.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    FreesoloError,
    InvalidInput,
    Unauthorized,
)

Ids = tuple[int, ...]

_CONNECT_SECONDS = 10.0
_SHORT_SECONDS = 60.0
# Long enough to read a large adapter from a slow disk.
_LOAD_SECONDS = 300.0
# What a server says of itself is shown to a run's owner, and may be anything.
_MAX_REASON = 300


@dataclass(frozen=True)
class ReadToken:
    """A token of a prompt: how likely it was to the model, and its text if the server tells."""

    logprob: float
    text: str | None


@dataclass(frozen=True)
class Completion:
    """What a server answered: tokens, how likely each was, and why there are no more.

    `read` is about the prompt, if that was asked for; nothing comes before its first token.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    finish: str
    read: tuple[ReadToken | None, ...] = ()


class VllmClient:
    """A connection to one server. `url` is its root, or ends in `/v1`; errors call it `named`."""

    def __init__(self, url: str, api_key: str | None, *, named: str) -> None:
        self.named = named
        try:
            self._http = httpx.Client(
                base_url=url.rstrip("/").removesuffix("/v1"),
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(_SHORT_SECONDS, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=None),
                # A proxy of the environment does not lead back to this machine.
                trust_env=not is_loopback(url),
            )
        except (httpx.InvalidURL, ValueError):
            raise InvalidInput(f"{named} has no address that can be asked.") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_healthy(self) -> bool:
        """Say whether the server answers and can compute."""
        try:
            return self._http.get("/health", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def models(self) -> Sequence[Mapping[str, Any]]:
        """Return what the server serves: `id`, `parent` (None for a base), `max_model_len`."""
        listed = self._checked(self._send("GET", "/v1/models")).get("data")
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise self.unlike("it lists no models")
        return listed

    def complete(
        self, model: str, ids: Ids, *, seconds: float, options: Mapping[str, object]
    ) -> Completion:
        """Return the completion of a prompt of token ids, within a deadline.

        Raise `EngineUnavailable` if none comes, `ContextLengthExceeded` if the prompt is too long,
        and `InvalidInput` for what the server refuses.
        """
        body = {
            "model": model,
            "prompt": list(ids),
            "return_token_ids": True,
            "logprobs": 0,
            **options,
        }
        answer = self._checked(self._send("POST", "/v1/completions", body, seconds=seconds))
        try:
            (choice,) = answer["choices"]
            completion = Completion(
                ids=tuple(choice["token_ids"]),
                logprobs=tuple(map(float, choice["logprobs"]["token_logprobs"])),
                finish=str(choice["finish_reason"]),
                read=_read_tokens(ids, choice.get("prompt_logprobs")),
            )
        except (LookupError, TypeError, ValueError):
            raise self.unlike("a completion has no token ids or logprobs") from None
        if len(completion.ids) != len(completion.logprobs):
            raise self.unlike("a completion has not one logprob for each token")
        return completion

    def tokenize(self, body: Mapping[str, object]) -> Ids:
        """Return the ids of a `prompt` or of `messages`."""
        answer = self._checked(self._send("POST", "/tokenize", body))
        try:
            return tuple(map(int, answer["tokens"]))
        except (LookupError, TypeError, ValueError):
            raise self.unlike("it gives no tokens of a text") from None

    def load(self, name: str, folder: Path) -> None:
        """Load the adapter in `folder` under `name`."""
        body = {"lora_name": name, "lora_path": str(folder)}
        response = self._send("POST", "/v1/load_lora_adapter", body, seconds=_LOAD_SECONDS)
        # A load whose answer was lost; a name never stands for other content.
        known = response.status_code == 400 and "already been loaded" in response.text
        if response.is_error and not known:
            raise self._error(response)

    def unload(self, name: str) -> None:
        """Forget an adapter."""
        response = self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if response.is_error:
            raise self._error(response)

    def unlike(self, what: str) -> InvalidInput:
        """Return the error that the server is none of vLLM's: `what` says why."""
        return InvalidInput(
            f"{self.named} does not answer as vLLM does: {what}.",
            hint="It must be a vLLM server of version 0.11 or later.",
        )

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float = _SHORT_SECONDS,
    ) -> httpx.Response:
        deadline = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        try:
            return self._http.request(method, path, json=body, timeout=deadline)
        except httpx.TimeoutException:
            raise EngineUnavailable(
                f"{self.named} did not answer within {seconds:.0f} s."
            ) from None
        except httpx.UnsupportedProtocol:
            raise InvalidInput(
                f"{self.named} has no address that can be asked.",
                hint="An address begins with http:// or https://.",
            ) from None
        except httpx.TransportError as error:
            raise EngineUnavailable(
                f"{self.named} cannot be reached: {str(error).rstrip('.') or 'no connection'}."
            ) from None

    def _checked(self, response: httpx.Response) -> Mapping[str, Any]:
        if not response.is_success:
            raise self._error(response)
        try:
            document = response.json()
        except ValueError:
            raise self.unlike("its answer is no JSON") from None
        if not isinstance(document, dict):
            raise self.unlike("its answer is no object")
        return document

    def _error(self, response: httpx.Response) -> FreesoloError:
        status, reason = response.status_code, _reason(response)
        if status in (401, 403):
            return Unauthorized(f"{self.named} does not accept the key.")
        if status in (408, 429) or status >= 500:
            return EngineUnavailable(f"{self.named} failed to answer: {reason}")
        if "maximum context length" in reason or "maximum model length" in reason:
            return ContextLengthExceeded(f"{self.named}: {reason}")
        return InvalidInput(f"{self.named} refused a request: {reason}")


def _read_tokens(ids: Ids, listed: object) -> tuple[ReadToken | None, ...]:
    """Return what is told of a prompt's tokens; raise what a malformed answer raises."""
    if listed is None:
        return ()
    if not isinstance(listed, list) or len(listed) != len(ids):
        raise ValueError("not one entry for each token")
    found: list[ReadToken | None] = []
    for token, told in zip(ids, listed, strict=True):
        if told is None:
            found.append(None)
            continue
        entry = told[str(token)]
        text = entry.get("decoded_token")
        found.append(ReadToken(float(entry["logprob"]), None if text is None else str(text)))
    return tuple(found)


def _reason(response: httpx.Response) -> str:
    found: object = None
    with suppress(ValueError, LookupError, TypeError):
        found = response.json()["error"]["message"]
    return str(found)[:_MAX_REASON] if found else f"status {response.status_code}"
