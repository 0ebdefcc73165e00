"""OpenAI's chat format on our side of the engine: what is accepted, sent on, and answered.

Requests follow OpenAI in refusing an argument they do not know: a misspelt `max_token` that is
ignored costs more than an error. Arguments that OpenAI knows and that change nothing here are
accepted. Answers are built from the fields that OpenAI defines, so that nothing of the engine's own
(token ids, transfer parameters, internal names) can pass through.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from freesolo.domain.prices import Asked
from serving_backend.engine import Document

_SignedInt64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

# Arguments that only the gateway reads, or nobody.
_NOT_SENT = {"model", "stream", "stream_options", "store", "metadata", "service_tier", "user"} | {
    "safety_identifier",
    "prompt_cache_key",
    "max_tokens",
}


class TextPart(BaseModel):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation. Text only; what else an earlier answer carried is dropped."""

    role: Annotated[
        Literal["system", "user", "assistant"],
        # OpenAI's newer word for the same role; chat templates know the older.
        BeforeValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: str | list[TextPart]


class StreamOptions(BaseModel):
    """What a streamed answer ends with."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The form that the answer must have; `json_schema` holds the schema if `type` asks for one."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, JsonValue] | None = None


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=32)
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: _SignedInt64 | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs` to be true")
        if self.stream_options and not self.stream:
            raise ValueError("`stream_options` needs `stream` to be true")
        return self

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a streamed answer ends with its token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def asked(self, *, context: int) -> Asked:
        """Return the size of what is asked of a model with room for `context` tokens."""
        texts = [
            part
            for message in self.messages
            for part in (
                [message.content]
                if isinstance(message.content, str)
                else [part.text for part in message.content]
            )
        ]
        return Asked(
            text_bytes=sum(len(text.encode()) for text in texts),
            messages=len(self.messages),
            answers=self.n or 1,
            answer_tokens=min(self.max_completion_tokens or self.max_tokens or context, context),
        )

    def for_engine(self, model: str) -> Document:
        """Return the engine's request for the same, under the engine's name of the model.

        A stream is always asked to end with its token counts: they are what is metered.
        """
        body = self.model_dump(exclude_none=True, exclude=_NOT_SENT)
        body["model"] = model
        if self.max_tokens is not None:
            body.setdefault("max_completion_tokens", self.max_tokens)
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def public_answer(answer: Mapping[str, Any], *, model: str, fingerprint: str) -> Document:
    """Return an engine's whole answer as OpenAI would write it, from the public `model`."""
    return {
        **_head(answer, model=model, fingerprint=fingerprint),
        "choices": [
            {
                "index": choice["index"],
                "message": {
                    "role": "assistant",
                    "content": choice["message"].get("content"),
                    "refusal": None,
                },
                "logprobs": choice.get("logprobs"),
                "finish_reason": choice["finish_reason"],
            }
            for choice in answer["choices"]
        ],
        "usage": public_usage(answer["usage"]),
    }


def public_chunk(chunk: Mapping[str, Any], *, model: str, fingerprint: str) -> Document:
    """Return one piece of an engine's streamed answer as OpenAI would write it, without usage."""
    return {
        **_head(chunk, model=model, fingerprint=fingerprint),
        "choices": [
            {
                "index": choice["index"],
                "delta": {
                    key: value
                    for key, value in choice["delta"].items()
                    if key in ("role", "content") and value is not None
                },
                "logprobs": choice.get("logprobs"),
                "finish_reason": choice.get("finish_reason"),
            }
            for choice in chunk["choices"]
        ],
    }


def counts_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return an engine's token counts by the names of a `UsageRecord`; what it leaves out is 0."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": prompt.get("cached_tokens") or 0,
        "completion_tokens": usage["completion_tokens"],
        "reasoning_tokens": completion.get("reasoning_tokens") or 0,
    }


def public_usage(usage: Mapping[str, Any]) -> Document:
    """Return an engine's token counts in OpenAI's form."""
    counts = counts_of(usage)
    return {
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
        "total_tokens": counts["prompt_tokens"] + counts["completion_tokens"],
        "prompt_tokens_details": {"cached_tokens": counts["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
    }


def _head(part: Mapping[str, Any], *, model: str, fingerprint: str) -> Document:
    return {
        "id": part["id"],
        "object": part["object"],
        "created": part["created"],
        "model": model,
        # Which immutable state of the model answered.
        "system_fingerprint": fingerprint,
    }
