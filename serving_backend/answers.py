"""The gateway's answers as its OpenAPI document tells of them; a test calls every route and compares."""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from serving_backend.chat import ChatRequest, ToolCall
from serving_backend.formats import GenerationRequest
from serving_backend.texts import TextRequest

_REFS = "#/components/schemas/{model}"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CachedTokens(_Answer):
    """How many tokens of a prompt had been read before."""

    cached_tokens: int


class ReasoningTokens(_Answer):
    """How many tokens of an answer were thinking."""

    reasoning_tokens: int


class TokenUsage(_Answer):
    """What a request took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatMessage(_Answer):
    """What the model said. `content` is null only beside calls of tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None


class _Choice(_Answer):
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class ChatChoice(_Choice):
    """One of the `n` answers."""

    message: ChatMessage


class TextChoice(_Choice):
    """One of the `n` answers to one of the prompts."""

    text: str


class _Completion(_Answer):
    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: TokenUsage


class ChatAnswer(_Completion):
    """The answer of `POST /v1/chat/completions` that is not streamed."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextAnswer(_Completion):
    """The answer of `POST /v1/completions` that is not streamed."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class ListedModel(_Answer):
    """A name that the key may ask for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["freesolo"] = "freesolo"


class ListedModels(_Answer):
    """The answer of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ListedModel]


class ErrorDetail(_Answer):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(_Answer):
    """Every error."""

    error: ErrorDetail


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the gateway's OpenAPI document, with the bodies that its routes read by hand."""
    document = get_openapi(title=app.title, version="1", routes=app.routes)
    for kind in (ChatRequest, TextRequest):
        schema = kind.model_json_schema(ref_template=_REFS)
        document["components"]["schemas"] |= schema.pop("$defs", {}) | {kind.__name__: schema}
        document["paths"][kind.path]["post"]["requestBody"] = _body_of(kind)
    return document


def _body_of(kind: type[GenerationRequest]) -> dict[str, Any]:
    schema = {"$ref": _REFS.format(model=kind.__name__)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
