"""One request from the door to the engine and back, with its tokens counted."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.prices import most
from freesolo.errors import EngineUnavailable, FreesoloError, Internal
from freesolo.schemas.deployments import Target
from freesolo.schemas.usage import Metered, NewHold, Outcome, UsageRecord, Witness
from serving_backend.adapters import AdapterStore, engine_name
from serving_backend.engine import BASE_MODEL, Document, Engine, Session
from serving_backend.formats import GenerationRequest, Head, counts_of
from serving_backend.hub import Hub
from serving_backend.openai_errors import error_body
from serving_backend.usage import Holds, UsageLog

logger = logging.getLogger(__name__)

# Pieces of an answer that are kept for a caller who reads slowly. The engine is then read slowly too.
_AHEAD = 256

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Generation:
    """The part of a request that is about one prompt: what the engine is asked, and who pays."""

    body: Document
    metered: Metered

    @property
    def id(self) -> str:
        """Its name at the engine and in the ledger."""
        return self.metered.id


@dataclass(frozen=True)
class Admitted:
    """A request whose key, model and engine are settled, and money if it is paid beforehand."""

    id: str
    request: GenerationRequest
    target: Target
    session: Session
    generations: tuple[Generation, ...]
    head: Head
    started: float = field(default_factory=time.monotonic)


class Completions:
    """Answers requests, whole or streamed."""

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

    async def admit(self, key_hash: str, request: GenerationRequest) -> Admitted:
        """Find out what the key gets under the model's name, and have an engine ready for it.

        Raise `PaymentRequired` where that must be paid beforehand and is not.
        """
        target = await self._hub.resolve(key_hash, request.model)
        session = await self._engine_of(target.base_model).session(wait_seconds=self._wait_seconds)
        name = BASE_MODEL
        if target.adapter is not None:
            name = engine_name(target.adapter)
            folder = await self._adapters.staged(target.adapter, target.base_model)
            await session.load(name, folder)
        admitted = _admitted(request, target, session, name=name)
        if target.prepaid:
            await self._hold(admitted)
        return admitted

    async def answer(self, admitted: Admitted) -> Document:
        """Return the whole answer. It is read, and counted, also if nobody waits for it any more."""
        return await asyncio.shield(self._spawn(self._read_whole(admitted)))

    def drop(self, admitted: Admitted) -> None:
        """Do without a request that was not begun."""
        self._void(admitted.generations, admitted.session)

    async def abandon(self, admitted: Admitted) -> None:
        """End a request early because nobody waits for it; what it took so far is still counted."""
        ids = [generation.id for generation in admitted.generations]
        await admitted.session.abort(ids, path=admitted.request.path)

    async def stream(self, admitted: Admitted) -> AsyncIterator[str]:
        """Return the answer as server-sent events, once the engine has begun it.

        A task of its own reads from the engine until the token counts have come, whoever listens: a
        caller who hangs up ends the generation early, and what it took is still counted.
        """
        reading = _Reading(prompts=len(admitted.generations))
        self._spawn(self._read(admitted, reading))
        try:
            await reading.begun
        except asyncio.CancelledError:
            reading.leave()
            raise
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

    async def _hold(self, admitted: Admitted) -> None:
        """Have what a request may cost set aside: for all of its prompts, or for none."""
        sizes = admitted.request.asked(context=admitted.target.base_model.context)
        for position, (each, size) in enumerate(zip(admitted.generations, sizes, strict=True)):
            amount = most(admitted.target.prices, size)
            try:
                await self._hub.hold(NewHold(id=each.id, org=admitted.target.org, amount=amount))
            except FreesoloError:
                self._void(admitted.generations[:position], admitted.session)
                raise
            self._holds.begin(each.id)

    async def _read_whole(self, admitted: Admitted) -> Document:
        session, path = admitted.session, admitted.request.path
        try:
            answers = await _together(
                session.complete(
                    each.body, each.id, path=path, meter=each.metered.model_dump_json()
                )
                for each in admitted.generations
            )
        except FreesoloError:
            self._void(admitted.generations, admitted.session)
            raise
        self._count(admitted, [answer["usage"] for answer in answers])
        return admitted.request.answer(admitted.head, answers)

    async def _read(self, admitted: Admitted, reading: "_Reading") -> None:
        error: FreesoloError | None = Internal("The gateway failed to read the answer.")
        try:
            await _together(
                self._read_part(admitted, reading, position)
                for position in range(len(admitted.generations))
            )
            error = None
        except FreesoloError as broken:
            error = broken
        finally:
            if error is None:
                self._count(admitted, [usage for _, usage in sorted(reading.usages.items())])
            else:
                self._void(admitted.generations, admitted.session)
            await reading.end(error)

    async def _read_part(self, admitted: Admitted, reading: "_Reading", position: int) -> None:
        """Read the answer to one prompt, once the engine has accepted all."""
        generation = admitted.generations[position]
        async with admitted.session.stream(
            generation.body,
            generation.id,
            path=admitted.request.path,
            meter=generation.metered.model_dump_json(),
        ) as events:
            await reading.accepted.wait()
            async for data in events:
                if data != "[DONE]":
                    await self._take(admitted, reading, position, data)
        # Its last event proves nothing: an engine ends a broken stream with `[DONE]` too.
        if position not in reading.usages:
            raise EngineUnavailable("The engine stopped answering.")

    async def _take(
        self, admitted: Admitted, reading: "_Reading", position: int, data: str
    ) -> None:
        chunk = json.loads(data)
        if "error" in chunk:
            raise EngineUnavailable("The engine failed in the middle of the answer.")
        request, head = admitted.request, admitted.head
        if chunk["choices"]:
            public = request.chunk(head, position, chunk)
            await reading.put(public | ({"usage": None} if request.wants_usage_chunk else {}))
            return
        reading.usages[position] = chunk["usage"]
        if request.wants_usage_chunk and len(reading.usages) == len(admitted.generations):
            counts = [*reading.usages.values()]
            await reading.put(request.usage_chunk(head, chunk["object"], counts))

    async def _events(self, admitted: Admitted, reading: "_Reading") -> AsyncIterator[str]:
        try:
            while isinstance(part := await reading.next(), dict):
                yield _event(part)
            yield "data: [DONE]\n\n" if part is None else _event(error_body(part))
        finally:
            if not reading.ended:
                reading.leave()
                self._spawn(self.abandon(admitted))

    def _count(self, admitted: Admitted, usages: Iterable[Mapping[str, Any]]) -> None:
        for generation, usage in zip(admitted.generations, usages, strict=True):
            record = _record(generation, admitted.session, Outcome.COUNTED, counts_of(usage))
            self._settle(record)
            logger.info(
                "answered",
                extra={
                    **record.model_dump(mode="json", exclude={"created_at", "prices"}),
                    "path": admitted.request.path,
                    "ms": round(1000 * (time.monotonic() - admitted.started)),
                },
            )

    def _void(self, generations: Iterable[Generation], session: Session) -> None:
        """Bill nothing for what was not answered, whatever the engine counted."""
        for generation in generations:
            self._settle(_record(generation, session, Outcome.VOID, {}))

    def _settle(self, record: UsageRecord) -> None:
        self._usage.record(record)
        self._holds.end(record.id)


class _Reading:
    """A streamed answer between the task that reads it and the response that sends it.

    `accepted` is where the readers of several prompts wait for each other, so that one that the engine
    refuses is refused before anything is sent.
    """

    def __init__(self, *, prompts: int) -> None:
        self.accepted = asyncio.Barrier(prompts)
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.usages: dict[int, Mapping[str, Any]] = {}
        self.ended = False
        self._left = False
        self._parts: asyncio.Queue[Document | FreesoloError | None] = asyncio.Queue(_AHEAD)

    async def put(self, part: Document) -> None:
        """Hand on a piece, when there is room for it; nobody who has left gets any."""
        if not self.begun.done():
            self.begun.set_result(None)
        if not self._left:
            await self._parts.put(part)

    async def next(self) -> Document | FreesoloError | None:
        """Return the next piece; None after a complete answer, or the error that broke it off."""
        return await self._parts.get()

    def leave(self) -> None:
        """Nobody listens any more. What still comes is only counted."""
        self._left = True
        while not self._parts.empty():
            self._parts.get_nowait()

    async def end(self, error: FreesoloError | None) -> None:
        """Tell whoever waits that the answer is complete, broken off, or refused."""
        self.ended = True
        if error is not None and not self.begun.done():
            self.begun.set_exception(error)
            return
        if not self.begun.done():
            self.begun.set_result(None)
        if not self._left:
            await self._parts.put(error)


def _admitted(
    request: GenerationRequest, target: Target, session: Session, *, name: str
) -> Admitted:
    """Give a request its ids: one of its own, and one for each prompt if there are several."""
    request_id, now = uuid.uuid4().hex, datetime.now(UTC)
    # What one org has asked must not shorten, or show in the counts of, another's answers.
    bodies = [body | {"cache_salt": target.org} for body in request.for_engine(name, target)]
    ids = [request_id] if len(bodies) == 1 else [f"{request_id}-{n}" for n in range(len(bodies))]
    return Admitted(
        request_id,
        request,
        target,
        session,
        tuple(
            Generation(
                body,
                Metered(
                    id=generation_id,
                    org=target.org,
                    key_id=target.key_id,
                    model=target.model,
                    revision=target.revision,
                    prices=target.prices,
                    created_at=now,
                ),
            )
            for generation_id, body in zip(ids, bodies, strict=True)
        ),
        Head(
            f"{request.id_prefix}{request_id}",
            int(now.timestamp()),
            target.model,
            target.revision or target.base_model.revision,
        ),
    )


def _record(
    generation: Generation, session: Session, outcome: Outcome, counts: Mapping[str, int]
) -> UsageRecord:
    return UsageRecord(
        **dict(generation.metered),
        witness=Witness.GATEWAY,
        outcome=outcome,
        engine=session.life,
        **counts,
    )


async def _together(works: Iterable[Coroutine[None, None, _Result]]) -> list[_Result]:
    """Return what all works come to. The first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _event(document: Mapping[str, object]) -> str:
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"
