"""What endpoints ask for: a session, the caller, the moment, the stores."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import (
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
)
from sqlalchemy.orm import Session, sessionmaker

from freesolo.domain.catalog import Catalog as ModelCatalog
from freesolo.domain.roles import Role
from freesolo.errors import Forbidden, InvalidInput, Unauthorized
from freesolo.schemas.accounts import ORG_HEADER, Scope
from freesolo.schemas.uses import UseKind
from hub_server.accounts import service as accounts
from hub_server.accounts.service import KeyUses, Member, Principal
from hub_server.answers import Answers, Telling
from hub_server.blobs import BlobStore
from hub_server.encryption import Vault
from hub_server.metrics import Metrics
from hub_server.publishing.service import Press
from hub_server.settings import HubSettings
from hub_server.signing import Signer
from hub_server.uploads import is_read_whole
from hub_server.uses.service import UseCounter

# How many requests may hold or await the database, of the forty that may have a thread. A request's
# transaction stays open while its answer waits for a thread to be checked in, so if all threads
# could wait for that transaction, none would be left to end it.
_AT_ONCE = 20
# One for each event loop, as the threads are.
_turns: RunVar[CapacityLimiter] = RunVar("turns")


@dataclass(frozen=True)
class Resources:
    """What one hub works with, from its start to its end."""

    settings: HubSettings
    sessions: sessionmaker[Session]
    readers: sessionmaker[Session]
    blobs: BlobStore
    catalog: ModelCatalog
    clock: Callable[[], datetime]
    key_uses: KeyUses
    uses: UseCounter
    signer: Signer
    vault: Vault
    answers: Answers
    metrics: Metrics


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


FromHub = Annotated[Resources, Depends(_resources)]


async def _settings(resources: FromHub) -> HubSettings:
    return resources.settings


async def _blobs(resources: FromHub) -> BlobStore:
    return resources.blobs


async def _press(resources: FromHub) -> Press:
    return Press(resources.sessions, resources.blobs, resources.settings.quota, resources.signer)


async def _count_download(request: Request, resources: FromHub) -> Callable[[UUID], None]:
    # A part belongs to a download that was counted; who has the file already downloads nothing.
    counts = "range" not in request.headers and "if-none-match" not in request.headers

    def count(version_id: UUID) -> None:
        if counts:
            today = resources.clock().date()
            resources.uses.note(version_id, UseKind.DOWNLOAD, on=today)

    return count


async def _catalog(resources: FromHub) -> ModelCatalog:
    return resources.catalog


async def _now(resources: FromHub) -> datetime:
    return resources.clock()


async def _turn() -> AsyncIterator[None]:
    async with _turns_of_this_loop():
        yield


def _turns_of_this_loop() -> CapacityLimiter:
    turns = _turns.get(None)
    if turns is None:
        turns = CapacityLimiter(_AT_ONCE)
        _turns.set(turns)
    return turns


async def require_characters(request: Request) -> None:
    """Refuse a body with half of a surrogate pair: JSON can spell it, but no database can keep it."""
    if not is_read_whole(request.scope) or not await request.body():
        return
    try:
        json.dumps(await request.json(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            "A string in the body holds half of a surrogate pair, which is no character."
        ) from None
    except ValueError:
        # Not JSON at all; the endpoint says what it wants instead.
        return


Turn = Annotated[None, Depends(_turn, scope="function")]


def _session(resources: FromHub, turn: Turn) -> Iterator[Session]:
    with resources.sessions.begin() as session:
        yield session


def _reader(resources: FromHub, turn: Turn) -> Iterator[Session]:
    with resources.readers() as session:
        yield session


Settings = Annotated[HubSettings, Depends(_settings)]
Blobs = Annotated[BlobStore, Depends(_blobs)]
CountDownload = Annotated[Callable[[UUID], None], Depends(_count_download)]
HubPress = Annotated[Press, Depends(_press)]
Catalog = Annotated[ModelCatalog, Depends(_catalog)]
Now = Annotated[datetime, Depends(_now)]
# `function`: the transaction ends before the answer is sent, so an answer is never a promise that
# a failing commit breaks.
DbSession = Annotated[Session, Depends(_session, scope="function")]
DbReader = Annotated[Session, Depends(_reader, scope="function")]

_bearer = HTTPBearer(auto_error=False, description="A Freesolo API key, `fslo_...`.")


async def _caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    acting_org: Annotated[
        str | None,
        Header(alias=ORG_HEADER, description="The org to act in, for a key that has several."),
    ] = None,
) -> Principal | None:
    if credentials is None:
        return None
    return await _identify(request, credentials.credentials, acting_org)


async def _identify(request: Request, secret: str, org: str | None) -> Principal:
    resources = await _resources(request)
    # A transaction of its own: the request's must not be open while a body is received.
    principal = await run_in_threadpool(_check_key, resources, secret, org)
    resources.key_uses.note(principal, now=resources.clock())
    # For `rates`, which counts each key's requests.
    request.state.principal = principal
    return principal


def _check_key(resources: Resources, secret: str, org: str | None) -> Principal:
    with resources.readers() as session:
        key_hash = accounts.hash_key(secret)
        return accounts.check_key(session, key_hash, now=resources.clock(), org=org)


# Whoever it is, also without a key.
Caller = Annotated[Principal | None, Depends(_caller)]


async def _principal(caller: Caller) -> Principal:
    if caller is None:
        raise Unauthorized(
            "The request carries no API key.", hint="Send `Authorization: Bearer fslo_...`."
        )
    return caller


Anyone = Annotated[Principal, Depends(_principal)]


async def _acting_anywhere(principal: Anyone) -> Member:
    if not isinstance(principal, Member):
        raise Forbidden(
            f"The key {principal.key_name!r} belongs to no organisation.",
            hint="Service keys are for workers and gateways; use a key of an org.",
        )
    return principal


# A member who need not have said in which org.
MemberAnywhere = Annotated[Member, Depends(_acting_anywhere)]


async def _member(member: MemberAnywhere) -> Member:
    member.require_choice()
    return member


AnyMember = Annotated[Member, Depends(_member)]


async def _visitor(caller: Caller) -> Member | None:
    if caller is None:
        return None
    member = await _acting_anywhere(caller)
    member.require(Scope.ENVIRONMENTS_READ)
    return member


# Who reads environments: a member, or anybody, who sees only what is public.
Visitor = Annotated[Member | None, Depends(_visitor)]

_basic = HTTPBasic(
    auto_error=False, description="For installers: `__token__`, and a key as the password."
)


async def _installer(
    request: Request,
    caller: Caller,
    credentials: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Member | None:
    if credentials is not None:
        caller = await _identify(request, credentials.password, None)
    return await _visitor(caller)


# A visitor who may also send their key as `pip` and `uv` do, out of an address or a netrc file.
Installer = Annotated[Member | None, Depends(_installer)]


def _anywhere_with(scope: Scope) -> Callable[[MemberAnywhere], Awaitable[Member]]:
    async def check(member: MemberAnywhere) -> Member:
        member.require(scope)
        return member

    return check


def _member_with(
    scope: Scope, role: Role = Role.READER
) -> Callable[[AnyMember], Awaitable[Member]]:
    async def check(member: AnyMember) -> Member:
        member.require(scope)
        member.require_role(role)
        return member

    return check


def _service_with(*scopes: Scope) -> Callable[[Anyone], Awaitable[Principal]]:
    async def check(principal: Anyone) -> Principal:
        if principal.scopes.isdisjoint(scopes):
            principal.require(scopes[0])
        return principal

    return check


# An environment's full name says which org is meant.
EnvironmentReader = Annotated[Member, Depends(_anywhere_with(Scope.ENVIRONMENTS_READ))]
EnvironmentWriter = Annotated[Member, Depends(_anywhere_with(Scope.ENVIRONMENTS_WRITE))]
EnvironmentAdmin = Annotated[Member, Depends(_anywhere_with(Scope.ENVIRONMENTS_ADMIN))]
OrgsReader = Annotated[Member, Depends(_anywhere_with(Scope.ORG_READ))]
OrgsAdmin = Annotated[Member, Depends(_anywhere_with(Scope.ORG_ADMIN))]
OrgReader = Annotated[Member, Depends(_member_with(Scope.ORG_READ))]
OrgAdmin = Annotated[Member, Depends(_member_with(Scope.ORG_ADMIN))]
RunReader = Annotated[Member, Depends(_member_with(Scope.RUNS_READ))]
RunWriter = Annotated[Member, Depends(_member_with(Scope.RUNS_WRITE, Role.MEMBER))]
SecretReader = Annotated[Member, Depends(_member_with(Scope.RUNS_READ, Role.MEMBER))]
DeploymentReader = Annotated[Member, Depends(_member_with(Scope.DEPLOYMENTS_READ))]
DeploymentWriter = Annotated[Member, Depends(_member_with(Scope.DEPLOYMENTS_WRITE, Role.MEMBER))]
Worker = Annotated[Principal, Depends(_service_with(Scope.WORKER))]
Gateway = Annotated[Principal, Depends(_service_with(Scope.GATEWAY))]
PlatformProcess = Annotated[Principal, Depends(_service_with(Scope.WORKER, Scope.GATEWAY))]


async def _telling(request: Request, resources: FromHub) -> Telling:
    # Before the endpoint reads anything: what changes after this makes its answer one of yesterday.
    return Telling(resources.answers, request, as_of=await resources.answers.catch_up())


# Answers, and remembers the answer.
Tell = Annotated[Telling, Depends(_telling)]

Limit = Annotated[int, Query(ge=1, le=100, description="The most items on a page.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Makes the request safe to repeat: for a day, the same key makes nothing twice."
    ),
]
