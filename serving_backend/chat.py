"""OpenAI's chat format on our side of the engine: what is accepted, sent on, and answered.

Requests follow OpenAI in refusing an argument they do not know: a misspelt `max_token` that is
ignored costs more than an error. Arguments that OpenAI knows and that change nothing here are
accepted. Answers are built from the fields that OpenAI defines, so that nothing of the engine's own
(token ids, transfer parameters, internal names) can pass through.
"""

from collections.abc import Iterator, Mapping
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
from freesolo.errors import Problem, RequestNotServable
from freesolo.schemas.deployments import Target
from serving_backend.engine import Document

MAX_IMAGES = 4
_THINKING = "chat_template_kwargs"
# Below this temperature an engine draws nothing.
_GREEDY = 1e-5
_SignedInt64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

# Arguments that only the gateway reads, or nobody.
_NOT_SENT = {"model", "stream", "stream_options", "store", "metadata", "service_tier", "user"} | {
    "safety_identifier",
    "prompt_cache_key",
    "max_tokens",
    _THINKING,
}


class TextPart(BaseModel):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """An image, as a `data:` address: nothing is fetched for a caller."""

    url: Annotated[str, Field(pattern=r"^data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=\s]+$")]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(BaseModel):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


_Parts = str | list[TextPart]


class SystemMessage(BaseModel):
    """What the model is told about its task."""

    role: Literal["system"]
    content: _Parts


class UserMessage(BaseModel):
    """What the model is asked."""

    role: Literal["user"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class CalledFunction(BaseModel):
    """A call, as the model wrote it: `arguments` are JSON, or were meant to be."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call of a tool that the model made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(BaseModel):
    """What the model answered before. What else that answer carried, such as thinking, is dropped."""

    role: Literal["assistant"]
    content: _Parts | None = None
    tool_calls: list[ToolCall] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message of the assistant needs `content` or `tool_calls`")
        return self


class ToolMessage(BaseModel):
    """What a tool answered to a call."""

    role: Literal["tool"]
    content: _Parts
    tool_call_id: str


def _with_older_role(message: object) -> object:
    # OpenAI's newer word for the same role; chat templates know the older.
    match message:
        case {"role": "developer", **rest}:
            return {**rest, "role": "system"}
    return message


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(BaseModel):
    """A function that the model may call; `parameters` is a JSON schema of its arguments."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool that the model may use."""

    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class NamedTool(BaseModel):
    """The tool that the model is to use."""

    type: Literal["function"]
    function: NamedFunction


class TemplateOptions(BaseModel):
    """What may be told the chat template."""

    model_config = ConfigDict(extra="forbid")

    enable_thinking: bool | None = None


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
    messages: list[Annotated[Message, BeforeValidator(_with_older_role)]] = Field(min_length=1)
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
    tools: list[Tool] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: TemplateOptions | None = None
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
        if self.tool_choice is not None and not self.tools:
            raise ValueError("`tool_choice` needs `tools`")
        if self.images > MAX_IMAGES:
            raise ValueError(f"a request has at most {MAX_IMAGES} images; this has {self.images}")
        return self

    @property
    def images(self) -> int:
        """How many images the messages hold."""
        return sum(isinstance(part, ImagePart) for part in self._parts())

    @property
    def thinking(self) -> bool | None:
        """Whether the model is to think before it answers, None if that is not said."""
        return self.chat_template_kwargs.enable_thinking if self.chat_template_kwargs else None

    def _parts(self) -> Iterator[str | TextPart | ImagePart]:
        for message in self.messages:
            if isinstance(message.content, str):
                yield message.content
            else:
                yield from message.content or ()

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a streamed answer ends with its token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def asked(self, *, context: int) -> Asked:
        """Return the size of what is asked of a model with room for `context` tokens."""
        text = self.model_dump_json(include={"messages", "tools"}, exclude_none=True)
        return Asked(
            # What is around the text is more than what the template makes of it, and an image's
            # address longer than what the model sees of it.
            text_bytes=min(len(text.encode()), 16 * context),
            messages=len(self.messages),
            answers=self.n or 1,
            answer_tokens=min(self.max_completion_tokens or self.max_tokens or context, context),
        )

    def for_engine(self, model: str, target: Target) -> Document:
        """Return the engine's request for the same, under the engine's name of the model.

        An adapter thinks as it was trained to, and answers in the form it was trained in unless
        another is asked for. A stream is always asked to end with its token counts: they are what
        is metered. Raise `RequestNotServable` for what the model cannot do.
        """
        require_servable(self, target)
        body = self.model_dump(exclude_none=True, exclude=_NOT_SENT)
        body["model"] = model
        thinking = self.thinking if target.thinking is None else target.thinking
        if thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": thinking}
        if self.response_format is None and not self.tools and target.structured_outputs:
            body["structured_outputs"] = target.structured_outputs
        if self.max_tokens is not None:
            body.setdefault("max_completion_tokens", self.max_tokens)
        if (self.n or 1) > 1 and self.temperature is not None and self.temperature < _GREEDY:
            # An engine gives a greedy request one answer. So the likeliest token is drawn from
            # itself alone; only where several are just as likely may the answers part.
            body |= {"temperature": 1.0, "top_k": 1}
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def require_servable(request: ChatRequest, target: Target) -> None:
    """Raise `RequestNotServable` for a request that is well formed and that this model cannot serve."""
    if request.images and not target.base_model.images:
        images = f"the request has {request.images} images"
        raise _not_servable("messages", f"{target.model!r} reads text only, and {images}.")
    if request.thinking is None:
        return
    if target.thinking is not None and request.thinking != target.thinking:
        trained = "with" if target.thinking else "without"
        raise _not_servable(
            _THINKING, f"{target.model!r} was trained {trained} thinking, and is served so."
        )
    if request.thinking and not target.base_model.thinking:
        raise _not_servable(_THINKING, f"{target.model!r} does not think.")


def _not_servable(param: str, message: str) -> RequestNotServable:
    return RequestNotServable(message, problems=[Problem(param, message)])


def public_answer(answer: Mapping[str, Any], *, model: str, fingerprint: str) -> Document:
    """Return an engine's whole answer as OpenAI would write it, from the public `model`."""
    return {
        **_head(answer, model=model, fingerprint=fingerprint),
        "choices": [
            {
                "index": choice["index"],
                "message": _message(choice["message"]),
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
                "delta": _delta(choice["delta"]),
                "logprobs": choice.get("logprobs"),
                "finish_reason": choice.get("finish_reason"),
            }
            for choice in chunk["choices"]
        ],
    }


def _message(message: Mapping[str, Any]) -> Document:
    """Return what the model said. Clients that know no thinking find its answer in `content` alone."""
    calls = message.get("tool_calls")
    public = {
        "role": "assistant",
        # Null only beside calls: many clients take text for granted.
        "content": message.get("content") or (None if calls else ""),
        "refusal": None,
    }
    if calls:
        public["tool_calls"] = [_call(call) for call in calls]
    if thought := message.get("reasoning"):
        public["reasoning_content"] = thought
    return public


def _delta(delta: Mapping[str, Any]) -> Document:
    public = {name: delta[name] for name in ("role", "content") if delta.get(name) is not None}
    if calls := delta.get("tool_calls"):
        public["tool_calls"] = [{"index": call["index"], **_call(call)} for call in calls]
    if (thought := delta.get("reasoning")) is not None:
        public["reasoning_content"] = thought
    return public


def _call(call: Mapping[str, Any]) -> Document:
    """Return a call, or the piece of one that a stream brings."""
    function = {
        name: value for name, value in call["function"].items() if name in ("name", "arguments")
    }
    known = {name: call[name] for name in ("id", "type") if call.get(name) is not None}
    return {**known, "function": {name: it for name, it in function.items() if it is not None}}


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
