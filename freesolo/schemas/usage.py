"""Tokens that were used, what they cost, and what an org has left."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from freesolo.domain.prices import MOST, Prices
from freesolo.schemas.base import Wire

# One request to the gateway, as it names it everywhere.
GenerationId = Annotated[str, Field(min_length=1, max_length=100)]
# Beyond any context, and few enough for what they cost to be kept.
Tokens = Annotated[int, Field(ge=0, le=4 * 10**9)]
Amount = Annotated[int, Field(description="Pico-dollars.")]


class BillingMode(StrEnum):
    """Whether tokens are only counted, or an org pays for them beforehand."""

    METER = "meter"
    PREPAID = "prepaid"


class Witness(StrEnum):
    """Who says what a request took. Both saw the same; either is enough."""

    GATEWAY = "gateway"
    ENGINE = "engine"


class Outcome(StrEnum):
    """How a request ended, as far as money goes.

    `COUNTED`: its tokens are known, also where the caller hung up. `VOID`: the platform failed it, and
    nothing is billed whatever the engine counted. `LOST`: nobody knows what it took, and nothing is
    billed.
    """

    COUNTED = "counted"
    VOID = "void"
    LOST = "lost"


class Metered(Wire):
    """Who asks for what, at which prices: what is known of a request before it is answered."""

    id: GenerationId
    org: str
    key_id: str
    model: str = Field(max_length=200)
    revision: str | None = Field(default=None, max_length=100)
    prices: Prices
    created_at: datetime


class UsageRecord(Metered):
    """The tokens of one request, as the engine counted them. `id` makes a repeat harmless.

    `engine` names the life of the engine that answered.
    """

    witness: Witness
    outcome: Outcome = Outcome.COUNTED
    engine: str | None = Field(default=None, max_length=64)
    prompt_tokens: Tokens = 0
    cached_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0


class UsageBatch(Wire):
    """The body of `POST /v1/gateway/usage`."""

    records: list[UsageRecord] = Field(max_length=1000)


class EngineTokens(Wire):
    """The answer of `GET /v1/gateway/engines/{life}/tokens`: all that one life of an engine answered.

    Tokens of requests that were voided are among them; those of the `lost` are not known.
    """

    prompt_tokens: int
    completion_tokens: int
    lost: int


class NewHold(Wire):
    """The body of `POST /v1/gateway/holds`: money set aside for a request that begins.

    What is held for `instead_of` is free for it: the same request, which an engine has failed.
    """

    id: GenerationId
    org: str
    amount: Amount = Field(ge=0, le=MOST)
    instead_of: GenerationId | None = None


class HoldIds(Wire):
    """The body of `POST /v1/gateway/holds/renew`: the requests that are still being answered."""

    ids: list[GenerationId] = Field(max_length=10_000)


class UsageBy(StrEnum):
    """What usage may be summed up by."""

    KEY = "key"
    MODEL = "model"
    DAY = "day"


class UsageLine(Wire):
    """The tokens of one key, model and day; None for what is not asked by.

    Several keys may have one name: `key_id` tells them apart, and `key_prefix` is how the key begins.
    """

    key_id: UUID | None = None
    key_name: str | None = None
    key_prefix: str | None = None
    model: str | None = None
    day: date | None = None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    amount: Amount


class UsageReport(Wire):
    """The answer of `GET /v1/usage`: the caller's org."""

    usage: list[UsageLine]


class Balance(Wire):
    """The answer of `GET /v1/balance`: what an org has left. `held` is set aside for open requests."""

    mode: BillingMode
    balance: Amount
    held: Amount
