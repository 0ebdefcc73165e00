"""The routes of the gateway, in OpenAI's format."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from freesolo.domain.problems import problems_from_validation
from freesolo.errors import InvalidInput, PayloadTooLarge, Unauthorized
from serving_backend.chat import ChatRequest
from serving_backend.completions import Completions
from serving_backend.formats import GenerationRequest
from serving_backend.hub import Hub
from serving_backend.texts import TextRequest

_MAX_BODY_BYTES = 8 * 1024**2
# Nobody reads it; the status by which web servers know this case.
_CALLER_GONE = 499

_Result = TypeVar("_Result")
_Request = TypeVar("_Request", bound=GenerationRequest)

router = APIRouter()


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _completions(request: Request) -> Completions:
    completions: Completions = request.app.state.completions
    return completions


def _key_hash(authorization: Annotated[str | None, Header()] = None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized(
            "No API key was given.", hint="Send it as the header `Authorization: Bearer KEY`."
        )
    return hashlib.sha256(key.strip().encode()).hexdigest()


def _read_as(kind: type[_Request]) -> Callable[[Request], Awaitable[_Request]]:
    """Return what reads a body by hand: the key is checked before it, and errors are OpenAI's."""

    async def read(request: Request) -> _Request:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise PayloadTooLarge(f"The request has more than {_MAX_BODY_BYTES} bytes.")
        try:
            return kind.model_validate_json(bytes(body))
        except ValidationError as error:
            problems = problems_from_validation(error, kind)
            first = problems[0]
            where = f"`{first.path}`: " if first.path else ""
            raise InvalidInput(
                f"The request is wrong: {where}{first.message}", problems=problems
            ) from None

    return read


HubOf = Annotated[Hub, Depends(_hub)]
KeyHash = Annotated[str, Depends(_key_hash)]


CompletionsOf = Annotated[Completions, Depends(_completions)]


@router.post(ChatRequest.path, response_model=None)
async def chat_completions(
    key_hash: KeyHash,
    completions: CompletionsOf,
    request: Annotated[ChatRequest, Depends(_read_as(ChatRequest))],
    caller: Request,
) -> Response:
    """Answer a conversation, whole or as a stream of server-sent events."""
    return await _answer(completions, key_hash, request, caller)


@router.post(TextRequest.path, response_model=None)
async def text_completions(
    key_hash: KeyHash,
    completions: CompletionsOf,
    request: Annotated[TextRequest, Depends(_read_as(TextRequest))],
    caller: Request,
) -> Response:
    """Continue one text or several, whole or as a stream of server-sent events."""
    return await _answer(completions, key_hash, request, caller)


@router.get("/v1/models")
async def list_models(key_hash: KeyHash, hub: HubOf) -> dict[str, object]:
    """List every name that the key may ask for."""
    models = await hub.models(key_hash)
    return {"object": "list", "data": [_model(model.id, model.created_at) for model in models]}


@router.get("/v1/models/{model_id:path}")
async def show_model(model_id: str, key_hash: KeyHash, hub: HubOf) -> dict[str, object]:
    """Show one name that the key may ask for: one of the list, or the full revision of an adapter."""
    target = await hub.resolve(key_hash, model_id)
    return _model(target.model, target.created_at)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(hub: HubOf) -> dict[str, str]:
    """Say that requests can be served: the hub answers. Engines start when they are needed."""
    await hub.check()
    return {"status": "ready"}


async def _answer(
    completions: Completions, key_hash: str, request: GenerationRequest, caller: Request
) -> Response:
    admitted = await completions.admit(key_hash, request)
    if await caller.is_disconnected():
        # The engine took long to start. The answer would be made, and counted, for nobody.
        completions.drop(admitted)
        return Response(status_code=_CALLER_GONE)
    headers = {"X-Request-Id": admitted.id}
    if not request.stream:
        answer = await _unless_gone(caller, completions.answer(admitted))
        if answer is not None:
            return JSONResponse(answer, headers=headers)
    else:
        events = await _unless_gone(caller, completions.stream(admitted))
        if events is not None:
            headers["Cache-Control"] = "no-cache"
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    await completions.abandon(admitted)
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


def _model(name: str, created_at: datetime | None) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": int(created_at.timestamp()) if created_at else 0,
        "owned_by": "freesolo",
    }
