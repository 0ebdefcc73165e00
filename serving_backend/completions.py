"""One chat request from the door to the engine and back, with its tokens counted."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.prices import most
from freesolo.errors import EngineUnavailable, FreesoloError, Internal
from freesolo.schemas.deployments import Target
from freesolo.schemas.usage import Metered, NewHold, Outcome, UsageRecord, Witness
from serving_backend.adapters import AdapterStore, engine_name
from serving_backend.chat import (
    ChatRequest,
    counts_of,
    public_answer,
    public_chunk,
    public_usage,
)
from serving_backend.engine import BASE_MODEL, Document, Engine, Session
from serving_backend.hub import Hub
from serving_backend.openai_errors import error_body
from serving_backend.usage import Holds, UsageLog

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Admitted:
    """A chat request whose key, model and engine are settled, and money if it is paid beforehand."""

    request: ChatRequest
    target: Target
    session: Session
    body: Document
    metered: Metered
    started: float = field(default_factory=time.monotonic)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        """Its name everywhere."""
        return self.metered.id

    @property
    def fingerprint(self) -> str:
        """The immutable state of the model that answers."""
        return self.target.revision or self.target.base_model.revision


class Completions:
    """Answers chat requests, whole or streamed."""

    def __init__(
        self,
        hub: Hub,
        *,
        adapters: AdapterStore,
        engine_of: Callable[[BaseModelEntry], Engine],
        usage: UsageLog,
        holds: Holds,
        wait_seconds: float,
    ) -> None:
        self._hub = hub
        self._adapters = adapters
        self._engine_of = engine_of
        self._usage = usage
        self._holds = holds
        self._wait_seconds = wait_seconds
        self._tasks: set[asyncio.Task[Any]] = set()

    async def admit(self, key_hash: str, request: ChatRequest) -> Admitted:
        """Find out what the key gets under the model's name, and have an engine ready for it.

        Raise `PaymentRequired` where that must be paid beforehand and is not.
        """
        target = await self._hub.resolve(key_hash, request.model)
        session = await self._engine_of(target.base_model).session(wait_seconds=self._wait_seconds)
        name = BASE_MODEL if target.adapter is None else engine_name(target.adapter)
        # What one org has asked must not shorten, or show in the counts of, another's answers.
        body = request.for_engine(name, target) | {"cache_salt": target.org}
        metered = Metered(
            id=uuid.uuid4().hex,
            org=target.org,
            key_id=target.key_id,
            model=target.model,
            revision=target.revision,
            prices=target.prices,
            created_at=datetime.now(UTC),
        )
        if target.prepaid:
            amount = most(target.prices, request.asked(context=target.base_model.context))
            await self._hub.hold(NewHold(id=metered.id, org=target.org, amount=amount))
            self._holds.begin(metered.id)
        return Admitted(request, target, session, body, metered)

    async def answer(self, admitted: Admitted) -> Document:
        """Return the whole answer. It is read, and counted, also if nobody waits for it any more."""
        return await asyncio.shield(self._spawn(self._read_whole(admitted)))

    async def abandon(self, admitted: Admitted) -> None:
        """End a request early because nobody waits for it; what it took so far is still counted."""
        admitted.abandoned.set()
        await admitted.session.abort(admitted.id)

    async def stream(self, admitted: Admitted) -> AsyncIterator[str]:
        """Return the answer as server-sent events, once the engine has accepted the request.

        A task of its own reads from the engine until the token counts have come, whoever listens: a
        caller who hangs up ends the generation early, and what it took is still counted.
        """
        reading = _Reading()
        self._spawn(self._read(admitted, reading))
        await reading.accepted
        return self._events(admitted, reading)

    async def close(self) -> None:
        """Wait for the answers that are being read."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[None, None, _Result]) -> "asyncio.Task[_Result]":
        """Do something that must not end when the request does that caused it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @asynccontextmanager
    async def _adapter_in_engine(self, admitted: Admitted) -> AsyncIterator[None]:
        """Have the adapter of a request in the engine, which keeps it until its answer has ended."""
        async with AsyncExitStack() as stack:
            if (adapter := admitted.target.adapter) is not None:
                folder = await self._adapters.staged(adapter, admitted.target.base_model)
                await stack.enter_async_context(
                    admitted.session.using(engine_name(adapter), folder)
                )
            if admitted.abandoned.is_set():
                raise EngineUnavailable("Nobody waits for the answer any more.")
            yield

    async def _read_whole(self, admitted: Admitted) -> Document:
        meter = admitted.metered.model_dump_json()
        try:
            async with self._adapter_in_engine(admitted):
                answer = await admitted.session.complete(admitted.body, admitted.id, meter=meter)
        except FreesoloError:
            self._void(admitted)
            raise
        self._count(admitted, answer["usage"])
        return public_answer(answer, model=admitted.target.model, fingerprint=admitted.fingerprint)

    async def _read(self, admitted: Admitted, reading: "_Reading") -> None:
        error: FreesoloError | None = Internal("The gateway failed to read the answer.")
        meter = admitted.metered.model_dump_json()
        try:
            async with (
                self._adapter_in_engine(admitted),
                admitted.session.stream(admitted.body, admitted.id, meter=meter) as events,
            ):
                reading.accepted.set_result(None)
                async for data in events:
                    self._take(admitted, reading, data)
            # Its last event proves nothing: an engine ends a broken stream with `[DONE]` too.
            error = None if reading.counted else EngineUnavailable("The engine stopped answering.")
        except FreesoloError as broken:
            error = broken
        finally:
            if not reading.counted:
                self._void(admitted)
            reading.end(error)

    def _take(self, admitted: Admitted, reading: "_Reading", data: str) -> None:
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise EngineUnavailable("The engine failed in the middle of the answer.")
        if not chunk["choices"]:
            self._count(admitted, chunk["usage"])
            reading.counted = True
        if chunk["choices"] or admitted.request.wants_usage_chunk:
            reading.parts.put_nowait(chunk)

    async def _events(self, admitted: Admitted, reading: "_Reading") -> AsyncIterator[str]:
        try:
            while isinstance(part := await reading.parts.get(), dict):
                yield _event(self._public(admitted, part))
            yield "data: [DONE]\n\n" if part is None else _event(error_body(part))
        finally:
            if not reading.ended:
                self._spawn(self.abandon(admitted))

    def _public(self, admitted: Admitted, chunk: Document) -> Document:
        public = public_chunk(chunk, model=admitted.target.model, fingerprint=admitted.fingerprint)
        if admitted.request.wants_usage_chunk:
            usage = chunk.get("usage")
            public["usage"] = public_usage(usage) if usage else None
        return public

    def _count(self, admitted: Admitted, usage: Mapping[str, Any]) -> None:
        record = self._settle(admitted, Outcome.COUNTED, counts_of(usage))
        logger.info(
            "chat answered",
            extra={
                **record.model_dump(mode="json", exclude={"created_at", "prices"}),
                "ms": round(1000 * (time.monotonic() - admitted.started)),
            },
        )

    def _void(self, admitted: Admitted) -> None:
        """Bill nothing for a request that was not answered, whatever the engine counted."""
        self._settle(admitted, Outcome.VOID, {})

    def _settle(
        self, admitted: Admitted, outcome: Outcome, counts: Mapping[str, int]
    ) -> UsageRecord:
        record = UsageRecord(
            **dict(admitted.metered),
            witness=Witness.GATEWAY,
            outcome=outcome,
            engine=admitted.session.life,
            **counts,
        )
        self._usage.record(record)
        self._holds.end(admitted.id)
        return record


class _Reading:
    """A streamed answer between the task that reads it and the response that sends it.

    `parts` holds chunks, then None after a complete answer, or the error that broke it off.
    """

    def __init__(self) -> None:
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parts: asyncio.Queue[Document | FreesoloError | None] = asyncio.Queue()
        self.counted = False
        self.ended = False

    def end(self, error: FreesoloError | None) -> None:
        """Tell whoever waits that the answer is complete, broken off, or refused."""
        self.ended = True
        if error is not None and not self.accepted.done():
            self.accepted.set_exception(error)
        self.parts.put_nowait(error)


def _event(document: Mapping[str, object]) -> str:
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"
