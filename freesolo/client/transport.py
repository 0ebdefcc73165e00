"""HTTP to the hub and the gateway: the key, retries, and their errors as ours."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    wait_random_exponential,
)

from freesolo.errors import (
    EnvironmentNotFound,
    FreesoloError,
    InvalidInput,
    LimitExceeded,
    Unauthorized,
    Unavailable,
    from_wire,
)

_CHUNK = 1 << 20
# The most seconds that a service may ask us to wait before we try again.
_PATIENCE = 60.0
_backoff = wait_random_exponential(multiplier=0.2, max=3)
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# A body that can be sent again: a call that gives its bytes from the beginning.
Body = Callable[[], Iterable[bytes]]


class Transport:
    """A connection to one service. Safe requests are repeated when the service does not answer."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        attempts: int = 4,
        http: httpx.Client | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        # A proxy of the environment does not lead back to this machine.
        self._http = http or httpx.Client(timeout=timeout, trust_env=not is_loopback(base_url))
        self._headers = {**_authorization(api_key), **(headers or {})}
        self._attempts = attempts

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json_body: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        upload: Path | Body | None = None,
    ) -> httpx.Response:
        """Send a request, its body from `json_body` or `upload`, a file perhaps; raise what came back."""

        def send() -> httpx.Response:
            with reachable(self.base_url):
                return self._http.request(
                    method,
                    f"{self.base_url}{path}",
                    params={
                        key: value for key, value in (params or {}).items() if value is not None
                    },
                    headers={**self._headers, **(headers or {})},
                    **_body(json_body, upload),
                )

        attempts = self._attempts if method in _SAFE_TO_REPEAT else 1
        response: httpx.Response = repeating(attempts)(lambda: self._checked(send()))
        return response

    @contextmanager
    def stream(
        self, method: str, path: str, *, json_body: object = None, follow_redirects: bool = False
    ) -> Iterator[httpx.Response]:
        """Open a streamed answer; raise at once if it is an error."""
        with (
            reachable(self.base_url),
            self._http.stream(
                method,
                f"{self.base_url}{path}",
                headers=self._headers,
                follow_redirects=follow_redirects,
                **_body(json_body, None),
            ) as response,
        ):
            if not response.is_success:
                response.read()
            yield self._checked(response)

    def download(
        self,
        path: str,
        destination: Path,
        *,
        received: Callable[[int], None] = lambda _total: None,
    ) -> None:
        """Write an answer's body to `destination`; begin anew if it breaks off.

        `received` hears how many bytes there are, each time that some have come.
        """

        def receive() -> None:
            # The hub may send us to where its bytes are kept, which is not shown our key.
            with (
                self.stream("GET", path, follow_redirects=True) as response,
                destination.open("wb") as out,
            ):
                for chunk in response.iter_bytes(_CHUNK):
                    out.write(chunk)
                    received(out.tell())

        repeating(self._attempts)(receive)

    def _checked(self, response: httpx.Response) -> httpx.Response:
        """Return a good answer; raise the error that a bad one carries."""
        if response.is_success:
            return response
        error = error_of(response)
        raise error if "Authorization" in self._headers else _without_key(error, self.base_url)


def repeating(attempts: int, *, within: float = math.inf) -> Retrying:
    """Return the way to call something again, with longer and longer waits, while it is unavailable.

    A service that says when to come back is waited for until then, if that is not too long. None is
    called again that took `within` seconds to fail.
    """
    return Retrying(
        stop=stop_any(stop_after_attempt(attempts), stop_after_delay(within)),
        wait=_wait,
        retry=retry_if_exception(_passes),
        reraise=True,
    )


def _passes(error: BaseException) -> bool:
    """Say whether what went wrong is likely to be over soon."""
    if isinstance(error, Unavailable):
        return True
    asked = error.retry_after if isinstance(error, LimitExceeded) else None
    return asked is not None and asked <= _PATIENCE


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = (error.retry_after or 0.0) if isinstance(error, FreesoloError) else 0.0
    return max(_backoff(state), min(asked, _PATIENCE))


@contextmanager
def reachable(base_url: str) -> Iterator[None]:
    """Turn a connection that fails into `Unavailable`, naming the address."""
    try:
        yield
    except httpx.TimeoutException:
        raise Unavailable(f"{base_url} did not answer in time.", hint="Try again.") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise InvalidInput(
            f"{base_url!r} is not the address of a service.",
            hint="An address begins with http:// or https://.",
        ) from None
    except httpx.TransportError as error:
        raise Unavailable(
            f"{base_url} cannot be reached: {str(error).rstrip('.')}.",
            hint="Is the platform up? `freesolo up` starts one; FREESOLO_HUB_URL names another.",
        ) from None


def raise_for_error(response: httpx.Response) -> httpx.Response:
    """Return a good answer; raise the error that a bad one carries."""
    if response.is_success:
        return response
    raise error_of(response)


def error_of(response: httpx.Response) -> FreesoloError:
    """Rebuild the error of an answer whose body has been read."""
    if response.is_redirect:
        return InvalidInput(
            f"{response.url} redirects to {response.headers.get('Location')}.",
            hint="Requests with a key are not redirected; use the address it leads to.",
        )
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = {}
    error = from_wire(body if isinstance(body, dict) else {}, response.status_code)
    asked = response.headers.get("Retry-After", "")
    if error.retry_after is None and asked.isascii() and asked.isdigit():
        error.retry_after = float(asked)
    if isinstance(error, Unauthorized) and error.hint is None:
        error.hint = "`freesolo login` stores a key; `freesolo up` makes one on this machine."
    return error


def _without_key(error: FreesoloError, base_url: str) -> FreesoloError:
    """Return what an error means to somebody who has no key."""
    if isinstance(error, Unauthorized):
        return Unauthorized(
            f"There is no key for {base_url}.",
            hint="`freesolo login` stores a key; FREESOLO_API_KEY gives one; `freesolo up` starts a "
            "platform on this machine and makes one.",
        )
    if isinstance(error, EnvironmentNotFound):
        stranger = "Without a key only what is public is found; `freesolo login` stores one."
        error.hint = " ".join(filter(None, [error.hint, stranger]))
    return error


def is_loopback(url: str) -> bool:
    """Say whether a service's address is on this machine."""
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False


def _authorization(api_key: str | None) -> dict[str, str]:
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise Unauthorized(
            "The key holds characters that no key has.",
            hint="A key is `fslo_` and letters and digits; was it copied whole?",
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def _body(json_body: object, upload: Path | Body | None) -> dict[str, Any]:
    if upload is not None:
        return {"content": file_chunks(upload) if isinstance(upload, Path) else upload()}
    return {} if json_body is None else {"json": json_body}


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, a mebibyte at a time."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
