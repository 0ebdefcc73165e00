"""One request from the door to the engine and back, with its tokens counted."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from freesolo.domain.prices import most
from freesolo.errors import (
    EngineUnavailable,
    Forbidden,
    FreesoloError,
    Internal,
    InvalidAdapter,
    NotFound,
    Unauthorized,
    Unavailable,
)
from freesolo.schemas.deployments import KeyHash, Target
from freesolo.schemas.usage import Metered, NewHold, Outcome, UsageRecord, Witness
from serving_backend.adapters import engine_name
from serving_backend.engine import BASE_MODEL, Document, Session
from serving_backend.fleet import Fleet, Wanted
from serving_backend.formats import GenerationRequest, Head, counts_of
from serving_backend.hub import Hub
from serving_backend.limits import InFlight, KeyRates, Place
from serving_backend.metrics import Metrics
from serving_backend.openai_errors import error_body
from serving_backend.reading import Part, Reading
from serving_backend.settings import ServingSettings
from serving_backend.usage import Holds, UsageLog

logger = logging.getLogger(__name__)

# An engine knows a request only when it has read its prompt, and ignores until then that it is to end.
_ABORT_SECONDS = 0.5
# In which an engine that is alive has ended what it is told to end.
_LAST_SECONDS = 3.0

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


@dataclass(eq=False)
class Admitted:
    """A request whose key and model are settled, and money if it is paid beforehand.

    `session` is the engine that answers, once there is one; `engaged` tells when, or that there is none,
    and `ended` that nothing more comes from it.
    """

    id: str
    request: GenerationRequest
    target: Target
    generations: tuple[Generation, ...]
    head: Head
    place: Place
    started: float = field(default_factory=time.monotonic)
    session: Session | None = None
    engaged: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: bool = False


class Completions:
    """Answers requests, whole or streamed."""

    def __init__(
        self,
        hub: Hub,
        *,
        fleet: Fleet,
        usage: UsageLog,
        holds: Holds,
        settings: ServingSettings,
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._fleet = fleet
        self._usage = usage
        self._holds = holds
        self._settings = settings
        self._metrics = metrics
        self._rates = KeyRates()
        self._in_flight = InFlight(
            most=settings.max_in_flight, most_of_org=settings.max_in_flight_per_org
        )
        self._unsettled: set[str] = set()
        self._open: set[Admitted] = set()
        self._draining = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def resolve(self, key: KeyHash, model: str) -> Target:
        """Find out what a key gets under a model's name."""
        self.require_open()
        return await self._hub.resolve(key, model)

    async def admit(self, target: Target, request: GenerationRequest) -> Admitted:
        """Find out whether a key may have now what it asks of a model.

        Raise `PaymentRequired` where that must be paid beforehand and is not, and what `KeyRates` and
        `InFlight` raise.
        """
        self._rates.take_request(target)
        # An engine computes each answer to a prompt as if it had been asked for alone.
        prompts = request.prompt_count * (request.n or 1)
        place = self._in_flight.enter(
            target.base_model.served_as,
            target.org,
            prompts=prompts,
            engines=self._fleet.size(target.base_model),
        )
        try:
            admitted = _admitted(request, target, place)
            self._unsettled |= {each.id for each in admitted.generations}
            if target.prepaid:
                await self._hold(admitted)
        except BaseException:
            place.leave()
            raise
        self._open.add(admitted)
        return admitted

    def rate_headers(self, target: Target) -> dict[str, str]:
        """Return what the caller's key may still ask for."""
        return self._rates.headers(target)

    def require_open(self) -> None:
        """Raise `Unavailable` if nothing more is taken on."""
        if self._draining:
            raise Unavailable("The gateway is about to end.", hint="Retry.", retry_after=2.0)

    def drain(self) -> None:
        """Take nothing more on."""
        self._draining = True

    def in_flight(self) -> int:
        """Return how many prompts are being answered, or wait."""
        return self._in_flight.count()

    async def answer(self, admitted: Admitted) -> Document:
        """Return the whole answer. It is read, and counted, also if nobody waits for it any more."""
        reading = self._spawn(self._read_whole(admitted))
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await asyncio.shield(reading)
        except TimeoutError:
            self._void(admitted)
            self.abandon(admitted)
            raise _late("The answer took", self._settings.request_seconds) from None

    def abandon(self, admitted: Admitted) -> None:
        """End a request early because nobody waits for it; what it took so far is still counted."""
        if not admitted.abandoned:
            admitted.abandoned = True
            self._spawn(self._abort(admitted))

    async def stream(self, admitted: Admitted) -> AsyncIterator[str]:
        """Return the answer as server-sent events, once the engine has begun it.

        A task of its own reads from the engine until the token counts have come, whoever listens: a
        caller who hangs up ends the generation early, and what it took is still counted.
        """
        reading = Reading()
        self._spawn(self._read(admitted, reading))
        try:
            await admitted.engaged.wait()
            async with asyncio.timeout(self._settings.first_token_seconds):
                await reading.begun
        except asyncio.CancelledError:
            reading.leave()
            raise
        except TimeoutError:
            reading.leave()
            self._void(admitted)
            self.abandon(admitted)
            raise _late("No answer began in", self._settings.first_token_seconds) from None
        return self._events(admitted, reading)

    async def close(self) -> None:
        """End the answers that are still being read, and wait a moment for their counts."""
        for admitted in self._open:
            self.abandon(admitted)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)

    def _spawn(self, work: Coroutine[None, None, _Result]) -> "asyncio.Task[_Result]":
        """Do something that must not end when the request does that caused it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _abort(self, admitted: Admitted) -> None:
        """Tell the engine again and again that nobody waits, until the request has ended."""
        while not admitted.ended.is_set():
            if admitted.session is not None:
                ids = [generation.id for generation in admitted.generations]
                await admitted.session.abort(ids, path=admitted.request.path)
            with suppress(TimeoutError):
                await asyncio.wait_for(admitted.ended.wait(), _ABORT_SECONDS)

    async def _hold(self, admitted: Admitted, failed: Sequence[Generation] = ()) -> None:
        """Have what a request may cost set aside: for all of its prompts, or for none.

        What is held for those that an engine `failed` goes over to them.
        """
        sizes = admitted.request.asked(context=admitted.target.base_model.context)
        for position, (each, size) in enumerate(zip(admitted.generations, sizes, strict=True)):
            new = NewHold(
                id=each.id,
                org=admitted.target.org,
                amount=most(admitted.target.prices, size),
                instead_of=failed[position].id if failed else None,
            )
            try:
                await self._hub.hold(new)
            except BaseException:
                # What never was held leaves nothing in the ledger.
                self._unsettled -= {refused.id for refused in admitted.generations[position:]}
                self._void(admitted)
                raise
            # It may have been given up meanwhile.
            if each.id in self._unsettled:
                self._holds.begin(each.id)

    async def _served(
        self,
        admitted: Admitted,
        serve: Callable[[Session], Awaitable[_Result]],
        *,
        begun: Callable[[], bool],
    ) -> _Result:
        """Have an engine serve a request; if that fails before the answer has begun, another, once."""
        base_model, failed = admitted.target.base_model, None
        while True:
            try:
                return await self._serve_once(admitted, serve, but=failed)
            except EngineUnavailable:
                tried = admitted.session
                if failed or tried is None or begun() or admitted.abandoned:
                    raise
                if not self._fleet.has_other(base_model, tried.life):
                    raise
                failed = tried.life
            await self._begin_anew(admitted)

    async def _serve_once(
        self, admitted: Admitted, serve: Callable[[Session], Awaitable[_Result]], but: str | None
    ) -> _Result:
        target = admitted.target
        try:
            async with self._fleet.engaged(
                Wanted(target.base_model, target.adapter, target.org),
                wait_seconds=self._settings.engine_wait_seconds,
                but=[but] if but else [],
            ) as session:
                if not admitted.abandoned:
                    admitted.session = session
                    admitted.engaged.set()
                    return await serve(session)
        except (InvalidAdapter, NotFound, Unauthorized, Forbidden) as error:
            # It was served when it was deployed, so this is no fault of the caller's.
            logger.error("adapter not loaded", extra={"model": target.model, "reason": str(error)})
            raise EngineUnavailable(
                f"{target.model!r} cannot be loaded just now.", hint="Retry."
            ) from None
        raise EngineUnavailable("Nobody waits for the answer any more.")

    async def _begin_anew(self, admitted: Admitted) -> None:
        """Give a request that nobody has answered other ids: the first ones are the failed engine's."""
        self._void(admitted)
        failed = admitted.generations
        admitted.generations = tuple(map(_again, failed))
        self._unsettled |= {each.id for each in admitted.generations}
        if admitted.target.prepaid:
            await self._hold(admitted, failed)

    async def _read_whole(self, admitted: Admitted) -> Document:
        async def read(session: Session) -> list[Document]:
            return await _together(
                session.complete(
                    each.body,
                    each.id,
                    path=admitted.request.path,
                    meter=each.metered.model_dump_json(),
                )
                for each in admitted.generations
            )

        try:
            answers = await self._served(admitted, read, begun=lambda: False)
            self._count(admitted, [answer["usage"] for answer in answers])
        except BaseException:
            self._void(admitted)
            raise
        finally:
            self._end(admitted)
        return admitted.request.answer(admitted.head, answers)

    async def _read(self, admitted: Admitted, reading: Reading) -> None:
        error: FreesoloError | None = Internal("The gateway failed to read the answer.")
        ending = asyncio.get_running_loop().call_later(
            self._settings.request_seconds, self._end_late, admitted, reading
        )

        async def read(session: Session) -> None:
            # Where the readers of several prompts wait for each other, so that one that the engine
            # refuses is refused before anything is sent.
            accepted = asyncio.Barrier(len(admitted.generations))
            await _together(
                self._read_part(admitted, reading, position, session, accepted)
                for position in range(len(admitted.generations))
            )

        try:
            await self._served(admitted, read, begun=reading.begun.done)
            self._count(admitted, [usage for _, usage in sorted(reading.usages.items())])
            error = None
        except FreesoloError as broken:
            error = broken
        finally:
            if error is not None:
                self._void(admitted)
            self._end(admitted)
            await reading.end(error)
            ending.cancel()

    def _end(self, admitted: Admitted) -> None:
        """Note that nothing more comes from an engine."""
        self._open.discard(admitted)
        admitted.place.leave()
        admitted.engaged.set()
        admitted.ended.set()

    def _end_late(self, admitted: Admitted, reading: Reading) -> None:
        """End a stream that takes too long, also because nobody reads it; what it brought is counted."""
        if not reading.begun.done():
            self._void(admitted)
        reading.break_off(_late("The answer took", self._settings.request_seconds))
        admitted.engaged.set()
        self.abandon(admitted)

    async def _read_part(
        self,
        admitted: Admitted,
        reading: Reading,
        position: int,
        session: Session,
        accepted: asyncio.Barrier,
    ) -> None:
        """Read the answer to one prompt, once the engine has accepted all."""
        generation = admitted.generations[position]
        async with session.stream(
            generation.body,
            generation.id,
            path=admitted.request.path,
            meter=generation.metered.model_dump_json(),
        ) as events:
            await accepted.wait()
            async for data in events:
                if data != "[DONE]":
                    await self._take(admitted, reading, position, data)
        # Its last event proves nothing: an engine ends a broken stream with `[DONE]` too.
        if position not in reading.usages:
            raise EngineUnavailable("The engine stopped answering.")

    async def _take(self, admitted: Admitted, reading: Reading, position: int, data: str) -> None:
        chunk = json.loads(data)
        if "error" in chunk:
            raise EngineUnavailable("The engine failed in the middle of the answer.")
        request, head = admitted.request, admitted.head
        if chunk["choices"]:
            self._note_piece(admitted, reading)
            public = request.chunk(head, position, chunk)
            await reading.put(public | ({"usage": None} if request.wants_usage_chunk else {}))
            return
        reading.usages[position] = chunk["usage"]
        if request.wants_usage_chunk and len(reading.usages) == len(admitted.generations):
            counts = [*reading.usages.values()]
            await reading.put(request.usage_chunk(head, chunk["object"], counts))

    def _note_piece(self, admitted: Admitted, reading: Reading) -> None:
        now, model = time.monotonic(), admitted.target.base_model.id
        if reading.piece_at is None:
            self._metrics.note_first_token(model, now - admitted.started)
        else:
            self._metrics.note_next_token(model, now - reading.piece_at)
        reading.piece_at = now

    async def _events(self, admitted: Admitted, reading: Reading) -> AsyncIterator[str]:
        try:
            last: Part = {}
            while isinstance(last, dict):
                *_, last = parts = await reading.next()
                yield "".join(map(_event, parts))
        finally:
            # Also of an answer that has ended, its last pieces may wait to be read.
            reading.leave()
            if not admitted.ended.is_set():
                self.abandon(admitted)

    def _count(self, admitted: Admitted, usages: Iterable[Mapping[str, Any]]) -> None:
        for generation, usage in zip(admitted.generations, usages, strict=True):
            record = self._settle(admitted, generation, Outcome.COUNTED, counts_of(usage))
            logger.info(
                "answered",
                extra={
                    **record.model_dump(mode="json", exclude={"created_at", "prices"}),
                    "path": admitted.request.path,
                    "ms": round(1000 * (time.monotonic() - admitted.started)),
                },
            )

    def _void(self, admitted: Admitted) -> None:
        """Bill nothing for what was not answered, whatever the engine counted."""
        if admitted.session is None and not admitted.target.prepaid:
            # No engine was asked, and nothing is held.
            self._unsettled -= {each.id for each in admitted.generations}
        for generation in admitted.generations:
            self._settle(admitted, generation, Outcome.VOID, {})

    def _settle(
        self,
        admitted: Admitted,
        generation: Generation,
        outcome: Outcome,
        counts: Mapping[str, int],
    ) -> UsageRecord:
        """Write down how a prompt ended, unless that is settled already."""
        record = UsageRecord(
            **dict(generation.metered),
            witness=Witness.GATEWAY,
            outcome=outcome,
            engine=admitted.session and admitted.session.life,
            **counts,
        )
        if generation.id in self._unsettled:
            self._unsettled.remove(generation.id)
            self._usage.record(record)
            self._holds.end(generation.id)
            self._rates.take_tokens(
                admitted.target, record.prompt_tokens + record.completion_tokens
            )
            self._metrics.count_prompt(admitted.target.base_model.id, outcome.value, counts)
        return record


def _admitted(request: GenerationRequest, target: Target, place: Place) -> Admitted:
    """Give a request its ids: one of its own, and one for each prompt if there are several."""
    name = BASE_MODEL if target.adapter is None else engine_name(target.adapter)
    request_id, now = uuid.uuid4().hex, datetime.now(UTC)
    # What one org has asked must not shorten, or show in the counts of, another's answers.
    bodies = [body | {"cache_salt": target.org} for body in request.for_engine(name, target)]
    ids = [request_id] if len(bodies) == 1 else [f"{request_id}-{n}" for n in range(len(bodies))]
    return Admitted(
        request_id,
        request,
        target,
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
        place,
    )


def _again(generation: Generation) -> Generation:
    """Return a prompt's part under another id."""
    again = generation.metered.model_copy(update={"id": f"{generation.id}-again"})
    return replace(generation, metered=again)


def _late(what: str, seconds: float) -> EngineUnavailable:
    return EngineUnavailable(
        f"{what} more than {seconds:g} seconds.", hint="Ask for less, or retry.", retry_after=5.0
    )


async def _together(works: Iterable[Coroutine[None, None, _Result]]) -> list[_Result]:
    """Return what all works come to. The first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _event(part: Part) -> str:
    if part is None:
        return "data: [DONE]\n\n"
    document = part if isinstance(part, dict) else error_body(part)
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"
