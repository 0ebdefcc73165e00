"""Answers that are given again from memory, exactly as long as they are true.

What is asked most, which version a reference means and which versions there are, can change only
by something that the feed announces. So before anything is said again, the feed is asked which
environments changed, and whatever was said of those is forgotten.

Who may read what is not looked up again either, for at most a second: within that time a key that
was revoked, or a membership that ended, stops to count.
"""

import gzip
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import zstandard
from fastapi import Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from freesolo.errors import FreesoloError
from freesolo.schemas.accounts import ORG_HEADER
from hub_server.feed_watch import FeedWatch
from hub_server.models import Environment

_TRUSTED = timedelta(seconds=1)
_MAX_BYTES = 64 << 20
_MAX_QUESTIONS = 20_000
# How many bodies may be made at once, if they do not share a lock by chance.
_MAKERS = 64
# Bodies smaller than this fit into one packet as they are.
_WORTH_COMPRESSING = 1000
# What an answer depends on, besides the path and the query.
_ASKED_WITH = frozenset(
    {b"authorization", b"accept", b"if-none-match", b"range", ORG_HEADER.lower().encode()}
)

# Path, query, and the headers that matter, as they came.
Question = tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]
# An environment, and what is said of it.
Topic = tuple[UUID, str]
# A request's, by their names in lower case.
Headers = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Body:
    """What is said of an environment as the change `serial` left it."""

    topic: Topic
    serial: int
    media_type: str
    content: bytes
    _encoded: dict[str, bytes] = field(default_factory=dict)

    def etag(self, encoding: str | None) -> str:
        """What a client that has this may show, to be told that it still holds.

        Each form of one page has its own, since its bytes are others.
        """
        form = self.media_type.rpartition("/")[2]
        return f'"{self.topic[0]}-{self.serial}-{form}-{encoding or "identity"}"'

    def encoded(self, encoding: str) -> bytes:
        """Return the content in an encoding, made once for all who ask."""
        if encoding not in self._encoded:
            compress = zstandard.ZstdCompressor().compress if encoding == "zstd" else gzip.compress
            self._encoded[encoding] = compress(self.content)
        return self._encoded[encoding]


@dataclass(frozen=True)
class _Told:
    """Of what somebody was told something, when, by which route, and how to say it again."""

    environment_id: UUID
    serial: int
    at: datetime
    route: BaseRoute
    again: Callable[[Headers], Response | None]


class BodyResponse(Response):
    """A body in the form that a request's headers ask for, or `304` for who has it already."""

    def __init__(self, body: Body, asked: Headers) -> None:
        encoding = _encoding(body, asked.get(b"accept-encoding", b""))
        etag = body.etag(encoding).encode()
        self.background = None
        self.raw_headers = [
            (b"etag", etag),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"Accept, Accept-Encoding, Authorization"),
        ]
        if etag in asked.get(b"if-none-match", b""):
            self.status_code, self.body = 304, b""
            return
        self.status_code, self.body = 200, body.content
        if encoding:
            self.body = body.encoded(encoding)
            self.raw_headers.append((b"content-encoding", encoding.encode()))
        self.raw_headers.append((b"content-type", body.media_type.encode()))
        self.raw_headers.append((b"content-length", b"%d" % len(self.body)))


class Answers:
    """What was said, to whom, and which of it still holds."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._feed = FeedWatch(engine, self._forget)
        self._lock = threading.Lock()
        self._making = [threading.Lock() for _ in range(_MAKERS)]
        self._told: OrderedDict[Question, _Told] = OrderedDict()
        self._bodies: OrderedDict[Topic, Body] = OrderedDict()
        self._bytes = 0
        # The serials of environments that did not change since something was said of them.
        self._standing: dict[UUID, int] = {}

    async def catch_up(self) -> int:
        """Forget what was said of environments that changed by now; return the feed's serial."""
        if self._feed.instant:
            self._feed.catch_up()
        else:
            await run_in_threadpool(self._feed.catch_up)
        return self._feed.serial

    async def recall(self, question: Question, asked: Headers) -> tuple[Response, BaseRoute] | None:
        """Return what may be said again to whoever asks this, and the route that said it first."""
        told = self._told.get(question)
        if told is None or not timedelta() <= self.clock() - told.at < _TRUSTED:
            return None
        try:
            await self.catch_up()
            holds = self.stands(told.environment_id, told.serial)
            response = told.again(asked) if holds else None
        except (DBAPIError, FreesoloError):
            # Whoever answers the long way says what is wrong.
            return None
        return (response, told.route) if response else None

    def known(self, topic: Topic) -> Body | None:
        """Return what was said on this topic, if the environment did not change since."""
        body = self._bodies.get(topic)
        return body if body and self.stands(topic[0], body.serial) else None

    def stands(self, environment_id: UUID, serial: int) -> bool:
        """Say whether something was said of an environment at `serial`, and nothing changed since."""
        return self._standing.get(environment_id) == serial

    def say(self, topic: Topic, asked: Headers) -> Response | None:
        """Return what was said on this topic, in the form that a request asks for."""
        body = self.known(topic)
        return BodyResponse(body, asked) if body else None

    def making(self, topic: Topic) -> threading.Lock:
        """Return what whoever makes a body on this topic must hold."""
        return self._making[hash(topic) % _MAKERS]

    def stand(self, environment_id: UUID, serial: int, *, as_of: int) -> bool:
        """Take an environment's serial, read after the change `as_of`, for its present one.

        Return False if something has changed meanwhile, perhaps this.
        """
        with self._lock:
            if self._feed.serial == as_of:
                self._standing[environment_id] = serial
        return self.stands(environment_id, serial)

    def keep(self, body: Body) -> None:
        """Remember a body."""
        with self._lock:
            self._bytes += len(body.content) - self._size(self._bodies.pop(body.topic, None))
            self._bodies[body.topic] = body
            while self._bytes > _MAX_BYTES:
                self._bytes -= self._size(self._bodies.popitem(last=False)[1])

    def note(self, question: Question, told: _Told) -> None:
        """Remember that whoever asks this may be told the same again."""
        with self._lock:
            self._told[question] = told
            self._told.move_to_end(question)
            if len(self._told) > _MAX_QUESTIONS:
                self._told.popitem(last=False)

    def close(self) -> None:
        """Give back what the feed is watched with."""
        self._feed.close()

    def _forget(self, environment_id: UUID) -> None:
        self._standing.pop(environment_id, None)

    def _size(self, body: Body | None) -> int:
        return len(body.content) if body else 0


class Telling:
    """How one request is answered, so that the answer can be given again."""

    def __init__(self, answers: Answers, request: Request, *, as_of: int) -> None:
        self._answers = answers
        self._request = request
        self._as_of = as_of

    def __call__(
        self,
        environment: Environment,
        about: str,
        make: Callable[[], str],
        *,
        media_type: str = "application/json",
    ) -> Response:
        """Answer with what `make` returns; it is called only if that is not known already.

        `about` says what of the environment it is: two answers with the same `about` are the same.
        Whether the caller may read it has been checked.
        """
        topic = (environment.id, about)
        # Many may ask at once for what is long to make; one makes it, the others wait and have it.
        with self._answers.making(topic):
            body = self._answers.known(topic)
            if body is None or body.serial != environment.serial:
                body = Body(topic, environment.serial, media_type, make().encode())
                self._answers.keep(body)
            self._note(environment, partial(self._answers.say, topic))
        return BodyResponse(body, dict(self._request.scope["headers"]))

    def repeat(self, environment: Environment, respond: Callable[[], Response]) -> Response:
        """Answer with what `respond` makes, now and again; it must not wait for anything.

        It may depend on nothing but what the feed announces of the environment.
        """
        self._note(environment, lambda _: respond())
        return respond()

    def _note(self, environment: Environment, again: Callable[[Headers], Response | None]) -> None:
        scope = self._request.scope
        if self._answers.stand(environment.id, environment.serial, as_of=self._as_of):
            now = self._answers.clock()
            told = _Told(environment.id, environment.serial, now, scope["route"], again)
            self._answers.note(_question(scope), told)


class Recall:
    """Answer from memory what is remembered; let the routes answer everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http" and scope["method"] == "GET":
            answers: Answers = scope["app"].state.resources.answers
            if recalled := await answers.recall(_question(scope), dict(scope["headers"])):
                response, scope["route"] = recalled
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _question(scope: Scope) -> Question:
    asked_with = tuple(header for header in scope["headers"] if header[0] in _ASKED_WITH)
    return scope["path"], scope["query_string"], asked_with


def _encoding(body: Body, accepted: bytes) -> str | None:
    """Return the best encoding of those that are worth it here and accepted there."""
    if len(body.content) < _WORTH_COMPRESSING:
        return None
    names = set()
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if weight.strip("0.") or not weight:
            names.add(name)
    return next((encoding for encoding in ("zstd", "gzip") if encoding in names), None)
