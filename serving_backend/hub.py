"""The gateway's side of the hub: who asks, for what, which adapters to deploy, what was used."""

import time
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel

from freesolo.client.transport import raise_for_error, reachable
from freesolo.schemas.base import Wire
from freesolo.schemas.deployments import (
    Advance,
    DeploymentTask,
    KeyHash,
    ResolveTarget,
    ServedModel,
    ServedModelList,
    Target,
    UsageBatch,
)

# A revoked key or a moved alias takes effect within this time.
_CACHE_SECONDS = 1.0
_CACHE_ENTRIES = 10_000

_Model = TypeVar("_Model", bound=BaseModel)


class Hub:
    """A connection to the hub with the gateway's service key. Methods raise the hub's own errors."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"}, timeout=httpx.Timeout(10.0)
        )
        self._targets: dict[ResolveTarget, tuple[float, Target]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def check(self) -> None:
        """Raise `Unavailable` unless the hub is ready for work."""
        await self._send("GET", "/readyz")

    async def resolve(self, key_hash: str, model: str) -> Target:
        """Return what a key gets under a model name, from memory for up to one second."""
        wanted = ResolveTarget(key_hash=key_hash, model=model)
        asked_at = time.monotonic()
        cached_at, target = self._targets.get(wanted, (0.0, None))
        if target is not None and asked_at - cached_at < _CACHE_SECONDS:
            return target
        target = await self._post(Target, "/v1/gateway/resolve", wanted)
        if len(self._targets) >= _CACHE_ENTRIES:
            self._targets.clear()
        self._targets[wanted] = (asked_at, target)
        return target

    async def models(self, key_hash: str) -> list[ServedModel]:
        """Return every name that a key may ask for."""
        body = KeyHash(key_hash=key_hash)
        return (await self._post(ServedModelList, "/v1/gateway/models", body)).models

    async def claim_deployment(self) -> DeploymentTask | None:
        """Take the next deployment that waits, under a lease, or None."""
        response = await self._send("POST", "/v1/gateway/deployments/claim")
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        return DeploymentTask.model_validate_json(response.content)

    async def advance(self, deployment_id: str, step: Advance) -> None:
        """Move a claimed deployment on, which also renews its lease."""
        await self._send("POST", f"/v1/gateway/deployments/{deployment_id}/advance", step)

    async def report_usage(self, batch: UsageBatch) -> None:
        """Hand over token counts; the hub ignores records that it has."""
        await self._send("POST", "/v1/gateway/usage", batch)

    async def download(self, archive_digest: str, destination: Path) -> None:
        """Write the stored bytes with this digest to `destination`."""
        with reachable(self._url):
            async with self._http.stream(
                "GET", f"{self._url}/v1/blobs/{archive_digest}"
            ) as response:
                if response.is_error:
                    await response.aread()
                raise_for_error(response)
                with destination.open("wb") as out:
                    async for chunk in response.aiter_bytes():
                        out.write(chunk)

    async def _post(self, answer: type[_Model], path: str, body: Wire) -> _Model:
        return answer.model_validate_json((await self._send("POST", path, body)).content)

    async def _send(self, method: str, path: str, body: Wire | None = None) -> httpx.Response:
        with reachable(self._url):
            response = await self._http.request(
                method,
                f"{self._url}{path}",
                content=None if body is None else body.model_dump_json(),
                headers={"Content-Type": "application/json"},
            )
        return raise_for_error(response)
