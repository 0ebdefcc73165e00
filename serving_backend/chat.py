"""OpenAI's chat format on our side of the engine: what is accepted, sent on, and answered."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
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
from serving_backend.formats import NOT_SENT, GenerationRequest, TokenLimit

MAX_IMAGES = 4
# OpenAI's, and far more than conversations have. The first thing that is wrong in a list is enough.
MAX_MESSAGES = 2048
_SOME = Field(max_length=1024, fail_fast=True)
_THINKING = "chat_template_kwargs"


def _finite(value: JsonValue) -> JsonValue:
    """Refuse numbers that JSON has no words for; readers of JSON make them of 1e999."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError("a number in it is not finite")
        case list():
            for item in value:
                _finite(item)
        case dict():
            for item in value.values():
                _finite(item)
    return value


_JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
_NOT_SENT = NOT_SENT | {"max_tokens", _THINKING}


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


_Parts = str | Annotated[list[TextPart], _SOME]


class SystemMessage(BaseModel):
    """What the model is told about its task."""

    role: Literal["system"]
    content: _Parts


class UserMessage(BaseModel):
    """What the model is asked."""

    role: Literal["user"]
    content: (
        str | Annotated[list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], _SOME]
    )


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
    tool_calls: Annotated[list[ToolCall], _SOME] | None = None

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
    parameters: _JsonObject | None = None
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


class ResponseFormat(BaseModel):
    """The form that the answer must have; `json_schema` holds the schema if `type` asks for one."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonObject | None = None


class ChatRequest(GenerationRequest):
    """The body of `POST /v1/chat/completions`."""

    path: ClassVar[str] = "/v1/chat/completions"
    id_prefix: ClassVar[str] = "chatcmpl-"

    messages: list[Annotated[Message, BeforeValidator(_with_older_role)]] = Field(
        min_length=1, max_length=MAX_MESSAGES, fail_fast=True
    )
    max_completion_tokens: TokenLimit | None = None
    max_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs` to be true")
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
    def prompt_count(self) -> int:
        """A conversation is one."""
        return 1

    def asked(self, *, context: int) -> list[Asked]:
        """Return the size of what is asked."""
        asked = Asked(
            # An image of a few bytes may be of thousands of tokens: all that the model has room for.
            text_bytes=context if self.images else min(self._text_bytes(), 16 * context),
            messages=len(self.messages),
            answers=self.n or 1,
            answer_tokens=min(self.max_completion_tokens or self.max_tokens or context, context),
        )
        return [asked]

    def _text_bytes(self) -> int:
        # What is around the text is more than what the template makes of it.
        text = self.model_dump_json(include={"messages", "tools"}, exclude_none=True)
        return len(text.encode())

    def for_engine(self, model: str, target: Target) -> list[Document]:
        """Return the engine's request for the same.

        An adapter thinks as it was trained to, and answers in the form it was trained in unless
        another is asked for.
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
        return [body | self.in_engines_terms()]

    def said(self, choice: Mapping[str, Any]) -> Document:
        """Return the message of a choice."""
        return {"message": _message(choice["message"])}

    def piece(self, choice: Mapping[str, Any]) -> Document:
        """Return what a chunk adds to a message."""
        return {"delta": _delta(choice["delta"])}


def require_servable(request: ChatRequest, target: Target) -> None:
    """Raise `RequestNotServable` for a request that is well formed and that this model cannot serve."""
    if request.images and not target.base_model.images:
        images = f"the request has {request.images} images"
        raise _not_servable("messages", f"{target.model!r} reads text only, and {images}.")
    if request.tools and request.tool_choice != "none" and not target.base_model.tool_parser:
        raise _not_servable(
            "tools",
            f"{target.model!r} calls no tools: nothing tells its calls from what it says.",
        )
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
