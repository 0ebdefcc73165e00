"""From exceptions to answers: every failure leaves as the one error envelope."""

import errno
import logging
import secrets
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freesolo.errors import (
    FreesoloError,
    Internal,
    InvalidInput,
    NotFound,
    Problem,
    StorageFull,
    Unauthorized,
    Unavailable,
)

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# What SQLite writes, and PostgreSQL's SQLSTATE, when there is no room left.
_SQLITE_FULL = "database or disk is full"
_POSTGRES_FULL = "53100"


def install(app: FastAPI) -> None:
    """Make `app` answer every failure with the envelope of `FreesoloError.to_wire`."""
    for expected in (FreesoloError, RequestValidationError, HTTPException, DBAPIError, OSError):
        app.add_exception_handler(expected, _answer)
    app.add_exception_handler(PoolTimeout, _answer)
    app.add_exception_handler(ClientDisconnect, _answer)
    app.add_middleware(_LastResort)


class _LastResort:
    """Answer what nobody foresaw.

    The framework's own handler of `Exception` stands outside of all middleware, so that its answer
    has no request id, and re-raises, so that the server logs everything a second time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if started:
                # Only a torn connection still tells the client that the answer is not whole.
                raise
            await JSONResponse(_unforeseen(error).to_wire(), 500)(scope, receive, send)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    # What goes wrong while the framework reads a body it reports as an exception of its own.
    if isinstance(error, HTTPException) and isinstance(error.__cause__, FreesoloError):
        error = error.__cause__
    explained = _explain(request, error)
    status = error.status_code if isinstance(error, HTTPException) else explained.http_status
    return JSONResponse(explained.to_wire(), status, headers=_headers(error, explained))


def _explain(request: Request, error: Exception) -> FreesoloError:
    match error:
        case FreesoloError():
            return error
        case RequestValidationError():
            return _malformed(error)
        case HTTPException(status_code=NotFound.http_status):
            return NotFound(f"The hub has no {request.method} {request.url.path}.")
        case HTTPException(status_code=Unauthorized.http_status):
            return Unauthorized(
                "The header `Authorization` cannot be read.",
                hint="Send `Authorization: Bearer fslo_...`.",
            )
        case HTTPException():
            return InvalidInput(f"{request.method} {request.url.path}: {error.detail}.")
        case ClientDisconnect():
            # Nobody is left to read this; it keeps a torn upload from being called our fault.
            return InvalidInput("The connection ended before the body did.")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _full()
        case DBAPIError() | PoolTimeout():
            return _database(error)
        case _:
            return _unforeseen(error)


def _malformed(error: RequestValidationError) -> InvalidInput:
    problems = [
        Problem(".".join(str(part) for part in found["loc"]), found["msg"], found["type"])
        for found in error.errors()
    ]
    first = problems[0]
    return InvalidInput(
        f"The request is wrong at {first.path}: {first.message}.", problems=problems
    )


def _database(error: DBAPIError | PoolTimeout) -> FreesoloError:
    cause = getattr(error, "orig", None)
    if _SQLITE_FULL in str(cause) or getattr(cause, "sqlstate", None) == _POSTGRES_FULL:
        return _full()
    if isinstance(error, DataError):
        return InvalidInput("A value in the request is too long, or cannot be stored.")
    if isinstance(error, OperationalError | PoolTimeout):
        logger.error("database unavailable", exc_info=error)
        return Unavailable("The hub's database does not answer.", retry_after=_RETRY_SECONDS)
    return _unforeseen(error)


def _full() -> StorageFull:
    return StorageFull(
        "The hub's disk is full; nothing half-written was kept.",
        hint="Free some space, then try again.",
    )


def _unforeseen(error: Exception) -> Internal:
    incident = secrets.token_hex(6)
    logger.error("unexpected failure", exc_info=error, extra={"incident": incident})
    return Internal(
        f"The hub failed unexpectedly (incident {incident}).",
        hint="Its log has the details under this incident.",
    )


def _headers(error: Exception, explained: FreesoloError) -> Mapping[str, str]:
    headers = dict((error.headers if isinstance(error, HTTPException) else None) or {})
    if explained.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(explained.retry_after)))
    if isinstance(explained, Unauthorized):
        headers.setdefault("WWW-Authenticate", "Bearer")
    return headers
