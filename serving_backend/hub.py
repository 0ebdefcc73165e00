"""The gateway's side of the hub: who asks, for what, which adapters to deploy, what was used."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from freesolo.client.transport import is_loopback, raise_for_error
from freesolo.domain.catalog import BaseModelEntry
from freesolo.errors import Forbidden, Unauthorized, Unavailable
from freesolo.schemas.base import Wire
from freesolo.schemas.deployments import (
    Advance,
    DeploymentTask,
    KeyHash,
    ResolveTarget,
    ServedModel,
    ServedModelList,
    Target,
)
from freesolo.schemas.replicas import NewReplica, Replica, ReplicaLease, ReplicaList
from freesolo.schemas.usage import EngineTokens, HoldIds, NewHold, UsageBatch

# A revoked key or a moved alias takes effect within this time.
_CACHE_SECONDS = 1.0
_RENEW_SECONDS = _CACHE_SECONDS / 2
_CACHE_ENTRIES = 10_000

_Model = TypeVar("_Model", bound=BaseModel)


class Hub:
    """A connection to the hub with the gateway's service key. Methods raise the hub's own errors."""

    def __init__(
        self, url: str, api_key: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(10.0),
            # A proxy of the environment does not lead back to this machine.
            trust_env=not is_loopback(url),
        )
        self._checked_at = -math.inf
        self._clock = clock
        # When it was asked, and the answer.
        self._targets: dict[ResolveTarget, tuple[float, Target]] = {}
        self._asking: dict[ResolveTarget, asyncio.Task[Target]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def check(self) -> None:
        """Raise `Unavailable` unless the hub answers and takes the gateway's own key."""
        try:
            # An empty report changes nothing, and only a gateway may send it.
            await self.report_usage(UsageBatch(records=[]))
        except (Unauthorized, Forbidden) as error:
            raise Unavailable(
                f"The hub refuses the gateway's own key: {error.message}",
                hint="FREESOLO_SERVE_API_KEY takes a service key with the scope `gateway`.",
            ) from None

    async def resolve(self, key: KeyHash, model: str) -> Target:
        """Return what a key gets under a model name, from memory for up to one second.

        It is asked for anew before that time is over, so that whoever keeps asking waits only once. All
        who wait for the same answer are one question to the hub.
        """
        wanted = ResolveTarget(key_hash=key.key_hash, org=key.org, model=model)
        asked_at, known = self._targets.get(wanted, (-math.inf, None))
        age = self._clock() - asked_at
        if age >= _RENEW_SECONDS and wanted not in self._asking:
            asking = asyncio.create_task(self._ask_anew(wanted))
            # Nobody need be waiting for it.
            asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            self._asking[wanted] = asking
        if known is not None and age < _CACHE_SECONDS:
            return known
        return await asyncio.shield(self._asking[wanted])

    async def _ask_anew(self, wanted: ResolveTarget) -> Target:
        asked_at = self._clock()
        try:
            target = await self._ask_for(Target, "/v1/gateway/resolve", wanted)
        finally:
            del self._asking[wanted]
        if len(self._targets) >= _CACHE_ENTRIES:
            self._targets.clear()
        self._targets[wanted] = asked_at, target
        return target

    async def models(self, key: KeyHash) -> list[ServedModel]:
        """Return every name that a key may ask for."""
        return (await self._ask_for(ServedModelList, "/v1/gateway/models", key)).models

    async def claim_deployment(self) -> DeploymentTask | None:
        """Take the next deployment that waits, under a lease, or None."""
        response = await self._send("POST", "/v1/gateway/deployments/claim")
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        return DeploymentTask.model_validate_json(response.content)

    async def advance(self, deployment_id: str, step: Advance) -> None:
        """Move a claimed deployment on, which also renews its lease."""
        await self._send("POST", f"/v1/gateway/deployments/{deployment_id}/advance", step)

    async def hold(self, new: NewHold) -> None:
        """Have money set aside for a request; raise `PaymentRequired` if there is too little."""
        await self._send("POST", "/v1/gateway/holds", new)

    async def renew_holds(self, ids: HoldIds) -> None:
        """Keep money aside for requests that are still being answered."""
        await self._send("POST", "/v1/gateway/holds/renew", ids)

    async def report_usage(self, batch: UsageBatch) -> None:
        """Hand over token counts; the hub ignores records that it has."""
        await self._send("POST", "/v1/gateway/usage", batch)

    async def engine_tokens(self, life: str) -> EngineTokens:
        """Return what the ledger has of one life of an engine."""
        return await self._ask(EngineTokens, "GET", f"/v1/gateway/engines/{quote(life)}/tokens")

    async def base_model(self, model: str) -> BaseModelEntry:
        """Return an entry of the hub's catalog."""
        return await self._ask(BaseModelEntry, "GET", f"/v1/gateway/base-models/{quote(model)}")

    async def announce(self, life: str, replica: NewReplica) -> ReplicaLease:
        """Make an engine known, or renew its lease."""
        return await self._ask(ReplicaLease, "PUT", f"/v1/gateway/replicas/{life}", replica)

    async def leave(self, life: str) -> None:
        """Have an engine forgotten that has ended."""
        await self._send("DELETE", f"/v1/gateway/replicas/{life}")

    async def replicas(self) -> list[Replica]:
        """Return the engines of all hosts that live."""
        return (await self._ask(ReplicaList, "GET", "/v1/gateway/replicas")).replicas

    async def download(self, archive_digest: str, destination: Path) -> None:
        """Write the stored bytes with this digest to `destination`."""
        url = f"{self._url}/v1/blobs/{archive_digest}"
        with _reachable():
            # The hub may send us to where its bytes are kept, which is not shown our key.
            async with self._http.stream("GET", url, follow_redirects=True) as response:
                if response.is_error:
                    await response.aread()
                raise_for_error(response)
                with destination.open("wb") as out:
                    async for chunk in response.aiter_bytes():
                        out.write(chunk)

    async def _ask_for(self, answer: type[_Model], path: str, body: Wire) -> _Model:
        """Ask for somebody who has a key. Raise `Unavailable` if it is our own that is refused."""
        try:
            return await self._ask(answer, "POST", path, body)
        except (Unauthorized, Forbidden):
            # Not for each of those who try keys out.
            if time.monotonic() - self._checked_at >= _CACHE_SECONDS:
                await self.check()
                self._checked_at = time.monotonic()
            raise

    async def _ask(
        self, answer: type[_Model], method: str, path: str, body: Wire | None = None
    ) -> _Model:
        return answer.model_validate_json((await self._send(method, path, body)).content)

    async def _send(self, method: str, path: str, body: Wire | None = None) -> httpx.Response:
        with _reachable():
            response = await self._http.request(
                method,
                f"{self._url}{path}",
                content=None if body is None else body.model_dump_json(),
                headers={"Content-Type": "application/json"},
            )
        return raise_for_error(response)


@contextmanager
def _reachable() -> Iterator[None]:
    """Turn a connection that fails into `Unavailable`; callers need not know the hub's address."""
    try:
        yield
    except httpx.TransportError:
        raise Unavailable(
            "The hub does not answer.", hint="Try again shortly.", retry_after=2.0
        ) from None
