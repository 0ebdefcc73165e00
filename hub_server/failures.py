"""From exceptions to answers: every failure leaves as the one error envelope."""

import errno
import logging
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

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
    app.add_exception_handler(FreesoloError, _expected)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(Exception, _unexpected)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, FreesoloError):
        return _unforeseen(error)
    return _answer(error)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return _unforeseen(error)
    problems = [
        Problem(".".join(str(part) for part in found["loc"]), found["msg"], found["type"])
        for found in error.errors()
    ]
    first = problems[0]
    return _answer(
        InvalidInput(f"The request is wrong at {first.path}: {first.message}.", problems=problems)
    )


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _unforeseen(error)
    if error.status_code == NotFound.http_status:
        return _answer(NotFound(f"The hub has no {request.method} {request.url.path}."))
    refused = InvalidInput(f"{request.method} {request.url.path}: {error.detail}.")
    return JSONResponse(refused.to_wire(), error.status_code, headers=error.headers)


async def _database(request: Request, error: Exception) -> JSONResponse:
    cause = getattr(error, "orig", None)
    if _SQLITE_FULL in str(cause) or getattr(cause, "sqlstate", None) == _POSTGRES_FULL:
        return _answer(_full())
    if isinstance(error, DataError):
        return _answer(InvalidInput("A value in the request is too long or cannot be stored."))
    if isinstance(error, OperationalError | PoolTimeout):
        logger.error("database unavailable", exc_info=error)
        return _answer(
            Unavailable("The hub's database does not answer.", retry_after=_RETRY_SECONDS)
        )
    return _unforeseen(error)


async def _system(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _answer(_full())
    return _unforeseen(error)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return _unforeseen(error)


def _unforeseen(error: Exception) -> JSONResponse:
    incident = secrets.token_hex(6)
    logger.error("unexpected failure", exc_info=error, extra={"incident": incident})
    return _answer(
        Internal(
            f"The hub failed unexpectedly (incident {incident}).",
            hint="Its log has the details under this incident.",
        )
    )


def _full() -> StorageFull:
    return StorageFull(
        "The hub's disk is full; nothing half-written was kept.",
        hint="Free some space, then try again.",
    )


def _answer(error: FreesoloError) -> JSONResponse:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.to_wire(), error.http_status, headers=headers)
