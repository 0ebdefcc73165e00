"""How much one key, or one address without a key, may ask of the hub in a while.

Reads, downloads and writes have budgets of their own, so that whoever lists too much can still
install. Each hub process counts for itself; the platform's own processes are not counted.
"""

import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address, IPv6Network

from fastapi.responses import JSONResponse
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freesolo.errors import LimitExceeded
from hub_server.accounts.service import Member
from hub_server.settings import NO_LIMIT, HubSettings

_NEVER_COUNTED = frozenset({"/healthz", "/readyz", "/metrics"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# What an installation asks for: which version, which versions there are, and their bytes.
_FETCHED = ("/resolve", "/index", "/archive")
_FOR_INSTALLERS = "/simple-env/"
_MAX_KEYS = 10_000
# Seconds after which a key must have been let in again.
_BELIEVED = 60
# What a provider gives to one customer.
_IPV6_PREFIX = 64


class RateLimits:
    """Count each request against a budget of whoever sends it; refuse what exceeds that."""

    def __init__(self, app: ASGIApp, settings: HubSettings) -> None:
        self._app = app
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limits = {
            name: parse(text)
            for name, text in (
                ("reads", settings.rate_reads),
                ("downloads", settings.rate_downloads),
                ("writes", settings.rate_writes),
            )
            if text != NO_LIMIT
        }
        self._keys = _KnownKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["path"] in _NEVER_COUNTED:
            await self._app(scope, receive, send)
            return
        key = _key_of(scope)
        budget = _budget_of(scope)
        limit = self._limits.get(budget)
        if limit is None or self._keys.is_platform(key):
            await self._app(scope, receive, send)
        else:
            payer = self._keys.payer(key) or _address_of(scope)
            await self._counted(limit, (budget, payer), scope, receive, send)
        if key:
            self._keys.learn(key, scope)

    async def _counted(
        self,
        limit: RateLimitItem,
        account: tuple[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        budget, _ = account
        allowed = self._limiter.hit(limit, *account)
        window = self._limiter.get_window_stats(limit, *account)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        policy = f'"{budget}";q={limit.amount};w={limit.get_expiry()}'
        left = f'"{budget}";r={max(0, window.remaining)};t={seconds}'

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = policy
                headers["RateLimit"] = left
            await send(message)

        answer = self._app if allowed else _refusal(budget, limit, seconds)
        await answer(scope, receive, send_counted)


@dataclass(frozen=True)
class _Known:
    """Whom a header speaks for, and until when that is believed."""

    payer: str
    is_platform: bool
    until: float


class _KnownKeys:
    """The keys that were let in lately, and which of them are those of the platform's processes.

    A key that was not let in counts as none, and one that is written in many ways as one, so that
    making headers up gives nobody a new budget.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[str, _Known] = OrderedDict()

    def payer(self, key: str) -> str | None:
        known = self._known(key)
        return known.payer if known else None

    def is_platform(self, key: str) -> bool:
        known = self._known(key)
        return known is not None and known.is_platform

    def learn(self, key: str, scope: Scope) -> None:
        """Take note of whose key it is, if `dependencies` found that out for this request."""
        principal = scope.get("state", {}).get("principal")
        if principal is not None:
            is_platform = not isinstance(principal, Member)
            until = time.monotonic() + _BELIEVED
            self._keys[key] = _Known(str(principal.key_id), is_platform, until)
            self._keys.move_to_end(key)
        if len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)

    def _known(self, key: str) -> _Known | None:
        known = self._keys.get(key)
        return known if known and time.monotonic() < known.until else None


def _refusal(budget: str, limit: RateLimitItem, seconds: int) -> ASGIApp:
    error = LimitExceeded(
        f"More than {limit.amount} {budget} came in {limit.get_expiry()} seconds.",
        hint=f"Go on in {seconds} seconds.",
        retry_after=seconds,
    )
    return JSONResponse(error.to_wire(), error.http_status, {"Retry-After": str(seconds)})


def _budget_of(scope: Scope) -> str:
    if scope["method"] not in _READING:
        return "writes"
    path: str = scope["path"]
    installs = path.endswith(_FETCHED) or path.startswith(_FOR_INSTALLERS)
    return "downloads" if installs else "reads"


def _key_of(scope: Scope) -> str:
    """Return what stands for the header with the key, or '' if there is none; it is not kept itself."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return hashlib.sha256(value).hexdigest()
    return ""


def _address_of(scope: Scope) -> str:
    host = scope["client"][0] if scope["client"] else ""
    try:
        address = IPv6Address(host)
    except AddressValueError:
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
