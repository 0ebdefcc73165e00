"""The routes of the gateway, in OpenAI's format."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, ValidationError

from freesolo.domain.problems import problems_from_validation
from freesolo.errors import Forbidden, FreesoloError, InvalidInput, PayloadTooLarge, Unauthorized
from freesolo.schemas.accounts import ORG_HEADER
from freesolo.schemas.deployments import KeyHash
from serving_backend.answers import ChatAnswer, ErrorAnswer, ListedModel, ListedModels, TextAnswer
from serving_backend.chat import ChatRequest
from serving_backend.completions import Admitted, Completions
from serving_backend.formats import GenerationRequest
from serving_backend.hub import Hub
from serving_backend.metrics import Metrics
from serving_backend.openai_errors import http_status
from serving_backend.settings import ServingSettings
from serving_backend.texts import TextRequest

_MAX_BODY_BYTES = 8 * 1024**2
_MAX_HEARD_BYTES = 8 * _MAX_BODY_BYTES
# What is read in a few milliseconds, for which others can wait.
_QUICK_BYTES = 100 * 1024
# Where more is wrong, it is something else than a request.
_MAX_PROBLEMS = 100
# Nobody reads it; the status by which web servers know this case.
_CALLER_GONE = 499
_LOOPBACK = frozenset({"127.0.0.1", "::1"})

_Result = TypeVar("_Result")
_Request = TypeVar("_Request", bound=GenerationRequest)

_ERROR = {"model": ErrorAnswer, "description": "An error in OpenAI's form"}
_STREAM: dict[str, object] = {"text/event-stream": {}}

router = APIRouter(responses={"4XX": _ERROR, "5XX": _ERROR})


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


# Async, though they wait for nothing: others are called in a thread, which costs more than the call.
async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


async def _completions(request: Request) -> Completions:
    completions: Completions = request.app.state.completions
    return completions


_bearer = HTTPBearer(auto_error=False, description="A Freesolo API key, `fslo_...`.")


async def _key(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    org: Annotated[
        str | None,
        Header(alias=ORG_HEADER, description="The org that is meant, for a key that has several."),
    ] = None,
) -> KeyHash:
    if credentials is None or not (key := credentials.credentials.strip()):
        raise Unauthorized(
            "No API key was given.", hint="Send it as the header `Authorization: Bearer KEY`."
        )
    return KeyHash(key_hash=hashlib.sha256(key.encode()).hexdigest(), org=org)


def _read_as(kind: type[_Request]) -> Callable[[Request], Awaitable[_Request]]:
    """Return what reads a body by hand: the key is checked before it, and errors are OpenAI's."""

    async def read(request: Request) -> _Request:
        body = await _body(request)
        if len(body) <= _QUICK_BYTES:
            return _parsed(kind, body)
        return await asyncio.to_thread(_parsed, kind, body)

    return read


def _parsed(kind: type[_Request], body: bytes) -> _Request:
    try:
        return kind.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.error_count() > _MAX_PROBLEMS:
            raise InvalidInput(f"The request is wrong in {error.error_count()} places.") from None
        problems = problems_from_validation(error, kind)
        first = problems[0]
        where = f"`{first.path}`: " if first.path else ""
        raise InvalidInput(
            f"The request is wrong: {where}{first.message}", problems=problems
        ) from None


async def _body(request: Request) -> bytes:
    """Return what was sent. Raise `PayloadTooLarge`, after the end of what is not far too large.

    Many clients hear nothing before they have sent everything.
    """
    body, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= _MAX_BODY_BYTES:
            body += chunk
        elif received > _MAX_HEARD_BYTES:
            break
    if received > _MAX_BODY_BYTES:
        raise PayloadTooLarge(f"The request has more than {_MAX_BODY_BYTES} bytes.")
    return bytes(body)


def _answered(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": answer, "content": _STREAM, "description": "Whole, or as a stream"}}


HubOf = Annotated[Hub, Depends(_hub)]
Key = Annotated[KeyHash, Depends(_key)]
CompletionsOf = Annotated[Completions, Depends(_completions)]


@router.post(ChatRequest.path, response_model=None, responses=_answered(ChatAnswer))
async def chat_completions(
    key: Key,
    completions: CompletionsOf,
    request: Annotated[ChatRequest, Depends(_read_as(ChatRequest))],
    caller: Request,
) -> Response:
    """Answer a conversation, whole or as a stream of server-sent events."""
    return await _counted(completions, key, request, caller)


@router.post(TextRequest.path, response_model=None, responses=_answered(TextAnswer))
async def text_completions(
    key: Key,
    completions: CompletionsOf,
    request: Annotated[TextRequest, Depends(_read_as(TextRequest))],
    caller: Request,
) -> Response:
    """Continue one text or several, whole or as a stream of server-sent events."""
    return await _counted(completions, key, request, caller)


@router.get("/v1/models")
async def list_models(key: Key, hub: HubOf) -> ListedModels:
    """List every name that the key may ask for."""
    models = await hub.models(key)
    return ListedModels(data=[_listed(model.id, model.created_at) for model in models])


@router.get("/v1/models/{model_id:path}")
async def show_model(model_id: str, key: Key, hub: HubOf) -> ListedModel:
    """Show one name that the key may ask for: one of the list, or the full revision of an adapter."""
    target = await hub.resolve(key, model_id)
    return _listed(target.model, target.created_at)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(hub: HubOf, completions: CompletionsOf) -> dict[str, str]:
    """Say that requests can be served: the hub answers. Engines start when they are needed."""
    completions.require_open()
    await hub.check()
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Tell Prometheus what is counted: on this machine, and elsewhere if a setting says so."""
    settings: ServingSettings = request.app.state.settings
    here = request.client is not None and request.client.host in _LOOPBACK
    if not here and not settings.metrics_public:
        raise Forbidden(
            "/metrics answers only on the gateway's own machine.",
            hint="FREESOLO_SERVE_METRICS_PUBLIC=true opens it to a Prometheus elsewhere.",
        )
    return Response(_metrics(request).page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _counted(
    completions: Completions, key: KeyHash, request: GenerationRequest, caller: Request
) -> Response:
    metrics, target = _metrics(caller), None
    try:
        target = await completions.resolve(key, request.model)
        admitted = await completions.admit(target, request)
        response = await _answer(completions, admitted, caller)
    except FreesoloError as error:
        model = ""
        if target is not None:
            model = target.base_model.id
            # An error tells what the caller's key may still ask for, as answers do.
            caller.state.rate_headers = completions.rate_headers(target)
        metrics.count_answer(request.path, model, http_status(error))
        raise
    metrics.count_answer(request.path, target.base_model.id, response.status_code)
    return response


async def _answer(completions: Completions, admitted: Admitted, caller: Request) -> Response:
    headers = {"X-Request-Id": admitted.id}
    if not admitted.request.stream:
        answer = await _unless_gone(caller, completions.answer(admitted))
        if answer is not None:
            return JSONResponse(answer, headers=headers | completions.rate_headers(admitted.target))
    else:
        events = await _unless_gone(caller, completions.stream(admitted))
        if events is not None:
            headers |= {"Cache-Control": "no-cache"} | completions.rate_headers(admitted.target)
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    completions.abandon(admitted)
    return Response(status_code=_CALLER_GONE)


async def _unless_gone(caller: Request, work: Coroutine[None, None, _Result]) -> _Result | None:
    """Return what some work comes to, or None as soon as the caller has hung up."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(caller))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()


async def _gone(caller: Request) -> None:
    while (await caller.receive())["type"] != "http.disconnect":
        continue


def _listed(name: str, created_at: datetime | None) -> ListedModel:
    return ListedModel(id=name, created=int(created_at.timestamp()) if created_at else 0)
