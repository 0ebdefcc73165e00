"""Deployments: claim one, stage its adapter, load it, try it out, and only then call it ready.

The hub moves the alias when a deployment becomes ready; after any failure it stays where it was. If
the gateway dies in the middle, the lease on the deployment ends and it is claimed again.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.lifecycle import DeploymentState
from freesolo.errors import FreesoloError, InvalidAdapter, LeaseLost
from freesolo.schemas.deployments import Advance, DeploymentTask
from freesolo.schemas.runs import RunError
from serving_backend.adapters import AdapterStore, engine_name
from serving_backend.engine import BASE_MODEL, Document, Engine, Session
from serving_backend.hub import Hub

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
# Nobody waits at the other end of a connection: as long as a large model may take to start.
_ENGINE_WAIT_SECONDS = 900.0
_SMOKE_TOKENS = 8
_SMOKE_PROMPTS = ("Hello.", "What is the capital of France?", "Write one line of JSON.")


class Deployer:
    """The loop that carries deployments out, one at a time."""

    def __init__(
        self, hub: Hub, adapters: AdapterStore, engine_of: Callable[[BaseModelEntry], Engine]
    ) -> None:
        self._hub = hub
        self._adapters = adapters
        self._engine_of = engine_of

    async def run_forever(self) -> None:
        """Carry out deployments as they come; pause while the hub does not answer."""
        while True:
            try:
                worked = await self.run_once()
            except (FreesoloError, OSError) as error:
                logger.warning("deployer pauses", extra={"reason": str(error)})
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if not worked:
                await asyncio.sleep(_IDLE_SECONDS)

    async def run_once(self) -> bool:
        """Carry out the next deployment; say whether there was one."""
        task = await self._hub.claim_deployment()
        if task is None:
            return False
        logger.info("deployment claimed", extra={"deployment": task.id, "revision": task.revision})
        try:
            await self._deploy(task)
        except LeaseLost:
            # Another gateway has it now.
            logger.warning("deployment lost", extra={"deployment": task.id})
        except FreesoloError as error:
            logger.error(
                "deployment failed", extra={"deployment": task.id, "reason": error.message}
            )
            reason = RunError(code=error.code, message=error.message, hint=error.hint)
            await self._advance(task, DeploymentState.FAILED, error=reason)
        return True

    async def _deploy(self, task: DeploymentTask) -> None:
        name = engine_name(task.adapter)
        session = await self._load(task, name)
        await self._advance(task, DeploymentState.SMOKING)
        await smoke(session, name)
        await self._advance(task, DeploymentState.READY)
        logger.info("deployment ready", extra={"deployment": task.id, "revision": task.revision})

    async def _load(self, task: DeploymentTask, name: str) -> Session:
        """Have the adapter in an engine. That may take minutes; the lease is kept meanwhile."""
        keeping = asyncio.create_task(self._keep_lease(task))
        try:
            folder = await self._adapters.staged(task.adapter, task.base_model)
            engine = self._engine_of(task.base_model)
            session = await engine.session(wait_seconds=_ENGINE_WAIT_SECONDS)
            await session.load(name, folder)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        return session

    async def _keep_lease(self, task: DeploymentTask) -> None:
        while True:
            await asyncio.sleep(task.lease_seconds / 3)
            # If the lease is lost, the next step hears of it.
            with suppress(FreesoloError):
                await self._advance(task, DeploymentState.LOADING)

    async def _advance(
        self, task: DeploymentTask, state: DeploymentState, *, error: RunError | None = None
    ) -> None:
        await self._hub.advance(task.id, Advance(token=task.token, state=state, error=error))


async def smoke(session: Session, name: str) -> None:
    """Ask the adapter `name` a few short things; raise `InvalidAdapter` unless it answers as itself.

    An engine serves the base model, silently, for an adapter whose tensors fit none of its modules;
    so the first token's probabilities must differ from the base model's for some prompt.
    """
    for prompt in _SMOKE_PROMPTS:
        if await _first_token(session, name, prompt) != await _first_token(
            session, BASE_MODEL, prompt
        ):
            return
    raise InvalidAdapter(
        "The adapter has no effect: it answers exactly as its base model does.",
        hint="Its tensors may be all zero, or made for another model.",
    )


async def _first_token(session: Session, model: str, prompt: str) -> dict[str, float]:
    """Return the log-probabilities of the likeliest first tokens of an answer."""
    answer = await session.complete(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_completion_tokens": _SMOKE_TOKENS,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        },
        request_id=f"smoke-{uuid.uuid4().hex}",
    )
    _check_answer(answer, model)
    first = answer["choices"][0]["logprobs"]["content"][0]
    return {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}


def _check_answer(answer: Document, model: str) -> None:
    if answer["model"] != model:
        raise InvalidAdapter(f"{answer['model']!r} answered in place of the adapter.")
    if not answer["usage"]["completion_tokens"] or not answer["choices"][0]["logprobs"]:
        raise InvalidAdapter("The adapter answered with nothing.")
