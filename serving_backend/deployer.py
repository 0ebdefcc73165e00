"""Deployments: claim one, stage its adapter, load it, try it out, and only then call it ready.

The hub moves the alias when a deployment becomes ready; after any failure it stays where it was. If
the gateway dies in the middle, the lease on the deployment ends and it is claimed again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from freesolo.domain.lifecycle import DeploymentState
from freesolo.errors import FreesoloError, LeaseLost
from freesolo.schemas.deployments import Advance, DeploymentTask
from freesolo.schemas.runs import RunError
from serving_backend.adapters import AdapterStore, engine_name, read_fingerprint
from serving_backend.fleet import Fleet, Wanted
from serving_backend.hub import Hub
from serving_backend.smoke import Trained, smoke

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
# Nobody waits at the other end of a connection: as long as a large model may take to start.
_ENGINE_WAIT_SECONDS = 900.0


class Deployer:
    """The loop that carries deployments out, one at a time."""

    def __init__(self, hub: Hub, adapters: AdapterStore, fleet: Fleet) -> None:
        self._hub = hub
        self._adapters = adapters
        self._fleet = fleet

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
        async with AsyncExitStack() as stack:
            async with self._leased(task, DeploymentState.LOADING):
                # Before an engine starts for an adapter that it cannot serve.
                folder = await self._adapters.staged(task.adapter, task.base_model)
                # At once: later its folder may have been needed for others.
                fingerprint = read_fingerprint(folder)
                session = await stack.enter_async_context(
                    self._fleet.engaged(
                        Wanted(task.base_model, task.adapter),
                        wait_seconds=_ENGINE_WAIT_SECONDS,
                        load_seconds=_ENGINE_WAIT_SECONDS,
                    )
                )
            await self._advance(task, DeploymentState.SMOKING)
            async with self._leased(task, DeploymentState.SMOKING):
                trained = Trained(task.thinking, task.structured_outputs, fingerprint)
                await smoke(session, engine_name(task.adapter), trained)
        await self._advance(task, DeploymentState.READY)
        logger.info("deployment ready", extra={"deployment": task.id, "revision": task.revision})

    @asynccontextmanager
    async def _leased(self, task: DeploymentTask, state: DeploymentState) -> AsyncIterator[None]:
        """Keep the lease during work that may take minutes."""
        keeping = asyncio.create_task(self._keep_lease(task, state))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep_lease(self, task: DeploymentTask, state: DeploymentState) -> None:
        while True:
            await asyncio.sleep(task.lease_seconds / 3)
            # If the lease is lost, the next step hears of it.
            with suppress(FreesoloError):
                await self._advance(task, state)

    async def _advance(
        self, task: DeploymentTask, state: DeploymentState, *, error: RunError | None = None
    ) -> None:
        await self._hub.advance(task.id, Advance(token=task.token, state=state, error=error))
