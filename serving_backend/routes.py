"""The routes of the gateway, in OpenAI's format."""

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from freesolo.domain.problems import problems_from_validation
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidInput, ModelNotFound, PayloadTooLarge, Unauthorized
from freesolo.schemas.deployments import ServedModel
from serving_backend.chat import ChatRequest
from serving_backend.completions import Completions
from serving_backend.hub import Hub

_MAX_BODY_BYTES = 8 * 1024**2
# Nobody reads it; the status by which web servers know this case.
_CALLER_GONE = 499

router = APIRouter()


# Async, though they wait for nothing: others are called in a thread, which costs more than the call.
async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


async def _completions(request: Request) -> Completions:
    completions: Completions = request.app.state.completions
    return completions


async def _key_hash(authorization: Annotated[str | None, Header()] = None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized(
            "No API key was given.", hint="Send it as the header `Authorization: Bearer KEY`."
        )
    return hashlib.sha256(key.strip().encode()).hexdigest()


async def _chat_request(request: Request) -> ChatRequest:
    """Read the body by hand: the key is checked before it, and errors are OpenAI's."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise PayloadTooLarge(f"The request has more than {_MAX_BODY_BYTES} bytes.")
    try:
        return ChatRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        problems = problems_from_validation(error, ChatRequest)
        first = problems[0]
        where = f"`{first.path}`: " if first.path else ""
        raise InvalidInput(
            f"The request is wrong: {where}{first.message}", problems=problems
        ) from None


HubOf = Annotated[Hub, Depends(_hub)]
KeyHash = Annotated[str, Depends(_key_hash)]


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(
    key_hash: KeyHash,
    completions: Annotated[Completions, Depends(_completions)],
    request: Annotated[ChatRequest, Depends(_chat_request)],
    caller: Request,
) -> Response:
    """Answer a conversation, whole or as a stream of server-sent events."""
    admitted = await completions.admit(key_hash, request)
    if await caller.is_disconnected():
        # The engine took long to start. The answer would be made, and counted, for nobody.
        return Response(status_code=_CALLER_GONE)
    headers = {"X-Request-Id": admitted.id}
    if not request.stream:
        answer = await _unless_gone(caller, completions.answer(admitted))
        if answer is None:
            await completions.abandon(admitted)
            return Response(status_code=_CALLER_GONE)
        return JSONResponse(answer, headers=headers)
    return StreamingResponse(
        await completions.stream(admitted),
        media_type="text/event-stream",
        headers=headers | {"Cache-Control": "no-cache"},
    )


@router.get("/v1/models")
async def list_models(key_hash: KeyHash, hub: HubOf) -> dict[str, object]:
    """List every name that the key may ask for."""
    models = await hub.models(key_hash)
    return {"object": "list", "data": [_model(model) for model in models]}


@router.get("/v1/models/{model_id:path}")
async def show_model(model_id: str, key_hash: KeyHash, hub: HubOf) -> dict[str, object]:
    """Show one name that the key may ask for."""
    models = {model.id: model for model in await hub.models(key_hash)}
    if model_id not in models:
        raise ModelNotFound(
            f"The model {model_id!r} does not exist.", hint=did_you_mean(model_id, models)
        )
    return _model(models[model_id])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(hub: HubOf) -> dict[str, str]:
    """Say that requests can be served: the hub answers. Engines start when they are needed."""
    await hub.check()
    return {"status": "ready"}


async def _unless_gone(
    caller: Request, work: Coroutine[None, None, dict[str, object]]
) -> dict[str, object] | None:
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


def _model(model: ServedModel) -> dict[str, object]:
    return {
        "id": model.id,
        "object": "model",
        "created": int(model.created_at.timestamp()) if model.created_at else 0,
        "owned_by": "freesolo",
    }
