"""The engines that a gateway may ask for a base model: those of hosts elsewhere, or one of its own.

Which of several is asked is decided in `routing`. One that fails is passed over for a while, longer
each time; the hub's registry tells which live, and which only finish what they have.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from freesolo.client.transport import is_loopback, raise_for_error
from freesolo.domain.catalog import BaseModelEntry
from freesolo.engines import Endpoint
from freesolo.errors import EngineUnavailable, FreesoloError
from freesolo.schemas.base import Artifact
from freesolo.schemas.replicas import CLAIM_SECONDS, Replica, ReplicaState
from serving_backend import routing
from serving_backend.adapters import AdapterStore, engine_name
from serving_backend.engine import Session
from serving_backend.engines import Engines
from serving_backend.hub import Hub
from serving_backend.residency import WAIT_SECONDS

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# For what a host answers without loading anything.
_PROMPT_SECONDS = 5.0
# For a host to bring and load an adapter.
_CLAIM_SECONDS = WAIT_SECONDS + 10
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Wanted:
    """What a request needs of an engine. `org` is who asks, if that matters."""

    base_model: BaseModelEntry
    adapter: Artifact | None = None
    org: str = ""

    @property
    def name(self) -> str | None:
        """What the adapter is called in an engine."""
        return engine_name(self.adapter) if self.adapter else None


class Fleet:
    """All engines that this gateway knows."""

    def __init__(
        self,
        hub: Hub,
        *,
        own: Engines | None,
        adapters: AdapterStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._own = own
        self._adapters = adapters
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._leaving: list[_Member] = []

    async def look_forever(self) -> None:
        """Ask the hub again and again which engines live; while it is away, they are as they were."""
        while True:
            try:
                await self.look()
            except FreesoloError as error:
                logger.warning("replicas not known", extra={"reason": error.message})
            await asyncio.sleep(_LOOK_SECONDS)

    async def renew_forever(self) -> None:
        """Claim again and again what is still being used, at all hosts at once: one may hang."""
        while True:
            await self.renew_claims()
            await asyncio.sleep(_LOOK_SECONDS)

    async def renew_claims(self) -> None:
        """Claim once what is still being used and not claimed for long enough."""
        members = [*self._members.values(), *self._leaving]
        await asyncio.gather(*(member.renew_claims(self._clock()) for member in members))

    async def look(self) -> None:
        """Ask the hub once which engines live."""
        living = {replica.life: replica for replica in await self._hub.replicas()}
        for life, replica in living.items():
            if life in self._members:
                self._members[life].replica = replica
            else:
                self._members[life] = _Member(replica)
                logger.info("replica found", extra={"engine": life, "model": replica.base_model})
        for life in self._members.keys() - living.keys():
            self._leaving.append(self._members.pop(life))
            logger.info("replica gone", extra={"engine": life})
        for member in [each for each in self._leaving if not each.in_flight]:
            self._leaving.remove(member)
            await member.close()

    async def close(self) -> None:
        """Close all connections."""
        for member in [*self._members.values(), *self._leaving]:
            await member.close()

    def size(self, base_model: BaseModelEntry) -> int:
        """Return how many engines a base model has, at least the one that may be started."""
        return max(1, len(self._ready(base_model)))

    def has_other(self, base_model: BaseModelEntry, life: str) -> bool:
        """Say whether another engine than this one could answer now."""
        return bool(self._in_flight(base_model, but={life}))

    @asynccontextmanager
    async def engaged(
        self,
        wanted: Wanted,
        *,
        wait_seconds: float,
        load_seconds: float = WAIT_SECONDS,
        but: Collection[str] = (),
    ) -> AsyncIterator[Session]:
        """Lend an engine with the adapter in it, which stays there and counts as its load meanwhile.

        An engine of this gateway's own may take `wait_seconds` to start. Those in `but` are left out.
        Raise `EngineUnavailable` where none can answer, `InvalidAdapter` if the adapter is refused.
        """
        if not self._ready(wanted.base_model):
            async with self._of_its_own(wanted, wait_seconds, load_seconds) as session:
                yield session
            return
        member = await self._claimed(wanted, but)
        try:
            async with self._examined(member):
                yield member.session
            member.failures = 0
        finally:
            member.release(wanted.name)

    async def _claimed(self, wanted: Wanted, but: Collection[str]) -> "_Member":
        """Choose an engine elsewhere and have it keep the adapter; the next if that one fails."""
        passed = set(but)
        while True:
            member = self._choose(wanted, passed)
            member.engage(wanted.name)
            try:
                if wanted.adapter is not None:
                    async with self._examined(member):
                        await member.claim(wanted.adapter, self._clock())
            except BaseException as error:
                member.release(wanted.name)
                if not isinstance(error, EngineUnavailable):
                    raise
                passed.add(member.replica.life)
                if not self._in_flight(wanted.base_model, but=passed):
                    raise
            else:
                return member

    @asynccontextmanager
    async def _examined(self, member: "_Member") -> AsyncIterator[None]:
        """If a request fails, pass its engine over for a while, unless that is well but for this one."""
        try:
            yield
        except EngineUnavailable:
            if not await member.is_healthy():
                member.fail(self._clock())
            raise

    def _choose(self, wanted: Wanted, but: Collection[str]) -> "_Member":
        in_flight = self._in_flight(wanted.base_model, but=but)
        if not in_flight:
            raise EngineUnavailable(
                f"No engine of {wanted.base_model.id} answers now.", retry_after=2.0
            )
        if wanted.adapter is None:
            return self._members[routing.choose_any(wanted.org, in_flight)]
        return self._members[routing.choose(wanted.adapter.tree_digest, in_flight)]

    def _in_flight(self, base_model: BaseModelEntry, *, but: Collection[str]) -> dict[str, int]:
        """Return the load of the engines elsewhere that may be asked now."""
        now = self._clock()
        return {
            life: member.in_flight
            for life, member in self._ready(base_model).items()
            if life not in but and member.passed_over_until <= now
        }

    def _ready(self, base_model: BaseModelEntry) -> "dict[str, _Member]":
        return {
            life: member
            for life, member in self._members.items()
            if member.replica.served_as == base_model.served_as
            and member.replica.state is ReplicaState.READY
        }

    @asynccontextmanager
    async def _of_its_own(
        self, wanted: Wanted, wait_seconds: float, load_seconds: float
    ) -> AsyncIterator[Session]:
        if self._own is None:
            raise EngineUnavailable(
                f"No engine serves {wanted.base_model.id} now.", retry_after=5.0
            )
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                self._own.lend(wanted.base_model, wait_seconds=wait_seconds)
            )
            if wanted.adapter is not None:
                folder = await self._adapters.staged(wanted.adapter, wanted.base_model)
                await stack.enter_async_context(
                    session.using(engine_name(wanted.adapter), folder, wait_seconds=load_seconds)
                )
            yield session


@dataclass
class _Member:
    """An engine elsewhere, as this gateway knows it. Its host is asked for adapters."""

    replica: Replica
    in_flight: int = 0
    failures: int = 0
    passed_over_until: float = 0.0
    _used: Counter[str] = field(default_factory=Counter)
    _claims: dict[str, tuple[Artifact, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        replica = self.replica
        self.session = Session(Endpoint(replica.url, replica.api_key, replica.life))
        self._host = httpx.AsyncClient(
            base_url=replica.host_url,
            headers={"Authorization": f"Bearer {replica.api_key}"},
            timeout=_PROMPT_SECONDS,
            trust_env=not is_loopback(replica.host_url),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()
        await self._host.aclose()

    async def is_healthy(self) -> bool:
        """Say whether both the engine and its host answer."""
        try:
            response = await self._host.get("/healthz")
        except httpx.TransportError:
            return False
        return response.is_success and await self.session.is_healthy()

    def fail(self, now: float) -> None:
        """Pass the engine over for a while; requests that fail together are one failure."""
        if now < self.passed_over_until:
            return
        self.passed_over_until = now + min(
            _FIRST_PAUSE_SECONDS * 2**self.failures, _LONGEST_PAUSE_SECONDS
        )
        self.failures += 1

    def engage(self, adapter: str | None) -> None:
        """Count a request."""
        self.in_flight += 1
        if adapter:
            self._used[adapter] += 1

    def release(self, adapter: str | None) -> None:
        """Count a request no more."""
        self.in_flight -= 1
        if adapter:
            self._used[adapter] -= 1

    async def claim(
        self, adapter: Artifact, now: float, *, seconds: float = _CLAIM_SECONDS
    ) -> None:
        """Have the host keep an adapter in the engine, unless it will for long enough.

        Raise `EngineUnavailable` if that takes more than so many seconds, and what the host answers.
        """
        name = engine_name(adapter)
        _, claimed_at = self._claims.get(name, (adapter, -CLAIM_SECONDS))
        if now - claimed_at < CLAIM_SECONDS / 3:
            return
        try:
            response = await self._host.post(
                "/v1/adapters",
                json=adapter.model_dump(mode="json"),
                timeout=httpx.Timeout(seconds, connect=_PROMPT_SECONDS),
            )
        except httpx.TransportError:
            raise EngineUnavailable("The host of the engine does not answer.") from None
        if response.status_code == httpx.codes.UNAUTHORIZED:
            # The caller's key is another.
            raise EngineUnavailable("The host has another engine now.", retry_after=2.0)
        raise_for_error(response)
        self._claims[name] = adapter, now

    async def renew_claims(self, now: float) -> None:
        """Claim again what is still being used, and forget what is not."""
        self._claims = {
            name: (adapter, claimed_at)
            for name, (adapter, claimed_at) in self._claims.items()
            if self._used[name] or now - claimed_at <= CLAIM_SECONDS
        }
        used = [adapter for name, (adapter, _) in self._claims.items() if self._used[name]]
        await asyncio.gather(*(self._renew(adapter, now) for adapter in used))

    async def _renew(self, adapter: Artifact, now: float) -> None:
        # If it fails, requests that begin hear why; and who is gone meanwhile needs no adapter.
        with suppress(FreesoloError):
            if not self._host.is_closed:
                await self.claim(adapter, now, seconds=_PROMPT_SECONDS)
